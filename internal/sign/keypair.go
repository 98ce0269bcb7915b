package sign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// keypair is a private key as sigstore-go wants it. It signs SHA-256 digests,
// and with Ed25519 the message itself, as that is what every cosign verifies.
// Version 3 signs with larger keys in other ways, and then refuses its own
// signatures; the log takes no others in a DSSE envelope either.
type keypair struct {
	key    *PrivateKey
	public *PublicKey
}

func newKeypair(key *PrivateKey) (*keypair, error) {
	public, err := key.Public()
	return &keypair{key, public}, err
}

func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

// GetSigningAlgorithm is for Fulcio, which these keys never meet.
func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED
}

// GetHint is how a bundle names its key: the digest of it, in base64.
func (k *keypair) GetHint() []byte { return []byte(k.public.hint()) }

// GetKeyAlgorithm is for Fulcio, too.
func (k *keypair) GetKeyAlgorithm() string { return "" }

func (k *keypair) GetPublicKey() crypto.PublicKey { return k.public.key }

func (k *keypair) GetPublicKeyPem() (string, error) { return string(k.public.PEM()), nil }

func (k *keypair) SignData(_ context.Context, data []byte) (sig, digest []byte, err error) {
	sum := sha256.Sum256(data)
	if k.public.ed25519() {
		sig, err = k.key.signer.Sign(rand.Reader, data, crypto.Hash(0))
	} else {
		sig, err = k.key.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	return sig, sum[:], err
}

func (k *PublicKey) ed25519() bool {
	_, ok := k.key.(ed25519.PublicKey)
	return ok
}

func (k *PublicKey) hint() string {
	raw, err := hex.DecodeString(strings.TrimPrefix(k.fingerprint, "sha256:"))
	if err != nil {
		panic(err) // newPublicKey encoded it
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// keyVerifier verifies in every way in which cosign ever used a key of its
// kind: ECDSA with SHA-256, or the digest of the curve's size; Ed25519 of the
// message, or of its digest (Ed25519ph).
type keyVerifier struct {
	key   *PublicKey
	tries []signature.Verifier
}

func newKeyVerifier(key *PublicKey) (*keyVerifier, error) {
	v := &keyVerifier{key: key}
	for _, o := range verifierOptions(key.key) {
		one, err := signature.LoadVerifierWithOpts(key.key, o...)
		if err != nil {
			return nil, fmt.Errorf("loading the key %s: %w", key.fingerprint, err)
		}
		v.tries = append(v.tries, one)
	}
	return v, nil
}

func verifierOptions(key crypto.PublicKey) [][]signature.LoadOption {
	sha := func(h crypto.Hash) []signature.LoadOption { return []signature.LoadOption{options.WithHash(h)} }
	all := [][]signature.LoadOption{sha(crypto.SHA256)}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return [][]signature.LoadOption{sha(crypto.SHA512), {options.WithED25519ph()}}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			all = append(all, sha(crypto.SHA384))
		case elliptic.P521():
			all = append(all, sha(crypto.SHA512))
		}
	}
	return all
}

// VerifySignature implements signature.Verifier.
func (v *keyVerifier) VerifySignature(sig, message io.Reader, _ ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	for _, one := range v.tries {
		if one.VerifySignature(strings.NewReader(string(s)), strings.NewReader(string(m))) == nil {
			return nil
		}
	}
	return errors.New("the key did not make it")
}

// PublicKey implements signature.Verifier.
func (v *keyVerifier) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.key.key, nil
}

// ValidAtTime says that keys do not expire.
func (v *keyVerifier) ValidAtTime(time.Time) bool { return true }
