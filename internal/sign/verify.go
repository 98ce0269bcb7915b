package sign

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// Verifier verifies by one rule. The zero value refuses everything.
type Verifier struct {
	Rule Rule
	Root *Root // for certificates and logs
	// Annotations that must have been signed; others may be there, too.
	Annotations map[string]string
	// IgnoreLog takes what no transparency log knows. A certificate must then be
	// valid still, or have a timestamp.
	IgnoreLog bool
	// IgnoreSCT takes certificates that no certificate transparency log knows.
	IgnoreSCT bool
}

// Verified is a signature or an attestation that obeys the rule.
type Verified struct {
	Signer      string            // the subject of the certificate, or the fingerprint of the key
	Issuer      string            // who vouched for the subject; "" for a key
	Time        time.Time         // when it was there at the latest; zero if nobody saw it
	TimeFrom    string            // who says so: "log" or "timestamp authority"
	LogIndex    int64             // of the entry in the log; -1 if it is in none that is trusted
	Legacy      bool              // which form
	Annotations map[string]string // that were signed
	Type        string            // of the predicate
	Predicate   json.RawMessage   // of an attestation
}

// TypeOf says what s claims to be, unverified: the predicate type of a
// statement, or PredicateSignature for a legacy signature.
func TypeOf(s Signature) (string, error) {
	if s.MediaType == PayloadType {
		return PredicateSignature, nil
	}
	b, err := parse(s)
	if err != nil {
		return "", err
	}
	st, err := parseStatement(b.GetDsseEnvelope().GetPayload())
	return st.PredicateType, err
}

// Verify verifies by the rule that s says something about the digest: that it is a
// signature (PredicateSignature), or an attestation of another type. Errors are of
// the type *Refusal, unless the Verifier itself is wrong.
func (v *Verifier) Verify(s Signature, digest, predicateType string) (Verified, error) {
	var none Verified
	if err := v.Rule.validate(); err != nil {
		return none, err
	}
	want, err := parseDigest(digest)
	if err != nil {
		return none, err
	}
	pb, err := parse(s)
	if err != nil {
		return none, &Refusal{Rule: "form", Found: "it cannot be read", Err: err}
	}
	if err := v.fitSigner(pb); err != nil {
		return none, err
	}
	b, err := bundle.NewBundle(pb)
	if err != nil {
		return none, &Refusal{Rule: "form", Found: "it cannot be read", Err: err}
	}
	result, err := v.crypto(b, s)
	if err != nil {
		return none, err
	}
	out, err := v.identity(result)
	if err != nil {
		return none, err
	}
	out.Legacy, out.LogIndex = !IsBundle(s.MediaType), logIndex(result, pb)
	if err := v.claims(&out, pb, s, want, digest, predicateType); err != nil {
		return none, err
	}
	return out, nil
}

// parse makes a bundle of what is stored, of either form.
func parse(s Signature) (*protobundle.Bundle, error) {
	if err := tooLarge(len(s.Data), maxData); err != nil {
		return nil, err
	}
	switch {
	case IsBundle(s.MediaType):
		b := &protobundle.Bundle{}
		if err := protojson.Unmarshal(s.Data, b); err != nil {
			return nil, fmt.Errorf("parsing the bundle: %w", err)
		}
		if b.GetDsseEnvelope() == nil {
			return nil, errors.New("the bundle has no DSSE envelope with a statement about the image")
		}
		if n := len(b.GetDsseEnvelope().Signatures); n != 1 {
			return nil, fmt.Errorf("the DSSE envelope has %d signatures, not one", n)
		}
		return b, nil
	case s.MediaType == PayloadType, s.MediaType == EnvelopeType:
		return fromLegacy(s)
	}
	return nil, fmt.Errorf("%q is no media type of a signature", s.MediaType)
}

// fitSigner looks whether it is a key or a certificate that signed. A legacy
// signature does not say which key, and may have a certificate for it.
func (v *Verifier) fitSigner(b *protobundle.Bundle) error {
	m := b.GetVerificationMaterial()
	if m == nil {
		return &Refusal{Rule: "form", Found: "it does not say who signed"}
	}
	switch hint := m.GetPublicKey(); {
	case v.Rule.Key == nil && hint != nil:
		return &Refusal{Rule: "identity", Wants: v.Rule.String(), Found: "signed with a key, " + keyName(hint.Hint) + ", without a certificate"}
	case v.Rule.Key != nil && hint == nil && b.MediaType == bundleTypeV01:
		return legacySigner(m, "")
	case v.Rule.Key != nil && hint == nil:
		return &Refusal{Rule: "key", Wants: v.Rule.String(), Found: "signed with a certificate"}
	}
	return nil
}

// keyName makes a fingerprint of the usual hint of a bundle.
func keyName(hint string) string {
	if raw, err := decodeHint(hint); err == nil {
		return "sha256:" + hex.EncodeToString(raw)
	}
	if hint == "" {
		return "which it does not name"
	}
	return fmt.Sprintf("%.80q", hint)
}

// crypto verifies all that mathematics can: the log, the time, the certificate,
// the signature. Who signed what is left to others.
func (v *Verifier) crypto(b *bundle.Bundle, s Signature) (*verify.VerificationResult, error) {
	stamps, err := b.Timestamps()
	if err != nil {
		return nil, &Refusal{Rule: "form", Found: "its timestamps cannot be read", Err: err}
	}
	opts, policy := v.options(len(stamps) > 0, b.HasInclusionPromise())
	trust := v.Root.with(nil)
	if v.Rule.Key != nil {
		key, err := newKeyVerifier(v.Rule.Key)
		if err != nil {
			return nil, err
		}
		trust = v.Root.with(key)
	}
	verifier, err := verify.NewVerifier(trust, opts...)
	if err != nil {
		return nil, err
	}
	artifact := verify.WithoutArtifactUnsafe() // the subject is looked at in claims
	if b.GetMessageSignature() != nil {
		artifact = verify.WithArtifact(strings.NewReader(string(s.Data)))
	}
	result, err := verifier.Verify(b, verify.NewPolicy(artifact, policy))
	if err != nil {
		return nil, v.refusal(b, err)
	}
	return result, nil
}

