package vuln

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// output runs a judge. Its exit code does not matter: that of govulncheck is 3 if it
// found something.
func output(t testing.TB, stdin string, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 3) {
		t.Fatalf("%v\n%s%s", err, out, &errs)
	}
	return out
}

// randomEntries are some about modules, around the versions that they have.
func randomEntries(modules []sbom.Package) []entry {
	random := rand.New(rand.NewPCG(3, 4))
	var list []entry
	for i := range 400 {
		m := modules[random.IntN(len(modules))]
		var events []string
		for j := range 1 + random.IntN(3) {
			kind := []string{"introduced", "fixed"}[j%2]
			events = append(events, kind, around(random, m.Version, j == 0))
		}
		list = append(list, newEntry(fmt.Sprintf("GO-2026-%04d", i), entry{"affected": []any{affects("Go", m.Name, events...)}}))
	}
	return list
}

// around is a version that is the given one, or a little more or less.
func around(random *rand.Rand, version string, first bool) string {
	version = strings.TrimPrefix(version, "v")
	v, _ := parseSemver(version)
	switch random.IntN(6) {
	case 0:
		if first {
			return "0"
		}
		v.Major++
	case 1:
		v.Minor += uint64(random.IntN(2))
	case 2:
		v.Patch++
	case 3:
		v.Pre = nil
	case 4:
		if v.Minor > 0 {
			v.Minor--
		}
	}
	v.Build = nil
	return v.String()
}

// govulncheckDB writes entries as the Go project's own database.
func govulncheckDB(t testing.TB, entries []entry) string {
	t.Helper()
	type vuln struct {
		ID       string `json:"id"`
		Modified string `json:"modified"`
	}
	type module struct {
		Path  string `json:"path"`
		Vulns []vuln `json:"vulns"`
	}
	files := map[string][]byte{"index/db.json": []byte(`{"modified":"2026-01-02T03:04:05Z"}`)}
	byPath := map[string]*module{}
	var modules []*module
	for _, e := range entries {
		id := e["id"].(string)
		files["ID/"+id+".json"] = e.json(t)
		name := e["affected"].([]any)[0].(map[string]any)["package"].(map[string]any)["name"].(string)
		if byPath[name] == nil {
			byPath[name] = &module{Path: name}
			modules = append(modules, byPath[name])
		}
		byPath[name].Vulns = append(byPath[name].Vulns, vuln{id, e["modified"].(string)})
	}
	data, err := json.Marshal(modules)
	if err != nil {
		t.Fatal(err)
	}
	files["index/modules.json"], files["index/vulns.json"] = data, []byte("[]")
	return write(t, files)
}

// TestGovulncheck: the scanner of the Go project finds the same in the same program.
func TestGovulncheck(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/graftd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modules := modulesOf(t, program)
	entries := randomEntries(modules)
	db := openDB(t, write(t, map[string][]byte{"all.zip": zipOf(t, entries...)}))
	r, err := db.Scan(t.Context(), []Subject{{Name: "test", Packages: modules}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.ID)
	}
	slices.Sort(got)
	judge := testkit.GoProgram(t, "test/scanners", "golang.org/x/vuln/cmd/govulncheck")
	args := []string{"-mode", "binary", "-scan", "module", "-db", "file://" + filepath.ToSlash(govulncheckDB(t, entries))}
	want := govulncheckIDs(t, output(t, "", judge, append(args, "-format", "json", program)...))
	if d := cmp.Diff(want, got); d != "" || len(want) < 20 {
		t.Errorf("of %d: %s", len(want), d)
	}
	doc := output(t, "", judge, append(args, "-format", "openvex", program)...)
	v, err := ReadVEX("govulncheck", doc)
	if err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	if len(v.statements) < len(want) {
		t.Errorf("got %d statements, want %d at least", len(v.statements), len(want))
	}
}

