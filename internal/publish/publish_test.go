package publish

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/registry"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
	"github.com/graftlinux/graft/internal/trust"
)

// shelf is a registry that remembers what was asked of it.
type shelf struct {
	name string
	mu   sync.Mutex
	sent []string // PUT and POST, in their order
}

// publishAll is a release from beginning to end.
func publishAll(ctx context.Context, extensions []Extension, o Options) error {
	r, err := Begin(ctx, o)
	if err != nil {
		return err
	}
	return r.Publish(ctx, extensions)
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{}
	srv, err := registry.New(t.TempDir(), registry.Options{Report: func(r registry.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Method != "GET" && r.Method != "HEAD" {
			s.sent = append(s.sent, r.Method+" "+r.Path)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	s.name = strings.TrimPrefix(web.URL, "http://") + "/ext"
	return s
}

func (s *shelf) forget() (sent []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, s.sent = s.sent, nil
	return sent
}

// extensionNamed is one for two platforms, with an SBOM and a service.
func extensionNamed(t *testing.T, name, tier, content string) Extension {
	t.Helper()
	e := Extension{Name: name, Version: "v1.0.0", Tier: tier, Category: "network", Provenance: []byte(`{"buildDefinition":{}}`)}
	for _, arch := range []string{"amd64", "arm64"} {
		tr := tree.New()
		for path, text := range map[string]string{
			"manifest.yaml":                                      "version: v1alpha1\nmetadata:\n  name: " + name + "\n  version: v1.0.0\n  author: me\n  description: what it is\n  compatibility: {talos: {version: '>= v1.5.0'}}\n",
			"rootfs/usr/local/lib/" + name:                       content + arch,
			"rootfs/usr/local/share/spdx/" + name + ".spdx.json": `{"spdxVersion":"SPDX-2.3","name":"` + name + `"}`,
		} {
			if err := tr.Put(path, tree.File(0o644, []byte(text))); err != nil {
				t.Fatal(err)
			}
		}
		facts, err := survey.Of(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		e.Images = append(e.Images, Image{oci.Packed{Platform: oci.Platform{OS: "linux", Arch: arch}, Tree: tr}, facts})
	}
	return e
}

// newKey makes one key for all tests: that takes its time, by design.
var newKey = sync.OnceValues(func() (*trust.Signing, error) {
	password := []byte("secret")
	private, _, err := sign.GenerateKey(password)
	if err != nil {
		return nil, err
	}
	key, err := sign.ParsePrivateKey(private, func() ([]byte, error) { return password, nil })
	if err != nil {
		return nil, err
	}
	signer, err := sign.WithKey(key, sign.Services{})
	return &trust.Signing{Signer: signer, Form: trust.Both}, err
})

func keyed(t *testing.T) (*trust.Signing, *sign.PublicKey) {
	t.Helper()
	s, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return s, s.Signer.Rule().Key
}

// run publishes and returns what was reported, without the registry's address.
func run(t *testing.T, s *shelf, o Options, extensions ...Extension) (all []Published) {
	t.Helper()
	o.Registry, o.Talos, o.ProvenanceType = s.name, "v1.12.0", "https://slsa.dev/provenance/v1"
	o.Pack.Epoch = time.Unix(1700000000, 0)
	o.Report = func(p Published) { all = append(all, p) }
	if err := publishAll(t.Context(), extensions, o); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRelease publishes two extensions and reads them back by the catalog.
func TestRelease(t *testing.T) {
	s := newShelf(t)
	signing, key := keyed(t)
	one, two := extensionNamed(t, "one", "core", "1"), extensionNamed(t, "two", "contrib", "2")
	all := run(t, s, Options{Signing: signing}, one, two)
	if len(all) != 3 || all[2].Image.Name() != CatalogName || all[2].Image.Tag != "v1.12.0" {
		t.Fatalf("published %v; the catalog comes last", all)
	}
	sent := s.forget()
	tagged := func(name string) int { return slices.Index(sent, "PUT /v2/ext/"+name) }
	if c := tagged("extensions/manifests/v1.12.0"); c < tagged("one/manifests/v1.0.0") || c < tagged("two/manifests/v1.0.0") || c < 0 {
		t.Errorf("the catalog did not come last:\n%s", strings.Join(sent, "\n"))
	}

	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(t.Context(), []string{all[2].Image.String()}, catalog.Options{Cache: c})
	if err != nil {
		t.Fatal(err)
	}
	if len(cat.Problems) > 0 || cat.Talos != "v1.12.0" || len(cat.Entries) != 2 {
		t.Fatalf("the catalog is %+v", cat)
	}
	e := cat.Entries[0]
	if e.Name() != "one" || e.Tier() != "core" || e.Author != "me" || e.Details.Category != "network" || len(e.Details.Platforms) != 2 ||
		len(e.Details.SBOM) != 1 || len(e.Details.SignedBy) != 1 {
		t.Errorf("the first entry is %+v, %+v", e, e.Details)
	}
	d, err := oci.Resolve(t.Context(), e.Image.String(), oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &sign.Verifier{Rule: sign.Rule{Key: key}, IgnoreLog: true}
	if _, err := trust.Verify(t.Context(), d, v, oci.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := trust.VerifyAttestations(t.Context(), d, v, "https://slsa.dev/provenance/v1", oci.Options{}); err != nil {
		t.Error(err)
	}
	for _, p := range e.Details.Platforms {
		referring, err := oci.Referrers(t.Context(), e.Image.Repository+"@"+p.Digest, oci.Options{}, sbom.TypeSPDX)
		if err != nil || len(referring) != 1 {
			t.Errorf("%s: %d SBOMs refer to it, want 1 (%v)", p.Platform, len(referring), err)
		}
	}
}

// TestAgain publishes twice: nothing is sent, signed or said a second time.
func TestAgain(t *testing.T) {
	s := newShelf(t)
	signing, _ := keyed(t)
	one := extensionNamed(t, "one", "core", "1")
	first := run(t, s, Options{Signing: signing}, one)
	s.forget()
	second := run(t, s, Options{Signing: signing}, one)
	if sent := s.forget(); len(sent) > 0 {
		t.Errorf("the second time it sent\n%s", strings.Join(sent, "\n"))
	}
	for i, p := range second {
		if !p.There || p.Image != first[i].Image || len(p.Signed) > 0 {
			t.Errorf("the second time %+v, the first %+v", p, first[i])
		}
	}
	// Another way to the same image is no news.
	other := one
	other.Provenance = []byte(`{"buildDefinition":{"externalParameters":{"TAG":"v1.13.0"}}}`)
	if run(t, s, Options{Signing: signing}, other); len(s.forget()) > 0 {
		t.Error("it sent another provenance of the same image")
	}
	// Nobody takes the signature away unasked.
	s.forget()
	err := publishAll(t.Context(), []Extension{one}, Options{Registry: s.name, Talos: "v1.12.0"})
	if !errors.As(err, new(*SignedError)) || len(s.forget()) > 0 {
		t.Errorf("an unsigned release over a signed one: %v", err)
	}
	// Another content under the same tag is said.
	changed := run(t, s, Options{Unsigned: true}, extensionNamed(t, "one", "core", "other"))
	if changed[0].Before != first[0].Image.Digest || changed[0].There {
		t.Errorf("a tag that moves is reported as %+v", changed[0])
	}
}

// TestSameDigests: two registries, and a dry run, which sends nothing.
func TestSameDigests(t *testing.T) {
	a, b := newShelf(t), newShelf(t)
	digests := func(s *shelf, o Options) (all []string) {
		for _, p := range run(t, s, o, extensionNamed(t, "one", "core", "1")) {
			if p.Image.Name() != CatalogName { // it names its registry
				all = append(all, p.Image.Digest)
			}
		}
		return all
	}
	want := digests(a, Options{})
	if diff := cmp.Diff(want, digests(b, Options{DryRun: true})); diff != "" {
		t.Errorf("a dry run, -want +got:\n%s", diff)
	}
	if sent := b.forget(); len(sent) > 0 {
		t.Errorf("a dry run sent %v", sent)
	}
	if diff := cmp.Diff(want, digests(b, Options{})); diff != "" {
		t.Errorf("another registry, -want +got:\n%s", diff)
	}
}

// TestInterrupted ends a release at each of its requests: there is no catalog
// then, and the next try publishes all.
func TestInterrupted(t *testing.T) {
	one, two := extensionNamed(t, "one", "core", "1"), extensionNamed(t, "two", "core", "2")
	for after := range 12 {
		s := newShelf(t)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		o := Options{Registry: s.name, Talos: "v1.12.0", Report: func(Published) {
			if n++; n == after/4+1 {
				cancel()
			}
		}}
		err := publishAll(ctx, []Extension{one, two}, o)
		cancel()
		_, found, existsErr := oci.Exists(t.Context(), s.name+"/extensions:v1.12.0", oci.Options{})
		if existsErr != nil || found != (err == nil) {
			t.Errorf("interrupted after %d: the release says %v, and the catalog is there: %v (%v)", after, err, found, existsErr)
		}
		if all := run(t, s, Options{}, one, two); len(all) != 3 {
			t.Errorf("the second try published %v", all)
		}
	}
}

func TestTiers(t *testing.T) {
	for _, c := range []struct {
		tier  string
		fault Fault
		want  Verdict
	}{
		{"core", NoSBOM, StopsAll}, {"core", Refused, StopsAll}, {"core", NotBuilt, StopsAll},
		{"extra", NoSBOM, Warns}, {"extra", Refused, Warns}, {"extra", NotBuilt, StopsAll},
		{"contrib", NoSBOM, Fits}, {"contrib", Refused, LeftOut}, {"contrib", NotBuilt, LeftOut},
		{"deprecated", NotBuilt, LeftOut},
		{"core", Misnamed, StopsAll}, {"extra", Misnamed, StopsAll}, {"contrib", Misnamed, LeftOut}, {"deprecated", Misnamed, LeftOut},
	} {
		if got := Judge(c.tier, c.fault); got != c.want {
			t.Errorf("%s, %s: got %d, want %d", c.tier, c.fault, got, c.want)
		}
	}
}

// TestLegend: what a README says of the tiers is what a release does.
func TestLegend(t *testing.T) {
	says := map[Verdict]string{StopsAll: "stops the release", LeftOut: "left out of the release", Warns: "warning", Fits: "allowed"}
	for _, row := range []struct {
		title string
		fault Fault
	}{{"Does not build", NotBuilt}, {"Fails a check", Refused}, {"Has another name in its manifest", Misnamed}, {"Has no SBOM", NoSBOM}} {
		want := "| " + row.title
		for _, tier := range []string{"core", "extra", "contrib", "deprecated"} {
			want += " | " + says[Judge(tier, row.fault)]
		}
		if !strings.Contains(catalog.Legend(), want+" |\n") {
			t.Errorf("the legend lacks %q:\n%s", want, catalog.Legend())
		}
	}
}
