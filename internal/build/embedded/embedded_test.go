package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/build/store"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

func TestMain(m *testing.M) {
	sandbox.Child()
	os.Exit(m.Run())
}

type fixture struct {
	t     *testing.T
	opts  Options
	root  *plan.Op
	dir   string
	count map[string]int // how often an operation ran
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	if _, err := sandbox.Probe(context.Background(), t.TempDir()); err != nil {
		t.Skip(err)
	}
	f := &fixture{t: t, dir: t.TempDir(), count: map[string]int{}}
	f.root = f.files("root", testkit.Programs(t, "cat", "ls", "mkdir", "rm", "sleep", "stat", "touch", "chmod"))
	return f
}

func (f *fixture) files(key string, t *tree.Tree) *plan.Op {
	return &plan.Op{Name: key, Platform: "linux/amd64", Kind: &plan.Files{Key: key, Tree: func(context.Context, plan.Log) (*tree.Tree, error) {
		return t, nil
	}}}
}

func (f *fixture) script(name string, root *plan.Op, script string) *plan.Op {
	return &plan.Op{Name: name, Platform: "linux/amd64", Kind: &plan.Exec{
		Root: root, Args: []string{"/bin/sh", "-c", "set -eou pipefail\n" + script}, Dir: "/tmp/build",
		Env: []string{"PATH=/bin"}, Network: plan.NoNetwork, Script: script,
	}}
}

