package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the golden files")

var created = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// schema compiles one of the official schemas.
func schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for _, file := range []string{"spdx-schema-2.3.json", "bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		f, err := os.Open(filepath.Join("testdata", "schema", file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(doc.(map[string]any)["$id"].(string), doc); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func spdxSchema(t testing.TB) *jsonschema.Schema { return schema(t, "http://spdx.org/rdf/terms/2.3") }
func cyclonedxSchema(t testing.TB) *jsonschema.Schema {
	return schema(t, "http://cyclonedx.org/schema/bom-1.6.schema.json")
}

// conforms holds a document against its schema.
func conforms(t testing.TB, s *jsonschema.Schema, text string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

func readFile(t testing.TB, name string) *BOM {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asset is a boot asset with two extensions: one with documents of bldr and of graft,
// one with those of syft. Both have a package, and licenses of one name with two texts.
func asset(t testing.TB) Subject {
	return Subject{
		Package: Package{Name: "metal-amd64.iso", Version: "v1.14.0", Purpose: "OPERATING_SYSTEM", Checksums: []Checksum{{"SHA256", strings.Repeat("ab", 32)}}},
		Parts: []Subject{
			{Package: Package{Name: "Talos", Version: "v1.14.0", PURL: "pkg:golang/github.com/siderolabs/talos@v1.14.0"}},
			{Package: Package{Name: "linux", Version: "6.18.1-talos", CPEs: []string{"cpe:2.3:o:linux:linux_kernel:6.18.1:*:*:*:*:*:*:*"}}},
			{Package: Package{Name: "hello", Version: "1.0.0", Purpose: "APPLICATION"}, BOMs: []*BOM{readFile(t, "bldr.spdx.json"), readFile(t, "contents.spdx.json")}},
			{Package: Package{Name: "other", Version: "2", Purpose: "APPLICATION"}, BOMs: []*BOM{readFile(t, "syft.spdx.json"), readFile(t, "syft.cdx.json")}},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-update writes it):\n%s", name, d)
	}
}

func TestMergeSPDX(t *testing.T) {
	d, err := SPDX(asset(t), created, Creator{Tool: "graft-v1"})
	if err != nil {
		t.Fatal(err)
	}
	judge(t, d)
	text := textOf(t, d)
	conforms(t, spdxSchema(t), text)
	golden(t, "asset.spdx.json", text)
	if want := []string{`the license "BSD 3 Clause" is no SPDX expression: it is called LicenseRef-license-BSD-3-Clause`}; !cmp.Equal(d.Warnings, want) {
		t.Errorf("got the warnings %q, want %q", d.Warnings, want)
	}
}

func TestMergeCycloneDX(t *testing.T) {
	d, err := CycloneDX(asset(t), created, Creator{Tool: "graft-v1", Organization: "Example"})
	if err != nil {
		t.Fatal(err)
	}
	text := textOf(t, d)
	conforms(t, cyclonedxSchema(t), text)
	golden(t, "asset.cdx.json", text)
	var b cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(strings.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
}

// TestMergeAgain: what was merged and written says the same when it is read, in
// either format.
func TestMergeAgain(t *testing.T) {
	want := Merge(asset(t))
	for name, write := range map[string]func(Subject, time.Time, Creator) (*Document, error){"SPDX": SPDX, "CycloneDX": CycloneDX} {
		t.Run(name, func(t *testing.T) {
			d, err := write(asset(t), created, Creator{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(strings.NewReader(textOf(t, d)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(packages(want, name), packages(got, name)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(relationsOf(want, name), relationsOf(got, name)); d != "" {
				t.Error(d)
			}
		})
	}
}

// packages are those of a BOM without what a format changes.
func packages(b *BOM, format string) []Package {
	list := slices.Clone(b.Packages)
	for i := range list {
		p := &list[i]
		p.ID = strings.TrimPrefix(p.ID, "SPDXRef-")
		if p.License == "LicenseRef-license-BSD-3-Clause" {
			p.License = "BSD 3 Clause"
		}
		if format == "CycloneDX" && p.Purpose == "" {
			p.Purpose = "LIBRARY"
		}
	}
	return list
}

func relationsOf(b *BOM, format string) []Relation {
	list := slices.Clone(b.Relations)
	for i := range list {
		r := &list[i]
		r.From, r.To = strings.TrimPrefix(r.From, "SPDXRef-"), strings.TrimPrefix(r.To, "SPDXRef-")
		if format == "CycloneDX" {
			r.Kind = DependsOn
		}
	}
	slices.SortFunc(list, func(a, b Relation) int {
		return strings.Compare(a.From+" "+a.To+" "+string(a.Kind), b.From+" "+b.To+" "+string(b.Kind))
	})
	return slices.Compact(list)
}

func TestReadErrors(t *testing.T) {
	deep := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Repeat(`{"name":"x","components":[`, 70) + strings.Repeat(`]}`, 70) + `]}`
	for _, c := range []struct{ text, want string }{
		{"", "neither SPDX"},
		{"[]", "neither SPDX"},
		{"{}", "neither SPDX"},
		{`{"spdxVersion":"SPDX-3.0"}`, `but "SPDX-3.0"`},
		{`{"bomFormat":"CycloneDX","specVersion":"9"}`, `but "CycloneDX 9"`},
		{`{"spdxVersion":"SPDX-2.3","packages":{}}`, "reading it as SPDX"},
		{`{"bomFormat":"CycloneDX","specVersion":"1.6","components":7}`, "reading it as CycloneDX"},
		{deep, "nested too deeply"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestParsePURL(t *testing.T) {
	for _, c := range []struct {
		text string
		want PURL
	}{
		{"pkg:golang/github.com/Masterminds/sprig/v3@v3.3.0", PURL{Type: "golang", Namespace: "github.com/Masterminds/sprig", Name: "v3", Version: "v3.3.0"}},
		{"pkg:golang/stdlib@1.26.8", PURL{Type: "golang", Name: "stdlib", Version: "1.26.8"}},
		{"pkg:deb/debian/libssl3@1%3A3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl", PURL{Type: "deb", Namespace: "debian", Name: "libssl3", Version: "1:3.0.11-1~deb12u2", Qualifiers: map[string]string{"arch": "amd64", "distro": "debian-12", "upstream": "openssl"}}},
		{"pkg:npm/%40angular/animation@12.3.1#a/b", PURL{Type: "npm", Namespace: "@angular", Name: "animation", Version: "12.3.1", Subpath: "a/b"}},
		{"pkg:NPM/x", PURL{Type: "npm", Name: "x"}},
		{"pkg:generic/a+b@1+2?x=", PURL{Type: "generic", Name: "a+b", Version: "1+2"}},
	} {
		got, err := ParsePURL(c.text)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.text, d)
		}
	}
	for _, text := range []string{"", "pkg:", "pkg:golang", "pkg:/x", "golang/x@1", "pkg:golang/%zz", "pkg:a/@1", "pkg:a/b?c=%"} {
		if got, err := ParsePURL(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

// FuzzRead: what is read can be merged and written, and the result is valid.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	first, second := spdxSchema(f), cyclonedxSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Read(bytes.NewReader(data))
		if err != nil || len(b.Packages) > 50 {
			return
		}
		s := Subject{Package: Package{Name: "x"}, BOMs: []*BOM{b, b}}
		d, err := SPDX(s, created, Creator{})
		if err != nil {
			t.Fatal(err)
		}
		judge(t, d)
		conforms(t, first, textOf(t, d))
		if d, err = CycloneDX(s, created, Creator{}); err != nil {
			t.Fatal(err)
		}
		conforms(t, second, textOf(t, d))
		if !json.Valid([]byte(textOf(t, d))) {
			t.Error("no JSON")
		}
	})
}