// options ask for what the rule needs. A key needs no time, but a log that
// promised to include the entry says one.
func (v *Verifier) options(stamped, promised bool) ([]verify.VerifierOption, verify.PolicyOption) {
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if !v.IgnoreLog {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if v.Rule.Key != nil {
		if !v.IgnoreLog && promised {
			return append(opts, verify.WithObserverTimestamps(1)), verify.WithKey()
		}
		return append(opts, verify.WithNoObserverTimestamps()), verify.WithKey()
	}
	if !v.IgnoreSCT {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	switch {
	case !v.IgnoreLog:
		opts = append(opts, verify.WithObserverTimestamps(1))
	case stamped:
		opts = append(opts, verify.WithSignedTimestamps(1))
	default:
		opts = append(opts, verify.WithCurrentTime())
	}
	return opts, verify.WithoutIdentitiesUnsafe()
}

// steps are what the library says which of its steps failed, and our name for
// it.
var steps = []struct{ said, rule, found string }{
	{"failed to verify log inclusion", "log", "no trusted transparency log vouches for it"},
	{"failed to verify timestamps", "timestamp", "nobody trusted says when it was signed"},
	{"failed to verify leaf certificate", "certificate", ""},
	{"failed to verify signed certificate timestamp", "sct", "no trusted certificate transparency log knows the certificate"},
	{"failed to verify signature", "signature", "the signature does not fit what is signed"},
}

func (v *Verifier) refusal(b *bundle.Bundle, err error) error {
	for _, s := range steps {
		if !strings.HasPrefix(err.Error(), s.said) {
			continue
		}
		r := &Refusal{Rule: s.rule, Found: s.found, Err: errors.Unwrap(err)}
		switch hint := b.VerificationMaterial.GetPublicKey(); {
		case s.rule == "log" && len(b.VerificationMaterial.TlogEntries) == 0:
			r.Found, r.Wants, r.Err = "it has no entry of a transparency log", "one", nil
		case s.rule == "certificate":
			r.Found, r.Err = v.whyCertificate(b), nil
		case s.rule == "signature" && v.Rule.Key != nil && hint.GetHint() != "" && hint.GetHint() != v.Rule.Key.hint():
			r.Rule, r.Found, r.Wants, r.Err = "key", "signed with the key "+keyName(hint.GetHint()), v.Rule.String(), nil
		case s.rule == "signature" && v.Rule.Key != nil:
			r.Rule, r.Found, r.Wants, r.Err = "key", "signed with another key, or changed since", v.Rule.String(), nil
		}
		return r
	}
	return &Refusal{Rule: "form", Found: "it cannot be verified", Err: err}
}

// whyCertificate says what the library, which looked at the clock, does not:
// whether it is too late, or nobody's.
func (v *Verifier) whyCertificate(b *bundle.Bundle) string {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return "the certificate cannot be read"
	}
	cert := content.Certificate()
	span := fmt.Sprintf("valid from %s to %s", cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	stamps, err := b.Timestamps()
	if err == nil && len(stamps) == 0 && v.IgnoreLog && time.Now().After(cert.NotAfter) {
		return "the certificate has expired (" + span + "), and without a timestamp or a log nobody knows whether it was signed in time"
	}
	return "the certificate (" + span + ") is not of a trusted authority, or was not valid when it signed"
}

// identity compares who signed with the rule.
func (v *Verifier) identity(r *verify.VerificationResult) (Verified, error) {
	out := Verified{}
	if n := len(r.VerifiedTimestamps); n > 0 {
		out.Time, out.TimeFrom = observed(r.VerifiedTimestamps)
	}
	if v.Rule.Key != nil {
		out.Signer = v.Rule.Key.Fingerprint()
		return out, nil
	}
	var cert *certificate.Summary
	if r.Signature != nil {
		cert = r.Signature.Certificate
	}
	if cert == nil {
		return out, &Refusal{Rule: "identity", Wants: v.Rule.String(), Found: "signed without a certificate"}
	}
	out.Signer, out.Issuer = cert.SubjectAlternativeName, cert.Issuer
	if !v.Rule.Subject.matches(out.Signer) {
		return out, &Refusal{Rule: "identity", Wants: v.Rule.Subject.String(), Found: fmt.Sprintf("signed by %q (issuer %q)", out.Signer, out.Issuer)}
	}
	if !v.Rule.Issuer.matches(out.Issuer) {
		return out, &Refusal{Rule: "issuer", Wants: v.Rule.Issuer.String(), Found: fmt.Sprintf("%q signed, for whom %q vouches", out.Signer, out.Issuer)}
	}
	return out, nil
}

// observed is the earliest time at which somebody saw the signature.
func observed(stamps []verify.TimestampVerificationResult) (t time.Time, from string) {
	for _, s := range stamps {
		if !t.IsZero() && !s.Timestamp.Before(t) {
			continue
		}
		switch t = s.Timestamp.UTC(); s.Type {
		case "Tlog":
			from = "log"
		case "TimestampAuthority":
			from = "timestamp authority"
		default: // the clock of this machine
			t, from = time.Time{}, ""
		}
	}
	return t, from
}
