package fetch

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// world publishes a module, example.com/app@v1.0.0, and what it needs; others
// that it requires are not needed, or not published at all.
func world(t testing.TB) (*site, ModuleSource) {
	t.Helper()
	s := newSite(t)
	sums := ""
	s.addModule(t, &sums, "example.com/Lib@v1.2.0", `
-- go.mod --
module example.com/Lib

go 1.20
-- lib.go --
package lib

func Word() string { return "lib" }
-- lib_windows.go --
package lib

import _ "example.com/windows"
-- tools.go --
//go:build ignore

package main

import _ "example.com/tools"
-- extra/extra.go --
//go:build extra

package extra
`)
	s.addModule(t, &sums, "example.com/fork@v1.0.1", `
-- go.mod --
module example.com/original
-- sub/sub.go --
package sub

import "example.com/Lib"

func Word() string { return "fork+" + lib.Word() }
`)
	s.addModule(t, &sums, "example.com/tagged@v0.1.0", `
-- tagged.go --
package tagged
`)
	s.addModule(t, &sums, "example.com/unused@v1.0.0", `
-- go.mod --
module example.com/unused
-- unused.go --
package unused
`)
	s.addModule(t, &sums, "example.com/windows@v1.0.0", `
-- go.mod --
module example.com/windows
-- windows.go --
package windows
`)
	s.addModule(t, &sums, "example.com/app@v1.0.0", `
-- go.mod --
module example.com/app

go 1.21

require (
	example.com/Lib v1.2.0
	example.com/original v1.0.0
	example.com/tagged v0.1.0
	example.com/unused v1.0.0
	example.com/windows v1.0.0
	example.com/gone v1.0.0
)

replace example.com/original => example.com/fork v1.0.1
-- go.sum --
$SUMS
-- cmd/app/main.go --
package main

import "example.com/original/sub"

func main() { println(sub.Word()) }
-- cmd/app/tagged.go --
//go:build special && linux

package main

import _ "example.com/tagged"
-- cmd/app/main_test.go --
package main

import _ "example.com/gone"
-- cmd/other/main.go --
package main

import _ "example.com/unused"

func main() {}
-- go.work --
go 1.21
use ./elsewhere
-- vendor/modules.txt --
## nothing
`)
	return s, ModuleSource{
		Path: "example.com/app", Version: "v1.0.0", Sum: sumIn(t, sums, "example.com/app@v1.0.0"),
		Packages: []string{"./cmd/app"}, GOOS: "linux", GOARCH: "amd64",
	}
}

func moduleFetcher(t testing.TB, s *site) *Fetcher {
	f := newFetcher(t)
	f.GoProxy = s.URL
	return f
}

const wantSource = `-rw-r--r-- cmd/app/main.go
-rw-r--r-- cmd/app/main_test.go
-rw-r--r-- cmd/app/tagged.go
-rw-r--r-- cmd/other/main.go
-rw-r--r-- go.mod
-rw-r--r-- go.sum
`

const wantModCache = `-rw-r--r-- cache/download/example.com/!lib/@v/v1.2.0.mod
-rw-r--r-- cache/download/example.com/!lib/@v/v1.2.0.ziphash
-rw-r--r-- cache/download/example.com/fork/@v/v1.0.1.mod
-rw-r--r-- cache/download/example.com/fork/@v/v1.0.1.ziphash
-rw-r--r-- cache/download/example.com/tagged/@v/v0.1.0.mod
-rw-r--r-- cache/download/example.com/tagged/@v/v0.1.0.ziphash
-rw-r--r-- example.com/!lib@v1.2.0/extra/extra.go
-rw-r--r-- example.com/!lib@v1.2.0/go.mod
-rw-r--r-- example.com/!lib@v1.2.0/lib.go
-rw-r--r-- example.com/!lib@v1.2.0/lib_windows.go
-rw-r--r-- example.com/!lib@v1.2.0/tools.go
-rw-r--r-- example.com/fork@v1.0.1/go.mod
-rw-r--r-- example.com/fork@v1.0.1/sub/sub.go
-rw-r--r-- example.com/tagged@v0.1.0/tagged.go
`

