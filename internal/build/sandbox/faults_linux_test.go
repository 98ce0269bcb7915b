package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marker is an argument that no other process of this machine has: a number, so
// that sleep takes it.
func marker() string {
	return fmt.Sprintf("%d%04d", 1000+os.Getpid(), markers.Add(1))
}

var markers atomic.Int32

// processes counts those that have an argument.
func processes(t *testing.T, arg string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		data, _ := os.ReadFile(f) // it may have ended
		for _, a := range bytes.Split(data, []byte{0}) {
			if string(a) == arg {
				n++
			}
		}
	}
	return n
}

// wait polls until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("timeout: %s", what)
}

// mounts of this process, as the kernel lists them.
func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, line := range strings.Split(string(data), "\n") {
		if !strings.Contains(line, " /dev/loop") { // of other tests, at the same time; a sandbox has none
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func TestBreakout(t *testing.T) {
	t.Parallel()
	for name, network := range map[string]Network{"none": None, "host": Host} {
		c := sh(t, "mkdir /mnt; cd /; helper breakout")
		c.Network = network
		if got := output(t, c); got != "" {
			t.Errorf("network %s: %s", name, got)
		}
	}
}

// TestOutside writes through all the ways up.
func TestOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	c := sh(t, `
		(mkdir -p ../../../../$1 && echo x > ../../../../$1/file) || true
		ln -s /proc/1/root/$1 link; (echo x > link/file2) 2>/dev/null || true
		for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15; do (ls /proc/self/fd/$fd/ && echo leaked $fd) 2>/dev/null || true; done
		ls -d /tmp 2>/dev/null || echo none`)
	c.Args = append(c.Args, "sh", outside)
	c.Dir = "/a/b"
	if got := output(t, c); !strings.HasSuffix(got, outside+"\n") && !strings.HasSuffix(got, "/tmp\n") && !strings.HasSuffix(got, "none\n") || strings.Contains(got, "leaked") {
		t.Errorf("got %q", got)
	}
	if got := list(t, outside); len(got) > 0 {
		t.Errorf("outside is %v", got)
	}
}

// TestOwnProgram tries to write to the program that sandboxes are started from.
func TestOwnProgram(t *testing.T) {
	t.Parallel()
	lower := layer(t, "trap=#!/proc/self/exe overwrite\n")
	if err := os.Chmod(lower+"/trap", 0o755); err != nil {
		t.Fatal(err)
	}
	c := sh(t, "", lower)
	c.Args = []string{"/trap"}
	out, code, err := try(t, c)
	if err != nil {
		t.Fatal(err)
	}
	// The interpreter is called by its name in the kernel, so that it is no helper
	// but the tests: it must not have got far.
	if code == 0 {
		t.Errorf("the program ran: %s", out)
	}
}

// TestSealed opens the program's copy for writing.
func TestSealed(t *testing.T) {
	t.Parallel()
	self, err := selfCopy()
	if err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(self, os.O_RDWR, 0); err == nil {
		defer f.Close()
		if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("writing to the program: %v, want EPERM", err)
		}
		if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
			t.Errorf("truncating the program: %v, want EPERM", err)
		}
	}
}

func TestDaemons(t *testing.T) {
	t.Parallel()
	arg := marker()
	script := fmt.Sprintf(`
		setsid sleep %[1]s &
		(setsid setsid sleep %[1]s &) &
		nohup sleep %[1]s &
		sh -c 'trap "" HUP TERM INT; sleep %[1]s' &
		(while :; do (sleep %[1]s &) ; sleep 0.01; done) &
		i=0; while [ $i -lt 100 ]; do (sleep %[1]s &); i=$((i+1)); done
		echo started; exit 7`, arg)
	before, start := mounts(t), time.Now()
	out, code, err := try(t, sh(t, script))
	if err != nil || code != 7 || !strings.Contains(out, "started\n") {
		t.Errorf("exit code %d, error %v, output %q", code, err, out)
	}
	if n := processes(t, arg); n > 0 {
		t.Errorf("%d processes are left", n)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if mounts(t) != before {
		t.Errorf("mounts are left:\n%s\nbefore:\n%s", mounts(t), before)
	}
}

// TestOrphans has processes whose parents are gone: pid 1 gets them.
func TestOrphans(t *testing.T) {
	t.Parallel()
	got := output(t, sh(t, "i=0; while [ $i -lt 50 ]; do (true & ); i=$((i+1)); done; sleep 0.2; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"))
	if got != "0\n" {
		t.Errorf("%s zombies are left", strings.TrimSpace(got))
	}
}

// TestKillFirst kills all that a script can.
func TestKillFirst(t *testing.T) {
	t.Parallel()
	c := sh(t, `for s in 1 2 3 6 9 10 11 13 14 15 17 19; do kill -$s 1 2>/dev/null || true; done; trap '' TERM; kill -TERM -1 2>/dev/null || true; echo alive; exit 5`)
	if out, code, err := try(t, c); code != 5 || err != nil || out != "alive\n" {
		t.Errorf("exit code %d, error %v, output %q", code, err, out)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"loop":     "while :; do :; done",
		"sleep":    "sleep 1000",
		"deaf":     "trap '' HUP INT QUIT TERM; while :; do sleep 1000 || true; done",
		"output":   "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
		"stopped":  "kill -STOP $$",
		"children": "while :; do (sleep 1000 &); sleep 0.01; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arg := marker()
			c := sh(t, "echo ready\n"+script)
			c.Args = append(c.Args, arg)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			c.Output = writerFunc(func(p []byte) { time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("enough")) }) })
			_, err := Run(ctx, c)
			if err == nil || err.Error() != "running sh: enough" {
				t.Errorf("got %v", err)
			}
			if n := processes(t, arg); n > 0 {
				t.Errorf("%d processes are left", n)
			}
			if entries, _ := os.ReadDir(c.Work); len(entries) > 0 {
				t.Errorf("the work directory is not empty")
			}
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, sh(t, "true")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// failingWriter takes nothing.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("the log is full") }

