package sign

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	_ "crypto/sha256"
	_ "crypto/sha512" // for hashOf

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// Services vouch for a signature. An empty URL is one that is not asked.
type Services struct {
	Fulcio    string // certifies identities; only without a key
	Rekor     string // the log, version 1 of its API
	Timestamp string // a timestamp authority (RFC 3161), the URL with its path
}

// PublicGood are the services that the Sigstore project runs for everybody.
var PublicGood = Services{Fulcio: "https://fulcio.sigstore.dev", Rekor: "https://rekor.sigstore.dev"}

// serviceTimeout is how long one of the services may take, and serviceRetries
// how often it is asked again when it is busy.
const (
	serviceTimeout = 30 * time.Second
	serviceRetries = 2
)

// Signer signs with one key, or in the name of one identity.
type Signer struct {
	key   sgsign.Keypair
	certs sgsign.CertificateProvider // nil for a key of one's own
	token string
	who   Rule
	with  Services
}

// WithKey signs with a key. If there is a log, it gets to know the digest and
// the public key.
func WithKey(key *PrivateKey, with Services) (*Signer, error) {
	pair, err := newKeypair(key)
	if err != nil {
		return nil, err
	}
	return &Signer{key: pair, who: Rule{Key: pair.public}, with: with}, nil
}

// WithIdentity signs in the name of the one that an identity token (OpenID
// Connect) is about, with a key that is made for this and forgotten. Fulcio and
// a log or a timestamp authority are needed: the certificate is valid for some
// minutes only. A log makes the name public, for good.
func WithIdentity(token string, with Services) (*Signer, error) {
	if with.Fulcio == "" {
		return nil, errors.New("signing with an identity: there is no Fulcio to certify it")
	}
	if with.Rekor == "" && with.Timestamp == "" {
		return nil, errors.New("signing with an identity: without a log or a timestamp authority nobody can tell later that the certificate was valid")
	}
	who, err := tokenIdentity(token)
	if err != nil {
		return nil, err
	}
	key, err := sgsign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	fulcio := sgsign.NewFulcio(&sgsign.FulcioOptions{BaseURL: with.Fulcio, Timeout: serviceTimeout, Retries: serviceRetries})
	return &Signer{key: key, certs: &certified{from: fulcio}, token: token, who: who, with: with}, nil
}

// certified asks for one certificate for all that is signed while it is valid.
type certified struct {
	from sgsign.CertificateProvider

	mu    sync.Mutex
	der   []byte
	until time.Time
}

// renewBefore the end of a certificate is time enough to sign and to be logged.
const renewBefore = 2 * time.Minute

// GetCertificate implements sgsign.CertificateProvider. It looks at the clock,
// as Fulcio and the log do.
func (c *certified) GetCertificate(ctx context.Context, k sgsign.Keypair, opts *sgsign.CertificateProviderOptions) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.until) > renewBefore {
		return c.der, nil
	}
	der, err := c.from.GetCertificate(ctx, k, opts)
	if err != nil {
		return nil, fmt.Errorf("asking Fulcio for a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of Fulcio: %w", err)
	}
	c.der, c.until = der, cert.NotAfter
	return der, nil
}

// Rule is the one that what this signs obeys: the key, or the identity as the
// token says it.
func (s *Signer) Rule() Rule { return s.who }

// Sign makes a signature of an image: a bundle. The annotations are signed with
// it; nil for none.
func (s *Signer) Sign(ctx context.Context, img Image, annotations map[string]string) (Signature, error) {
	return s.statement(ctx, img, PredicateSignature, []byte("{}"), annotations, asBundle)
}

