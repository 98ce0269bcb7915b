package vuln

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/sbom"
)

// TestAffects holds versions against ranges, as the schema evaluates them.
func TestAffects(t *testing.T) {
	for _, c := range []struct {
		name     string
		affected map[string]any
		versions map[string]string // the fixed one, "" if there is none; "-" if it is not affected
	}{
		{"from the beginning", affects("Go", "a", "introduced", "0", "fixed", "1.2.3"),
			map[string]string{"v0.0.0-20200101000000-abcdefabcdef": "1.2.3", "v1.2.2": "1.2.3", "v1.2.3-rc.1": "1.2.3", "v1.2.3": "-", "v1.2.3+incompatible": "-", "v2.0.0": "-"}},
		{"two stretches", affects("Go", "a", "introduced", "1.0.0", "fixed", "1.1.0", "introduced", "2.0.0", "fixed", "2.1.0"),
			map[string]string{"v0.9.0": "-", "v1.0.5": "1.1.0", "v1.1.0": "-", "v1.9.0": "-", "v2.0.0": "2.1.0", "v2.1.0": "-"}},
		{"in any order", affects("Go", "a", "fixed", "2.1.0", "introduced", "2.0.0", "fixed", "1.1.0", "introduced", "0"),
			map[string]string{"v1.0.5": "1.1.0", "v1.5.0": "-", "v2.0.9": "2.1.0"}},
		{"last affected", affects("Go", "a", "introduced", "1.0.0", "last_affected", "1.1.0"),
			map[string]string{"v1.0.0": "", "v1.1.0": "", "v1.1.1": "-"}},
		{"one version", affects("Go", "a", "introduced", "1.0.0", "last_affected", "1.0.0"),
			map[string]string{"v1.0.0": "", "v1.0.1": "-"}},
		{"never mended", affects("Go", "a", "introduced", "0"), map[string]string{"v9.0.0": ""}},
		{"limit", affects("Go", "a", "introduced", "0", "limit", "2.0.0"), map[string]string{"v1.9.9": "", "v2.0.0": "-"}},
		{"no limit", affects("Go", "a", "introduced", "0", "limit", "*"), map[string]string{"v9.0.0": ""}},
		{"the standard library", affects("Go", "stdlib", "introduced", "1.21.0-0", "fixed", "1.21.3"),
			map[string]string{"1.20.9": "-", "1.21rc2": "1.21.3", "1.21": "1.21.3", "1.21.2": "1.21.3", "1.21.3": "-"}},
		{"Debian", affects("Debian:12", "a", "introduced", "0", "fixed", "1:3.0.11-1~deb12u2"),
			map[string]string{"1:3.0.11-1~deb12u1": "1:3.0.11-1~deb12u2", "3.0.12-1": "1:3.0.11-1~deb12u2", "1:3.0.11-1~deb12u2": "-", "1:3.0.11-1": "-"}},
		{"not in this release", affects("Debian:12", "a", "introduced", "0", "fixed", "0"), map[string]string{"1.0": "-"}},
		{"the kernel", affects("Linux", "Kernel", "introduced", "6.2.0", "fixed", "6.6.15", "introduced", "6.7.0", "fixed", "6.7.3"),
			map[string]string{"6.1.70": "-", "6.6.14": "6.6.15", "6.6.15": "-", "6.6.99": "-", "6.7.2": "6.7.3", "6.8-rc1": "-"}},
		{"an old kernel", affects("Linux", "Kernel", "introduced", "2.6.32.9", "fixed", "2.6.33"),
			map[string]string{"2.6.32": "-", "2.6.32.8": "-", "2.6.32.10": "2.6.33", "2.6.33-rc1": "2.6.33", "2.6.33": "-", "2.6.33.1": "-", "6.18.1": "-"}},
		{"a list", listed(affects("Go", "a"), "1.0.0", "1.2.0-odd"), map[string]string{"v1.0.0": "", "v1.0.1": "-", "v1.2.0-odd": ""}},
		{"a list beside a range", listed(affects("Debian:12", "a", "introduced", "2"), "1.0-1", "3"), map[string]string{"1.0-1": "", "1.0-2": "-", "3": "", "4": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := parseEntry(newEntry("X-1", entry{"affected": []any{c.affected}}).json(t))
			if err != nil {
				t.Fatal(err)
			}
			records, unreadable := e.records()
			if len(records) != 1 || unreadable != 0 {
				t.Fatalf("got %d records, %d unreadable ranges", len(records), unreadable)
			}
			for version, want := range c.versions {
				h, affected := records[0].affects(records[0].eco, version)
				if !affected {
					h.fixed = "-"
				}
				if h.fixed != want {
					t.Errorf("%s: got %q, want %q", version, h.fixed, want)
				}
			}
		})
	}
}

