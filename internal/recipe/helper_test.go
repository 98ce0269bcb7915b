package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// The smallest Pkgfile and pkg.yaml that have no problems.
const (
	pkgfile = "-- Pkgfile --\nformat: v1alpha2\n"
	minimal = pkgfile + "-- p/pkg.yaml --\nname: p\nvariant: scratch\n"
)

var (
	sha256Of = strings.Repeat("0123456789abcdef", 4)
	sha512Of = strings.Repeat("0123456789abcdef", 8)
	sumOf    = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
)

// tree writes a txtar archive into a directory of its own. A path that ends in
// " -> TARGET" is a symlink.
func tree(t testing.TB, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		name, link, isLink := strings.Cut(f.Name, " -> ")
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(link, file)
		} else {
			err = os.WriteFile(file, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// amd64 keeps tests the same on all machines.
var amd64 = Options{Target: "linux/amd64"}

func loadWith(t testing.TB, archive string, o Options) *Set {
	t.Helper()
	if o.Target == "" {
		o.Target = amd64.Target
	}
	s, err := Load(t.Context(), tree(t, archive), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// load reads a tree that has no problems.
func load(t testing.TB, archive string) *Set {
	t.Helper()
	s := loadWith(t, archive, amd64)
	if len(s.Problems) > 0 {
		t.Fatalf("problems: %q", messages(s.Problems))
	}
	return s
}

func messages(problems []Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	return all
}

// checkMessages wants each problem to have its text, neither more nor fewer, in
// that order.
func checkMessages(t testing.TB, what string, got []Problem, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d %s, want %d:\ngot  %q\nwant %q", len(got), what, len(want), messages(got), want)
	}
	for i, w := range want {
		if !strings.Contains(got[i].String(), w) {
			t.Errorf("%s %d is %q, want %q in it", what, i, got[i], w)
		}
	}
}

func checkProblems(t testing.TB, archive string, want ...string) *Set {
	t.Helper()
	s := loadWith(t, archive, amd64)
	checkMessages(t, "problems", s.Problems, want...)
	return s
}

func checkWarnings(t testing.TB, archive string, want ...string) *Set {
	t.Helper()
	s := load(t, archive)
	checkMessages(t, "warnings", s.Warnings, want...)
	return s
}

// eval renders a template with the variables of the package p.
func eval(t testing.TB, s *Set, text string) string {
	t.Helper()
	out, err := Eval(text, s.Package("p"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(packages []*Package) string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
