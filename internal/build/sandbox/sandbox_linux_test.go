package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Child()
	if filepath.Base(os.Args[0]) == "helper" {
		os.Exit(help(os.Args[1:]))
	}
	code := m.Run()
	removeMachine()
	os.Exit(code)
}

// ordinary is set in the run of all tests as an ordinary user.
const ordinary = "GRAFT_TEST_ORDINARY"

// TestAsOrdinaryUser runs all the tests once more, as a user who is not root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is no root, who can become others")
	}
	if testing.Short() {
		t.Skip("all tests twice take too long for -short")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "self.test") // a directory of go test's is closed to others
	if err := copyFile("/proc/self/exe", self); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.timeout=3m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), ordinary+"=1", "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// asRoot skips a test that needs root.
func asRoot(t *testing.T, why string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root " + why)
	}
}

// sh is a sandbox for a shell script on the machine's root, and layers over it.
func sh(t testing.TB, script string, layers ...string) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		Lower: append([]string{machine(t)}, layers...), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Args: []string{"sh", "-c", "set -eu\n" + script}, Env: []string{"PATH=/bin"},
	}
	for _, d := range []string{c.Upper, c.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := removeAll(dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

// output runs a command that must succeed.
func output(t testing.TB, c Config) string {
	t.Helper()
	out, code, err := try(t, c)
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, error %v, output:\n%s", code, err, out)
	}
	return out
}

// try runs a command with a limit of time.
func try(t testing.TB, c Config) (string, int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	c.Output = &out
	r, err := Run(ctx, c)
	if c.Work != "" {
		if entries, _ := os.ReadDir(c.Work); len(entries) > 0 {
			t.Errorf("the work directory is not empty")
		}
	}
	return out.String(), r.ExitCode, err
}

// layer makes a directory of files: "NAME", a directory if that ends in a slash,
// and "NAME=CONTENT".
func layer(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(file, 0o755)
		} else {
			err = errors.Join(err, os.WriteFile(file, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list shows what is in a directory, as the package comment describes it.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		line := info.Mode().String() + " " + rel
		st := info.Sys().(*syscall.Stat_t)
		if st.Mode&syscall.S_IFMT == syscall.S_IFCHR && st.Rdev == 0 {
			line = "whiteout " + rel
		}
		var value [8]byte
		if n, _ := unix.Lgetxattr(name, "user.overlay.opaque", value[:]); n > 0 {
			line += " opaque=" + string(value[:n])
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestChanges(t *testing.T) {
	t.Parallel()
	lower := layer(t, "changed=1", "kept=1", "removed=1", "dir/file=1", "emptied/a=1", "emptied/b=1", "replaced/a=1", "gone/a=1", "moved/a=1", "shut/a=1")
	c := sh(t, `
		echo 2 >> changed
		rm removed
		rm -r gone
		echo 1 > new
		echo 1 > dir/new
		rm emptied/a
		rm -r replaced; mkdir replaced; echo > replaced/b
		mv moved away
		ln -s new link
		ln new hard
		chmod 4755 new
		chmod 0 shut
		mkdir -m 700 private
		touch private/file; chmod 0 private/file`, lower)
	output(t, c)
	if err := os.Chmod(c.Upper+"/shut", 0o755); err != nil && !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	want := []string{
		"drwxr-xr-x away", "-rw-r--r-- away/a", "-rw-r--r-- changed", "drwxr-xr-x dir", "-rw-r--r-- dir/new",
		"drwxr-xr-x emptied", "whiteout emptied/a", "whiteout gone", "urwxr-xr-x hard", "Lrwxrwxrwx link", "whiteout moved", "urwxr-xr-x new",
		"drwx------ private", "---------- private/file", "whiteout removed", "drwxr-xr-x replaced opaque=y", "-rw-r--r-- replaced/b", "drwxr-xr-x shut",
	}
	got := list(t, c.Upper)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if data, _ := os.ReadFile(c.Upper + "/changed"); string(data) != "12\n" {
		t.Errorf("changed is %q", data)
	}
	if data, _ := os.ReadFile(lower + "/changed"); string(data) != "1" {
		t.Errorf("the layer below was changed: %q", data)
	}
}

// TestStack runs on what another command left.
func TestStack(t *testing.T) {
	t.Parallel()
	lower := layer(t, "a/1=1", "a/2=1", "b=1")
	first := sh(t, "rm b a/1; mkdir c; rm -r a; mkdir a; touch a/3", lower)
	output(t, first)
	if got := output(t, sh(t, "ls -d a/* b c 2>/dev/null || true", lower, first.Upper)); got != "a/3\nc\n" {
		t.Errorf("got %q", got)
	}
}

func TestSurroundings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script, want string
		change       func(*Config)
	}{
		"user":         {"id -u; id -g", "0\n0\n", nil},
		"hostname":     {"uname -n; cat /proc/sys/kernel/domainname", "buildkitsandbox\n(none)\n", nil},
		"own hostname": {"uname -n; cat /etc/hosts", "box\n127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n", func(c *Config) { c.Hostname = "box" }},
		"environment":  {"env | grep -v '^_=' | sort", "A=b c\nPATH=/bin\nPWD=/\n", func(c *Config) { c.Env = append(c.Env, "A=b c") }},
		"directory":    {"readlink /proc/self/cwd; stat -c %a /made", "/made/here\n755\n", func(c *Config) { c.Dir = "/made/here" }},
		"umask":        {"umask; touch f; stat -c %a f", "0022\n644\n", nil},
		"core":         {"ulimit -c; ulimit -s; ulimit -t", "0\n8192\nunlimited\n", nil},
		"root":         {"ls /", "bin\ndev\netc\nlib\nlib64\nproc\nsys\n", nil},
		"processes":    {"test $(ls /proc | grep '^[0-9]' | wc -l) -le 6 && echo few", "few\n", nil}, // the first one, sh twice, ls, grep, wc
		"pid":          {"echo $$", "100\n", nil},
		"signals":      {"grep -E 'Sig(Ign|Blk)' /proc/self/status", "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", nil},
		"capabilities": {"grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb\n", nil},
		"interfaces":   {"grep -o '^ *[a-z0-9]*:' /proc/net/dev; ls /sys/class/net", "    lo:\nlo\n", nil},
		"no resolver":  {"cat /etc/resolv.conf", "", nil},
		"loopback":     {"helper listen", "heard\n", nil},
		"no input":     {"cat; readlink /proc/self/fd/0", "/dev/null\n", nil},
		"files":        {"ls /proc/self/fd", "0\n1\n2\n3\n", nil}, // 3 is the directory
		"devices":      {"echo x > /dev/null; dd if=/dev/zero bs=4 count=1 2>/dev/null | wc -c; test -c /dev/urandom; echo y >> /dev/stderr; test -d /dev/shm; ls /dev/fd/0", "4\ny\n/dev/fd/0\n", nil},
		"no terminal":  {"(echo x > /dev/tty) 2>/dev/null || echo none", "none\n", nil},
		"own terminal": {"test -c /dev/ptmx; ls /dev/pts", "ptmx\n", nil},
		"masked":       {"wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l", "0\n0\n0\n", nil},
		"read only":    {"for f in /proc/sys/kernel/hostname /etc/hosts /sys/x; do (echo x > $f) 2>/dev/null && echo $f; done; true", "", nil},
		"stderr":       {"echo a; echo b >&2; echo c", "a\nb\nc\n", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := sh(t, test.script)
			if test.change != nil {
				test.change(&c)
			}
			if diff := cmp.Diff(test.want, output(t, c)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHostNetwork(t *testing.T) {
	t.Parallel()
	c := sh(t, "cat /proc/net/dev | wc -l; ls /sys | wc -l; cat /etc/resolv.conf")
	c.Network = Host
	host, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	want := fmt.Sprintf("%d\n0\n%s", bytes.Count(host, []byte("\n")), resolv)
	if diff := cmp.Diff(want, output(t, c)); diff != "" {
		t.Error(diff)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -KILL $$": 137, "kill -TERM $$": 143, "false || exit 255": 255} {
		if out, code, err := try(t, sh(t, script)); code != want || err != nil {
			t.Errorf("%s: exit code %d, error %v, want %d (%s)", script, code, err, want, out)
		}
	}
}

// TestInput reads from a file of the caller.
func TestInput(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join(layer(t, "in=hello"), "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := sh(t, "cat")
	c.Stdin = f
	if got := output(t, c); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestMisuse has configurations and commands that cannot run, and what people are
// told.
func TestMisuse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":         {func(c *Config) { *c = Config{} }, "layers need a lower directory"},
		"no command":      {func(c *Config) { c.Args = nil }, "there is no command"},
		"both roots":      {func(c *Config) { c.Root = "/x" }, "a root and layers"},
		"relative":        {func(c *Config) { c.Lower = []string{"x"} }, `the path of the lower directory "x" must be absolute`},
		"too many":        {func(c *Config) { c.Lower = make([]string, MaxLower+1) }, "501 lower directories"},
		"bytes":           {func(c *Config) { c.Env = []string{"A=\xff"} }, `"A=\xff" is no text`},
		"relative dir":    {func(c *Config) { c.Dir = "x" }, `working directory "x" must be absolute`},
		"mounted root":    {func(c *Config) { c.Mounts = []Mount{{"/tmp", "/"}} }, "that is where the root is"},
		"mounted twice":   {func(c *Config) { c.Mounts = []Mount{{"/tmp", "/a"}, {"/tmp", "/a/"}} }, "two directories are to be mounted on /a"},
		"no source":       {func(c *Config) { c.Mounts = []Mount{{"/nowhere", "/a"}} }, "mounting on /a: open /nowhere: no such file or directory"},
		"mount on a file": {func(c *Config) { c.Mounts = []Mount{{"/tmp", "/bin/sh"}} }, "making the mount point /bin/sh: /bin/sh is there and a file"},
		"no layer":        {func(c *Config) { c.Lower = []string{"/nowhere"} }, "opening a layer: open /nowhere: no such file or directory"},
		"no terminal":     {func(c *Config) { c.Terminal = true }, "none is given"},
		"false terminal":  {func(c *Config) { c.Terminal, c.Stdin = true, devNull(t) }, "/dev/null is not the terminal of this session"},
		"no such program": {func(c *Config) { c.Args = []string{"make", "-j"} }, `finding the program "make": no such file or directory in PATH="/bin" of its root`},
		"no PATH":         {func(c *Config) { c.Env = nil }, `finding the program "sh": no such file or directory in PATH="" of its root`},
		"no such file":    {func(c *Config) { c.Args = []string{"/bin/bash"} }, "finding the program /bin/bash: it is not in the root"},
		"directory":       {func(c *Config) { c.Args = []string{"/bin"} }, "running /bin: it is no file"},
		"mode":            {func(c *Config) { c.Args = []string{"/plain"} }, "running /plain: its mode 0644 does not allow it"},
		"no interpreter":  {func(c *Config) { c.Args = []string{"/script"} }, "running /script: its interpreter /usr/bin/perl is not in the root"},
		"other machine":   {func(c *Config) { c.Args = []string{"/other"} }, "running /other: it is no program for "},
		"file as dir":     {func(c *Config) { c.Dir = "/plain" }, "making the working directory /plain"},
		"long argument":   {func(c *Config) { c.Args = append(c.Args, strings.Repeat("x", 200<<10)) }, "too long for the kernel"},
	}
	lower := layer(t, "plain=x", "script=#!/usr/bin/perl -w\n", "other=\x7fELF junk")
	for _, f := range []string{"script", "other"} {
		if err := os.Chmod(filepath.Join(lower, f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := sh(t, "true", lower)
			test.change(&c)
			_, _, err := try(t, c)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			var host *HostError
			if errors.As(err, &host) {
				t.Errorf("the machine is said to be the cause: %q", host.Hints)
			}
		})
	}
}

func devNull(t *testing.T) *os.File {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestMissingLoader(t *testing.T) {
	t.Parallel()
	c := sh(t, "true")
	c.Lower = []string{layer(t)}
	if err := copyFile("/bin/true", c.Lower[0]+"/true"); err != nil {
		t.Fatal(err)
	}
	c.Args = []string{"/true"}
	if _, _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "its interpreter /lib") || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

// TestStubs looks for mount points in the result.
func TestStubs(t *testing.T) {
	t.Parallel()
	old := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	lower := layer(t, "etc/passwd=x", "run/real/", "srv/")
	if err := errors.Join(os.Symlink("../run/real/resolv.conf", lower+"/etc/resolv.conf"), os.Chtimes(lower+"/etc", old, old)); err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	c := sh(t, "test -f /run/real/resolv.conf; test -d /var/cache/go; echo 1 > /var/cache/mine; echo 2 > /srv/sub/cached; rmdir /gone/a/b || mv /gone /away; mkdir -p /dir/here", lower)
	c.Mounts = []Mount{{source, "/srv/sub"}, {source, "/var/cache/go"}, {source, "/var/unused/go"}, {source, "/gone/a/b"}, {source, "/srv/sub/nested"}}
	output(t, c)
	got := list(t, c.Upper)
	want := []string{
		"drwxr-xr-x away opaque=y", "drwxr-xr-x away/a", "drwxr-xr-x away/a/b", // moved by the script
		"drwxr-xr-x dir", "drwxr-xr-x dir/here",
		"drwxr-xr-x etc", "drwxr-xr-x run", "drwxr-xr-x run/real", "drwxr-xr-x srv", // as they are below, changed for a time
		"drwxr-xr-x var", "drwxr-xr-x var/cache", "-rw-r--r-- var/cache/mine",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(c.Upper + "/etc"); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("/etc was modified at %v, error %v", info.ModTime(), err)
	}
	if got := list(t, source); !slices.Equal(got, []string{"-rw-r--r-- cached", "drwxr-xr-x nested"}) {
		t.Errorf("in the mounted directory: %v", got)
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	source := layer(t, "old=1")
	for i, want := range []string{"1", "2"} {
		c := sh(t, `test -f /root/.cache/old; echo x >> /root/.cache/new; wc -l < /root/.cache/new`)
		c.Mounts = []Mount{{source, "/root/.cache"}}
		if got := strings.TrimSpace(output(t, c)); got != want {
			t.Errorf("run %d: got %s, want %s", i, got, want)
		}
		if got := list(t, c.Upper); len(got) > 0 {
			t.Errorf("the result has %v", got)
		}
	}
}

// TestRoot runs in a directory, not in an overlay.
func TestRoot(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	c := sh(t, "echo 1 > /new; rm /bin/helper; test -d /cache/x; uname -n; grep -c . /etc/hosts", "")
	c.Lower, c.Upper, c.Work = nil, "", ""
	c.Root = t.TempDir()
	if err := os.CopyFS(c.Root, os.DirFS(machine(t))); err != nil {
		t.Fatal(err)
	}
	c.Mounts = []Mount{{source, "/cache/x"}}
	if got := output(t, c); got != "buildkitsandbox\n2\n" {
		t.Errorf("got %q", got)
	}
	entries, err := os.ReadDir(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"bin", "lib", "lib64", "new"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestManyLayers(t *testing.T) {
	t.Parallel()
	var layers []string
	for i := range MaxLower - 1 {
		layers = append(layers, layer(t, fmt.Sprintf("f%d=x", i), fmt.Sprintf("top=%d", i)))
	}
	if got := output(t, sh(t, "ls / | grep -c ^f; cat top", layers...)); got != "499\n498" {
		t.Errorf("got %q", got)
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for i := range 24 {
		c := sh(t, fmt.Sprintf("echo %d > f; helper listen; cat f", i))
		all.Go(func() {
			var out bytes.Buffer
			c.Output = &out
			r, err := Run(t.Context(), c)
			if want := fmt.Sprintf("heard\n%d\n", i); err != nil || r.ExitCode != 0 || out.String() != want {
				t.Errorf("exit code %d, error %v, output %q, want %q", r.ExitCode, err, out.String(), want)
			}
		})
	}
	all.Wait()
}

// TestOwners changes owners, of whom an ordinary user has none.
func TestOwners(t *testing.T) {
	t.Parallel()
	c := sh(t, `
		touch f l
		chown 1000:1000 f; chown -R 12:34 bin; chown -h 5:6 l; chown 0:0 f; chown :1 f
		install -o 1000 -g 50 -m 4755 bin/true bin/suid
		stat -c %a bin/suid
		mkdir x; chown 65534 x
		tar -C x -xpf foreign.tar; cat x/file
		chown 0 missing 2>/dev/null || echo none`, "")
	c.Lower[1] = layer(t, "foreign.tar="+foreignTar(t))
	if got := output(t, c); got != "4755\ncontentnone\n" {
		t.Errorf("got %q", got)
	}
}

// TestHelperOwners calls the system, as no program of the machine may do.
func TestHelperOwners(t *testing.T) {
	t.Parallel()
	if got := output(t, sh(t, "helper owners")); got != "ok\n" {
		t.Errorf("got %q", got)
	}
}

func TestSetuid(t *testing.T) {
	t.Parallel()
	lower := layer(t, "old=x")
	if err := os.Chmod(lower+"/old", 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	c := sh(t, "cp bin/true new; chmod 6755 new; mkdir d; chmod 3777 d; touch -h old; stat -c %a old new d", lower)
	if got := output(t, c); got != "6755\n6755\n3777\n" {
		t.Errorf("got %q", got)
	}
	want := []string{"dtrwxrwxrwx d", "ugrwxr-xr-x new", "ugrwxr-xr-x old"}
	got := list(t, c.Upper)
	for i := range got {
		got[i] = strings.Replace(got[i], "dgt", "dt", 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkRun is what a sandbox costs: the command does nothing.
func BenchmarkRun(b *testing.B) {
	for name, network := range map[string]Network{"none": None, "host": Host} {
		b.Run(name, func(b *testing.B) {
			c := sh(b, "")
			c.Args, c.Network = []string{"/bin/true"}, network
			for b.Loop() {
				if r, err := Run(b.Context(), c); err != nil || r.ExitCode != 0 {
					b.Fatal(r, err)
				}
			}
		})
	}
}
