package build

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/json"

	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/fetch"
)

// TestSection7SBOM writes the document of a step after its tests, of the sources
// of all steps.
func TestSection7SBOM(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	s := open(t, pkg("p", "steps:\n  - sources: ["+web.source("a.tar", "a")+`]
    test: ['[ ! -e /rootfs/usr/share/spdx ]']
    sbom:
      outputPath: /rootfs/usr/share/spdx/p.json
      version: v1.2
      cpes: ["cpe:2.3:a:maker:p:1.2:*:*:*:*:*:*:*", not a cpe]
      purl: pkg:generic/p@1.2
      licenses: [MIT]
  - sources: [`+web.source("b.tar", "b")+`]
    sbom: {name: other, outputPath: /rootfs/o.json}
  - sbom: {version: not written}
    install: ["stat -c '%n %a' /rootfs/usr/share/spdx /rootfs/usr/share/spdx/p.json >/modes"]
finalize: [{from: /rootfs, to: /}, {from: /modes, to: /}]
`))
	s.plan.Epoch = time.Unix(1700000000, 0).UTC()
	tr := s.build("p")[0].Platforms[0].Tree
	if got := file(t, tr, "modes"); got != "/rootfs/usr/share/spdx 755\n/rootfs/usr/share/spdx/p.json 644\n" {
		t.Errorf("got %s", got)
	}
	text := file(t, tr, "usr/share/spdx/p.json")
	if !strings.HasPrefix(text, "{\n \"spdxVersion\": \"SPDX-2.3\"") {
		t.Errorf("the document begins with %.60s", text)
	}
	doc, err := json.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range doc.Files {
		files = append(files, strings.TrimPrefix(f.FileName, web.URL))
	}
	if diff := cmp.Diff([]string{"/a.tar", "/b.tar"}, files); diff != "" {
		t.Errorf("files, -want +got:\n%s", diff)
	}
	if doc.DocumentName != "sidero-pkgs-p" || doc.CreationInfo.Created != "2023-11-14T22:13:20Z" ||
		doc.Packages[0].PackageVersion != "v1.2" || doc.Packages[0].PackageLicenseDeclared != "MIT" || len(doc.Packages[0].PackageExternalReferences) != 2 {
		t.Errorf("got %s", text)
	}
	s.wantWarning("p/pkg.yaml", "not a cpe", "left out")
	if !strings.Contains(file(t, tr, "o.json"), `"name": "sidero-pkgs-other"`) {
		t.Error("the second document has another name")
	}
}

const manifestYAML = `-- e/manifest.yaml.tmpl --
version: v1alpha1
metadata: {name: e, version: "{{ .VERSION }}", author: A, description: D}
-- e/vars.yaml --
VERSION: "1.0"
`

// TestExtension adds to an extension what describes it, and checks it.
func TestExtension(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	sum := debian(t, web)
	s := open(t, "-- Pkgfile --\nformat: v1alpha2\nlabels: {maker: me}\n"+manifestYAML+pkg("e", "steps:\n  - sources: [{deb: 'hello=1.0-1', sha256: "+sum+`, extract: /deb}]
    install: [mkdir -p /rootfs/usr/local/bin; cp /deb/usr/bin/hello /rootfs/usr/local/bin/hello]
finalize: [{from: /rootfs, to: /rootfs}, {from: /pkg/manifest.yaml, to: /}]
`))
	s.plan.Fetch = &fetch.Fetcher{Debian: fetch.DebOptions{Mirror: web.URL + "/debian", Suites: []string{"bookworm"}, AptDir: t.TempDir(), ListsDir: t.TempDir()}}
	s.config.Version = "test"
	b := s.build("e")[0]
	const sbomFile = "rootfs/usr/local/share/spdx/e-contents.spdx.json"
	doc := file(t, b.Platforms[0].Tree, sbomFile)
	for _, part := range []string{`"name": "hello"`, `"versionInfo": "1.0-1"`, sum, "graft-test"} {
		if !strings.Contains(doc, part) {
			t.Errorf("the SBOM lacks %s", part)
		}
	}
	if b.Manifest == nil || b.Manifest.Metadata.Version != "1.0" || b.Labels["maker"] != "me" || b.Errors() != 0 {
		t.Errorf("got %+v, findings %v", b, b.Platforms[0].Findings)
	}
	again := s.build("e")[0]
	if again.Platforms[0].Digest != b.Platforms[0].Digest {
		t.Errorf("digest %s, then %s", b.Platforms[0].Digest, again.Platforms[0].Digest)
	}
	s.config.NoSBOM = true
	if without := s.build("e")[0].Platforms[0].Tree; without.Get(sbomFile) != nil {
		t.Error("there is an SBOM that nobody wanted")
	}
	s.config.NoSBOM = false
	s.plan.Epoch = time.Unix(1, 0)
	if later := file(t, s.build("e")[0].Platforms[0].Tree, sbomFile); !strings.Contains(later, "1970-01-01T00:00:01Z") {
		t.Error("the SBOM of another time is that of before")
	}
}

// TestFindings has the rules see what was built; they do not stop Run.
func TestFindings(t *testing.T) {
	t.Parallel()
	s := open(t, manifestYAML+pkg("e", `steps:
  - install: [mkdir -p /rootfs/usr/local/bin /rootfs/opt; echo >/rootfs/usr/local/bin/f; chmod 666 /rootfs/usr/local/bin/f; echo >/rootfs/opt/x]
finalize: [{from: /rootfs, to: /rootfs}, {from: /pkg/manifest.yaml, to: /}]
`)+script("tool", "echo >f; chmod 666 f"))
	built := s.build("e", "tool")
	var rules []string
	for _, f := range built[0].Platforms[0].Findings {
		if f.Severity == check.Error {
			rules = append(rules, f.Rule+" "+f.Path)
		}
	}
	if diff := cmp.Diff([]string{"path-not-allowed rootfs/opt/x", "world-writable rootfs/usr/local/bin/f"}, rules); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if built[0].Errors() != 2 || built[1].Errors() != 0 || built[1].Platforms[0].Facts != nil || built[1].Manifest != nil {
		t.Errorf("got %+v", built)
	}
}

// TestDamagedManifest is for the rules to find, too.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	s := open(t, data("e", "finalize: [{from: /pkg, to: /}]\n")+"-- e/manifest.yaml --\n- not a map\n-- e/rootfs/usr/local/share/x --\n")
	b := s.build("e")[0]
	if b.Manifest != nil || b.Errors() == 0 {
		t.Errorf("got %+v", b)
	}
}
