package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/testkit/sigstore"
	"github.com/graftlinux/graft/internal/tree"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// moody is a registry whose answers a test may change.
type moody struct {
	host string
	next http.Handler
	mood func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.mood != nil {
		m.mood(w, r, m.next)
		return
	}
	m.next.ServeHTTP(w, r)
}

func newRegistry(t testing.TB) *moody {
	t.Helper()
	m := &moody{next: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	m.host = strings.TrimPrefix(srv.URL, "http://")
	return m
}

// packed is an index of two platforms at a source.
func packed(t testing.TB, dest, content string) oci.Descriptor {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := must(tree.FromDir(dir))(t)
	images := []oci.Packed{
		{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: tr}, {Platform: oci.Platform{OS: "linux", Arch: "arm64"}, Tree: tr},
	}
	must(oci.Pack(t.Context(), images, dest, oci.PackOptions{Name: "hello:1"}))(t)
	return must(oci.Resolve(t.Context(), dest, oci.Options{}))(t)
}

// owner has a key.
type owner struct {
	signer *sign.Signer
	rule   sign.Rule
}

func newOwner(t testing.TB) owner {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	der := must(x509.MarshalPKCS8PrivateKey(private))(t)
	key := must(sign.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil))(t)
	s := must(sign.WithKey(key, sign.Services{}))(t)
	return owner{s, s.Rule()}
}

func (o owner) verifier() *sign.Verifier { return &sign.Verifier{Rule: o.rule, IgnoreLog: true} }

func (o owner) sign(t testing.TB, d oci.Descriptor, f Form) []Form {
	t.Helper()
	return must(Sign(t.Context(), d, Signing{Signer: o.signer, Form: f}, oci.Options{}))(t)
}

// places are an image in a registry and in a layout.
func places(t testing.TB) map[string]string {
	return map[string]string{"registry": newRegistry(t).host + "/me/hello:1", "layout": "oci:" + filepath.Join(t.TempDir(), "l") + ":me/hello:1"}
}

func TestSign(t *testing.T) {
	o := newOwner(t)
	for place, src := range places(t) {
		for _, f := range []Form{Bundle, Legacy, Both} {
			t.Run(place+" "+string(f), func(t *testing.T) {
				d := packed(t, src, place+string(f))
				if got := o.sign(t, d, f); len(got) == 0 {
					t.Fatal("nothing was signed")
				}
				if got := o.sign(t, d, f); got != nil {
					t.Errorf("signed again: %v", got)
				}
				got := must(VerifyImage(t.Context(), d, o.verifier(), oci.Options{}))(t)
				if want := map[Form]int{Bundle: 1, Legacy: 1, Both: 2}[f]; len(got) != want || f != Both && got[0].Form != string(f) {
					t.Errorf("got %+v", got)
				}
				if v := got[0]; v.Digest != d.Digest || v.Signer != o.rule.Key.Fingerprint() || v.Image != d.Ref {
					t.Errorf("got %+v", v)
				}
			})
		}
	}
}

// TestSignMore: another key, or other annotations, are another signature.
func TestSignMore(t *testing.T) {
	a, b := newOwner(t), newOwner(t)
	for place, src := range places(t) {
		d := packed(t, src, place)
		a.sign(t, d, Both)
		b.sign(t, d, Both)
		s := Signing{Signer: a.signer, Annotations: map[string]string{"tier": "core"}}
		if got := must(Sign(t.Context(), d, s, oci.Options{}))(t); len(got) != 2 {
			t.Errorf("%s: added %v", place, got)
		}
		v := a.verifier()
		if got := must(Verify(t.Context(), d, v, oci.Options{}))(t); len(got) != 4 {
			t.Errorf("%s: %d signatures of a", place, len(got))
		}
		v.Annotations = s.Annotations
		if got := must(Verify(t.Context(), d, v, oci.Options{}))(t); len(got) != 2 {
			t.Errorf("%s: %d signatures with the annotation", place, len(got))
		}
	}
}