// solve runs operations on an engine of its own and returns listings.
func (f *fixture) solve(ops ...*plan.Op) ([]string, error) {
	f.t.Helper()
	s, err := store.Open(filepath.Join(f.dir, "build"))
	if err != nil {
		f.t.Fatal(err)
	}
	o := f.opts
	o.Store = s
	e, err := New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	defer e.Close()
	var mu sync.Mutex
	trees, err := e.Solve(context.Background(), ops, func(st plan.Status) {
		mu.Lock()
		defer mu.Unlock()
		if st.State == plan.Done {
			f.count[st.Op.Name]++
		}
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range trees {
		out = append(out, listing(f.t, t))
	}
	return out, nil
}

func (f *fixture) must(ops ...*plan.Op) []string {
	f.t.Helper()
	out, err := f.solve(ops...)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// result takes a directory out of a file system.
func (f *fixture) result(op *plan.Op, dir string) *plan.Op {
	return &plan.Op{Name: op.Name + " result", Kind: &plan.Merge{Layers: []*plan.Op{{Name: "copy of " + op.Name, Kind: &plan.Copy{Input: op, From: dir, To: "/"}}}}}
}

func listing(t *testing.T, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	err := tr.Walk(func(e tree.Entry) error {
		switch {
		case e.Path == ".":
		case e.Mode.IsRegular():
			data, err := tr.ReadFile(e.Path, 1<<20)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %v %s\n", e.Path, e.Mode, bytes.TrimSpace(data))
		default:
			fmt.Fprintf(&b, "%s %v\n", e.Path, e.Mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestScripts(t *testing.T) {
	f := setUp(t)
	one := f.script("one", f.root, "mkdir /out; echo hello >/out/a; touch /out/gone; mkdir -p /out/dir/sub; echo 1 >here")
	two := f.script("two", one, "rm /out/gone; rm -r /out/dir; mkdir /out/dir; echo 2 >/out/dir/new; chmod 700 /out/a; cat here >/out/was-here")
	want := "a -rwx------ hello\ndir drwxr-xr-x\ndir/new -rw-r--r-- 2\nwas-here -rw-r--r-- 1\n"
	for _, copying := range []bool{false, true} {
		f.opts.Copy = copying
		f.dir = t.TempDir()
		if got := f.must(f.result(two, "/out"))[0]; got != want {
			t.Errorf("copy %v: got\n%swant\n%s", copying, got, want)
		}
	}
}

// TestCached runs nothing again that would give the same, and only that.
func TestCached(t *testing.T) {
	f := setUp(t)
	input := func(content string) *plan.Op {
		in := tree.New()
		if err := in.Put("in/file", tree.File(0o644, []byte(content))); err != nil {
			t.Fatal(err)
		}
		return f.files("input "+content, in)
	}
	build := func(content string) *plan.Op {
		first := f.script("first", &plan.Op{Name: "m", Kind: &plan.Merge{Layers: []*plan.Op{f.root, input(content)}}}, "mkdir /out; x=$(cat /in/file); echo ${x%%-*} >/out/x")
		taken := &plan.Op{Name: "take", Kind: &plan.Copy{Input: first, From: "/out", To: "/out"}}
		second := f.script("second", &plan.Op{Name: "m", Kind: &plan.Merge{Layers: []*plan.Op{f.root, taken}}}, "cat /out/x >/out/y")
		return f.result(second, "/out")
	}
	f.must(build("a-1"))
	f.must(build("a-1"))
	if f.count["first"] != 1 || f.count["second"] != 1 {
		t.Errorf("runs without a change: %v", f.count)
	}
	f.must(build("a-2")) // first gives the same as before
	if f.count["first"] != 2 || f.count["second"] != 1 {
		t.Errorf("runs after a change that ends at once: %v", f.count)
	}
	f.must(build("b"))
	if f.count["first"] != 3 || f.count["second"] != 2 {
		t.Errorf("runs after a change that shows: %v", f.count)
	}
	f.opts.NoCache = true
	f.must(build("b"))
	if f.count["first"] != 4 || f.count["second"] != 3 {
		t.Errorf("runs without the cache: %v", f.count)
	}
}

func TestFailure(t *testing.T) {
	f := setUp(t)
	bad := f.script("bad", f.root, "echo about to fail; echo to stderr >&2; exit 7")
	_, err := f.solve(f.result(bad, "/"))
	var failed *plan.ExecError
	if !errors.As(err, &failed) || failed.ExitCode != 7 || failed.Op != bad {
		t.Fatalf("got %v", err)
	}
	if out := string(failed.Output); !strings.Contains(out, "about to fail\n") || !strings.Contains(out, "to stderr\n") {
		t.Errorf("output %q", out)
	}
	left, err := os.ReadDir(filepath.Join(f.dir, "build", "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFailureStopsOthers wants the first failure, and nothing to go on after it.
func TestFailureStopsOthers(t *testing.T) {
	f := setUp(t)
	slow := f.script("slow", f.root, "sleep 60")
	bad := f.script("bad", f.root, "exit 3")
	begun := time.Now()
	_, err := f.solve(slow, bad)
	var failed *plan.ExecError
	if !errors.As(err, &failed) || failed.Op != bad {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestAfter wants a test to decide, and to leave nothing.
func TestAfter(t *testing.T) {
	f := setUp(t)
	made := f.script("make", f.root, "mkdir /out; echo x >/out/x")
	good := f.script("good", made, "echo changed >/out/x; echo more >/out/y")
	bad := f.script("bad", good, "exit 1")
	take := &plan.Op{Name: "take", Kind: &plan.Copy{Input: made, From: "/out", To: "/"}}
	got := f.must(&plan.Op{Name: "p", Kind: &plan.Merge{Layers: []*plan.Op{take}, After: []*plan.Op{good}}})
	if got[0] != "x -rw-r--r-- x\n" {
		t.Errorf("got %s", got[0])
	}
	if _, err := f.solve(&plan.Op{Name: "p", Kind: &plan.Merge{Layers: []*plan.Op{take}, After: []*plan.Op{bad}}}); err == nil {
		t.Error("a failing test changed nothing")
	}
}

func TestCaches(t *testing.T) {
	f := setUp(t)
	f.opts.NoCache = true
	op := f.script("count", f.root, "mkdir /out; echo x >>/var/cache/n; cat /var/cache/n >/out/n")
	op.Kind.(*plan.Exec).Caches = []plan.Cache{{ID: "n", Path: "/var/cache"}}
	for i := range 3 {
		want := "n -rw-r--r-- " + strings.TrimSpace(strings.Repeat("x\n", i+1)) + "\n"
		if got := f.must(f.result(op, "/out"))[0]; got != want {
			t.Errorf("run %d: got %q", i, got)
		}
	}
	if all := f.must(f.result(f.script("look", op, "ls -R /var >/out/all 2>&1 || true"), "/out"))[0]; strings.Contains(all, "cache") {
		t.Errorf("the mount point is in the result:\n%s", all)
	}
}

// TestManyLayers goes beyond what is stacked.
func TestManyLayers(t *testing.T) {
	f := setUp(t)
	op := f.script("s", f.root, "mkdir /out")
	for i := range maxStack + 20 {
		in := tree.New()
		if err := in.Put(fmt.Sprintf("out/%03d", i), tree.File(0o644, nil)); err != nil {
			t.Fatal(err)
		}
		op = &plan.Op{Name: "m", Kind: &plan.Merge{Layers: []*plan.Op{op, f.files(fmt.Sprint("in", i), in)}}}
	}
	got := f.must(f.result(f.script("last", op, "ls /out | { n=0; while read -r x; do n=$((n+1)); done; echo $n; } >/count"), "/count"))
	if got[0] != fmt.Sprintf("count -rw-r--r-- %d\n", maxStack+20) {
		t.Errorf("got %s", got[0])
	}
}

func TestRefusals(t *testing.T) {
	f := setUp(t)
	host := f.script("host", f.root, "true")
	host.Kind.(*plan.Exec).Network = plan.HostNetwork
	if _, err := f.solve(host); !errors.Is(err, plan.ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
	foreign := f.script("foreign", f.root, "true")
	foreign.Platform = "linux/arm64"
	if emulated("arm64") {
		t.Skip("this machine runs programs for arm64")
	}
	if _, err := f.solve(foreign); !errors.Is(err, plan.ErrPlatform) {
		t.Errorf("got %v", err)
	}
}

func TestUnique(t *testing.T) {
	a, b, c := &store.Layer{Name: "a"}, &store.Layer{Name: "b"}, &store.Layer{Name: "c"}
	got := unique(store.Stack{a, b, a, c, b}).Names()
	if !slices.Equal(got, []string{"a", "c", "b"}) {
		t.Errorf("got %v", got)
	}
}

// BenchmarkScript is what a script costs beside its own work.
func BenchmarkScript(b *testing.B) {
	s, err := store.Open(filepath.Join(b.TempDir(), "build"))
	if err != nil {
		b.Fatal(err)
	}
	e, err := New(Options{Store: s, NoCache: true})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	kitchen := testkit.Programs(b)
	root := &plan.Op{Name: "root", Kind: &plan.Files{Key: "root", Tree: func(context.Context, plan.Log) (*tree.Tree, error) { return kitchen, nil }}}
	f := &fixture{}
	for b.Loop() {
		op := f.script("s", root, "echo x >/x")
		if _, err := e.Solve(context.Background(), []*plan.Op{op}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
