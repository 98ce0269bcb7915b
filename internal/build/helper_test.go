package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/build/buildkit"
	"github.com/graftlinux/graft/internal/build/embedded"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/build/store"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/recipe"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/buildkitd"
	"github.com/graftlinux/graft/internal/tree"
)

func TestMain(m *testing.M) {
	sandbox.Child()
	// An ordinary user cannot remove what scripts make but in a user namespace.
	// Where that is forbidden the tests say so themselves.
	if inside, code, err := sandbox.Enter(context.Background()); err == nil && !inside {
		os.Exit(code)
	}
	code := m.Run()
	buildkitd.Stop()
	if kitchenLayout.dir != "" {
		_ = os.RemoveAll(kitchenLayout.dir)
	}
	os.Exit(code)
}

var kitchenLayout struct {
	once sync.Once
	dir  string
}

// kitchen is an OCI layout with programs of this machine, the file system that
// scripts run in. It is made once.
func kitchen(t testing.TB) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("what scripts are expected to say is for amd64")
	}
	k := &kitchenLayout
	k.once.Do(func() {
		root := testkit.Programs(t, "cat", "chmod", "chown", "cp", "id", "ln", "ls", "mkdir", "mkfifo", "readlink", "rm", "sleep", "stat", "touch")
		dir, err := os.MkdirTemp("", "kitchen-")
		if err != nil {
			t.Fatal(err)
		}
		packed := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: root}}
		layout := filepath.Join(dir, "kitchen")
		if _, err := oci.Pack(t.Context(), packed, "oci:"+layout, oci.PackOptions{Name: "kitchen:latest", Compression: oci.None}); err != nil {
			t.Fatal(err)
		}
		k.dir = dir
	})
	if k.dir == "" {
		t.Skip("this machine has no programs to run scripts with")
	}
	return filepath.Join(k.dir, "kitchen")
}

// shop is where recipes are built: their directory, a cache, and what happened
// in the last build.
type shop struct {
	t         *testing.T
	root      string
	cacheDir  string
	args      map[string]string // build arguments
	platforms []string
	plan      PlanOptions
	engine    embedded.Options
	config    Config

	mu       sync.Mutex
	ran      []string // scripts, in the order that they ended
	cached   []string // scripts
	output   map[string]string
	warnings []string
}

// open makes a shop of recipes, a txtar archive. A Pkgfile is there if the
// archive has none.
func open(t *testing.T, recipes string) *shop {
	t.Helper()
	s := &shop{
		t: t, root: t.TempDir(), cacheDir: t.TempDir(), platforms: []string{"linux/amd64"},
		args: map[string]string{"KITCHEN": kitchen(t)},
	}
	if _, err := sandbox.Probe(t.Context(), s.cacheDir); err != nil {
		t.Skip(err)
	}
	s.write("-- Pkgfile --\nformat: v1alpha2\n" + recipes)
	return s
}

// write adds files to the recipes, or replaces them. A name like "x -> y" is a
// symlink, "x 0600" a file with a mode, "x/" an empty directory.
func (s *shop) write(archive string) {
	s.t.Helper()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		if err := writeFile(s.root, f); err != nil {
			s.t.Fatal(err)
		}
	}
}

func writeFile(dir string, f txtar.File) error {
	name, link, isLink := strings.Cut(f.Name, " -> ")
	name, mode, hasMode := strings.Cut(name, " ")
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	switch {
	case isLink:
		return os.Symlink(link, file)
	case strings.HasSuffix(name, "/"):
		return os.MkdirAll(file, 0o755)
	}
	if err := os.WriteFile(file, f.Data, 0o644); err != nil || !hasMode {
		return err
	}
	n, err := strconv.ParseUint(mode, 8, 32)
	return errors.Join(err, os.Chmod(file, fs.FileMode(n)))
}

// pkg is the pkg.yaml of a package that has the kitchen's programs: the rest of
// the file follows "dependencies:", so more of them may come first.
func pkg(name, rest string) string {
	return fmt.Sprintf("-- %[1]s/pkg.yaml --\nname: %[1]s\nvariant: scratch\ndependencies:\n  - image: oci:{{ .BUILD_ARG_KITCHEN }}\n%s", name, rest)
}

// script is a package whose one script fills /out, which is its result.
func script(name, text string) string {
	return pkg(name, "steps:\n  - install:\n      - |\n"+indented("        ", "mkdir /out; cd /out\n"+text)+"finalize:\n  - from: /out\n    to: /\n")
}

// data is a package of files only: its context.
func data(name, rest string) string {
	return fmt.Sprintf("-- %[1]s/pkg.yaml --\nname: %[1]s\nvariant: scratch\n%s", name, rest)
}

func indented(by, text string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by) + "\n"
}

// load reads the recipes as the command line does.
func (s *shop) load(ctx context.Context, platform string) (*recipe.Set, error) {
	set, err := recipe.Load(ctx, s.root, recipe.Options{Target: platform, BuildArgs: s.args})
	if err != nil {
		return nil, err
	}
	for _, p := range set.Problems {
		err = errors.Join(err, errors.New(p.String()))
	}
	s.note(set.Warnings)
	return set, err
}

func (s *shop) note(problems []recipe.Problem) {
	for _, p := range problems {
		if w := p.String(); !slices.Contains(s.warnings, w) {
			s.warnings = append(s.warnings, w)
		}
	}
}

