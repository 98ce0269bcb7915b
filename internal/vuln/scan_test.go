package vuln

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files")

func purl(name, version, locator string) sbom.Package {
	return sbom.Package{Name: name, Version: version, PURL: locator}
}

// example is a database, and what is scanned with it.
func example(t testing.TB) (*DB, []Subject) {
	openssl := affects("Debian:12", "openssl", "introduced", "0", "fixed", "3.0.11-1~deb12u3")
	critical := []any{entry{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}
	db := openDB(t, write(t, map[string][]byte{
		"Go/all.zip": zipOf(t,
			newEntry("GO-2026-0001", entry{"aliases": []string{"CVE-2026-1", "GHSA-aaaa-bbbb-cccc"}, "affected": []any{affects("Go", "example.org/Lib", "introduced", "0", "fixed", "1.2.0")},
				"references": []any{entry{"type": "FIX", "url": "https://example.org/fix"}, entry{"type": "ADVISORY", "url": "https://example.org/1"}}}),
			newEntry("GHSA-aaaa-bbbb-cccc", entry{"aliases": []string{"CVE-2026-1"}, "severity": critical, "database_specific": entry{"severity": "CRITICAL"}, "affected": []any{affects("Go", "example.org/Lib", "introduced", "0", "fixed", "1.2.1")}}),
			newEntry("GO-2026-0002", entry{"aliases": []string{"CVE-2026-2"}, "affected": []any{affects("Go", "stdlib", "introduced", "1.26.0-0", "fixed", "1.26.5")}}),
		),
		"Debian/all.zip": zipOf(t,
			newEntry("DEBIAN-CVE-2026-3", entry{"upstream": []string{"CVE-2026-3"}, "affected": []any{openssl}}),
			newEntry("DEBIAN-CVE-2026-4", entry{"upstream": []string{"CVE-2026-4"}, "affected": []any{openssl}}),
			newEntry("DSA-5-1", entry{"upstream": []string{"CVE-2026-3", "CVE-2026-4"}, "affected": []any{openssl}}),
			newEntry("DSA-6-1", entry{"upstream": []string{"CVE-2026-3", "CVE-2026-99"}, "affected": []any{openssl}}),
			newEntry("DEBIAN-CVE-2026-5", entry{"affected": []any{affects("Debian:11", "openssl", "introduced", "0")}}),
			newEntry("DEBIAN-CVE-2026-6", entry{"affected": []any{affects("Debian:12", "kmod", "introduced", "0", "fixed", "30+20221128-2")}}),
		),
		"Linux/all.zip": zipOf(t, newEntry("CVE-2026-7", entry{"affected": []any{affects("Linux", "Kernel", "introduced", "6.2.0", "fixed", "6.18.2")}})),
	}))
	return db, []Subject{
		{Name: "asset: hello", Identifiers: []string{"pkg:oci/hello@sha256:aa?repository_url=r/hello", "sha256:aa", "asset"}, Packages: []sbom.Package{
			purl("example.org/Lib", "v1.1.0", "pkg:golang/example.org/Lib@v1.1.0"),
			purl("stdlib", "1.26.4", "pkg:golang/stdlib@1.26.4"),
			purl("libssl3", "3.0.11-1~deb12u2+b1", "pkg:deb/debian/libssl3@3.0.11-1~deb12u2+b1?arch=amd64&upstream=openssl"),
			purl("kmod", "30+20221128-1", "pkg:deb/debian/kmod@30%2B20221128-1?arch=amd64"),
			{Name: "linux", Version: "6.18.1-talos", CPEs: []string{"cpe:2.3:o:linux:linux_kernel:6.18.1:*:*:*:*:*:*:*"}},
		}},
		{Name: "asset: other", Identifiers: []string{"asset"}, Packages: []sbom.Package{
			purl("example.org/lib", "v1.1.0", "pkg:golang/example.org/lib@v1.1.0"), // whoever wrote this has lost its case
			purl("example.org/Lib", "v1.1.0", "pkg:golang/example.org/Lib@v1.1.0"),
			purl("example.org/Lib", "v1.3.0", "pkg:golang/example.org/Lib@v1.3.0"),
			purl("example.org/main", "", "pkg:golang/example.org/main"),
			purl("left-pad", "1.0.0", "pkg:npm/left-pad@1.0.0"),
			purl("odd", "now", "pkg:golang/odd@now"),
			{Name: "nameless", Version: "1"},
			purl("libold", "1", "pkg:deb/debian/libold@1?distro=debian-10"),
			{Name: "linux", Version: "6.1.0-50-cloud-amd64", CPEs: []string{"cpe:2.3:o:linux:linux_kernel:6.1.0:*:*:*:*:*:*:*"}},
		}},
	}
}

func scanned(t testing.TB, o Options) *Report {
	t.Helper()
	db, subjects := example(t)
	r, err := db.Scan(t.Context(), subjects, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-update writes it):\n%s", name, d)
	}
}