// modulesOf are those of a program, as its SBOM lists them.
func modulesOf(t testing.TB, program string) []sbom.Package {
	t.Helper()
	root := tree.New()
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Put("usr/bin/program", &tree.Node{Mode: 0o755, Size: info.Size(), Content: onDisk(program)}); err != nil {
		t.Fatal(err)
	}
	found, err := sbom.Collect(t.Context(), root, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	b := sbom.Merge(sbom.Subject{Package: sbom.Package{Name: "test"}, BOMs: found.BOMs})
	if info, err := buildinfo.ReadFile(program); err != nil || len(b.Packages) < len(info.Deps) || len(info.Deps) < 10 {
		t.Fatalf("%v; %d packages", err, len(b.Packages))
	}
	return slices.DeleteFunc(b.Packages, func(p sbom.Package) bool { return p.Version == "" })
}

// onDisk is the content of a file of this machine.
type onDisk string

func (p onDisk) Open() (tree.Reader, error) { return os.Open(string(p)) }

func govulncheckIDs(t testing.TB, out []byte) []string {
	t.Helper()
	var ids []string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var message struct {
			Finding *struct {
				OSV string `json:"osv"`
			} `json:"finding"`
		}
		if err := dec.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if message.Finding != nil {
			ids = append(ids, message.Finding.OSV)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// TestVEXLibrary: the library of OpenVEX says the same of the same statements.
func TestVEXLibrary(t *testing.T) {
	products := []string{"pkg:oci/hello@sha256%3Aaa?repository_url=r/hello", "pkg:oci/hello", "pkg:oci/hello@sha256%3Abb", "pkg:oci/hello?repository_url=q", "pkg:generic/x@1", "pkg:generic/x"}
	parts := []string{"pkg:golang/example.org/Lib@v1.1.0", "pkg:golang/example.org/lib", "pkg:golang/example.org/Lib@v1.2.0", "pkg:deb/debian/a@1%3A1-1~x?arch=amd64&distro=debian-12", "pkg:deb/debian/a?arch=amd64", "pkg:deb/debian/a?arch=arm64"}
	ids := []string{"CVE-1", "CVE-2"}
	random := rand.New(rand.NewPCG(5, 6))
	var questions strings.Builder
	var got []string
	for n := range 60 {
		doc := vexJSON(t, "", randomStatements(random, ids, products, parts)...)
		v, err := ReadVEX("random", doc)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(write(t, map[string][]byte{"vex.json": doc}), "vex.json")
		for _, id := range append(ids, "CVE-3") {
			for _, part := range []string{parts[0], parts[3], "pkg:golang/example.org/none@v1"} {
				fmt.Fprintf(&questions, "%s\t%s\t%s\t%s\n", file, id, products[n%2*4], part)
				e := exploitability{statementsOf(nil, []*VEX{v})}
				verdict := e.verdict(Finding{ID: id}, &wanted{Package: sbom.Package{PURL: part}}, &Subject{Identifiers: []string{products[n%2*4]}})
				if verdict == nil {
					verdict = &Verdict{Status: "-"}
				}
				got = append(got, string(verdict.Status))
			}
		}
	}
	want := strings.Fields(string(output(t, questions.String(), testkit.GoProgram(t, "test/scanners", "./vex"))))
	if d := cmp.Diff(want, got); d != "" || slices.Index(want, "affected") < 0 || slices.Index(want, "not_affected") < 0 {
		t.Errorf("%s\n%s", questions.String(), d)
	}
}

// randomStatements are one to three, each later than the one before.
func randomStatements(random *rand.Rand, ids, products, parts []string) []statementJSON {
	var list []statementJSON
	for i := range 1 + random.IntN(3) {
		s := statementJSON{Vulnerability: ids[random.IntN(len(ids))], Product: products[random.IntN(len(products))], Status: Affected, Timestamp: fmt.Sprintf("2026-01-01T00:%02d:00Z", i)}
		if random.IntN(4) > 0 {
			s.Part = parts[random.IntN(len(parts))]
		}
		if random.IntN(2) == 0 {
			s.Status, s.Justification = NotAffected, present
		}
		list = append(list, s)
	}
	return list
}