func TestAttest(t *testing.T) {
	o := newOwner(t)
	predicate := []byte(`{"name": "sbom", "size": 1}`)
	for place, src := range places(t) {
		d := packed(t, src, place)
		s := Signing{Signer: o.signer}
		for i, want := range []int{2, 0} {
			got := must(Attest(t.Context(), d, s, sign.PredicateSPDX, predicate, oci.Options{}))(t)
			if len(got) != want {
				t.Errorf("%s: the %d. time it added %v", place, i+1, got)
			}
		}
		got := must(VerifyAttestations(t.Context(), d, o.verifier(), sign.PredicateSPDX, oci.Options{}))(t)
		if len(got) != 2 || !equalJSON(got[0].Predicate, predicate) || !equalJSON(got[1].Predicate, predicate) {
			t.Errorf("%s: got %+v", place, got)
		}
		_, err := Verify(t.Context(), d, o.verifier(), oci.Options{})
		wantRefused(t, err, "it has no signature")
		_, err = VerifyAttestations(t.Context(), d, o.verifier(), sign.PredicateSLSA1, oci.Options{})
		wantRefused(t, err, "it has no attestation of the type "+sign.PredicateSLSA1)
	}
}

func wantRefused(t *testing.T, err error, says ...string) {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got %q, want %q", err, s)
		}
	}
}