func TestScan(t *testing.T) {
	golden(t, "report.json", scanned(t, Options{Debian: "bookworm"}))
}

// TestRelease: without a release, Debian packages that do not tell theirs are not
// taken for clean.
func TestRelease(t *testing.T) {
	r := scanned(t, Options{})
	want := Unmatched{Package: "kmod 30+20221128-1", In: "asset: hello", Reason: NoRelease}
	if !slices.Contains(r.Unmatched, want) {
		t.Errorf("got %+v, want %+v in it", r.Unmatched, want)
	}
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Package == "kmod" }) {
		t.Error("it was found all the same")
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Package == "libssl3" }) {
		t.Error("the release in the version of libssl3 was not seen")
	}
}

func TestScanEnds(t *testing.T) {
	db, subjects := example(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Scan(ctx, subjects, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestSARIF(t *testing.T) {
	r := scanned(t, Options{Debian: "12", VEX: []*VEX{vexOf(t, "", statementJSON{Vulnerability: "CVE-2026-2", Product: "asset", Status: NotAffected, Justification: "vulnerable_code_not_present"})}})
	golden(t, "report.sarif.json", SARIF(r, "v1"))
	testkit.ValidSARIF(t, SARIF(r, "v1"))
}

// TestUnchecked: a scan is incomplete without the packages of ecosystems that the
// database does not have, and if none was looked for at all.
func TestUnchecked(t *testing.T) {
	module, deb := purl("a", "v1.0.0", "pkg:golang/a@v1.0.0"), purl("b", "1", "pkg:deb/debian/b@1?distro=debian-12")
	npm, versionless := purl("left-pad", "1", "pkg:npm/left-pad@1"), purl("c", "", "pkg:golang/c")
	entryOf := func(ecosystem string) entry {
		return newEntry("X-"+ecosystem, entry{"affected": []any{affects(ecosystem, "x", "introduced", "0")}})
	}
	for _, c := range []struct {
		name     string
		database []entry
		packages []sbom.Package
		want     []string // packages, with the ecosystem that is missing
	}{
		{"all there", []entry{entryOf("Go"), entryOf("Debian:12")}, []sbom.Package{module, deb}, nil},
		{"another one only", []entry{entryOf("Debian:12")}, []sbom.Package{module}, []string{"a v1.0.0 Go"}},
		{"misspelt", []entry{entryOf("go")}, []sbom.Package{module}, []string{"a v1.0.0 Go"}},
		{"some", []entry{entryOf("Go")}, []sbom.Package{module, deb, npm}, []string{"b 1 Debian:12"}},
		{"another release", []entry{entryOf("Go"), entryOf("Debian:11")}, []sbom.Package{module, deb}, []string{"b 1 Debian:12"}},
		{"all releases", []entry{entryOf("Go"), entryOf("Debian")}, []sbom.Package{module, deb}, nil},
		{"what nobody can look for", []entry{entryOf("Go")}, []sbom.Package{module, npm, versionless}, nil},
		{"nothing else", []entry{entryOf("Go")}, []sbom.Package{npm, versionless}, []string{"left-pad 1", "c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := openDB(t, write(t, map[string][]byte{"all.zip": zipOf(t, c.database...)}))
			r, err := db.Scan(t.Context(), []Subject{{Name: "asset: x", Packages: c.packages}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range r.Unchecked() {
				got = append(got, strings.TrimSpace(u.Package+" "+u.Ecosystem))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			log := SARIF(r, "v1")
			testkit.ValidSARIF(t, log)
			if warned := len(log.Runs[0].Results) > 0; warned != (len(c.want) > 0) {
				t.Errorf("in SARIF: %+v", log.Runs[0].Results)
			}
		})
	}
}

// TestNotScanned: a subject without packages is told of, and only that of a base
// leaves the run a success.
func TestNotScanned(t *testing.T) {
	module := purl("a", "v1.0.0", "pkg:golang/a@v1.0.0")
	const silent = "no package of it is known"
	for _, c := range []struct {
		name       string
		subjects   []Subject
		want       []NotScanned
		successful bool
	}{
		{"known", []Subject{{Name: "x", Packages: []sbom.Package{module}}}, []NotScanned{}, true},
		{"unknown", []Subject{{Name: "x"}}, []NotScanned{{Source: "x", Why: silent}}, false},
		{"beside another", []Subject{{Name: "x", Unlisted: "it is mute"}, {Name: "y", Packages: []sbom.Package{module}}}, []NotScanned{{Source: "x", Why: "it is mute"}}, false},
		{"base", []Subject{{Name: "os", Base: true, Unlisted: "it is mute", Packages: []sbom.Package{module}}}, []NotScanned{{Source: "os", Why: "it is mute", Base: true}}, true},
		{"both", []Subject{{Name: "os", Base: true}, {Name: "x"}, {Name: "x"}}, []NotScanned{{Source: "os", Why: silent, Base: true}, {Source: "x", Why: silent}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := openDB(t, write(t, map[string][]byte{"all.zip": zipOf(t, newEntry("X", entry{"affected": []any{affects("Go", "x", "introduced", "0")}}))}))
			r, err := db.Scan(t.Context(), c.subjects, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, r.NotScanned); d != "" {
				t.Error(d)
			}
			log := SARIF(r, "v1")
			testkit.ValidSARIF(t, log)
			run := log.Runs[0]
			if got := run.Invocations[0]; got.Successful != c.successful || len(got.Notifications) != len(c.want) || len(run.Results) != len(c.want) {
				t.Errorf("in SARIF: %+v, %+v", got, run.Results)
			}
		})
	}
}

// TestGrouped: what shares a name is one vulnerability, even if only a third entry
// tells so.
func TestGrouped(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []record
		want    []string // names, and after a bar the advisories
	}{
		{"alias", []record{{ID: "GO-1", Aliases: []string{"CVE-1"}}, {ID: "GHSA-1", Aliases: []string{"CVE-1"}}}, []string{"CVE-1 GHSA-1 GO-1 |"}},
		{"a third", []record{{ID: "A"}, {ID: "B"}, {ID: "C", Aliases: []string{"A", "B"}}}, []string{"A B C |"}},
		{"none", []record{{ID: "A"}, {ID: "B"}}, []string{"A |", "B |"}},
		{"advisory", []record{{ID: "DSA-1", Upstream: []string{"CVE-1", "CVE-2"}}, {ID: "D-1", Upstream: []string{"CVE-1"}}, {ID: "D-2", Upstream: []string{"CVE-2"}}}, []string{"CVE-1 D-1 | DSA-1", "CVE-2 D-2 | DSA-1"}},
		{"advisory alone", []record{{ID: "DSA-1", Upstream: []string{"CVE-1", "CVE-2"}}}, []string{"DSA-1 | CVE-1 CVE-2"}},
	} {
		var hits []hit
		for _, r := range c.records {
			hits = append(hits, hit{record: r})
		}
		var got []string
		for _, g := range grouped(hits) {
			names := slices.Compact(slices.Sorted(slices.Values(g.names)))
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s | %s", strings.Join(names, " "), strings.Join(g.related, " "))))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}
