package sbom

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

var (
	sum256 = strings.Repeat("0a", 32)
	sum512 = strings.Repeat("0b", 64)
)

const opensslCPE = "cpe:2.3:a:openssl:openssl:3.0.0:*:*:*:*:*:*:*"

func openssl() Recipe {
	return Recipe{
		Package:  "openssl-libs",
		Name:     "openssl",
		Version:  "3.0.0",
		CPEs:     []string{opensslCPE},
		PURL:     "pkg:generic/openssl@3.0.0",
		Licenses: []string{"Apache-2.0"},
		Sources: []Source{
			{"https://openssl.example/openssl-3.0.0.tar.gz", sum256, sum512},
			{"https://user:secret@example.org/fix.patch?a=b&c=d", strings.ToUpper(sum256), sum512},
			{"https://openssl.example/openssl-3.0.0.tar.gz", sum256, sum512},
		},
		Created: time.Unix(1, 0),
		Creator: Creator{"Example", "graft-v0.3.0"},
	}
}

// TestOfRecipe compares a whole document with one that was read line by line.
func TestOfRecipe(t *testing.T) {
	want, err := os.ReadFile("testdata/recipe.spdx.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := OfRecipe(openssl())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), textOf(t, d)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(d.Warnings) > 0 {
		t.Errorf("got the warnings %q", d.Warnings)
	}
	judge(t, d)
}

