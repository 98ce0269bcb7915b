package vuln

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// statementJSON is a statement in the making.
type statementJSON struct {
	Vulnerability, Product, Part string
	Status                       Status
	Justification                string
	Timestamp                    string
}

func (s statementJSON) value() map[string]any {
	product := map[string]any{"@id": s.Product}
	if s.Part != "" {
		product["subcomponents"] = []any{map[string]any{"@id": s.Part}}
	}
	v := map[string]any{"vulnerability": map[string]any{"name": s.Vulnerability}, "products": []any{product}, "status": s.Status}
	if s.Justification != "" {
		v["justification"] = s.Justification
	}
	if s.Timestamp != "" {
		v["timestamp"] = s.Timestamp
	}
	return v
}

func vexJSON(t testing.TB, timestamp string, statements ...statementJSON) []byte {
	t.Helper()
	if timestamp == "" {
		timestamp = "2026-01-01T00:00:00Z"
	}
	list := []any{}
	for _, s := range statements {
		list = append(list, s.value())
	}
	data, err := json.Marshal(map[string]any{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.org/vex", "author": "A", "timestamp": timestamp, "version": 1, "statements": list})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func vexOf(t testing.TB, timestamp string, statements ...statementJSON) *VEX {
	t.Helper()
	v, err := ReadVEX("test", vexJSON(t, timestamp, statements...))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	lib     = "pkg:golang/example.org/Lib"
	present = "vulnerable_code_not_present"
)

// TestVEX: who is left of those that have example.org/Lib with CVE-2026-1.
func TestVEX(t *testing.T) {
	no := func(s statementJSON) statementJSON {
		s.Vulnerability, s.Status, s.Justification = "CVE-2026-1", NotAffected, present
		return s
	}
	both, other := []string{"asset: hello", "asset: other"}, []string{"asset: other"}
	for _, c := range []struct {
		name   string
		docs   []*VEX
		want   []string // that still have it
		unused int
	}{
		{"nothing", nil, both, 0},
		{"the package", []*VEX{vexOf(t, "", no(statementJSON{Product: lib + "@v1.1.0"}))}, nil, 0},
		{"the package in any version", []*VEX{vexOf(t, "", no(statementJSON{Product: lib}))}, nil, 0},
		{"another version", []*VEX{vexOf(t, "", no(statementJSON{Product: lib + "@v1.1.1"}))}, both, 1},
		{"the product", []*VEX{vexOf(t, "", no(statementJSON{Product: "asset"}))}, nil, 0},
		{"the product by its digest", []*VEX{vexOf(t, "", no(statementJSON{Product: "sha256:aa"}))}, other, 0},
		{"the product by its URL", []*VEX{vexOf(t, "", no(statementJSON{Product: "pkg:oci/hello@sha256%3Aaa"}))}, other, 0},
		{"the package in the product", []*VEX{vexOf(t, "", no(statementJSON{Product: "pkg:oci/hello", Part: lib}))}, other, 0},
		{"another package in the product", []*VEX{vexOf(t, "", no(statementJSON{Product: "pkg:oci/hello", Part: "pkg:golang/stdlib"}))}, both, 1},
		{"the package in another product", []*VEX{vexOf(t, "", no(statementJSON{Product: "pkg:oci/elsewhere", Part: lib}))}, both, 1},
		{"another repository", []*VEX{vexOf(t, "", no(statementJSON{Product: "pkg:oci/hello?repository_url=q/hello"}))}, both, 1},
		{"a later statement", []*VEX{vexOf(t, "", no(statementJSON{Product: lib}), statementJSON{Vulnerability: "GO-2026-0001", Product: lib, Status: Affected})}, both, 0},
		{"a later document", []*VEX{
			vexOf(t, "2026-03-01T00:00:00Z", no(statementJSON{Product: lib})),
			vexOf(t, "2026-02-01T00:00:00Z", statementJSON{Vulnerability: "CVE-2026-1", Product: lib, Status: UnderInvestigation}),
		}, nil, 0},
		{"a later time of a statement", []*VEX{vexOf(t, "2026-03-01T00:00:00Z",
			statementJSON{Vulnerability: "CVE-2026-1", Product: lib, Status: Affected, Timestamp: "2026-04-01T00:00:00Z"}, no(statementJSON{Product: lib}))}, both, 0},
		{"by an alias", []*VEX{vexOf(t, "", statementJSON{Vulnerability: "GHSA-aaaa-bbbb-cccc", Product: lib, Status: FixedStatus})}, nil, 0},
		{"another vulnerability", []*VEX{vexOf(t, "", statementJSON{Vulnerability: "CVE-2026-10", Product: lib, Status: FixedStatus})}, both, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := scanned(t, Options{Debian: "12", VEX: c.docs})
			var got []string
			for _, f := range r.Findings {
				if f.ID == "CVE-2026-1" && f.Package == "example.org/Lib" {
					got = append(got, f.In...)
				}
			}
			slices.Sort(got)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if r.Unused != c.unused {
				t.Errorf("got %d statements without use, want %d", r.Unused, c.unused)
			}
			if len(c.want) < 2 == (len(r.Suppressed) == 0) {
				t.Errorf("got %d suppressed", len(r.Suppressed))
			}
		})
	}
}

func TestReadVEX(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "unexpected end"},
		{"another format", `{"bomFormat":"CycloneDX"}`, "no OpenVEX document"},
		{"status", `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-1"},"status":"fine"}]}`, `statement 1: "fine" is no status`},
		{"no reason", `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-1"},"status":"not_affected"}]}`, "needs a justification"},
		{"no name", `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"status":"fixed"}]}`, "vulnerability"},
		{"empty name", `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{},"status":"fixed"}]}`, "does not name the vulnerability"},
		{"time", `{"@context":"https://openvex.dev/ns/v0.2.0","timestamp":"now"}`, "parsing time"},
		{"long", strings.Repeat(" ", MaxVEX+1), "more than 16 MiB"},
	} {
		if _, err := ReadVEX("x.json", []byte(c.text)); err == nil || !strings.Contains(err.Error(), "reading the VEX document x.json: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	old := `{"@context":"https://openvex.dev/ns","timestamp":"2023-01-08T18:02:03-06:00","statements":[{"vulnerability":"CVE-2023-12345","products":["pkg:oci/x"],"subcomponents":["pkg:golang/a"],"status":"fixed"}]}`
	v, err := ReadVEX("old", []byte(old))
	if err != nil {
		t.Fatal(err)
	}
	want := statement{names: []string{"CVE-2023-12345"}, products: []product{{component{names: []string{"pkg:oci/x"}}, []component{{names: []string{"pkg:golang/a"}}}}}}
	want.Verdict = Verdict{Status: FixedStatus, Document: "old", Time: v.statements[0].Time}
	if d := cmp.Diff([]statement{want}, v.statements, cmp.AllowUnexported(statement{}, product{}, component{})); d != "" {
		t.Error(d)
	}
}

// TestOwnVEX: what a subject brings along is about its own packages, whatever product it
// names, even if another subject has the same name.
func TestOwnVEX(t *testing.T) {
	no := func(s statementJSON) []*VEX {
		s.Vulnerability, s.Status, s.Justification = "CVE-2026-1", NotAffected, present
		return []*VEX{vexOf(t, "", s)}
	}
	hello, other := "asset: hello", "asset: other"
	for _, c := range []struct {
		name   string
		vex    []*VEX // of other
		more   []*VEX // of all
		rename string // of other
		want   []string
		unused int
	}{
		{"the package", no(statementJSON{Product: lib}), nil, other, []string{hello}, 0},
		{"the asset", no(statementJSON{Product: "asset"}), nil, other, []string{hello}, 0},
		{"the package in the asset", no(statementJSON{Product: "asset", Part: lib}), nil, other, []string{hello}, 0},
		{"the other's digest", no(statementJSON{Product: "sha256:aa"}), nil, other, []string{hello, other}, 1},
		{"the package in the other", no(statementJSON{Product: "pkg:oci/hello", Part: lib}), nil, other, []string{hello, other}, 1},
		{"under the other's name", no(statementJSON{Product: lib}), nil, hello, []string{hello}, 0},
		{"whoever speaks for all is heeded", no(statementJSON{Product: lib}), no(statementJSON{Product: lib}), other, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, subjects := example(t)
			subjects[1].Name, subjects[1].VEX = c.rename, c.vex
			slices.Reverse(subjects) // who speaks is the first that has the package
			r, err := db.Scan(t.Context(), subjects, Options{Debian: "12", VEX: c.more})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				if f.ID == "CVE-2026-1" && f.Package == "example.org/Lib" {
					got = append(got, f.In...)
				}
			}
			slices.Sort(got)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if r.Unused != c.unused {
				t.Errorf("got %d statements without use, want %d", r.Unused, c.unused)
			}
		})
	}
}

func FuzzReadVEX(f *testing.F) {
	f.Add(vexJSON(f, "", statementJSON{Vulnerability: "CVE-2026-1", Product: lib, Part: "x", Status: NotAffected, Justification: present}))
	f.Add([]byte(`{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":"CVE-1","products":["pkg:oci/x"],"subcomponents":["pkg:golang/a"],"status":"fixed"}]}`))
	w := &wanted{Package: purl("a", "1", "pkg:golang/a@1"), in: []*Subject{{Name: "x", Identifiers: []string{"pkg:oci/x@1"}}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ReadVEX("fuzz", data)
		if err != nil {
			return
		}
		e := exploitability{statementsOf(nil, []*VEX{v})}
		for _, s := range v.statements {
			e.judge(Finding{ID: s.names[0]}, w)
		}
	})
}
