package vuln

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
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
				affected, fixed := records[0].affects(records[0].eco, version)
				if !affected {
					fixed = "-"
				}
				if fixed != want {
					t.Errorf("%s: got %q, want %q", version, fixed, want)
				}
			}
		})
	}
}

func listed(a map[string]any, versions ...string) map[string]any {
	a["versions"] = versions
	return a
}

// TestUnreadable: a range that cannot be compared is counted, those of commits are not.
func TestUnreadable(t *testing.T) {
	bad := affects("Go", "a", "introduced", "0", "fixed", "tomorrow")
	commits := affects("Go", "a", "introduced", "0", "fixed", "6879efc2c1596d11a6a6ad296f80063b558d5e0f")
	commits["ranges"].([]any)[0].(map[string]any)["type"] = "GIT"
	e, err := parseEntry(newEntry("X-1", entry{"affected": []any{bad, commits}}).json(t))
	if err != nil {
		t.Fatal(err)
	}
	if records, unreadable := e.records(); len(records) != 0 || unreadable != 1 {
		t.Errorf("got %d records, %d unreadable ranges, want 0 and 1", len(records), unreadable)
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
