package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/sbom"
)

// greeting is an extension of a Debian package, with a document of its own. Its
// suite is a build argument: what is in the recipe's directory would be another
// context else.
const greeting = manifestYAML + `-- e/pkg.yaml --
name: e
variant: scratch
dependencies:
  - image: oci:{{ .BUILD_ARG_KITCHEN }}
steps:
  - sources: [{deb: 'hello=1.0-1', sha256: {{ .BUILD_ARG_SUM }}, extract: /deb, suite: {{ .BUILD_ARG_SUITE }}}]
    install: [mkdir -p /rootfs/usr/local/bin; cp /deb/usr/bin/hello /rootfs/usr/local/bin/hello]
  - sbom: {outputPath: /rootfs/usr/local/share/spdx/e.spdx.json}
    test: ["true"]
finalize: [{from: /rootfs, to: /rootfs}, {from: /pkg/manifest.yaml, to: /}]
`

// greetings are the documents of such an extension.
var greetings = []string{"rootfs/usr/local/share/spdx/e.spdx.json", "rootfs/usr/local/share/spdx/e-contents.spdx.json"}

func openGreeting(t *testing.T) (*shop, *site) {
	t.Helper()
	web := newSite(t)
	sum := debian(t, web, "Source: greetings (1.0~rc1-1)\n")
	s := open(t, greeting)
	s.plan.Fetch = &fetch.Fetcher{Debian: fetch.DebOptions{Mirror: web.URL + "/debian", Suites: []string{"bookworm"}, AptDir: t.TempDir(), ListsDir: t.TempDir()}}
	s.args["SUM"], s.args["SUITE"] = sum, "bookworm"
	return s, web
}

// debsOf are the Debian packages of a document: their URLs, and where they are from.
func debsOf(t *testing.T, text string) map[string]string {
	t.Helper()
	b, err := sbom.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	debs := map[string]string{}
	for _, p := range b.Packages {
		if strings.HasPrefix(p.PURL, "pkg:deb/") {
			debs[p.PURL] = p.Origin
		}
	}
	return debs
}

// TestDebianInSBOM: documents name the source package and the release. Another release
// changes nothing else.
func TestDebianInSBOM(t *testing.T) {
	t.Parallel()
	s, _ := openGreeting(t)
	for suite, distro := range map[string]string{"bookworm": "&distro=debian-12", "trixie": "&distro=debian-13", "''": "", "sid": "&distro=sid"} {
		s.args["SUITE"] = suite
		if suite == "''" {
			s.write(strings.ReplaceAll(greeting, ", suite: {{ .BUILD_ARG_SUITE }}", ""))
		}
		tr := s.build("e")[0].Platforms[0].Tree
		want := map[string]string{"pkg:deb/debian/hello@1.0-1?arch=amd64" + distro + "&upstream=greetings%401.0~rc1-1": "built package from: greetings 1.0~rc1-1"}
		for _, name := range greetings {
			if d := cmp.Diff(want, debsOf(t, file(t, tr, name))); d != "" {
				t.Errorf("%s, %s: -want +got:\n%s", suite, name, d)
			}
		}
		s.write(greeting)
	}
	s.args["SUITE"] = "forky"
	s.build("e")
	if len(s.ran) > 0 || len(s.cached) == 0 {
		t.Errorf("another suite ran %q again, %q were cached", s.ran, s.cached)
	}
}

// TestDebianSBOMLater: a build that changes nothing needs neither the network nor the
// packages; what the cache lost is fetched again, and never left out.
func TestDebianSBOMLater(t *testing.T) {
	t.Parallel()
	s, web := openGreeting(t)
	first := s.build("e")[0].Platforms[0]
	web.Close()
	s.plan.Fetch.Offline = true
	same := func(what string) {
		t.Helper()
		again := s.build("e")[0].Platforms[0]
		if again.Digest != first.Digest {
			t.Errorf("%s: digest %s, then %s", what, first.Digest, again.Digest)
		}
		for _, name := range greetings {
			if d := cmp.Diff(file(t, first.Tree, name), file(t, again.Tree, name)); d != "" {
				t.Errorf("%s: %s changed:\n%s", what, name, d)
			}
		}
	}
	same("offline")
	s.forget(t, "_amd64.deb")
	same("without the package")
	s.forget(t, "SBOM of e")
	same("without the SBOM")
	s.forget(t, "control file of hello")
	same("without what the package says")

	// Another SBOM has to know what it says.
	s.config.Version = "other"
	if _, err := s.try("e"); !errors.Is(err, fetch.ErrOffline) || !strings.Contains(err.Error(), "describing what is in e: fetching Debian package hello:amd64=1.0-1: ") {
		t.Errorf("got %v, want %v", err, fetch.ErrOffline)
	}
}

// TestDebianSBOMOfOtherMachine: an empty cache gives the same bytes.
func TestDebianSBOMOfOtherMachine(t *testing.T) {
	t.Parallel()
	s, _ := openGreeting(t)
	first := s.build("e")[0].Platforms[0].Digest
	s.cacheDir = t.TempDir()
	if again := s.build("e")[0].Platforms[0].Digest; again != first {
		t.Errorf("digest %s, then %s", first, again)
	}
}

// forget removes the contents that the cache lists under such a label.
func (s *shop) forget(t *testing.T, label string) {
	t.Helper()
	c, err := cache.Open(s.cacheDir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if !strings.Contains(e.Label, label) {
			continue
		}
		if err := os.Remove(filepath.Join(s.cacheDir, "v1", "blobs", strings.TrimPrefix(e.Digest, "sha256:"))); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("the cache has %d entries called %s, want one: %v", n, label, entries)
	}
}