func TestOutputFails(t *testing.T) {
	t.Parallel()
	c := sh(t, "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
	c.Output = failingWriter{}
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "passing on the output: the log is full") {
		t.Errorf("got %v", err)
	}
}

// TestParentKilled kills the process that runs a sandbox, and each of the two
// where Enter made two.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args   []string
		victim func(pid int) int
	}{
		"parent": {[]string{"run"}, func(pid int) int { return pid }},
		"outer":  {[]string{"enter", "run"}, func(pid int) int { return pid }},
		"inner":  {[]string{"enter", "run"}, childOf},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arg, dir := marker(), t.TempDir()
			t.Cleanup(func() { _ = removeAll(dir) })
			script := fmt.Sprintf("sleep 1000 & trap '' HUP TERM; (setsid sleep %s &); while :; do sleep %[1]s || true; done", arg)
			cmd := helper(append(test.args, machine(t), dir, script)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wait(t, "the script to start", func() bool { return processes(t, arg) >= 2 })
			if err := unix.Kill(test.victim(cmd.Process.Pid), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			wait(t, "processes are left", func() bool { return processes(t, arg) == 0 && processes(t, script) == 0 })
			if name == "inner" && os.Getuid() != 0 && cmd.ProcessState.ExitCode() != 137 {
				t.Errorf("the outer process ended with %v", err)
			}
			if strings.Contains(mounts(t), dir) {
				t.Error("a mount is left")
			}
		})
	}
}

// TestKilledAnytime kills the process that runs sandboxes at moments that nobody
// chose. A pipe that all of them have got, up to the command, tells when the last
// one is gone.
func TestKilledAnytime(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		dir := t.TempDir()
		t.Cleanup(func() { _ = removeAll(dir) })
		alive, theirs, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := helper("enter", "run", machine(t), dir, "sleep 1000")
		cmd.ExtraFiles = []*os.File{theirs}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		time.Sleep(time.Duration(i) * 3 * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		if err := alive.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := alive.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("killed after %d ms: %v, a process is left", i*3, err)
		}
		alive.Close()
	}
}

// childOf is a child of a process, or itself if it has none.
func childOf(pid int) int {
	if os.Getuid() == 0 { // Enter makes none: a child is the sandbox
		return pid
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		data, _ := os.ReadFile(f)
		child := 0
		if _, err := fmt.Sscan(string(data), &child); err == nil {
			return child
		}
	}
	return pid
}

// helper is this test as another process.
func helper(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"helper"}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// TestSandboxKilled kills the sandbox' pid 1 from outside.
func TestSandboxKilled(t *testing.T) {
	t.Parallel()
	arg := marker()
	c := sh(t, "while :; do sleep "+arg+"; done")
	go func() {
		wait(t, "the script to start", func() bool { return processes(t, arg) == 1 })
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			data, _ := os.ReadFile(f)
			if strings.Contains(string(data), "sleep "+arg) { // the shell
				kill(t, f)
			}
		}
	}()
	if _, _, err := try(t, c); err == nil || !strings.Contains(err.Error(), "the sandbox was killed (signal: killed)") {
		t.Errorf("got %v", err)
	}
	if n := processes(t, arg); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

