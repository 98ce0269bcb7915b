package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// help is this test as another program: inside sandboxes, and as a process that
// runs them.
func help(args []string) int {
	helpers := map[string]func([]string) error{
		"listen": listen, "owners": owners, "breakout": breakout, "run": runForever, "enter": enter, "terminal": terminal,
		"forbidden": forbidden, "overwrite": overwrite, "inherit": inherit, "nested": nested,
	}
	h, ok := helpers[args[0]]
	if !ok {
		fmt.Fprintf(os.Stderr, "helper: there is no %q\n", args[0])
		return 2
	}
	if err := h(args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

// listen talks to itself.
func listen([]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:8080") // the same in all sandboxes
	if err != nil {
		return err
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("heard\n"))
			_ = c.Close()
		}
	}()
	c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, c)
	return err
}

// owners calls all that changes owners, with users that nobody has.
func owners([]string) error {
	f, err := os.Create("/owned")
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.Chown("/owned", 1000, 1000), unix.Lchown("/owned", 0, 1000), unix.Fchown(int(f.Fd()), 1000, 0),
		unix.Fchownat(unix.AT_FDCWD, "/owned", 1000, -1, 0), unix.Fchownat(int(f.Fd()), "", 7, 7, unix.AT_EMPTY_PATH))
	if !errors.Is(unix.Chown("/missing", 0, 0), unix.ENOENT) {
		err = errors.Join(err, errors.New("root got a file that is not there"))
	}
	if err == nil {
		fmt.Println("ok")
	}
	return err
}

// foreignTar is an archive with a file of a user that nobody has.
func foreignTar(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Name: "file", Mode: 0o644, Size: 7, Uid: 1234, Gid: 4321}
	_, err := io.WriteString(io.MultiWriter(headerOf(t, w, h), w), "")
	if err == nil {
		_, err = io.WriteString(w, "content")
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func headerOf(t *testing.T, w *tar.Writer, h *tar.Header) io.Writer {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	return io.Discard
}

// breakout tries to get out, and prints what it could do.
func breakout([]string) error {
	runtime.LockOSThread()
	attempts := map[string]func() error{
		"mount tmpfs":        func() error { return unix.Mount("x", "/mnt", "tmpfs", 0, "") },
		"mount proc":         func() error { return unix.Mount("x", "/mnt", "proc", 0, "") },
		"bind":               func() error { return unix.Mount("/bin", "/mnt", "", unix.MS_BIND, "") },
		"remount":            func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"umount /proc/sys":   func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
		"umount /etc/hosts":  func() error { return unix.Unmount("/etc/hosts", 0) },
		"umount /":           func() error { return unix.Unmount("/", unix.MNT_DETACH) },
		"pivot_root":         func() error { return unix.PivotRoot("/mnt", "/mnt") },
		"fsopen":             func() error { _, err := unix.Fsopen("tmpfs", 0); return err },
		"open_tree":          func() error { _, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE); return err },
		"user namespace":     func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"mount namespace":    func() error { return unix.Unshare(unix.CLONE_NEWNS) },
		"clone":              func() error { return cloneFlags(unix.CLONE_NEWUSER | unix.CLONE_NEWNS) },
		"clone3":             clone3,
		"setns":              func() error { return setns("/proc/1/ns/mnt") },
		"root of pid 1":      func() error { _, err := os.ReadDir("/proc/1/root/"); return err },
		"cwd of pid 1":       func() error { _, err := os.ReadDir("/proc/1/cwd/"); return err },
		"program of pid 1":   func() error { return open("/proc/1/exe", os.O_RDONLY) },
		"files of pid 1":     filesOfFirst,
		"memory of pid 1":    func() error { return open("/proc/1/mem", os.O_RDWR) },
		"ptrace of pid 1":    func() error { return unix.PtraceAttach(1) },
		"host name":          func() error { return unix.Sethostname([]byte("x")) },
		"device":             func() error { return unix.Mknod("/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0))) },
		"whiteout":           func() error { return unix.Mknod("/white", unix.S_IFCHR, 0) },
		"kernel log":         func() error { _, err := unix.Klogctl(10, nil); return err },
		"module":             func() error { return unix.FinitModule(0, "", 0) },
		"reboot":             func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_ON) },
		"clock":              func() error { return unix.Settimeofday(&unix.Timeval{}) },
		"keys":               func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true); return err },
		"bpf":                func() error { return raw(unix.SYS_BPF, 0) },
		"io_uring":           func() error { return raw(unix.SYS_IO_URING_SETUP, 1) },
		"userfaultfd":        func() error { return raw(unix.SYS_USERFAULTFD, 0) },
		"vsock":              func() error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
		"typing":             func() error { return unix.IoctlSetInt(0, unix.TIOCSTI, 'x') },
		"raise a capability": raiseCapability,
		"the outside":        chrootOut,
		"trusted attribute":  func() error { return unix.Setxattr("/bin", "trusted.overlay.opaque", []byte("y"), 0) },
		"sysctl":             func() error { return open("/proc/sys/kernel/core_pattern", os.O_WRONLY) },
		"sysrq":              func() error { return open("/proc/sysrq-trigger", os.O_WRONLY) },
		"cgroups":            func() error { return os.Mkdir("/sys/fs/cgroup/x", 0o755) },
	}
	for name, try := range attempts {
		if err := try(); err == nil {
			fmt.Println("could:", name)
		}
	}
	return nil
}

