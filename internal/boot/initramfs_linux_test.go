package boot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/squashfs"
)

// childOf names the test that a process runs in an initramfs of its own.
const childOf = "GRAFT_TEST_INITRAMFS"

// inInitramfs runs a test once more in a process with its own mounts, whose
// root is an empty file system in memory: what the kernel gives to init. The
// host sees none of its mounts, and they end with the process.
func inInitramfs(t *testing.T, test func(t *testing.T)) {
	if os.Getenv(childOf) == t.Name() {
		enterInitramfs(t)
		test(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	before := loopDevices(t)
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.Command("/proc/self/exe", "-test.run="+pattern, "-test.v")
	cmd.Env = append(os.Environ(), childOf+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	removeLoopDevices(t, before)
	switch {
	case err != nil:
		t.Fatalf("in the initramfs: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in the initramfs:\n%s", out)
	}
	if testing.Verbose() {
		t.Logf("in the initramfs:\n%s", out)
	}
}

// enterInitramfs makes the file system and goes there until the test ends.
func enterInitramfs(t *testing.T) {
	t.Helper()
	host, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(host.Chdir(), unix.Chroot("."), host.Close()); err != nil {
			t.Error(err)
		}
	})
	const dir = "/mnt"
	if err := unix.Mount("initramfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chdir(dir), unix.Chroot(".")); err != nil {
		t.Fatal(err)
	}
	put(t, "/init", "graft-init")
}

// loopDevices lists the loop devices of the host.
func loopDevices(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/sys/block/loop*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// removeLoopDevices removes what the host had not before. Detached they are by
// themselves (a device in use is not removed), but the kernel keeps free ones.
// It takes its time for each: they go side by side.
func removeLoopDevices(t *testing.T, before []string) {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	var removing sync.WaitGroup
	for _, name := range loopDevices(t) {
		n, err := strconv.Atoi(strings.TrimPrefix(name, "/sys/block/loop"))
		if err != nil || slices.Contains(before, name) {
			continue
		}
		removing.Go(func() {
			if err := removeLoopDevice(control, n); err != nil {
				t.Logf("/dev/loop%d stays: %v", n, err)
			}
		})
	}
	removing.Wait()
}

// removeLoopDevice waits until the kernel has ended the mounts of the process.
func removeLoopDevice(control *os.File, n int) error {
	err := unix.EBUSY
	for try := 0; err == unix.EBUSY && try < 100; try++ {
		err, _ = unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_REMOVE, n).(unix.Errno)
		if err == unix.EBUSY {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err != 0 {
		return err
	}
	return nil
}

// put writes a file and makes its parents.
func put(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(path.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// files is a file tree: a content, "-> target", or "dir" for each path.
type files map[string]string

// baseFiles are what a root must have.
func baseFiles() files {
	return files{
		"dev": "dir", "proc": "dir", "sys": "dir", "usr/lib/firmware": "dir", "lib": "-> usr/lib",
		"etc/extensions.yaml": "", "etc/os-release": "base", "sbin/init": "init", "top": "base",
	}
}

// squash writes a squashfs image and returns its digest as extensions.yaml has it.
func squash(t *testing.T, name string, content files) string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := squashfs.NewWriter(f, squashfs.Options{Workers: 1, BlockSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]bool{".": true}
	for _, file := range slices.Sorted(maps.Keys(content)) {
		err = errors.Join(err, addEntry(w, dirs, file, content[file]))
	}
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func addEntry(w *squashfs.Writer, dirs map[string]bool, name, content string) error {
	if dirs[name] {
		return nil
	}
	if err := addEntry(w, dirs, path.Dir(name), "dir"); err != nil {
		return err
	}
	target, link := strings.CutPrefix(content, "-> ")
	switch {
	case content == "dir":
		dirs[name] = true
		return w.Add(&squashfs.Header{Name: name, Mode: fs.ModeDir | 0o755}, nil)
	case link:
		return w.Add(&squashfs.Header{Name: name, Mode: fs.ModeSymlink | 0o777, Linkname: target}, nil)
	}
	h := &squashfs.Header{Name: name, Mode: 0o755, Size: int64(len(content))}
	return w.Add(h, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil })
}

// putLayers makes a base and layers: each has a file of its own, and all have
// /top, which says whose it is.
func putLayers(t *testing.T, n int) extension.Config {
	t.Helper()
	squash(t, RootImage, baseFiles())
	var c extension.Config
	for i := range n {
		image := fmt.Sprintf("%d.sqsh", i)
		squash(t, "/"+image, files{"top": fmt.Sprint("layer ", i), fmt.Sprintf("usr/local/%d", i): fmt.Sprint("file of ", i)})
		c.Layers = append(c.Layers, extension.Layer{Image: image, Metadata: extension.Metadata{Name: fmt.Sprint("ext", i), Version: "v1.0"}})
	}
	return c
}

func putConfig(t *testing.T, c extension.Config) {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, configFile, string(data))
}

const logFile = "/log"

// bootUpTo carries out all but the last step, which would replace this process.
// The log is what the kernel's log would get.
func bootUpTo(t *testing.T, change func(*Facts)) (logged string, err error) {
	t.Helper()
	m := &machine{started: time.Now(), log: &log{device: logFile}}
	put(t, logFile, "")
	kept, err := os.Open(logFile) // its name goes away with the initramfs
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	err = m.bootUpTo(change)
	t.Logf("took %v", time.Since(m.started))
	data, readErr := io.ReadAll(kept)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(data), err
}

func (m *machine) bootUpTo(change func(*Facts)) error {
	if err := m.execute(Prepare(nil)); err != nil {
		return err
	}
	facts, err := gather()
	if err != nil {
		return err
	}
	if change != nil {
		change(&facts)
	}
	plan, err := Plan(facts)
	if err != nil {
		return err
	}
	return m.execute(plan[:len(plan)-1])
}

// checkFile compares a file of the new root.
func checkFile(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
	}
}

// mounts returns the sorted lines of mountinfo, cut to mount point, options and type.
func mounts(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		i := slices.Index(f, "-")
		lines = append(lines, f[4]+" "+f[5]+" "+f[i+1])
	}
	slices.Sort(lines)
	return lines
}
