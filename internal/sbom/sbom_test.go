package sbom

import (
	"bytes"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
)

func textOf(t testing.TB, d *Document) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := d.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var validID = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// judge reads a document with the SPDX project's library, lets that validate it, and
// checks what it does not: the identifiers, that all is reached from the document, and
// what the specification says of single fields.
func judge(t testing.TB, d *Document) *spdx.Document {
	t.Helper()
	text := textOf(t, d)
	doc, err := spdxjson.Read(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	var again bytes.Buffer
	if err := spdxjson.Write(doc, &again, spdxjson.Indent(" "), spdxjson.EscapeHTML(false)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(text, again.String()); d != "" {
		t.Errorf("the library does not write what it read:\n%s", d)
	}
	checkIDs(t, doc)
	checkFields(t, doc)
	return doc
}

func checkIDs(t testing.TB, doc *spdx.Document) {
	t.Helper()
	reached := map[common.ElementID]bool{doc.SPDXIdentifier: true}
	for range doc.Relationships { // as often as a chain can be long, in any order
		before := len(reached)
		for _, r := range doc.Relationships {
			if reached[r.RefA.ElementRefID] {
				reached[r.RefB.ElementRefID] = true
			}
		}
		if len(reached) == before {
			break
		}
	}
	seen := map[common.ElementID]bool{}
	check := func(id common.ElementID) {
		if seen[id] || !validID.MatchString(string(id)) || !reached[id] {
			t.Errorf("the identifier %q: twice %v, reached %v", id, seen[id], reached[id])
		}
		seen[id] = true
	}
	for _, p := range doc.Packages {
		check(p.PackageSPDXIdentifier)
	}
	for _, f := range doc.Files {
		check(f.FileSPDXIdentifier)
	}
}

func checkFields(t testing.TB, doc *spdx.Document) {
	t.Helper()
	if u, err := url.Parse(doc.DocumentNamespace); err != nil || !u.IsAbs() || strings.Contains(doc.DocumentNamespace, "#") {
		t.Errorf("the namespace %q is no absolute URI without fragment", doc.DocumentNamespace)
	}
	for _, p := range doc.Packages {
		if p.FilesAnalyzed != (p.PackageVerificationCode != nil) || p.PackageName == "" {
			t.Errorf("the package %q: files analyzed %v, code %v", p.PackageName, p.FilesAnalyzed, p.PackageVerificationCode)
		}
		for _, r := range p.PackageExternalReferences {
			if strings.ContainsAny(r.Locator, " \t\n") || r.RefType == "purl" && !purlForm.MatchString(r.Locator) {
				t.Errorf("the package %q: bad locator %q", p.PackageName, r.Locator)
			}
		}
	}
	if len(doc.CreationInfo.Creators) == 0 || doc.DataLicense != "CC0-1.0" || doc.SPDXVersion != "SPDX-2.3" {
		t.Errorf("got the document %+v", doc)
	}
}

// relations are the document's relations in people's words.
func relations(doc *spdx.Document) []string {
	names := map[common.ElementID]string{doc.SPDXIdentifier: "document"}
	for _, p := range doc.Packages {
		names[p.PackageSPDXIdentifier] = strings.TrimSuffix(p.PackageName+"@"+p.PackageVersion, "@")
	}
	for _, f := range doc.Files {
		names[f.FileSPDXIdentifier] = f.FileName
	}
	var list []string
	for _, r := range doc.Relationships {
		list = append(list, names[r.RefA.ElementRefID]+" "+r.Relationship+" "+names[r.RefB.ElementRefID])
	}
	return list
}

// locators are the external references of a package.
func locators(p *spdx.Package) []string {
	var list []string
	for _, r := range p.PackageExternalReferences {
		list = append(list, r.Category+" "+r.RefType+" "+r.Locator)
	}
	return list
}

func packageOf(t testing.TB, doc *spdx.Document, name string) *spdx.Package {
	t.Helper()
	i := slices.IndexFunc(doc.Packages, func(p *spdx.Package) bool { return p.PackageName == name })
	if i < 0 {
		t.Fatalf("there is no package %s", name)
	}
	return doc.Packages[i]
}

func TestIDs(t *testing.T) {
	given := ids{}
	for _, c := range []struct{ text, want string }{
		{"a_b", "a-b"}, {"a-b", "a-b-2"}, {"a b", "a-b-3"}, {"a-b-2", "a-b-2-2"}, {"a-b-4", "a-b-4"}, {"a/b", "a-b-5"}, {"ä", "-"}, {"", ""},
	} {
		if got := given.next(c.text); string(got) != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

var aDay = time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("east", 3600))

func TestCreator(t *testing.T) {
	for want, c := range map[string]Creator{
		"Tool: graft":        {},
		"Tool: graft-v0.3.0": {Tool: "graft-v0.3.0"},
		"Organization: Example, Tool: graft-1 x:y": {Organization: "Example", Tool: "graft-1 x:y"},
	} {
		d, err := OfRecipe(Recipe{Package: "p", Creator: c, Created: aDay})
		if err != nil {
			t.Fatal(err)
		}
		info := judge(t, d).CreationInfo
		var got []string
		for _, c := range info.Creators {
			got = append(got, c.CreatorType+": "+c.Creator)
		}
		if strings.Join(got, ", ") != want || info.Created != "2026-03-04T04:06:07Z" {
			t.Errorf("got %v at %s, want %s", got, info.Created, want)
		}
	}
}
