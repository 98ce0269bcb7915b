package kmod

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// moduleTrees are directories lib/modules/VERSION with real modules: those in
// GRAFT_TEST_MODULES, separated by colons, or else of the kernels installed here.
func moduleTrees(t testing.TB) []string {
	t.Helper()
	trees := filepath.SplitList(os.Getenv("GRAFT_TEST_MODULES"))
	if len(trees) == 0 {
		orders, _ := filepath.Glob("/lib/modules/*/modules.order")
		for _, order := range orders {
			trees = append(trees, filepath.Dir(order))
		}
	}
	if len(trees) == 0 {
		t.Skip("no real modules: install linux-image-cloud-amd64 or set GRAFT_TEST_MODULES to its lib/modules/VERSION")
	}
	return trees
}

// kernelFiles come with a kernel; depmod reads them.
var kernelFiles = []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}

// scratch makes a base directory with the modules of tree, for depmod to write
// into.
func scratch(t testing.TB, tree string) (base, version string) {
	t.Helper()
	base, version = t.TempDir(), filepath.Base(tree)
	dir := filepath.Join(base, "lib/modules", version)
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(tree, path)
		to := filepath.Join(dir, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case IsModule(path) || slices.Contains(kernelFiles, rel):
			return linkOrCopy(path, to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return base, version
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// readFile returns nil if there is no such file, and never nil otherwise.
func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return b
}

func treeOptions(t testing.TB, dir string, search ...string) Options {
	return Options{
		Search:         search,
		Order:          readFile(t, filepath.Join(dir, "modules.order")),
		Builtin:        readFile(t, filepath.Join(dir, "modules.builtin")),
		BuiltinModinfo: readFile(t, filepath.Join(dir, "modules.builtin.modinfo")),
	}
}

// readTree reads the modules in lib/modules/VERSION, as depmod does.
func readTree(t testing.TB, dir string) []Module {
	t.Helper()
	var modules []Module
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == "source"):
			return fs.SkipDir
		case d.IsDir() || !IsModule(path):
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := ReadInfo(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name, err := filepath.Rel(dir, path)
		modules = append(modules, Module{Path: name, Info: *info})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return modules
}

// compareDepmod runs depmod and Depmod over one directory and compares every
// file byte for byte. It returns the warnings.
func compareDepmod(t *testing.T, base, version string, search ...string) []Warning {
	t.Helper()
	dir := filepath.Join(base, "lib/modules", version)
	config := filepath.Join(t.TempDir(), "search.conf")
	line := "# the default\n"
	if len(search) > 0 {
		line = "search " + strings.Join(search, " ") + "\n"
	}
	if err := os.WriteFile(config, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	files, warnings, err := Depmod(readTree(t, dir), treeOptions(t, dir, search...))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, "depmod", "-a", "-b", base, "-C", config, version)
	var got, want []string
	for _, f := range files {
		got = append(got, f.Name)
		compareFile(t, f, readFile(t, filepath.Join(dir, f.Name)))
	}
	written, _ := filepath.Glob(filepath.Join(dir, "modules.*"))
	for _, path := range written {
		if !slices.Contains(kernelFiles, filepath.Base(path)) {
			want = append(want, filepath.Base(path))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names of the files differ (-depmod +ours):\n%s", diff)
	}
	return warnings
}

// compareFile shows the lines that differ; of binary files, the strings.
func compareFile(t *testing.T, got File, want []byte) {
	t.Helper()
	if bytes.Equal(got.Data, want) {
		t.Logf("%s: %d bytes, equal", got.Name, len(want))
		return
	}
	lines := func(b []byte) []string {
		all := strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == 0 })
		return all[:min(len(all), 2000)]
	}
	diff := cmp.Diff(lines(want), lines(got.Data))
	t.Errorf("%s: %d bytes, want %d (-depmod +ours):\n%.3000s", got.Name, len(got.Data), len(want), diff)
}

// TestDepmodRealTrees is the test of this package: whole kernels.
func TestDepmodRealTrees(t *testing.T) {
	for _, tree := range moduleTrees(t) {
		for _, search := range [][]string{nil, {"extras", "built-in"}} {
			t.Run(fmt.Sprint(filepath.Base(tree), search), func(t *testing.T) {
				base, version := scratch(t, tree)
				for _, w := range compareDepmod(t, base, version, search...) {
					t.Logf("%s: %s: %s", w.Kind, w.Module, w.Message)
				}
			})
		}
	}
}