// TestPlatforms: an index that is not signed counts if all its images are.
func TestPlatforms(t *testing.T) {
	o, other := newOwner(t), newOwner(t)
	for place, src := range places(t) {
		t.Run(place, func(t *testing.T) {
			d := packed(t, src, place)
			amd := must(ofPlatform(t.Context(), d, d.Platforms[0], oci.Options{}))(t)
			arm := must(ofPlatform(t.Context(), d, d.Platforms[1], oci.Options{}))(t)
			o.sign(t, amd, Bundle)
			_, err := VerifyImage(t.Context(), d, o.verifier(), oci.Options{})
			wantRefused(t, err, "linux/arm64: it has no signature")
			got := must(VerifyImage(t.Context(), d, o.verifier(), oci.Options{Platform: "linux/amd64"}))(t)
			if len(got) != 1 || got[0].Digest != amd.Digest {
				t.Errorf("got %+v", got)
			}
			other.sign(t, arm, Bundle)
			_, err = VerifyImage(t.Context(), d, o.verifier(), oci.Options{})
			wantRefused(t, err, "linux/arm64: ", "signed with the key "+other.rule.Key.Fingerprint())
			o.sign(t, arm, Legacy)
			if got := must(VerifyImage(t.Context(), d, o.verifier(), oci.Options{}))(t); len(got) != 2 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestIdentity signs with an identity, once.
func TestIdentity(t *testing.T) {
	services := sigstore.Start(t)
	root := must(sign.ParseRoot(services.TrustedRoot(t)))(t)
	with := sign.Services{Fulcio: services.Fulcio, Rekor: services.Rekor}
	signer := must(sign.WithIdentity(sigstore.Token("https://login.example", "me@example.com"), with))(t)
	d := packed(t, newRegistry(t).host+"/hello:1", "x")
	s := Signing{Signer: signer, Root: root}
	for i, want := range []int{2, 0} {
		if got := must(Sign(t.Context(), d, s, oci.Options{}))(t); len(got) != want {
			t.Errorf("the %d. time it added %v", i+1, got)
		}
	}
	got := must(Verify(t.Context(), d, &sign.Verifier{Rule: signer.Rule(), Root: root}, oci.Options{}))(t)
	data := string(must(json.Marshal(got[0]))(t))
	for _, want := range []string{`"signer":"me@example.com"`, `"issuer":"https://login.example"`, `"timeFrom":"log"`, `"logIndex":`, d.Digest, `"time":"20`} {
		if !strings.Contains(data, want) {
			t.Errorf("the record %s lacks %s", data, want)
		}
	}
}

// TestFaults: a registry that lies, and people who put things where signatures
// are looked for.
func TestFaults(t *testing.T) {
	o := newOwner(t)
	garbage := func(n int, size int) oci.Artifact {
		a := oci.Artifact{Type: sign.BundleType}
		for i := range n {
			a.Blobs = append(a.Blobs, oci.Blob{MediaType: sign.BundleType, Data: append(bytes.Repeat([]byte("x"), size), byte(i))})
		}
		return a
	}
	attach := func(a oci.Artifact) func(*testing.T, *moody, oci.Descriptor) {
		return func(t *testing.T, _ *moody, d oci.Descriptor) {
			must(oci.Attach(t.Context(), d.Ref, a, oci.PackOptions{}))(t)
		}
	}
	tagged := func(a oci.Artifact) func(*testing.T, *moody, oci.Descriptor) {
		return func(t *testing.T, _ *moody, d oci.Descriptor) {
			must(oci.AttachTagged(t.Context(), d.Ref, "sig", a, oci.PackOptions{}))(t)
		}
	}
	cases := map[string]struct {
		do      func(*testing.T, *moody, oci.Descriptor)
		refused bool // by the rule, not as an error of the registry
		says    string
	}{
		"nothing":          {func(*testing.T, *moody, oci.Descriptor) {}, true, "wanted is the key " + o.rule.Key.Fingerprint() + ":\n  it has no signature\n  linux/amd64: it has no signature"},
		"garbage":          {attach(garbage(1, 10)), true, "rule form: it cannot be read"},
		"legacy garbage":   {tagged(oci.Artifact{Blobs: []oci.Blob{{MediaType: sign.PayloadType, Data: []byte("x")}}}), true, "lacks the annotation dev.cosignproject.cosign/signature"},
		"another artifact": {attach(oci.Artifact{Type: "application/x", Blobs: []oci.Blob{{MediaType: "text/plain", Data: []byte("x")}}}), true, "it has no signature"},
		"many":             {attach(garbage(maxSignatures+1, 1)), false, "more than 128 signatures"},
		"many legacy":      {tagged(garbage(maxSignatures+1, 1)), false, "more than 128 signatures"},
		"too large":        {attach(garbage(1, 33<<20)), false, "are allowed"},
		"signature of another image": {func(t *testing.T, m *moody, d oci.Descriptor) {
			other := packed(t, m.host+"/other:1", "other")
			o.sign(t, other, Both)
			for _, a := range must(oci.Referrers(t.Context(), other.Ref, oci.Options{}))(t) {
				if err := a.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				must(oci.Attach(t.Context(), d.Ref, a, oci.PackOptions{}))(t)
			}
			a := must(oci.Tagged(t.Context(), other.Ref, "sig", oci.Options{}))(t)
			if err := a.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			must(oci.AttachTagged(t.Context(), d.Ref, "sig", *a, oci.PackOptions{}))(t)
		}, true, "rule digest: it signs"},
		"tampered blob": {func(t *testing.T, m *moody, d oci.Descriptor) {
			o.sign(t, d, Both)
			m.mood = change("/blobs/", []byte(`"payload`), []byte(`"Payload`), []byte("docker-reference"), []byte("docker-Reference"))
		}, false, "sha256:"},
		"tampered manifest": {func(t *testing.T, m *moody, d oci.Descriptor) {
			o.sign(t, d, Bundle)
			m.mood = change("/manifests/sha256:", []byte("dsse-envelope"), []byte("dsse-Envelope"))
		}, false, "sha256:"},
		"signatures are hidden": {func(t *testing.T, m *moody, d oci.Descriptor) {
			o.sign(t, d, Both)
			m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.Contains(r.URL.Path, "/referrers/") || strings.HasSuffix(r.URL.Path, ".sig") {
					http.NotFound(w, r)
					return
				}
				next.ServeHTTP(w, r)
			}
		}, true, "it has no signature"},
		"referrers fail": {func(t *testing.T, m *moody, d oci.Descriptor) {
			o.sign(t, d, Both)
			m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.Contains(r.URL.Path, "/referrers/") {
					http.Error(w, "no", http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			}
		}, false, "401"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := newRegistry(t)
			d := packed(t, m.host+"/hello:1", name)
			c.do(t, m, d)
			got, err := VerifyImage(t.Context(), d, o.verifier(), oci.Options{Platform: "linux/amd64"})
			var r *Refused
			if err == nil || errors.As(err, &r) != c.refused || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v; want %q, refused by a rule: %v", got, err, c.says, c.refused)
			}
		})
	}
}

// change replaces parts of what a registry answers below a path.
func change(path string, pairs ...[]byte) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, path) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		for i := 0; i < len(pairs); i += 2 {
			body = bytes.ReplaceAll(body, pairs[i], pairs[i+1])
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}
}

// TestOneGoodOne: garbage beside a signature does no harm.
func TestOneGoodOne(t *testing.T) {
	o, other := newOwner(t), newOwner(t)
	d := packed(t, newRegistry(t).host+"/hello:1", "x")
	must(oci.Attach(t.Context(), d.Ref, oci.Artifact{Type: sign.BundleType, Blobs: []oci.Blob{{MediaType: sign.BundleType, Data: []byte("x")}}}, oci.PackOptions{}))(t)
	other.sign(t, d, Both)
	o.sign(t, d, Bundle)
	if got := must(Verify(context.Background(), d, o.verifier(), oci.Options{}))(t); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
}
