package sign

import (
	"errors"
	"testing"

	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

func FuzzPrivateKey(f *testing.F) {
	private, public, err := GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(private)
	f.Add(public)
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\n\n-----END EC PARAMETERS-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// No password: decrypting is slow, and not what is looked for.
		key, err := ParsePrivateKey(data, func() ([]byte, error) { return nil, errors.New("none") })
		if err != nil {
			return
		}
		if _, err := key.Public(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	_, public, err := GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePublicKey(data)
		if err != nil {
			return
		}
		again, err := ParsePublicKey(key.PEM())
		if err != nil || again.Fingerprint() != key.Fingerprint() {
			t.Errorf("what was read is written as %s: %v", key.PEM(), err)
		}
	})
}

// FuzzVerify: nothing that was not signed counts, and nothing makes it panic.
// A change that leaves all that was signed as it was may count, of course.
func FuzzVerify(f *testing.F) {
	services := sigstore.Start(f)
	root, err := ParseRoot(services.TrustedRoot(f))
	if err != nil {
		f.Fatal(err)
	}
	signer, err := WithIdentity(sigstore.Token(login, alice), Services{Fulcio: services.Fulcio, Rekor: services.Rekor, Timestamp: services.Timestamp})
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := signer.Sign(f.Context(), img, nil)
	legacy, err2 := signer.SignLegacy(f.Context(), img, nil)
	attested, err3 := signer.AttestLegacy(f.Context(), img, PredicateSPDX, []byte("{}"))
	if err := errors.Join(err, err2, err3); err != nil {
		f.Fatal(err)
	}
	for _, s := range []Signature{bundle, legacy, attested} {
		f.Add(s.MediaType, s.Data, s.Annotations[annotationSignature], s.Annotations[annotationCertificate], s.Annotations[annotationLog], s.Annotations[annotationTimestamp])
	}
	f.Fuzz(func(t *testing.T, media string, data []byte, sig, cert, entry, stamp string) {
		s := Signature{MediaType: media, Data: data, Annotations: map[string]string{
			annotationSignature: sig, annotationCertificate: cert, annotationLog: entry, annotationTimestamp: stamp,
		}}
		v := Verifier{Rule: signer.Rule(), Root: root}
		got, err := v.Verify(s, someDigest, PredicateSignature)
		if err == nil && (got.Signer != alice || got.Issuer != login || got.Type != PredicateSignature || got.Time.IsZero()) {
			t.Errorf("it counts as %+v", got)
		}
		if _, err := v.Verify(s, otherDigest, PredicateSignature); err == nil {
			t.Error("it counts for another digest")
		}
		_, _ = TypeOf(s)
	})
}