func listed(a map[string]any, versions ...string) map[string]any {
	a["versions"] = versions
	return a
}

// TestUnreadable: a range that cannot be read has all that it may have; one of commits
// is none of packages.
func TestUnreadable(t *testing.T) {
	commits := affects("Go", "a", "introduced", "0", "fixed", "6879efc2c1596d11a6a6ad296f80063b558d5e0f")
	commits["ranges"].([]any)[0].(map[string]any)["type"] = "GIT"
	empty := affects("Go", "a")
	empty["ranges"] = []any{map[string]any{"type": "SEMVER", "events": []any{}}}
	both := affects("Go", "a", "introduced", "0", "fixed", "1.1.0")
	both["ranges"] = append(both["ranges"].([]any), affects("Go", "a", "introduced", "2.0.0", "fixed", "?")["ranges"].([]any)...)
	all := map[string]string{"v0.0.1": "unread", "v9.0.0": "unread"}
	for _, c := range []struct {
		name     string
		affected map[string]any
		want     int
		versions map[string]string // "unread", "read", "-" if it is not affected
	}{
		{"fixed", affects("Go", "a", "introduced", "0", "fixed", "notaversion"), 1, all},
		{"fixed, from a version on", affects("Go", "a", "introduced", "1.2.0", "fixed", "tomorrow"), 1, map[string]string{"v1.1.9": "-", "v1.2.0": "unread", "v9.0.0": "unread"}},
		{"introduced", affects("Go", "a", "introduced", "long ago", "fixed", "1.2.0"), 1, all},
		{"one of two beginnings", affects("Go", "a", "introduced", "1.0.0", "fixed", "1.1.0", "introduced", "?", "fixed", "3.0.0"), 1, all},
		{"the second end", affects("Go", "a", "introduced", "2.0.0", "fixed", "?", "introduced", "1.0.0", "fixed", "1.1.0"), 1, map[string]string{"v0.9.0": "-", "v1.0.0": "unread", "v1.5.0": "unread", "v3.0.0": "unread"}},
		{"last affected", affects("Debian:12", "a", "introduced", "2", "last_affected", "a b"), 1, map[string]string{"1": "-", "2-1": "unread"}},
		{"limit", affects("Go", "a", "introduced", "2.0.0", "limit", "?"), 1, map[string]string{"v1.0.0": "-", "v2.0.0": "unread"}},
		{"no text", affects("Go", "a", "introduced", "1.0.0", "fixed", ""), 1, map[string]string{"v0.1.0": "-", "v1.0.0": "unread"}},
		{"no beginning", affects("Go", "a", "fixed", "1.2.0"), 1, all},
		{"no events", empty, 1, all},
		{"beside a readable one", both, 1, map[string]string{"v1.0.0": "read", "v1.5.0": "-", "v2.0.0": "unread"}},
		{"beside a list", listed(affects("Go", "a", "introduced", "2.0.0", "fixed", "?"), "2.1.0"), 1, map[string]string{"v1.0.0": "-", "v2.0.0": "unread", "v2.1.0": "read"}},
		{"commits", listed(commits, "1.0.0"), 0, map[string]string{"v1.0.0": "read", "v1.0.1": "-"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := parseEntry(newEntry("X-1", entry{"affected": []any{c.affected}}).json(t))
			if err != nil {
				t.Fatal(err)
			}
			records, unreadable := e.records()
			if len(records) != 1 || unreadable != c.want {
				t.Fatalf("got %d records, %d unreadable ranges, want 1 and %d", len(records), unreadable, c.want)
			}
			for version, want := range c.versions {
				h, affected := records[0].affects(records[0].eco, version)
				got := "read"
				if !affected {
					got = "-"
				} else if h.unread {
					got = "unread"
				}
				if got != want {
					t.Errorf("%s: got %s, want %s", version, got, want)
				}
			}
		})
	}
}