// SignLegacy makes a signature of an image for its .sig tag.
func (s *Signer) SignLegacy(ctx context.Context, img Image, annotations map[string]string) (Signature, error) {
	data, err := newPayload(img, annotations)
	if err != nil {
		return Signature{}, signing(img, err)
	}
	if k := s.who.Key; k != nil && k.ed25519() && s.with.Rekor != "" {
		return Signature{}, signing(img, errors.New("the log takes no legacy signatures of Ed25519 keys as cosign verifies them: sign in the form of a bundle, or with ECDSA"))
	}
	b, err := s.bundle(ctx, &sgsign.PlainData{Data: data})
	if err != nil {
		return Signature{}, signing(img, err)
	}
	out, err := toLegacy(b, data, "")
	return out, signing(img, err)
}

// Attest says something about an image: a bundle with a predicate, a JSON
// object, of the type that its URI names.
func (s *Signer) Attest(ctx context.Context, img Image, predicateType string, predicate []byte) (Signature, error) {
	return s.statement(ctx, img, predicateType, predicate, nil, asBundle)
}

// AttestLegacy makes an attestation for the image's .att tag.
func (s *Signer) AttestLegacy(ctx context.Context, img Image, predicateType string, predicate []byte) (Signature, error) {
	return s.statement(ctx, img, predicateType, predicate, nil, func(b *protobundle.Bundle) (Signature, error) {
		return toLegacy(b, nil, predicateType)
	})
}

func (s *Signer) statement(ctx context.Context, img Image, predicateType string, predicate []byte,
	annotations map[string]string, form func(*protobundle.Bundle) (Signature, error),
) (Signature, error) {
	data, err := newStatement(img, predicateType, predicate, annotations)
	if err != nil {
		return Signature{}, signing(img, err)
	}
	b, err := s.bundle(ctx, &sgsign.DSSEData{Data: data, PayloadType: payloadInToto})
	if err != nil {
		return Signature{}, signing(img, err)
	}
	out, err := form(b)
	return out, signing(img, err)
}

func signing(img Image, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("signing %s@%s: %w", img.Repository, img.Digest, err)
}

func asBundle(b *protobundle.Bundle) (Signature, error) {
	data, err := protojson.Marshal(b)
	if err != nil {
		return Signature{}, err
	}
	var compact json.RawMessage = data // protojson puts spaces where it likes
	data, err = json.Marshal(compact)
	return Signature{MediaType: BundleType, Data: data}, err
}

// bundle signs and asks all services.
func (s *Signer) bundle(ctx context.Context, content sgsign.Content) (*protobundle.Bundle, error) {
	opts := sgsign.BundleOptions{Context: ctx}
	if s.certs != nil {
		opts.CertificateProvider = s.certs
		opts.CertificateProviderOptions = &sgsign.CertificateProviderOptions{IDToken: s.token}
	}
	if s.with.Timestamp != "" {
		opts.TimestampAuthorities = []*sgsign.TimestampAuthority{sgsign.NewTimestampAuthority(&sgsign.TimestampAuthorityOptions{
			URL: s.with.Timestamp, Timeout: serviceTimeout, Retries: serviceRetries,
		})}
	}
	if s.with.Rekor != "" {
		opts.TransparencyLogs = []sgsign.Transparency{sgsign.NewRekor(&sgsign.RekorOptions{
			BaseURL: s.with.Rekor, Timeout: serviceTimeout, Retries: serviceRetries,
		})}
	}
	b, err := sgsign.Bundle(content, s.key, opts)
	if err != nil && s.with != (Services{}) {
		return nil, &ServiceError{err}
	}
	return b, err
}

// ServiceError is one of Fulcio, the log or the timestamp authority: that it
// could not be reached, or did not want to.
type ServiceError struct{ Err error }

func (e *ServiceError) Error() string { return e.Err.Error() }
func (e *ServiceError) Unwrap() error { return e.Err }

// hashOf knows the digests of a log.
func hashOf(name string) (protocommon.HashAlgorithm, crypto.Hash) {
	switch name {
	case "sha384":
		return protocommon.HashAlgorithm_SHA2_384, crypto.SHA384
	case "sha512":
		return protocommon.HashAlgorithm_SHA2_512, crypto.SHA512
	}
	return protocommon.HashAlgorithm_SHA2_256, crypto.SHA256
}
