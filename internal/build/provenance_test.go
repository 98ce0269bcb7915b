package build

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProvenance tells all that a package is made from, for both platforms, and
// the same each time.
func TestProvenance(t *testing.T) {
	t.Parallel()
	s := open(t, `-- lib/pkg.yaml --
name: lib
variant: scratch
dependencies:
  - image: registry.example/base:1@sha256:`+strings.Repeat("1", 64)+`
steps:
  - sources:
      - {url: "https://example.org/lib.tar", destination: lib.tar, sha256: `+strings.Repeat("2", 64)+`, sha512: `+strings.Repeat("3", 128)+`}
finalize: [{from: /, to: /}]
-- p/pkg.yaml --
name: p
variant: alpine
dependencies:
  - stage: lib
steps:
  - sources:
      - {module: "github.com/a/b@v1.2.3+incompatible", destination: b, sum: "h1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
      - {deb: "bash=1:5.2", destination: bash.deb, sha256: `+strings.Repeat("4", 64)+`}
finalize: [{from: /, to: /}]
-- p/a-file --
first
-- other/pkg.yaml --
name: other
variant: scratch
`)
	platforms := []string{"linux/amd64", "linux/arm64"}
	tell := func() []byte {
		t.Helper()
		b := NewBuilder(PlanOptions{Root: s.root, Load: s.load, Epoch: time.Unix(1700000000, 0), Alpine: "alpine:3.21", Version: "v9"})
		defer b.Close()
		data, err := b.Provenance(t.Context(), "p", platforms, map[string]string{"TAG": "v1.12.0"})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := tell()
	var p provenance
	if err := json.Unmarshal(first, &p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(externalParameters{"p", platforms, map[string]string{"TAG": "v1.12.0"}, 1700000000}, p.Definition.External); diff != "" {
		t.Errorf("parameters, -want +got:\n%s", diff)
	}
	var got []string
	for _, d := range p.Definition.Dependencies {
		line := d.Name + "|" + d.URI
		for _, kind := range []string{"sha256", "sha512", "dirHash"} {
			if sum := d.Digest[kind]; sum != "" {
				line += "|" + kind + ":" + sum[:4]
			}
		}
		if strings.HasPrefix(d.Name, "recipe ") { // its digest is for what is below
			line, _, _ = strings.Cut(line, "|sha256")
		}
		got = append(got, line)
	}
	want := []string{
		"|docker://alpine:3.21",
		"registry.example/base:1|docker://registry.example/base:1@sha256:1111111111111111111111111111111111111111111111111111111111111111|sha256:1111",
		"recipe lib (linux/amd64)|file:lib/pkg.yaml",
		"recipe lib (linux/arm64)|file:lib/pkg.yaml",
		"recipe p (linux/amd64)|file:p/pkg.yaml",
		"recipe p (linux/arm64)|file:p/pkg.yaml",
		"|https://example.org/lib.tar|sha256:2222|sha512:3333",
		"|pkg:deb/debian/bash@1:5.2?arch=amd64|sha256:4444",
		"|pkg:deb/debian/bash@1:5.2?arch=arm64|sha256:4444",
		"|pkg:golang/github.com/a/b@v1.2.3+incompatible|dirHash:0001",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what it is made from, -want +got:\n%s", diff)
	}
	if !bytes.Equal(first, tell()) {
		t.Error("the second time it is another one")
	}
	s.write("-- p/a-file --\nsecond\n")
	if bytes.Equal(first, tell()) {
		t.Error("a file of the recipe changed and its provenance did not")
	}
}