func TestModule(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	f := moduleFetcher(t, s)
	m, err := f.Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if diff := cmp.Diff(wantSource, listing(t, m.Source())); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantModCache, listing(t, m.ModCache())); diff != "" {
		t.Errorf("module cache (-want +got):\n%s", diff)
	}
	if s.wasAsked("unused") {
		t.Error("a module that is not imported was asked for")
	}
	goBuild(t, m, "./cmd/app", "fork+lib\n")

	s.Close()
	again, err := f.Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantModCache, listing(t, again.ModCache())); diff != "" {
		t.Errorf("module cache from the cache (-want +got):\n%s", diff)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// goCommand runs the go command with a module and nothing else.
func goCommand(t testing.TB, m *Module, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	unpackTo(t, m.Source(), filepath.Join(dir, "src"))
	unpackTo(t, m.ModCache(), filepath.Join(dir, "mod"))
	cmd := exec.Command(testkit.Judge(t, "go"), args...)
	cmd.Dir = filepath.Join(dir, "src")
	cmd.Env = append(os.Environ(), "GOMODCACHE="+filepath.Join(dir, "mod"), "GOPROXY=off", "GOFLAGS=-mod=readonly", "GOSUMDB=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// goBuild builds and runs a package, with nothing but the module.
func goBuild(t testing.TB, m *Module, pkg, want string) {
	t.Helper()
	if got := goCommand(t, m, "run", "-trimpath", pkg); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestModuleTags: what another tag of a build would import is there.
func TestModuleTags(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	m, err := moduleFetcher(t, s).Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := goCommand(t, m, "list", "-deps", "-tags", "special", "./cmd/app"); !strings.Contains(got, "example.com/tagged") {
		t.Errorf("got %s, want example.com/tagged in it", got)
	}
}

func TestModuleWindows(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	src.GOOS = "windows"
	m, err := moduleFetcher(t, s).Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := []string{"Lib@v1.2.0", "app@v1.0.0", "fork@v1.0.1", "windows@v1.0.0"}
	var got []string
	for _, z := range m.zips {
		got = append(got, strings.TrimPrefix(z.Version.String(), "example.com/"))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

// TestModuleEverything: without packages, all that go.sum can verify comes.
func TestModuleEverything(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	src.Packages = nil
	m, err := moduleFetcher(t, s).Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.ModCache().Names("example.com"); len(got) != 5 {
		t.Errorf("got the modules %v, want 5", got)
	}
	goBuild(t, m, "./cmd/other", "")
}

func TestModulePatterns(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	for pattern, want := range map[string]int{"./...": 4, "./cmd/...": 4, "./cmd/app/...": 3, "./cmd/other": 1} {
		src.Packages = []string{pattern}
		m, err := moduleFetcher(t, s).Module(context.Background(), src)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if got := m.ModCache().Names("example.com"); len(got) != want {
			t.Errorf("%s: got the modules %v, want %d", pattern, got, want)
		}
	}
}

func TestModuleErrors(t *testing.T) {
	t.Parallel()
	s, good := world(t)
	for name, tt := range map[string]struct {
		change func(*ModuleSource)
		words  []string
	}{
		"wrong sum":   {func(m *ModuleSource) { m.Sum = "h1:" + strings.Repeat("A", 43) + "=" }, []string{"fetching example.com/app@v1.0.0", "h1     wanted h1:AAAA", "got    h1:"}},
		"no sum":      {func(m *ModuleSource) { m.Sum = "" }, []string{"no sum", "graft update"}},
		"bad sum":     {func(m *ModuleSource) { m.Sum = "sha256:abc" }, []string{"not of the form"}},
		"no such":     {func(m *ModuleSource) { m.Version = "v1.0.1" }, []string{"example.com/app@v1.0.1", "404 Not Found"}},
		"branch":      {func(m *ModuleSource) { m.Version = "main" }, []string{"not a semantic version"}},
		"short":       {func(m *ModuleSource) { m.Version = "v1" }, []string{"not complete: v1.0.0 would be"}},
		"bad path":    {func(m *ModuleSource) { m.Path = "../app" }, []string{"malformed"}},
		"no package":  {func(m *ModuleSource) { m.Packages = []string{"./cmd/app", "./cmd/x", "./y/..."} }, []string{"no package ./cmd/x", "no package ./y/..."}},
		"outside":     {func(m *ModuleSource) { m.Packages = []string{"./../x"} }, []string{"not in the module"}},
		"import path": {func(m *ModuleSource) { m.Packages = []string{"example.com/app/cmd"} }, []string{"not in the module"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := moduleFetcher(t, s)
			src := good
			tt.change(&src)
			_, err := f.Module(context.Background(), src)
			wantError(t, err, tt.words...)
			wantClean(t, f.Cache)
		})
	}
}

// TestRequirementErrors: a module that is not what it should be, one line each.
func TestRequirementErrors(t *testing.T) {
	t.Parallel()
	const main = "\n-- main.go --\npackage main\n\nimport _ \"example.com/dep/sub\"\n\nfunc main() {}\n"
	for name, tt := range map[string]struct {
		mod, sum string
		words    []string
	}{
		"no go.sum":       {"go 1.21\nrequire example.com/dep v1.0.0", "", []string{"no checksum for the zip of example.com/dep@v1.0.0"}},
		"wrong go.sum":    {"go 1.21\nrequire example.com/dep v1.0.0", "example.com/dep v1.0.0 h1:" + strings.Repeat("A", 43) + "=\n", []string{"fetching example.com/dep@v1.0.0", "wanted h1:AAAA", "(needed by example.com/app@v1.0.0)"}},
		"broken go.sum":   {"go 1.21", "example.com/dep v1.0.0\n", []string{"line 1 has 2 words"}},
		"broken go.mod":   {"go 1.21\nnonsense", "$SUMS", []string{"reading its go.mod"}},
		"local replace":   {"go 1.21\nrequire example.com/dep v1.0.0\nreplace example.com/dep => ./dep", "$SUMS", []string{"replaced by the directory ./dep"}},
		"not required":    {"go 1.21", "$SUMS", []string{"no module that its go.mod requires has the package example.com/dep/sub"}},
		"old, no go.sum":  {"go 1.16\nrequire example.com/dep v1.0.0", "", []string{"no checksum for the go.mod file of example.com/dep@v1.0.0"}},
		"wrong go.mod":    {"go 1.16\nrequire example.com/dep v1.0.0", "example.com/dep v1.0.0/go.mod h1:" + strings.Repeat("A", 43) + "=\n", []string{"fetching go.mod of example.com/dep@v1.0.0", "wanted h1:AAAA"}},
		"missing package": {"go 1.21\nrequire example.com/empty v1.0.0", "$SUMS", []string{"has the package example.com/dep/sub"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			sums := ""
			s.addModule(t, &sums, "example.com/dep@v1.0.0", "-- go.mod --\nmodule example.com/dep\n-- sub/x.go --\npackage sub\n")
			s.addModule(t, &sums, "example.com/empty@v1.0.0", "-- go.mod --\nmodule example.com/empty\n")
			s.addModule(t, &sums, "example.com/app@v1.0.0", "-- go.mod --\nmodule example.com/app\n"+tt.mod+"\n-- go.sum --\n"+tt.sum+main)
			src := ModuleSource{Path: "example.com/app", Version: "v1.0.0", Sum: sumIn(t, sums, "example.com/app@v1.0.0"), Packages: []string{"."}}
			f := moduleFetcher(t, s)
			_, err := f.Module(context.Background(), src)
			wantError(t, err, tt.words...)
			wantClean(t, f.Cache)
		})
	}
}

// TestGraph builds modules for which the go command reads the whole graph of
// go.mod files: an old one, one that a dependency requires itself, and one whose
// requirements are less than those of a dependency.
func TestGraph(t *testing.T) {
	t.Parallel()
	deps := func(t *testing.T, s *site) string {
		sums := ""
		s.addModule(t, &sums, "example.com/c@v1.0.0", "-- go.mod --\nmodule example.com/c\n-- c.go --\npackage c\n\nconst C = \"c0\"\n")
		s.addModule(t, &sums, "example.com/c@v1.1.0", "-- go.mod --\nmodule example.com/c\n-- c.go --\npackage c\n\nconst C = \"c1\"\n")
		s.addModule(t, &sums, "example.com/b@v1.0.0", "-- go.mod --\nmodule example.com/b\nrequire example.com/c v1.0.0\n-- b.go --\npackage b\n\nimport \"example.com/c\"\n\nconst B = \"b \" + c.C\n")
		s.addModule(t, &sums, "example.com/x@v1.0.0", "-- go.mod --\nmodule example.com/x\nrequire example.com/c v1.1.0\n-- x.go --\npackage x\n")
		s.addModule(t, &sums, "example.com/cycle@v1.0.0", "-- go.mod --\nmodule example.com/cycle\nrequire example.com/app v0.9.0\n-- cycle.go --\npackage cycle\n\nconst B = \"cycle\"\n")
		s.addModule(t, &sums, "example.com/app@v0.9.0", "-- go.mod --\nmodule example.com/app\n")
		return sums
	}
	for name, tt := range map[string]struct {
		mod, imported, want string
		mods                int // go.mod files in the cache
	}{
		"old":     {"go 1.16\nrequire (\n\texample.com/b v1.0.0\n\texample.com/x v1.0.0\n)", "b", "b c1\n", 4},
		"cycle":   {"go 1.21\nrequire example.com/cycle v1.0.0", "cycle", "cycle\n", 2},
		"exclude": {"go 1.16\nrequire example.com/b v1.0.0\nrequire example.com/x v1.0.0\nexclude example.com/c v1.1.0", "b", "b c0\n", 3},
		"pruned":  {"go 1.21\nrequire example.com/b v1.0.0\nrequire example.com/c v1.1.0\nrequire example.com/x v1.0.0", "b", "b c1\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			sums := deps(t, s)
			s.addModule(t, &sums, "example.com/app@v1.0.0", "-- go.mod --\nmodule example.com/app\n"+tt.mod+"\n-- go.sum --\n$SUMS\n-- main.go --\npackage main\n\nimport p \"example.com/"+tt.imported+"\"\n\nfunc main() { println(p.B) }\n")
			src := ModuleSource{Path: "example.com/app", Version: "v1.0.0", Sum: sumIn(t, sums, "example.com/app@v1.0.0"), Packages: []string{"."}}
			m, err := moduleFetcher(t, s).Module(context.Background(), src)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			goBuild(t, m, ".", tt.want)
			if got := strings.Count(listing(t, m.ModCache()), ".mod\n"); got-strings.Count(listing(t, m.ModCache()), "/go.mod\n") != tt.mods {
				t.Errorf("got\n%s\nwant %d go.mod files", listing(t, m.ModCache()), tt.mods)
			}
		})
	}
}

func TestToolchain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sums, id := "", toolchainModule+"@v0.0.1-go1.99.0.linux-amd64"
	s.addModule(t, &sums, id, "-- bin/go --\nx\n-- pkg/tool/linux_amd64/compile --\nx\n-- src/all.bash --\nx\n-- go.env --\nGOPROXY=x\n")
	src, err := ParseModule(id)
	if err != nil {
		t.Fatal(err)
	}
	src.Sum = sumIn(t, sums, id)
	m, err := moduleFetcher(t, s).Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := "-rwxr-xr-x bin/go\n-rw-r--r-- go.env\n-rwxr-xr-x pkg/tool/linux_amd64/compile\n-rw-r--r-- src/all.bash\n"
	if diff := cmp.Diff(want, listing(t, m.Source())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := m.ModCache().Len(); n != 0 {
		t.Errorf("got %d entries of dependencies, want none", n)
	}
}

func TestResolveModule(t *testing.T) {
	t.Parallel()
	s, src := world(t)
	f := moduleFetcher(t, s)
	got, err := f.ResolveModule(context.Background(), ModuleSource{Path: src.Path, Version: src.Version})
	if err != nil || got.Sum != src.Sum {
		t.Errorf("got %q, %v, want %q", got.Sum, err, src.Sum)
	}
	s.requests()
	m, err := f.Module(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if s.wasAsked("app") {
		t.Error("the zip was downloaded a second time")
	}
}

func TestModuleKey(t *testing.T) {
	t.Parallel()
	a := ModuleSource{Path: "a.b/c", Version: "v1.0.0", Sum: "h1:x", Packages: []string{"./y", "./x/", "./y"}}
	same := a
	same.GOOS, same.GOARCH, same.Packages = "linux", "amd64", []string{"./x", "./y"}
	if a.Key() != same.Key() {
		t.Errorf("got %q and %q, want the same", a.Key(), same.Key())
	}
	for name, change := range map[string]func(*ModuleSource){
		"sum":      func(m *ModuleSource) { m.Sum = "h1:y" },
		"packages": func(m *ModuleSource) { m.Packages = nil },
		"platform": func(m *ModuleSource) { m.GOARCH = "arm64" },
		"version":  func(m *ModuleSource) { m.Version = "v1.0.1" },
	} {
		other := a
		change(&other)
		if other.Key() == a.Key() {
			t.Errorf("%s: the key is the same", name)
		}
	}
}

func TestParseModule(t *testing.T) {
	t.Parallel()
	got, err := ParseModule("github.com/slackhq/nebula@v1.11.0")
	if want := (ModuleSource{Path: "github.com/slackhq/nebula", Version: "v1.11.0"}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "a.b/c", "a.b/c@", "a.b/c@latest", "@v1.0.0", "a.b/c@v2.0.0", "/a@v1.0.0"} {
		if _, err := ParseModule(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

// TestRealModule asks the user's proxy for a program of the catalog, and the go
// command whether all is there.
func TestRealModule(t *testing.T) {
	if testing.Short() {
		t.Skip("it downloads 22 MB")
	}
	t.Parallel()
	f := &Fetcher{Cache: newCache(t)}
	src := ModuleSource{Path: "github.com/slackhq/nebula", Version: "v1.11.0", Sum: "h1:UVSVPTFw1/QxrfH/MIm27tzxGWn2dSnXZRGh7q0VhsQ=", Packages: []string{"./cmd/nebula"}}
	m, err := f.Module(context.Background(), src)
	if err != nil {
		var sum *ChecksumError
		if errors.As(err, &sum) {
			t.Fatal(err)
		}
		testkit.Absent(t, "no module proxy: "+err.Error())
	}
	defer m.Close()
	if got := goCommand(t, m, "list", "-deps", "./cmd/nebula"); strings.Count(got, "\n") < 200 {
		t.Errorf("got the packages %s, want more", got)
	}
}
