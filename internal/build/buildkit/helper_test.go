package buildkit_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/build/buildkit"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/buildkitd"
	"github.com/graftlinux/graft/internal/tree"
)

// socketEnv is where this program, called docker or kubectl, finds the daemon.
const socketEnv = "GRAFT_TEST_SOCKET"

func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "docker" || name == "kubectl" {
		os.Exit(dialStdio())
	}
	code := m.Run()
	buildkitd.Stop()
	os.Exit(code)
}

// dialStdio does what "docker exec -i NAME buildctl dial-stdio" does.
func dialStdio() int {
	c, err := net.Dial("unix", os.Getenv(socketEnv))
	if err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}

func connect(t testing.TB, o buildkit.Options) *buildkit.Engine {
	t.Helper()
	if o.Address == "" {
		o.Address = buildkitd.Start(t)
	}
	if o.SpoolDir == "" {
		o.SpoolDir = t.TempDir()
	}
	e, err := buildkit.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(o.SpoolDir); err != nil || len(left) > 0 {
			t.Errorf("files were left behind: %v, %v", left, err)
		}
	})
	return e
}

// events collect what an engine reports.
type events struct {
	mu   sync.Mutex
	list []plan.Status
}

func (e *events) report(s plan.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, s)
}

// states are those of an operation, Output once for all.
func (e *events) states(op *plan.Op) []plan.State {
	var list []plan.State
	for _, s := range e.list {
		if s.Op == op && (s.State != plan.Output || len(list) == 0 || list[len(list)-1] != plan.Output) {
			list = append(list, s.State)
		}
	}
	return list
}

// last is how an operation ended; -1 if it is not known.
func (e *events) last(op *plan.Op) plan.State {
	if s := e.states(op); len(s) > 0 {
		return s[len(s)-1]
	}
	return -1
}

func (e *events) output(op *plan.Op) string {
	var b strings.Builder
	for _, s := range e.list {
		if s.Op == op && s.State == plan.Output {
			b.Write(s.Data)
		}
	}
	return b.String()
}

// solve expects success.
func solve(t testing.TB, e *buildkit.Engine, roots ...*plan.Op) ([]*tree.Tree, *events) {
	t.Helper()
	ev := &events{}
	trees, err := e.Solve(t.Context(), roots, ev.report)
	if err != nil {
		t.Fatalf("%v\n%s", err, ev.all())
	}
	return trees, ev
}

func (e *events) all() string {
	var b strings.Builder
	for _, s := range e.list {
		b.Write(s.Data)
	}
	return b.String()
}

// fails expects an error.
func fails(t testing.TB, e *buildkit.Engine, roots ...*plan.Op) (*events, error) {
	t.Helper()
	ev := &events{}
	_, err := e.Solve(t.Context(), roots, ev.report)
	if err == nil {
		t.Fatal("there is no error")
	}
	return ev, err
}

// listing is a tree as lines; equal trees have equal ones.
func listing(t testing.TB, tr *tree.Tree) []string {
	t.Helper()
	if err := tr.Hash(t.Context()); err != nil {
		t.Fatal(err)
	}
	var lines []string
	err := tr.Walk(func(e tree.Entry) error {
		if e.Path != "." { // a layer says nothing of it
			lines = append(lines, e.Line())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantTree(t testing.TB, got, want *tree.Tree) {
	t.Helper()
	if d := cmp.Diff(listing(t, want), listing(t, got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func text(t testing.TB, tr *tree.Tree, name string) string {
	t.Helper()
	data, err := tr.ReadFile(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// entries makes a tree of nodes by path.
func entries(t testing.TB, nodes map[string]*tree.Node) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for name, n := range nodes {
		if err := tr.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func file(s string) *tree.Node { return tree.File(0o644, []byte(s)) }

// files is an operation that brings a tree.
func files(t testing.TB, name string, tr *tree.Tree) *plan.Op {
	t.Helper()
	key, err := tr.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Op{Name: name, Kind: &plan.Files{Key: key, Tree: func(context.Context, plan.Log) (*tree.Tree, error) { return tr, nil }}}
}

// shell is a file system with a shell and the usual programs.
func shell(t testing.TB) *plan.Op {
	t.Helper()
	data, err := os.ReadFile(testkit.Judge(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*tree.Node{"bin/busybox": tree.File(0o755, data), "etc/passwd": file("root:x:0:0::/root:/bin/sh\n")}
	for _, name := range []string{"sh", "ls", "cat", "env", "mkdir", "rm", "ln", "sleep", "find", "id", "hostname", "chmod", "stat", "touch", "ip", "wc"} {
		nodes[path.Join("bin", name)] = tree.Symlink("busybox")
	}
	return files(t, "shell", entries(t, nodes))
}

// script runs a text in a file system.
func script(root *plan.Op, name, text string, change ...func(*plan.Exec)) *plan.Op {
	k := &plan.Exec{
		Root: root, Args: []string{"/bin/sh", "-c", "set -eou pipefail\n" + text}, Env: []string{"HOME=/root", "PATH=/bin"},
		Dir: "/tmp/build", Network: plan.NoNetwork, Script: text,
	}
	for _, c := range change {
		c(k)
	}
	return &plan.Op{Name: name, Package: "test", Platform: "linux/amd64", Kind: k}
}

func copyOf(in *plan.Op, from, to string) *plan.Op {
	return &plan.Op{Name: "copy " + from + " to " + to, Kind: &plan.Copy{Input: in, From: from, To: to}}
}

func merge(layers ...*plan.Op) *plan.Op {
	return &plan.Op{Name: "merge", Kind: &plan.Merge{Layers: layers}}
}

// execError expects a command to have failed.
func execError(t testing.TB, err error) *plan.ExecError {
	t.Helper()
	var e *plan.ExecError
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want an ExecError", err, err)
	}
	return e
}

// tarOf is a tar of files by name.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))})
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