// tryContext builds and gives the results, whose files can be read until the
// test ends.
func (s *shop) tryContext(ctx context.Context, targets ...string) ([]Built, error) {
	s.t.Helper()
	c, err := cache.Open(s.cacheDir)
	if err != nil {
		s.t.Fatal(err)
	}
	layers, err := store.Open(filepath.Join(s.cacheDir, "build"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.ran, s.cached, s.output, s.warnings = nil, nil, map[string]string{}, nil
	s.mu.Unlock()
	options, engine, config := s.plan, s.engine, s.config
	engine.Store = layers
	options.Root, options.Load = s.root, s.load
	if options.Epoch.IsZero() {
		options.Epoch = time.Unix(0, 0).UTC()
	}
	if options.Fetch == nil {
		options.Fetch = &fetch.Fetcher{}
	}
	options.Fetch.Cache = c
	e, err := s.newEngine(engine, c)
	if err != nil {
		s.t.Fatal(err)
	}
	b := NewBuilder(options)
	s.t.Cleanup(func() {
		if err := errors.Join(b.Close(), e.Close()); err != nil {
			s.t.Error(err)
		}
	})
	config.Builder, config.Engine, config.Cache, config.Targets, config.Platforms, config.Epoch = b, e, c, targets, s.platforms, options.Epoch
	built, err := Run(ctx, config, s.report)
	s.note(b.Warnings)
	return built, err
}

func (s *shop) try(targets ...string) ([]Built, error) {
	s.t.Helper()
	return s.tryContext(s.t.Context(), targets...)
}

// report keeps what happens to scripts.
func (s *shop) report(st plan.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := st.Op.Kind.(*plan.Exec); !ok {
		return
	}
	switch st.State {
	case plan.Done:
		s.ran = append(s.ran, st.Op.Name)
	case plan.Cached:
		s.cached = append(s.cached, st.Op.Name)
	case plan.Output:
		s.output[st.Op.Name] += string(st.Data)
	}
}

func (s *shop) build(targets ...string) []Built {
	s.t.Helper()
	built, err := s.try(targets...)
	if err != nil {
		s.t.Fatal(explain(err))
	}
	return built
}

// explain adds to an error what the script printed.
func explain(err error) string {
	var failed *plan.ExecError
	if errors.As(err, &failed) {
		return fmt.Sprintf("%v\n%s", err, failed.Output)
	}
	return err.Error()
}

// want builds a package and compares the listing of its result.
func (s *shop) want(target, listing string) {
	s.t.Helper()
	wantListing(s.t, s.build(target)[0].Platforms[0].Tree, listing)
}

// wantError builds a package, which must fail with an error that has all of the
// words.
func (s *shop) wantError(target string, words ...string) error {
	s.t.Helper()
	_, err := s.try(target)
	if err == nil {
		s.t.Fatalf("%s was built", target)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("the error %q lacks %q", err, w)
		}
	}
	return err
}

// wantRan says which scripts must have run in the last build, in any order.
func (s *shop) wantRan(names ...string) {
	s.t.Helper()
	slices.Sort(names)
	slices.Sort(s.ran)
	if diff := cmp.Diff(names, s.ran); len(names)+len(s.ran) > 0 && diff != "" {
		s.t.Errorf("scripts that ran, -want +got:\n%s", diff)
	}
}

// wantWarning looks for a warning that has all of the words.
func (s *shop) wantWarning(words ...string) {
	s.t.Helper()
	for _, w := range s.warnings {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(w, word) }) {
			return
		}
	}
	s.t.Errorf("no warning has %q:\n%s", words, strings.Join(s.warnings, "\n"))
}

func wantListing(t testing.TB, tr *tree.Tree, want string) {
	t.Helper()
	got := strings.TrimSpace(listing(t, tr))
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the result, -want +got:\n%s\nall of it:\n%s", diff, got)
	}
}

// listing is a line for each entry: path, mode, and content or target. Further
// lines of a file follow, indented.
func listing(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	err := tr.Walk(func(e tree.Entry) error {
		text := e.Mode.String()
		switch {
		case e.Path == ".":
			return nil
		case e.Hardlink != "":
			text = "= " + e.Hardlink
		case e.Target != "":
			text = "-> " + e.Target
		case e.Mode.IsRegular():
			content, err := tr.ReadFile(e.Path, 1<<20)
			if err != nil {
				return err
			}
			text += " " + strings.ReplaceAll(strings.TrimRight(string(content), "\n"), "\n", "\n    ")
		}
		fmt.Fprintln(&b, strings.TrimRight(e.Path+" "+text, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// file reads a file of a result.
func file(t testing.TB, tr *tree.Tree, name string) string {
	t.Helper()
	content, err := tr.ReadFile(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// manyUsers says whether files can be given to others than root: not where only
// one user is mapped.
func manyUsers(t testing.TB) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data))
	return len(fields) > 3 || len(fields) == 3 && fields[2] != "1"
}

// engineEnv is the address of the daemon in the run of tests on BuildKit.
const engineEnv = "GRAFT_TEST_BUILDKIT"

func (s *shop) newEngine(o embedded.Options, c *cache.Cache) (plan.Engine, error) {
	address := os.Getenv(engineEnv)
	if address == "" {
		return embedded.New(o)
	}
	if err := o.Store.Close(); err != nil {
		return nil, err
	}
	return buildkit.New(s.t.Context(), buildkit.Options{Address: address, SpoolDir: c.TempDir(), Cache: c, NoCache: o.NoCache})
}