// kill ends the parent of a process, of which the file in /proc is known.
func kill(t *testing.T, cmdline string) {
	data, err := os.ReadFile(filepath.Join(filepath.Dir(cmdline), "stat"))
	if err != nil {
		t.Error(err)
		return
	}
	var state string
	var parent int
	_, rest, _ := strings.Cut(string(data), ") ")
	if _, err := fmt.Sscan(rest, &state, &parent); err != nil || parent <= 1 {
		t.Errorf("reading who started a process: %d, error %v", parent, err)
		return
	}
	if err := unix.Kill(parent, unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// smallDisk is a file system of some size, in KiB, and with a number of inodes.
func smallDisk(t *testing.T, kib, inodes int) string {
	t.Helper()
	asRoot(t, "can mount a small disk")
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=%dk,nr_inodes=%d", kib, inodes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil { // fails if anything is left in use
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, 256, 1000)
	c := sh(t, "(sleep 1000 &); dd if=/dev/zero of=/big bs=64k count=64")
	useDisk(t, &c, disk)
	out, code, err := try(t, c)
	if code != 1 || err != nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("exit code %d, error %v, output %q", code, err, out)
	}
	c = sh(t, "rm /big; echo more > /small; cat /small")
	c.Upper, c.Work = disk+"/upper", disk+"/work"
	if got := output(t, c); got != "more\n" {
		t.Errorf("after the disk was full: %q", got)
	}
}

// TestNoInodes fills the disk before the sandbox is ready.
func TestNoInodes(t *testing.T) {
	if testing.Short() {
		t.Skip("the many ways to run out of inodes take too long for -short")
	}
	for inodes := 4; inodes < 20; inodes++ {
		c := sh(t, "true")
		useDisk(t, &c, smallDisk(t, 256, inodes))
		c.Mounts = []Mount{{t.TempDir(), "/a/b/c/d"}}
		_, code, err := try(t, c)
		if err == nil && code == 0 {
			if inodes < 8 {
				t.Errorf("%d inodes are enough", inodes)
			}
			return
		}
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EIO) {
			t.Errorf("%d inodes: exit code %d, error %v", inodes, code, err)
		}
	}
	t.Error("20 inodes are not enough")
}

func useDisk(t *testing.T, c *Config, disk string) {
	t.Helper()
	c.Upper, c.Work = disk+"/upper", disk+"/work"
	if err := errors.Join(os.Mkdir(c.Upper, 0o755), os.Mkdir(c.Work, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// TestInherited starts a sandbox from a process with open files, ignored signals
// and low limits: a command sees nothing of it.
func TestInherited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeAll(dir) })
	script := "ls /proc/self/fd; grep SigIgn /proc/self/status; umask; env | grep SECRET || true; readlink /proc/self/cwd"
	cmd := exec.Command("sh", "-c", `umask 077; trap '' HUP INT TERM PIPE; exec 9<"$1"; shift; exec "$@"`, "sh", dir, "/proc/self/exe")
	cmd.Env = append(os.Environ(), "SECRET=1")
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "helper")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd.Args[len(cmd.Args)-1] = link
	cmd.Args = append(cmd.Args, "run", machine(t), dir+"/s", script)
	out, err := cmd.CombinedOutput()
	if want := "0\n1\n2\n3\nSigIgn:\t0000000000000000\n0022\n/\n"; err != nil || string(out) != want {
		t.Errorf("error %v, got %q, want %q", err, out, want)
	}
}

func TestEnter(t *testing.T) {
	t.Parallel()
	nine, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer nine.Close()
	if _, err := nine.WriteAt([]byte("nine"), 0); err != nil {
		t.Fatal(err)
	}
	cmd := helper("enter", "inherit", "a b", "")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"A=1", "B="}
	cmd.Stdin = strings.NewReader("input")
	cmd.ExtraFiles = []*os.File{nine, nine, nine, nine, nine, nine, nine}
	out, err := cmd.Output()
	if want := fmt.Sprintf("uid 0, args [\"a b\" \"\"], stdin \"input\", file 9 \"nine\", directory %s, environment [\"A=1\" \"B=\"]\n", cmd.Dir); string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("got %v, want exit code 42", err)
	}
}

// TestEnterNested runs a sandbox within what Enter made, and does there what only
// root can.
func TestEnterNested(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Cleanup(func() { _ = removeAll(dir) })
	out, err := helper("enter", "nested", machine(t), dir).CombinedOutput()
	if err != nil || string(out) != "secret\n" {
		t.Errorf("error %v, got %q", err, out)
	}
}

// TestEnterSignal wants signals to arrive, and how the inner process ends to be
// told.
func TestEnterSignal(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if signal.Ignored(s) {
			continue // where the tests run in the background
		}
		arg, dir := marker(), t.TempDir()
		t.Cleanup(func() { _ = removeAll(dir) })
		cmd := helper("enter", "run", machine(t), dir, "sleep "+arg)
		cmd.SysProcAttr.Setsid = true // the terminal of who runs the tests has no part in it
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait(t, "the script to start", func() bool { return processes(t, arg) == 1 })
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		code := cmd.ProcessState.ExitCode()
		if os.Getuid() != 0 && code != 128+int(s) {
			t.Errorf("%v: exit code %d", s, code)
		}
		wait(t, "processes are left", func() bool { return processes(t, arg) == 0 })
	}
}

func TestForgedEnter(t *testing.T) {
	t.Parallel()
	cmd := helper("enter", "inherit")
	cmd.Env = []string{insideVar + "=1"}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "which is graft's own") {
		t.Errorf("error %v, output %q", err, out)
	}
}
