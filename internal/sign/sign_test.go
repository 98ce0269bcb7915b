package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

const (
	someDigest  = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	otherDigest = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	alice       = "alice@example.com"
	login       = "https://login.example.com"
)

var img = Image{Repository: "registry.example/gvisor", Digest: someDigest}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func pemKey(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func testKey(t *testing.T) *PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	return must[*PrivateKey](t)(ParsePrivateKey(pemKey(t, "PRIVATE KEY", der, errors.Join(err, err2)), nil))
}

func publicOf(t *testing.T, k *PrivateKey) *PublicKey {
	t.Helper()
	return must[*PublicKey](t)(k.Public())
}

// forms are all ways to sign an image.
var forms = map[string]func(*testing.T, *Signer, map[string]string) Signature{
	"bundle": func(t *testing.T, s *Signer, a map[string]string) Signature {
		return must[Signature](t)(s.Sign(t.Context(), img, a))
	},
	"legacy": func(t *testing.T, s *Signer, a map[string]string) Signature {
		return must[Signature](t)(s.SignLegacy(t.Context(), img, a))
	},
}

func TestKinds(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	edDER, err2 := x509.MarshalPKCS8PrivateKey(ed)
	keys := map[string][]byte{"ed25519": pemKey(t, "PRIVATE KEY", edDER, errors.Join(err, err2))}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		der, err2 := x509.MarshalECPrivateKey(k)
		keys[c.Params().Name] = pemKey(t, "EC PRIVATE KEY", der, errors.Join(err, err2))
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys["rsa"] = pemKey(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r), nil)
	services := sigstore.Start(t)
	tr := must[*Root](t)(ParseRoot(services.TrustedRoot(t)))
	for kind, data := range keys {
		key := must[*PrivateKey](t)(ParsePrivateKey(data, nil))
		pub := must[*PublicKey](t)(ParsePublicKey(publicOf(t, key).PEM()))
		for form, sign := range forms {
			t.Run(kind+" "+form, func(t *testing.T) {
				s := sign(t, must[*Signer](t)(WithKey(key, Services{})), map[string]string{"a": "b"})
				v := Verifier{Rule: Rule{Key: pub}, IgnoreLog: true, Annotations: map[string]string{"a": "b"}}
				got := must[Verified](t)(v.Verify(s, someDigest, PredicateSignature))
				if got.Signer != pub.Fingerprint() || got.Legacy != (form == "legacy") || got.Annotations["a"] != "b" {
					t.Errorf("got %+v", got)
				}
				if kind == "ed25519" && form == "legacy" {
					return // see SignLegacy
				}
				logged := sign(t, must[*Signer](t)(WithKey(key, Services{Rekor: services.Rekor})), nil)
				v = Verifier{Rule: Rule{Key: pub}, Root: tr}
				got = must[Verified](t)(v.Verify(logged, someDigest, PredicateSignature))
				if got.TimeFrom != "log" || time.Since(got.Time) > time.Minute || got.LogIndex < 0 {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestIdentity(t *testing.T) {
	services := sigstore.Start(t)
	tr := must[*Root](t)(ParseRoot(services.TrustedRoot(t)))
	token := sigstore.Token(login, alice)
	for name, with := range map[string]Services{
		"log":           {Fulcio: services.Fulcio, Rekor: services.Rekor},
		"log and stamp": {Fulcio: services.Fulcio, Rekor: services.Rekor, Timestamp: services.Timestamp},
		"stamp":         {Fulcio: services.Fulcio, Timestamp: services.Timestamp},
	} {
		signer := must[*Signer](t)(WithIdentity(token, with))
		for form, sign := range forms {
			t.Run(name+" "+form, func(t *testing.T) {
				v := Verifier{Rule: signer.Rule(), Root: tr, IgnoreLog: with.Rekor == ""}
				got := must[Verified](t)(v.Verify(sign(t, signer, nil), someDigest, PredicateSignature))
				if got.Signer != alice || got.Issuer != login || time.Since(got.Time) > time.Minute || got.TimeFrom == "" {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestAttest(t *testing.T) {
	key := testKey(t)
	s := must[*Signer](t)(WithKey(key, Services{}))
	v := Verifier{Rule: s.Rule(), IgnoreLog: true}
	predicate := []byte(`{"buildDefinition":{"buildType":"x"}}`)
	for name, a := range map[string]Signature{
		"bundle": must[Signature](t)(s.Attest(t.Context(), img, PredicateSLSA1, predicate)),
		"legacy": must[Signature](t)(s.AttestLegacy(t.Context(), img, PredicateSLSA1, predicate)),
	} {
		got := must[Verified](t)(v.Verify(a, someDigest, PredicateSLSA1))
		if !bytes.Equal(got.Predicate, predicate) || got.Type != PredicateSLSA1 {
			t.Errorf("%s: got %+v", name, got)
		}
		if kind, err := TypeOf(a); err != nil || kind != PredicateSLSA1 {
			t.Errorf("%s: type %q, %v", name, kind, err)
		}
		if _, err := v.Verify(a, someDigest, PredicateSignature); err == nil {
			t.Errorf("%s: an attestation counts as a signature", name)
		}
	}
}

// edit changes a JSON document.
func edit(t *testing.T, data []byte, fn func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	fn(m)
	return must[[]byte](t)(json.Marshal(m))
}

func at(m any, path ...string) map[string]any {
	for _, p := range path {
		if list, ok := m.(map[string]any)[p].([]any); ok {
			m = list[0]
		} else {
			m = m.(map[string]any)[p]
		}
	}
	return m.(map[string]any)
}

func reencode(t *testing.T, m map[string]any, key, from, to string) {
	t.Helper()
	raw := must[[]byte](t)(base64.StdEncoding.DecodeString(m[key].(string)))
	m[key] = base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(raw), from, to)))
}

func clone(s Signature) Signature {
	annotations := map[string]string{}
	for k, v := range s.Annotations {
		annotations[k] = v
	}
	return Signature{s.MediaType, bytes.Clone(s.Data), annotations}
}

// TestRefusals: each fault breaks the rule that its case names, and the message
// says what was found.
func TestRefusals(t *testing.T) {
	services, others := sigstore.Start(t), sigstore.Start(t)
	tr := must[*Root](t)(ParseRoot(services.TrustedRoot(t)))
	foreign := must[*Root](t)(ParseRoot(others.TrustedRoot(t)))
	all := Services{Fulcio: services.Fulcio, Rekor: services.Rekor}
	mine, theirs := testKey(t), testKey(t)
	key, other := publicOf(t, mine), publicOf(t, theirs)
	byKey := must[*Signer](t)(WithKey(mine, Services{}))
	byName := must[*Signer](t)(WithIdentity(sigstore.Token(login, alice), all))
	signed := func(s *Signer, form string) Signature { return forms[form](t, s, map[string]string{"env": "test"}) }
	kb, kl, nb, nl := signed(byKey, "bundle"), signed(byKey, "legacy"), signed(byName, "bundle"), signed(byName, "legacy")
	services.CertificateAt = time.Now().Add(-time.Hour) // of certificate and log
	old := signed(must[*Signer](t)(WithIdentity(sigstore.Token(login, alice), all)), "bundle")
	oldLegacy := signed(must[*Signer](t)(WithIdentity(sigstore.Token(login, alice), all)), "legacy")
	services.CertificateAt = time.Time{}
	services.WithoutSCT = true
	noSCT := signed(must[*Signer](t)(WithIdentity(sigstore.Token(login, alice), all)), "bundle")

	keyRule := Verifier{Rule: Rule{Key: key}, IgnoreLog: true}
	nameRule := Verifier{Rule: byName.Rule(), Root: tr}
	with := func(v Verifier, fn func(*Verifier)) *Verifier { fn(&v); return &v }
	change := func(s Signature, fn func(*Signature)) Signature { s = clone(s); fn(&s); return s }
	inBundle := func(s Signature, fn func(map[string]any)) Signature {
		return change(s, func(s *Signature) { s.Data = edit(t, s.Data, fn) })
	}
	inLog := func(fn func(map[string]any)) func(*Signature) {
		return func(s *Signature) {
			s.Annotations[annotationLog] = string(edit(t, []byte(s.Annotations[annotationLog]), fn))
		}
	}
	_ = nl
	cases := map[string]struct {
		v     *Verifier
		s     Signature
		rule  string
		found string
	}{
		"wrong key, bundle":            {with(keyRule, func(v *Verifier) { v.Rule.Key = other }), kb, "key", "signed with the key " + key.Fingerprint()},
		"wrong key, legacy":            {with(keyRule, func(v *Verifier) { v.Rule.Key = other }), kl, "key", "the rule wants the key " + other.Fingerprint()},
		"a key where a name is wanted": {&nameRule, kb, "identity", "signed with a key, " + key.Fingerprint()},
		"a name where a key is wanted": {&keyRule, nb, "key", "signed with a certificate"},
		"wrong name": {with(nameRule, func(v *Verifier) { v.Rule.Subject = Match{Exact: "bob@example.com"} }), nb,
			"identity", `signed by "alice@example.com" (issuer "https://login.example.com"); the rule wants "bob@example.com"`},
		"wrong name, expression": {with(nameRule, func(v *Verifier) { v.Rule.Subject = must[Match](t)(NewMatch("", "@siderolabs\\.com$")) }), nl,
			"identity", `the rule wants what matches "@siderolabs\\.com$"`},
		"wrong issuer": {with(nameRule, func(v *Verifier) { v.Rule.Issuer = Match{Exact: "https://accounts.google.com"} }), nl,
			"issuer", `for whom "https://login.example.com" vouches; the rule wants "https://accounts.google.com"`},
		"no log":                    {with(keyRule, func(v *Verifier) { v.IgnoreLog = false }), kb, "log", "no entry of a transparency log"},
		"no log, legacy":            {with(keyRule, func(v *Verifier) { v.IgnoreLog = false; v.Root = tr }), kl, "log", "no entry of a transparency log"},
		"untrusted root":            {with(nameRule, func(v *Verifier) { v.Root = foreign }), nb, "log", "no trusted transparency log"},
		"untrusted authority":       {with(nameRule, func(v *Verifier) { v.Root = foreign; v.IgnoreLog = true }), nb, "certificate", "not of a trusted authority"},
		"no root":                   {with(nameRule, func(v *Verifier) { v.Root = nil }), nl, "log", "no trusted transparency log"},
		"expired without a time":    {with(nameRule, func(v *Verifier) { v.IgnoreLog = true }), old, "certificate", "expired"},
		"expired, legacy":           {with(nameRule, func(v *Verifier) { v.IgnoreLog = true }), oldLegacy, "certificate", "expired"},
		"no SCT":                    {&nameRule, noSCT, "sct", "certificate transparency"},
		"annotation missing":        {with(keyRule, func(v *Verifier) { v.Annotations = map[string]string{"who": "me"} }), kb, "annotations", `no annotation "who" was signed`},
		"annotation differs":        {with(keyRule, func(v *Verifier) { v.Annotations = map[string]string{"env": "prod"} }), kl, "annotations", `says "test"; the rule wants "prod"`},
		"signature missing":         {&keyRule, change(kl, func(s *Signature) { delete(s.Annotations, annotationSignature) }), "form", "lacks the annotation dev.cosignproject.cosign/signature"},
		"signature is no base64":    {&keyRule, change(kl, func(s *Signature) { s.Annotations[annotationSignature] = "***" }), "form", annotationSignature},
		"payload changed":           {&keyRule, change(kl, func(s *Signature) { s.Data = bytes.Replace(s.Data, []byte("gvisor"), []byte("gvisoR"), 1) }), "key", "changed since"},
		"payload is none":           {&keyRule, change(kl, func(s *Signature) { s.Data = []byte("{}") }), "key", "changed since"},
		"statement changed":         {&keyRule, inBundle(kb, func(m map[string]any) { reencode(t, at(m, "dsseEnvelope"), "payload", "aaaa", "abab") }), "key", "changed since"},
		"bundle's signature gone":   {&keyRule, inBundle(kb, func(m map[string]any) { at(m, "dsseEnvelope")["signatures"] = []any{} }), "form", "0 signatures"},
		"envelope gone":             {&keyRule, inBundle(kb, func(m map[string]any) { delete(m, "dsseEnvelope") }), "form", "no DSSE envelope"},
		"material gone":             {&keyRule, inBundle(kb, func(m map[string]any) { delete(m, "verificationMaterial") }), "form", "who signed"},
		"version of the future":     {&keyRule, inBundle(kb, func(m map[string]any) { m["mediaType"] = "application/vnd.dev.sigstore.bundle.v9.9+json" }), "form", "v9.9"},
		"certificate of another":    {&nameRule, inBundle(nb, func(m map[string]any) { swapCertificate(t, m, old) }), "log", "does not match"},
		"log entry of another":      {&nameRule, inBundle(nb, func(m map[string]any) { swapLog(t, m, noSCT) }), "log", "does not match"},
		"log entry of another, old": {&nameRule, change(nl, func(s *Signature) { s.Annotations[annotationLog] = oldLegacy.Annotations[annotationLog] }), "log", "does not match"},
		"time of the log changed": {&nameRule, change(nl, inLog(func(m map[string]any) { at(m, "Payload")["integratedTime"] = time.Now().Unix() + 60 })),
			"log", "no trusted transparency log"},
		"log entry is garbage":  {&nameRule, change(nl, func(s *Signature) { s.Annotations[annotationLog] = "{}" }), "form", annotationLog},
		"certificate garbage":   {&nameRule, change(nl, func(s *Signature) { s.Annotations[annotationCertificate] = "x" }), "form", annotationCertificate},
		"certificate missing":   {&nameRule, change(nl, func(s *Signature) { delete(s.Annotations, annotationCertificate) }), "identity", "signed with a key"},
		"annotation huge":       {&nameRule, change(nl, func(s *Signature) { s.Annotations["x"] = strings.Repeat("x", maxAnnotation+1) }), "form", "are allowed"},
		"garbage":               {&keyRule, Signature{MediaType: BundleType, Data: []byte("garbage")}, "form", "parsing the bundle"},
		"another media type":    {&keyRule, Signature{MediaType: "text/plain", Data: []byte("x")}, "form", "text/plain"},
		"empty bundle":          {&keyRule, Signature{MediaType: BundleType, Data: []byte("{}")}, "form", "no DSSE envelope"},
		"two JSON values":       {&keyRule, change(kl, func(s *Signature) { s.Data = append(s.Data, "{}"...) }), "key", "changed since"},
		"envelope with garbage": {&keyRule, Signature{MediaType: EnvelopeType, Data: []byte("{")}, "form", "DSSE"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := c.v.Verify(c.s, someDigest, PredicateSignature)
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("got %+v, %v, want a refusal", got, err)
			}
			if r.Rule != c.rule || !strings.Contains(err.Error(), c.found) {
				t.Errorf("got %q, want rule %s and %q", err, c.rule, c.found)
			}
		})
	}
	for name, s := range map[string]Signature{"bundle": kb, "legacy": kl} {
		_, err := keyRule.Verify(s, otherDigest, PredicateSignature)
		if err == nil || !strings.Contains(err.Error(), "rule digest: it signs \""+someDigest+`"; the rule wants `+otherDigest) {
			t.Errorf("%s of another digest: got %v", name, err)
		}
	}
	for name, s := range map[string]Signature{"bundle": old, "legacy": oldLegacy} {
		if _, err := nameRule.Verify(s, someDigest, PredicateSignature); err != nil {
			t.Errorf("%s, expired, that the log saw in time: %v", name, err)
		}
	}
	if _, err := with(nameRule, func(v *Verifier) { v.IgnoreSCT = true }).Verify(noSCT, someDigest, PredicateSignature); err != nil {
		t.Errorf("without SCT, as allowed: %v", err)
	}
	if _, err := (&Verifier{}).Verify(kb, someDigest, PredicateSignature); err == nil {
		t.Error("the zero Verifier takes something")
	}
}

func swapCertificate(t *testing.T, m map[string]any, from Signature) {
	edit(t, from.Data, func(o map[string]any) {
		at(m, "verificationMaterial")["certificate"] = at(o, "verificationMaterial")["certificate"]
	})
}

func swapLog(t *testing.T, m map[string]any, from Signature) {
	edit(t, from.Data, func(o map[string]any) {
		at(m, "verificationMaterial")["tlogEntries"] = at(o, "verificationMaterial")["tlogEntries"]
	})
}
