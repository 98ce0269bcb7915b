package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/format/squashfs"
)

// initramfsVar tells this program to be the kernel: to make the directory that
// it names an initramfs in memory and to start its init.
const initramfsVar = "GRAFT_TEST_INITRAMFS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(initramfsVar); dir != "" {
		os.Stderr.WriteString(startInit(dir).Error() + "\n")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

func startInit(dir string) error {
	const root = "/mnt"
	if err := unix.Mount("initramfs", root, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	if err := errors.Join(os.CopyFS(root, os.DirFS(dir)), os.Chdir(root), unix.Chroot(".")); err != nil {
		return err
	}
	return unix.Exec("/init", []string{"/init", "word"}, []string{"HOME=/", "TERM=linux"})
}

// TestBoot runs the program as the first process of a process namespace, with
// mounts of its own.
func TestBoot(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOARCH != "amd64" {
		t.Skip("only root can mount, and the base is for amd64")
	}
	dir := t.TempDir()
	copyProgram(t, build(t, "."), filepath.Join(dir, "init"))
	writeRoot(t, filepath.Join(dir, "rootfs.sqsh"), build(t, "testdata/root-init"))
	writeLayer(t, filepath.Join(dir, "0.sqsh"))
	config := "layers:\n  - image: 0.sqsh\n    metadata: {name: hello, version: v1}\n"
	if err := os.WriteFile(filepath.Join(dir, "extensions.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), initramfsVar+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	want := `pid 1
args ["/sbin/init" "word"]
env ["HOME=/" "TERM=linux"]
in /
top "layer"
/init false
/rootfs.sqsh false
/etc/extensions.yaml true
/dev/null true
/proc/self true
/sys/kernel true
`
	if diff := cmp.Diff(want, string(out)); err != nil || diff != "" {
		t.Errorf("the root's init: %v (-want +got):\n%s", err, diff)
	}
}

// TestNotFirst runs the program where it must not do anything.
func TestNotFirst(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the base is for amd64")
	}
	out, err := exec.Command(build(t, ".")).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit status 1", err)
	}
	if want := "graft-init: this is the first process of an initramfs, and does nothing elsewhere\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func writeRoot(t *testing.T, file, init string) {
	t.Helper()
	program, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	writeSquashfs(t, file, func(w *squashfs.Writer) error {
		var errs []error
		for _, dir := range []string{"dev", "etc", "proc", "sbin", "sys"} {
			errs = append(errs, w.Add(&squashfs.Header{Name: dir, Mode: fs.ModeDir | 0o755}, nil))
		}
		return errors.Join(append(errs, add(w, "etc/extensions.yaml", ""), add(w, "sbin/init", string(program)), add(w, "top", "base"))...)
	})
}

func writeLayer(t *testing.T, file string) {
	t.Helper()
	writeSquashfs(t, file, func(w *squashfs.Writer) error { return add(w, "top", "layer") })
}

func writeSquashfs(t *testing.T, file string, fill func(*squashfs.Writer) error) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := squashfs.NewWriter(f, squashfs.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fill(w), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func add(w *squashfs.Writer, name, content string) error {
	h := &squashfs.Header{Name: name, Mode: 0o755, Size: int64(len(content))}
	return w.Add(h, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil })
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
