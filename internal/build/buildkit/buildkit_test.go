package buildkit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/build/buildkit"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/tree"
)

// everything has what a tree can hold.
func everything(t testing.TB) *tree.Tree {
	shared := tree.File(0o640, []byte("two names"))
	return entries(t, map[string]*tree.Node{
		"a/file":       file("text"),
		"a/empty":      file(""),
		"a/suid":       {Mode: 0o755 | fs.ModeSetuid, Size: 1, Content: tree.Bytes("x")},
		"a/sgid":       {Mode: 0o711 | fs.ModeSetgid, Size: 1, Content: tree.Bytes("y")},
		"a/one":        shared,
		"a/two":        shared,
		"a/link":       tree.Symlink("file"),
		"a/dangling":   tree.Symlink("/no/where"),
		"a/void":       tree.Dir(0o700),
		"a/sticky":     {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		"a/spaced out": file("name"),
		"a/*":          file("not a pattern"),
		"to-a":         tree.Symlink("a"),
		"to-file":      tree.Symlink("/a/file"),
		"loop":         tree.Symlink("loop"),
	})
}

func TestFiles(t *testing.T) {
	t.Parallel()
	want := everything(t)
	got, ev := solve(t, connect(t, buildkit.Options{}), files(t, "files", want))
	wantTree(t, got[0], want)
	if len(ev.list) == 0 {
		t.Error("nothing was reported")
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	in := everything(t)
	input := files(t, "input", in)
	tests := []struct {
		from, to string
		want     map[string]*tree.Node // nil: what is in from, at to
		at       string
	}{
		{"/", "/", nil, ""},
		{"/a", "/", nil, ""},
		{"/a/", "/", nil, ""},
		{"/a", "/b", nil, "b"},
		{"/a", "/b/", nil, "b"},
		{"/a", "/b/c/d", nil, "b/c/d"},
		{"/to-a", "/b", nil, "b"},
		{"/a/void", "/b", map[string]*tree.Node{"b": tree.Dir(0o755)}, ""},
		{"/a/file", "/", map[string]*tree.Node{"file": file("text")}, ""},
		{"/a/file", "/b", map[string]*tree.Node{"b": file("text")}, ""},
		{"/a/file", "/b/", map[string]*tree.Node{"b/file": file("text")}, ""},
		{"/a/file", "/b/c/d", map[string]*tree.Node{"b/c/d": file("text")}, ""},
		{"/to-a/file", "/b", map[string]*tree.Node{"b": file("text")}, ""},
		{"/to-file", "/b", map[string]*tree.Node{"b": file("text")}, ""},
		{"/to-file", "/b/", map[string]*tree.Node{"b/to-file": file("text")}, ""},
		{"/a/suid", "/b", map[string]*tree.Node{"b": in.Get("a/suid")}, ""},
		{"/a/*", "/b", map[string]*tree.Node{"b": file("not a pattern")}, ""},
		{"/a/spaced out", "/b c", map[string]*tree.Node{"b c": file("name")}, ""},
	}
	var roots []*plan.Op
	for _, test := range tests {
		roots = append(roots, copyOf(input, test.from, test.to))
	}
	got, _ := solve(t, e, roots...)
	for i, test := range tests {
		t.Run(test.from+" to "+test.to, func(t *testing.T) {
			want := entries(t, test.want)
			if test.want == nil {
				want = below(t, in, test.from, test.at)
			}
			wantTree(t, got[i], want)
		})
	}
}

// below is what is in a directory of a tree, at a path of another.
func below(t testing.TB, in *tree.Tree, from, at string) *tree.Tree {
	name, _, err := in.Resolve(from)
	if err != nil {
		t.Fatal(err)
	}
	out := tree.New()
	err = in.Sub(name).Walk(func(e tree.Entry) error {
		switch {
		case e.Path != ".":
			return out.Put(strings.TrimPrefix(at+"/"+e.Path, "/"), e.Node)
		case at != "":
			return out.Put(at, tree.Dir(0o755))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCopyErrors(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	input := files(t, "input", everything(t))
	for _, from := range []string{"/missing", "/a/missing", "/a/dangling", "/a/file/below", "/no/such/place"} {
		op := copyOf(input, from, "/")
		ev, err := fails(t, e, op)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), from+" is not there") {
			t.Errorf("%s: got %v", from, err)
		}
		if got := ev.last(op); got != plan.Failed {
			t.Errorf("%s: the operation ended as %d", from, got)
		}
	}
	if _, err := fails(t, e, copyOf(input, "/loop", "/")); !strings.Contains(err.Error(), "copy /loop to /: ") {
		t.Errorf("a loop: got %v", err)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	lower := files(t, "lower", entries(t, map[string]*tree.Node{
		"dir": tree.Dir(0o700), "dir/low": file("low"), "same": file("low"), "was-dir/x": file("x"), "was-link": tree.Symlink("dir"), "was-file": file("f"),
	}))
	upper := files(t, "upper", entries(t, map[string]*tree.Node{
		"dir": tree.Dir(0o711), "dir/up": file("up"), "same": file("up"), "was-dir": file("file"), "was-link/y": file("y"), "was-file": tree.Symlink("dir"),
	}))
	want := entries(t, map[string]*tree.Node{
		"dir": tree.Dir(0o711), "dir/low": file("low"), "dir/up": file("up"), "same": file("up"), "was-dir": file("file"), "was-link/y": file("y"), "was-file": tree.Symlink("dir"),
	})
	got, _ := solve(t, e, merge(lower, upper), merge(lower, upper, merge()), merge(merge(lower), merge(merge(), upper)), merge(lower), merge(), copyOf(merge(), "/", "/x"))
	for i := range 3 {
		wantTree(t, got[i], want)
	}
	wantTree(t, got[3], entries(t, map[string]*tree.Node{
		"dir": tree.Dir(0o700), "dir/low": file("low"), "same": file("low"), "was-dir/x": file("x"), "was-link": tree.Symlink("dir"), "was-file": file("f"),
	}))
	wantTree(t, got[4], tree.New())
	wantTree(t, got[5], entries(t, map[string]*tree.Node{"x": tree.Dir(0o755)}))
}

// What a command removed from its own file system stays in others.
func TestMergeRemoved(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	sh := shell(t)
	base := merge(sh, files(t, "base", entries(t, map[string]*tree.Node{"opt/a": file("a"), "opt/d/b": file("b")})))
	other := files(t, "other", entries(t, map[string]*tree.Node{"opt/a": file("other"), "opt/d/more": file("more")}))
	removed := script(base, "remove", "rm -r /opt/a /opt/d && mkdir /opt/d && touch /opt/new")
	more := files(t, "more", entries(t, map[string]*tree.Node{"x": file("x")}))
	want := entries(t, map[string]*tree.Node{"a": file("other"), "d/more": file("more"), "new": file("")})
	for _, op := range []*plan.Op{merge(other, removed), merge(other, merge(removed, more)), merge(removed, other)} {
		got, _ := solve(t, e, copyOf(op, "/opt", "/"))
		wantTree(t, got[0], want)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	op := script(shell(t), "test:build-0", `
		id -u > id
		hostname > hostname
		env > env
		ip -o addr > /network
		echo from $PWD, $1
		touch -t 203001010000 /later
		rm /etc/passwd
	`, func(k *plan.Exec) {
		k.Args = append(k.Args, "sh", "an argument")
		k.Env = []string{"EMPTY=", "HOME=/home", "PATH=/bin", "QUOTED=a=b 'c' \"d\" $HOME"}
	})
	got, ev := solve(t, e, op)
	if got, want := text(t, got[0], "tmp/build/id"), "0\n"; got != want {
		t.Errorf("uid %q", got)
	}
	if got, want := text(t, got[0], "tmp/build/hostname"), "buildkitsandbox\n"; got != want {
		t.Errorf("hostname %q, want %q", got, want)
	}
	network := strings.Split(strings.TrimSpace(text(t, got[0], "network")), "\n")
	if slices.ContainsFunc(network, func(line string) bool { return !strings.Contains(line, ": lo ") }) || !strings.Contains(network[0], "127.0.0.1/8") {
		t.Errorf("more or less than loopback: %q", network)
	}
	if d := cmp.Diff([]string{"EMPTY=", "HOME=/home", "PATH=/bin", "PWD=/tmp/build", "QUOTED=a=b 'c' \"d\" $HOME"}, environment(text(t, got[0], "tmp/build/env"))); d != "" {
		t.Errorf("environment: -want +got\n%s", d)
	}
	if got, want := ev.output(op), "from /tmp/build, an argument\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if d := cmp.Diff([]plan.State{plan.Started, plan.Output, plan.Done}, ev.states(op)); d != "" {
		t.Errorf("states: -want +got\n%s", d)
	}
	if got[0].Get("etc/passwd") != nil || got[0].Get("etc/resolv.conf") != nil || got[0].Get("etc/hosts") != nil {
		t.Errorf("in /etc: %v", got[0].Names("etc"))
	}
	if _, ev = solve(t, e, op); ev.last(op) != plan.Cached {
		t.Errorf("the second time: %v", ev.states(op))
	}
}

// environment is sorted, without what the daemon's tracing adds and the shell.
func environment(s string) []string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "OTEL_") || strings.HasPrefix(l, "TRACEPARENT=") || strings.HasPrefix(l, "SHLVL=")
	})
	slices.Sort(lines)
	return lines
}

func TestExecFromNothing(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	op := script(merge(), "nothing", "true")
	_, err := fails(t, e, op)
	if err := execError(t, err); err.Err == nil || !strings.Contains(err.Error(), "/bin/sh") {
		t.Errorf("got %v\n%s", err, err.Output)
	}
}

func TestExecFails(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	sh := shell(t)
	tests := []struct {
		name   string
		op     *plan.Op
		code   int
		output string
		cause  string
	}{
		{"exit", script(sh, "exit", "echo before; echo problem >&2; exit 7"), 7, "problem\n", ""},
		{"unset variable", script(sh, "unset", "echo $nothing"), 2, "nothing: parameter not set", ""},
		{"pipe", script(sh, "pipe", "false | cat"), 1, "", ""},
		{"signal", script(sh, "signal", "sh -c 'kill -9 $$'; echo not here"), 137, "Killed", ""},
		{"no program", script(sh, "program", "", func(k *plan.Exec) { k.Args[0] = "/bin/bash" }), 1, "", "/bin/bash"},
		{"long", script(sh, "long", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done; exit 1"), 1, "line 4999\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			after := script(test.op, "after", "true")
			ev, err := fails(t, e, after)
			got := execError(t, err)
			if got.Op != test.op || got.ExitCode != test.code {
				t.Errorf("got %s with %d, want %s with %d", got.Op.Name, got.ExitCode, test.op.Name, test.code)
			}
			if !strings.Contains(string(got.Output), test.output) || len(got.Output) > 32<<10 {
				t.Errorf("output: %d bytes, %q", len(got.Output), got.Output)
			}
			if (got.Err != nil) != (test.cause != "") || !strings.Contains(got.Error(), test.cause) {
				t.Errorf("error: %v", got)
			}
			if ev.last(test.op) != plan.Failed || ev.last(after) != -1 {
				t.Errorf("states: %v, %v", ev.states(test.op), ev.states(after))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	sh := shell(t)
	host := script(sh, "host", "true", func(k *plan.Exec) { k.Network = plan.HostNetwork })
	if _, err := fails(t, e, host); !errors.Is(err, plan.ErrNotAllowed) || !strings.Contains(err.Error(), "--allow network.host") {
		t.Errorf("host network: %v", err)
	}
	foreign := script(sh, "foreign", "true")
	foreign.Platform = "linux/s390x"
	if _, err := fails(t, e, foreign); !errors.Is(err, plan.ErrPlatform) || !strings.Contains(err.Error(), "foreign: ") {
		t.Errorf("platform: %v", err)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{Allow: []string{"network.host"}})
	for _, n := range []plan.Network{plan.DefaultNetwork, plan.HostNetwork} {
		got, _ := solve(t, e, script(shell(t), string(n), "ip link | wc -l > /n", func(k *plan.Exec) { k.Network = n }))
		if n := text(t, got[0], "n"); n == "2\n" {
			t.Errorf("%s: %q lines, only loopback", n, n)
		}
	}
}

// The files of a package for another platform can be put together anywhere.
func TestOtherPlatform(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	var roots []*plan.Op
	for _, p := range []string{"linux/amd64", "linux/arm64"} {
		in := files(t, p, entries(t, map[string]*tree.Node{"platform": file(p)}))
		in.Platform = p
		op := merge(copyOf(in, "/platform", "/p"), files(t, "same", entries(t, map[string]*tree.Node{"same": file("same")})))
		op.Platform = p
		roots = append(roots, op)
	}
	got, _ := solve(t, e, roots...)
	for i, p := range []string{"linux/amd64", "linux/arm64"} {
		wantTree(t, got[i], entries(t, map[string]*tree.Node{"p": file(p), "same": file("same")}))
	}
}

func TestCaches(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	cached := func(k *plan.Exec) {
		k.Caches = []plan.Cache{{ID: t.Name(), Path: "/var/cache/test"}, {ID: t.Name() + "/other", Path: "/etc"}}
	}
	one := script(shell(t), "one", "echo kept > /var/cache/test/file; ls /etc", cached)
	two := script(one, "two", "cat /var/cache/test/file > /result", cached)
	got, _ := solve(t, e, two)
	if got := text(t, got[0], "result"); got != "kept\n" {
		t.Errorf("got %q", got)
	}
	if got[0].Get("var") != nil {
		t.Error("the place of the cache is still there")
	}
	if got := text(t, got[0], "etc/passwd"); !strings.HasPrefix(got, "root:") {
		t.Errorf("what the cache covered: %q", got)
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	built := script(shell(t), "test:build-0", "touch /built")
	result := func(test string) (op, next *plan.Op) {
		tested := script(built, "test:test-0", test+"; touch /tested; rm /built")
		op = &plan.Op{Name: "result", Kind: &plan.Merge{Layers: []*plan.Op{copyOf(built, "/built", "/"), copyOf(built, "/etc", "/etc")}, After: []*plan.Op{tested, built}}}
		return op, script(merge(shell(t), op), "next", "ls / > /list")
	}
	op, next := result("echo first")
	got, _ := solve(t, e, op, next)
	wantTree(t, got[0], entries(t, map[string]*tree.Node{"built": file(""), "etc/passwd": file("root:x:0:0::/root:/bin/sh\n")}))

	_, next = result("echo second")
	if _, ev := solve(t, e, next); ev.last(next) != plan.Cached {
		t.Errorf("another test of the same: %v", ev.states(next))
	}

	op, next = result("false")
	for _, root := range []*plan.Op{op, next} {
		_, err := fails(t, e, root)
		if err := execError(t, err); err.Op.Name != "test:test-0" || err.ExitCode != 1 {
			t.Errorf("got %v", err)
		}
	}
	op.Kind.(*plan.Merge).Layers = nil
	if _, err := fails(t, e, op); execError(t, err).Op.Name != "test:test-0" {
		t.Errorf("a result without files: %v", err)
	}
}

func TestProxyEnv(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	op := func(proxy string) *plan.Op {
		return script(shell(t), "proxy", "echo $http_proxy $NO_PROXY > /proxy", func(k *plan.Exec) {
			k.ProxyEnv = []string{"HTTP_PROXY=" + proxy, "http_proxy=" + proxy, "no_proxy=" + proxy}
		})
	}
	got, _ := solve(t, e, op("one"))
	if got := text(t, got[0], "proxy"); got != "one one\n" {
		t.Errorf("got %q", got)
	}
	again := op("two")
	if _, ev := solve(t, e, again); ev.last(again) != plan.Cached {
		t.Errorf("another proxy: %v", ev.states(again))
	}
}

// Each of two commands waits until the other runs.
func TestParallel(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	cached := func(k *plan.Exec) { k.Caches = []plan.Cache{{ID: t.Name(), Path: "/meet"}} }
	wait := func(me, other string) *plan.Op {
		return script(shell(t), me, "touch /meet/"+me+"; i=0; while [ ! -e /meet/"+other+" ]; do sleep 0.05; i=$((i+1)); [ $i -lt 1000 ]; done; touch /"+me, cached)
	}
	one, two := wait("one", "two"), wait("two", "one")
	got, _ := solve(t, e, copyOf(one, "/one", "/"), copyOf(two, "/two", "/"), copyOf(merge(one, copyOf(two, "/two", "/")), "/two", "/x"))
	wantTree(t, got[0], entries(t, map[string]*tree.Node{"one": file("")}))
	wantTree(t, got[1], entries(t, map[string]*tree.Node{"two": file("")}))
	wantTree(t, got[2], entries(t, map[string]*tree.Node{"x": file("")}))
}

func TestCancel(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	op := script(shell(t), "sleeper", "echo sleeping; sleep 1000")
	ev := &events{}
	_, err := e.Solve(ctx, []*plan.Op{op}, func(s plan.Status) {
		if s.Op == op && s.State == plan.Output {
			cancel()
		}
		ev.report(s)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := ev.last(op); got != plan.Canceled {
		t.Errorf("states: %v", ev.states(op))
	}
	solve(t, e, script(shell(t), "alive", "true")) // the engine can be used on
}

func TestFailureStopsOthers(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	cached := func(k *plan.Exec) { k.Caches = []plan.Cache{{ID: t.Name(), Path: "/meet"}} }
	sleeper := script(shell(t), "sleeper", "touch /meet/here; sleep 1000", cached)
	failing := script(shell(t), "failing", "while [ ! -e /meet/here ]; do sleep 0.05; done; exit 3", cached)
	ev, err := fails(t, e, sleeper, failing)
	if got := execError(t, err); got.Op != failing || got.ExitCode != 3 {
		t.Errorf("got %v", err)
	}
	if ev.last(sleeper) != plan.Canceled || ev.last(failing) != plan.Failed {
		t.Errorf("states: %v, %v", ev.states(sleeper), ev.states(failing))
	}
}

func TestNoCache(t *testing.T) {
	t.Parallel()
	op := script(shell(t), "no-cache", "touch /made")
	solve(t, connect(t, buildkit.Options{}), op)
	_, ev := solve(t, connect(t, buildkit.Options{NoCache: true}), op)
	if got := ev.last(op); got != plan.Done {
		t.Errorf("states: %v", ev.states(op))
	}
}

func TestFilesFail(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	gone := errors.New("the server is gone")
	op := &plan.Op{Name: "source", Kind: &plan.Files{Key: t.Name(), Tree: func(_ context.Context, log plan.Log) (*tree.Tree, error) {
		log("downloading")
		return nil, gone
	}}}
	ev, err := fails(t, e, script(merge(shell(t), op), "user", "true"))
	if !errors.Is(err, gone) || err.Error() != "source: the server is gone" {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]plan.State{plan.Started, plan.Output, plan.Failed}, ev.states(op)); d != "" {
		t.Errorf("states: -want +got\n%s", d)
	}
}

// Every operation gets an end, and nothing comes after it.
func TestStates(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	sh := shell(t)
	one := script(sh, "one", "echo one; touch /one")
	all := []*plan.Op{sh, one, copyOf(one, "/one", "/"), files(t, "more", entries(t, map[string]*tree.Node{t.Name(): file("more")}))}
	root := merge(all[2], all[3])
	all = append(all, root)
	for _, want := range []plan.State{plan.Done, plan.Cached} {
		_, ev := solve(t, e, root)
		if got := ev.last(one); got != want {
			t.Errorf("the command: %d, want %d", got, want)
		}
		for _, op := range all {
			states := ev.states(op)
			for i, s := range states {
				if final := s >= plan.Cached; final != (i == len(states)-1) {
					t.Errorf("%s: %v", op.Name, states)
				}
			}
			if len(states) == 0 {
				t.Errorf("%s: no end", op.Name)
			}
		}
	}
}

// Many ways lead down through packages that need others, and a part is the same
// in all: BuildKit's solver alone would try each of the ways.
func TestDeep(t *testing.T) {
	t.Parallel()
	e := connect(t, buildkit.Options{})
	same := files(t, "same", entries(t, map[string]*tree.Node{"same": file("same")}))
	op := merge(same, files(t, "first", entries(t, map[string]*tree.Node{"a/first": file(""), "b/first": file("")})))
	for level := range 20 {
		id := fmt.Sprint(level)
		all := merge(op, files(t, id, entries(t, map[string]*tree.Node{"a/" + id: file(id), "b/" + id: file(id)})))
		var layers []*plan.Op
		for _, name := range []string{"/a", "/b", "/same"} {
			layers = append(layers, copyOf(all, name, name))
			layers[len(layers)-1].Package = id
		}
		op = merge(layers...)
	}
	got, _ := solve(t, e, copyOf(same, "/same", "/same"), op)
	if names := got[1].Names("a"); len(names) != 21 {
		t.Errorf("got %d files: %v", len(names), names)
	}
}