// TestOfRecipeDefaults: nothing but a name is needed; a time that is not given is
// written as bldr does.
func TestOfRecipeDefaults(t *testing.T) {
	d, err := OfRecipe(Recipe{Package: "glib"})
	if err != nil {
		t.Fatal(err)
	}
	doc := judge(t, d)
	form := regexp.MustCompile(`^https://anchore\.com/bldr/dir/sidero-pkgs-glib-[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if doc.DocumentName != "sidero-pkgs-glib" || !form.MatchString(doc.DocumentNamespace) || doc.CreationInfo.Created != "0001-01-01T00:00:00Z" {
		t.Errorf("got %s, %s, %s", doc.DocumentName, doc.DocumentNamespace, doc.CreationInfo.Created)
	}
	if p := packageOf(t, doc, "glib"); p.PackageLicenseDeclared != "NOASSERTION" || p.PackageVersion != "" {
		t.Errorf("got %+v", p)
	}
	if _, err := OfRecipe(Recipe{}); err == nil {
		t.Error("a recipe without a name: got no error")
	}
}

// TestOfRecipeNamespace: another content is another namespace.
func TestOfRecipeNamespace(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Recipe){
		"original": func(*Recipe) {},
		"version":  func(r *Recipe) { r.Version = "3.0.1" },
		"source":   func(r *Recipe) { r.Sources[0].SHA256 = sum512[:64] },
		"time":     func(r *Recipe) { r.Created = time.Unix(2, 0) },
		"tool":     func(r *Recipe) { r.Creator.Tool = "graft-v0.4.0" },
		"cpe":      func(r *Recipe) { r.CPEs = nil },
	} {
		r := openssl()
		change(&r)
		d, err := OfRecipe(r)
		if err != nil {
			t.Fatal(err)
		}
		namespace := judge(t, d).DocumentNamespace
		if other, ok := seen[namespace]; ok {
			t.Errorf("%s has the namespace of %s", name, other)
		}
		seen[namespace] = name
	}
}

// TestOfRecipeParts: sources of the other kinds are packages that it was made from.
func TestOfRecipeParts(t *testing.T) {
	d, err := OfRecipe(Recipe{
		Package: "nebula",
		Modules: []Module{{"example.org/nebula", "v1.11.0", "h1:abc="}},
		Debs:    []Deb{{Name: "libc6", Version: "2.36-9+deb12u10", Arch: "amd64", SHA256: sum256}, {Name: "bash", Version: "1:5.2-1"}, {Name: "bash", Version: "1:5.2-1"}},
		Sources: []Source{{"https://example.org/a_b", sum256, sum512}, {"https://example.org/a-b", "", ""}},
	})
	if err != nil {
		t.Fatal(err)
	}
	doc := judge(t, d)
	want := []string{
		"document DESCRIBES sidero-pkgs-nebula",
		"sidero-pkgs-nebula CONTAINS nebula",
		"nebula CONTAINS https://example.org/a_b",
		"nebula CONTAINS https://example.org/a-b",
		"nebula GENERATED_FROM bash@1:5.2-1",
		"nebula GENERATED_FROM libc6@2.36-9+deb12u10",
		"nebula GENERATED_FROM example.org/nebula@v1.11.0",
	}
	if d := cmp.Diff(want, relations(doc)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for name, want := range map[string][]string{
		"libc6":              {"PACKAGE-MANAGER purl pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"},
		"bash":               {"PACKAGE-MANAGER purl pkg:deb/debian/bash@1:5.2-1"},
		"example.org/nebula": {"PACKAGE-MANAGER purl pkg:golang/example.org/nebula@v1.11.0", "OTHER go-sum h1:abc="},
	} {
		if d := cmp.Diff(want, locators(packageOf(t, doc, name))); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
	}
	if got := packageOf(t, doc, "libc6").PackageChecksums; len(got) != 1 || got[0] != (common.Checksum{Algorithm: "SHA256", Value: sum256}) {
		t.Errorf("got the checksums %v", got)
	}
}

// TestOfRecipeWarnings: what cannot be written does not suppress the rest.
func TestOfRecipeWarnings(t *testing.T) {
	r := openssl()
	r.CPEs = []string{"cpe:2.3:a:broken", opensslCPE, "cpe:/a:openssl:openssl:3.0.0", opensslCPE}
	r.PURL = "openssl"
	r.Licenses = []string{"public domain", "MIT OR Apache-2.0", "LicenseRef-Ours", "MIT OR Apache-2.0"}
	r.Sources[0].SHA256 = "no digest"
	r.Debs = []Deb{{Name: "d", Version: "1", Arch: "all", SHA256: "00"}}
	d, err := OfRecipe(r)
	if err != nil {
		t.Fatal(err)
	}
	doc := judge(t, d)
	for i, want := range []string{`the license "public domain"`, `the CPE "cpe:2.3:a:broken"`, `the package URL "openssl"`, `the SHA256 "no digest" of https://openssl.example/`, `the SHA-256 "00" of the Debian package d`} {
		if i >= len(d.Warnings) || !strings.HasPrefix(d.Warnings[i], want) {
			t.Errorf("warning %d: want %s, got %q", i, want, d.Warnings)
		}
	}
	p := packageOf(t, doc, "openssl")
	want := []string{"SECURITY cpe23Type " + opensslCPE, "SECURITY cpe22Type cpe:/a:openssl:openssl:3.0.0"}
	if d := cmp.Diff(want, locators(p)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if want := "LicenseRef-license-public-domain AND (MIT OR Apache-2.0) AND LicenseRef-Ours"; p.PackageLicenseDeclared != want {
		t.Errorf("got the license %s, want %s", p.PackageLicenseDeclared, want)
	}
	if len(doc.OtherLicenses) != 2 || doc.OtherLicenses[0].ExtractedText != "public domain" {
		t.Errorf("got the licenses %+v", doc.OtherLicenses)
	}
}

func TestLicenses(t *testing.T) {
	for _, c := range []struct{ want, list string }{
		{"NOASSERTION", ""},
		{"NONE", "NONE"},
		{"MIT", "MIT"},
		{"MIT AND GPL-2.0-or-later WITH Classpath-exception-2.0", "MIT,GPL-2.0-or-later WITH Classpath-exception-2.0"},
		{"MIT OR BSD-2-Clause", "MIT OR BSD-2-Clause"},
		{"(MIT OR (BSD-2-Clause AND X11+)) AND ISC", "MIT OR (BSD-2-Clause AND X11+), ISC ,"},
	} {
		d := newDraft("x", time.Time{}, Creator{})
		if got := d.licenses(strings.Split(c.list, ",")); got != c.want || len(d.warnings) > 0 {
			t.Errorf("%q: got %q and %q, want %q", c.list, got, d.warnings, c.want)
		}
	}
	for _, bad := range []string{"MIT AND", "AND", "(MIT", "MIT)", "MIT or BSD", "GPL v2", "MIT WITH", "a/b", "NONE OR MIT", strings.Repeat("(", 1e5) + "MIT"} {
		if validExpression(bad) {
			t.Errorf("%.20q passes for an expression", bad)
		}
	}
}

func TestCPEForms(t *testing.T) {
	for name, want := range map[string]string{
		opensslCPE: "cpe23Type",
		`cpe:2.3:a:gnu:libstdc\+\+:1:-:*:*:*:*:*:*`:           "cpe23Type",
		"cpe:2.3:o:linux:linux_kernel:6.18.1:*:*:*:*:*:*:*":   "cpe23Type",
		"cpe:/o:linux:linux_kernel":                           "cpe22Type",
		"cpe:2.3:a:openssl:openssl:3.0.0":                     "",
		"cpe:2.3:x:openssl:openssl:3.0.0:*:*:*:*:*:*:*":       "",
		"cpe:2.3:a:open ssl:openssl:3.0.0:*:*:*:*:*:*:*":      "",
		"cpe:2.3:a:openssl:openssl:<no value>:*:*:*:*:*:*:*":  "",
		"cpe:2.3:a:openssl:openssl:3.0.0:*:*:*:*:*:*:*\nmore": "",
		"": "",
	} {
		d := newDraft("x", time.Time{}, Creator{})
		p := d.newPackage("p", "p", "")
		d.cpes(p, []string{name})
		got := ""
		if len(p.PackageExternalReferences) > 0 {
			got = p.PackageExternalReferences[0].RefType
		}
		if got != want || (want == "") != (len(d.warnings) == 1) {
			t.Errorf("%q: got %q and the warnings %q, want %q", name, got, d.warnings, want)
		}
	}
}

func TestPURLs(t *testing.T) {
	for m, want := range map[Module]string{
		{Path: "github.com/BurntSushi/toml", Version: "v1.2.3"}:             "pkg:golang/github.com/BurntSushi/toml@v1.2.3",
		{Path: "example.org/a b", Version: "v1.0.0+incompatible"}:           "pkg:golang/example.org/a%20b@v1.0.0%2Bincompatible",
		{Path: "stdlib", Version: "1.26.8"}:                                 "pkg:golang/stdlib@1.26.8",
		{Path: "x@y?z#w"}:                                                   "pkg:golang/x%40y%3Fz%23w",
		{Path: "gopkg.in/yaml.v3", Version: "v0.0.0-20200101000000-0123~é"}: "pkg:golang/gopkg.in/yaml.v3@v0.0.0-20200101000000-0123~%C3%A9",
	} {
		if got := goPURL(m); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzOfRecipe: whatever a recipe says, the document is valid.
func FuzzOfRecipe(f *testing.F) {
	f.Add("name", "1", opensslCPE, "pkg:generic/a@1", "MIT OR (ISC AND X)", "https://example.org/a", sum256)
	f.Add("\xff\x00\n", "\u202e", "cpe:2.3:a:*?*", "pkg:a/\xff", "((public) domain", "https://[::1", "0")
	f.Fuzz(func(t *testing.T, name, version, cpe, purl, license, url, sum string) {
		d, err := OfRecipe(Recipe{
			Package: name, Version: version, CPEs: strings.Split(cpe, "\n"), PURL: purl, Licenses: strings.Split(license, "\n"),
			Sources: []Source{{url, sum, sum}, {url, "", ""}}, Modules: []Module{{name, version, sum}},
			Debs: []Deb{{name, version, url, sum, cpe, purl, license}, {Name: name, Suite: purl}},
		})
		if err != nil {
			return
		}
		if slices.Contains(d.Warnings, "") {
			t.Error("an empty warning")
		}
		judge(t, d)
	})
}