// filesOfFirst opens what pid 1 has open.
func filesOfFirst() error {
	for n := range 64 {
		if err := open(fmt.Sprintf("/proc/1/fd/%d", n), os.O_RDONLY); err == nil {
			return nil
		}
	}
	return errors.New("none")
}

func raw(call, arg uintptr) error {
	if _, _, errno := unix.Syscall(call, arg, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func open(name string, flags int) error {
	f, err := os.OpenFile(name, flags, 0)
	if err == nil {
		_ = f.Close()
	}
	return err
}

func cloneFlags(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

func clone3() error {
	args := [11]uint64{unix.CLONE_NEWUSER, 0, 0, 0, uint64(unix.SIGCHLD)}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

func setns(name string) error {
	fd, err := unix.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return unix.Setns(fd, 0)
}

func raiseCapability() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&header, &data[0])
}

// chrootOut is the classic: a directory outside of one's root has no end upwards
// but that of the root before.
func chrootOut() error {
	if err := errors.Join(os.MkdirAll("/jail", 0o755), unix.Chroot("/jail")); err != nil {
		return err
	}
	for range 32 {
		_ = os.Chdir("..")
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if _, err := os.Stat("/bin/helper"); err != nil {
		return nil // not where we were: outside
	}
	return errors.New("back in the root")
}

// overwrite is started by the kernel as the interpreter of a script: it is the
// program that runs sandboxes then, with a handle of its own file.
func overwrite([]string) error {
	return open("/proc/self/exe", os.O_WRONLY)
}

// simple is a Config for helpers: a shell script in what machine made.
func simple(root, dir, script string) (Config, error) {
	c := Config{
		Lower: []string{root}, Upper: dir + "/upper", Work: dir + "/work", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"},
		Output: os.Stdout,
	}
	return c, errors.Join(os.MkdirAll(c.Upper, 0o755), os.MkdirAll(c.Work, 0o755))
}

// runForever runs a script: it is to be killed. args: root, directory, script.
func runForever(args []string) error {
	c, err := simple(args[0], args[1], args[2])
	if err != nil {
		return err
	}
	r, err := Run(context.Background(), c)
	if err == nil && r.ExitCode != 0 {
		err = fmt.Errorf("exit code %d", r.ExitCode)
	}
	return err
}

// enter enters and then runs what another helper does. Its exit code is 1 for an
// error, otherwise what the inner one has.
func enter(args []string) error {
	inside, code, err := Enter(context.Background())
	if err != nil {
		return err
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(help(args))
	return nil
}

// terminal runs a shell on the terminal that stdin is. args: root, directory.
func terminal(args []string) error {
	c, err := simple(args[0], args[1], "")
	if err != nil {
		return err
	}
	c.Args, c.Stdin, c.Terminal = []string{"sh", "-i"}, os.Stdin, true
	c.Env = append(c.Env, "PS1=# ")
	r, err := Run(context.Background(), c)
	if err != nil {
		return err
	}
	foreground, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Printf("exit code %d, foreground again: %v\n", r.ExitCode, foreground == unix.Getpgrp())
	return err
}

// forbidden prints what Probe says of a directory where namespaces are filtered,
// turned off, or impossible. args: what, directory.
func forbidden(args []string) error {
	runtime.LockOSThread()
	switch args[0] {
	case "filter":
		b := &box{}
		if err := b.filterCalls(); err != nil {
			return err
		}
	case "sysctl":
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
	case "chroot":
		if err := errors.Join(os.Chdir(args[1]), unix.Mount("/proc", "proc", "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount("/dev", "dev", "", unix.MS_BIND|unix.MS_REC, ""), unix.Chroot(".")); err != nil {
			return err
		}
		args[1] = "/"
	case "masked proc":
		if err := maskProc(); err != nil {
			return err
		}
	}
	s, err := Probe(context.Background(), args[1])
	fmt.Println("overlay:", s.Overlay, "reason:", s.Reason)
	if err == nil {
		err = s.Reason
	}
	var host *HostError
	if errors.As(err, &host) {
		fmt.Println("error:", err)
		fmt.Println("hint:", strings.Join(host.Hints, "\nhint: "))
	}
	return nil
}

// maskProc covers a file of every /proc that there is: the kernel looks for one
// that shows all.
func maskProc() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); strings.Contains(line, " - proc ") && f[3] == "/" {
			err = errors.Join(err, unix.Mount("/dev/null", f[4]+"/version", "", unix.MS_BIND, ""))
		}
	}
	return err
}

// inherit shows what Enter lets through.
func inherit(args []string) error {
	in, _ := io.ReadAll(os.Stdin)
	extra, _ := io.ReadAll(os.NewFile(9, "nine"))
	dir, _ := os.Getwd()
	env := os.Environ()
	fmt.Printf("uid %d, args %q, stdin %q, file 9 %q, directory %s, environment %q\n", os.Getuid(), args, in, extra, dir, env)
	os.Exit(42)
	return nil
}

// nested reads and removes what an ordinary user cannot. args: root, directory.
func nested(args []string) error {
	c, err := simple(args[0], args[1], "mkdir shut; echo secret > shut/file; chmod 0 shut/file shut")
	if err != nil {
		return err
	}
	if _, err := Run(context.Background(), c); err != nil {
		return err
	}
	data, err := os.ReadFile(c.Upper + "/shut/file")
	fmt.Printf("%s", data)
	return errors.Join(err, os.RemoveAll(c.Upper))
}