// TestDoubt: a finding says if it rests on a range that could not be read, and on
// whose.
func TestDoubt(t *testing.T) {
	bad := affects("Go", "example.org/a", "introduced", "0", "fixed", "notaversion")
	good := affects("Go", "example.org/a", "introduced", "0", "fixed", "1.2.0")
	db := openDB(t, write(t, map[string][]byte{"all.zip": zipOf(t,
		newEntry("GO-1", entry{"aliases": []string{"CVE-1"}, "affected": []any{bad}}),
		newEntry("GHSA-1", entry{"aliases": []string{"CVE-1"}, "affected": []any{good}}),
		newEntry("GO-2", entry{"affected": []any{good}}))}))
	r, err := db.Scan(t.Context(), []Subject{{Name: "x", Packages: []sbom.Package{purl("example.org/a", "v1.0.0", "pkg:golang/example.org/a@v1.0.0")}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, f := range r.Findings {
		got[f.ID] = f.Unread
		if (f.Doubt() != "") != (f.ID == "CVE-1") || strings.Contains(f.result("x").Message.Text, "could not be read") != (f.ID == "CVE-1") {
			t.Errorf("%s: %q in %q", f.ID, f.Doubt(), f.result("x").Message.Text)
		}
	}
	if d := cmp.Diff(map[string][]string{"CVE-1": {"GO-1"}, "GO-2": nil}, got); d != "" {
		t.Error(d)
	}
	if n := r.Database.Unreadable; n != 1 {
		t.Errorf("got %d unreadable ranges, want 1", n)
	}
}

// TestRate takes vectors with the scores that the examples of CVSS and the CVE
// program give them.
func TestRate(t *testing.T) {
	type rated struct {
		Level Level
		Score float64
	}
	vector := func(kind, score string) severity { return severity{kind, score} }
	for _, c := range []struct {
		name    string
		records []record
		want    rated
	}{
		{"nothing", []record{{}}, rated{}},
		{"Heartbleed", []record{{Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N")}}}, rated{High, 7.5}},
		{"Shellshock", []record{{Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")}}}, rated{Critical, 9.8}},
		{"scope changed", []record{{Severity: []severity{vector("CVSS_V3", "CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N")}}}, rated{Medium, 6.4}},
		{"version 4", []record{{Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), vector("CVSS_V4", "CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N")}}}, rated{High, 7.3}},
		{"version 2", []record{{Severity: []severity{vector("CVSS_V2", "AV:N/AC:L/Au:N/C:P/I:P/A:P")}}}, rated{High, 7.5}},
		{"no effect", []record{{Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N")}}}, rated{None, 0}},
		{"a word", []record{{Rating: "MODERATE"}, {Rating: "low"}}, rated{Medium, 0}},
		{"urgency", []record{{Rating: "high**"}}, rated{High, 0}},
		{"a vector before a word", []record{{Rating: "CRITICAL"}, {Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N")}}}, rated{Low, 1.8}},
		{"nonsense", []record{{Rating: "so-so", Severity: []severity{vector("CVSS_V3", "CVSS:3.1/AV:X"), vector("Ubuntu", "medium")}}}, rated{}},
	} {
		var f Finding
		f.rate(c.records)
		if d := cmp.Diff(c.want, rated{f.Severity, f.Score}); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestRating(t *testing.T) {
	for text, want := range map[string]string{
		``: "", `{}`: "", `[]`: "", `{"severity":"HIGH"}`: "HIGH", `{"severity":[{"x":1}]}`: "", `{"urgency":"low**"}`: "low**", `{"urgency":"not yet assigned"}`: "", `{"severity":"?","urgency":"low"}`: "low",
	} {
		if got := rating(json.RawMessage(text)); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestLevels(t *testing.T) {
	for _, name := range Levels() {
		l, err := ParseLevel(name)
		if err != nil || l.String() != name {
			t.Errorf("%s: got %v, %v", name, l, err)
		}
	}
	for _, name := range []string{"", "none", "unrated", "High"} {
		if _, err := ParseLevel(name); err == nil {
			t.Errorf("%q is taken for a level", name)
		}
	}
	if !Unrated.AtLeast(Critical) || Low.AtLeast(Medium) || !High.AtLeast(High) || !None.AtLeast(Unrated) {
		t.Error("AtLeast is wrong")
	}
}
