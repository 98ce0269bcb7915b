package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/cpio"
)

// fakeQEMU puts a shell script in QEMU's place and returns a kernel and an
// initramfs to boot.
func fakeQEMU(t *testing.T, script string) (kernel, initramfs string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"qemu-system-x86_64": "#!/bin/sh\n" + script, "vmlinuz": "kernel", "initramfs.xz": emptyArchive(t),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initramfs.xz")
}

// emptyArchive is an initramfs with nothing in it but a directory.
func emptyArchive(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&cpio.Header{Name: "dev", Mode: fs.ModeDir | 0o755}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// boot runs "graft boot" and returns its exit code and streams.
func boot(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Run(t.Context(), append([]string{"boot"}, args...), Streams{In: strings.NewReader("typed"), Out: &out, Err: &err})
	return code, out.String(), err.String()
}

func TestBoot(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, `echo "$@"; cat`)
	code, stdout, stderr := boot(t, initramfs, "--kernel", kernel, "--append", "quiet", "--cpus", "1")
	if code != exitOK {
		t.Fatalf("got exit code %d, want %d: %s", code, exitOK, stderr)
	}
	for _, want := range []string{"-kernel " + kernel, "-initrd " + initramfs, "panic=-1 quiet", "-smp 1", "-m 1024", "-accel tcg", "typed"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the console lacks %q: %s", want, stdout)
		}
	}
	port := regexp.MustCompile(`hostfwd=tcp:127.0.0.1:(\d+)-:50000`).FindStringSubmatch(stdout)
	if port == nil {
		t.Fatalf("the API's port is not forwarded: %s", stdout)
	}
	for _, want := range []string{"ctrl-a x ends it", "graft get extensions --insecure -n 127.0.0.1:" + port[1]} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the conversation lacks %q: %s", want, stderr)
		}
	}
}

func TestBootForwards(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, `echo "$@"`)
	code, stdout, stderr := boot(t, initramfs, "--kernel", kernel, "-p", "2222:22", "-p", "8080:80")
	if code != exitOK || !strings.Contains(stdout, "user,id=n0,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8080-:80 ") {
		t.Errorf("got exit code %d and %s", code, stdout)
	}
	if strings.Contains(stderr, "graft get") || !strings.Contains(stderr, "127.0.0.1:8080 is port 80 of the machine") {
		t.Errorf("got conversation %q", stderr)
	}
}

func TestBootRefused(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, `echo "qemu-system-x86_64: no such thing" >&2; exit 1`)
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no kernel", []string{initramfs}, exitInvalid, "hint: --base IMAGE"},
		{"two kernels", []string{initramfs, "--kernel", kernel, "--base", "x"}, exitInvalid, "two kernels"},
		{"kernel is missing", []string{initramfs, "--kernel", missing}, exitInvalid, "no such file"},
		{"initramfs is missing", []string{missing, "--kernel", kernel}, exitInvalid, "no such file"},
		{"initramfs is a directory", []string{t.TempDir(), "--kernel", kernel}, exitInvalid, "is not a file"},
		{"forward", []string{initramfs, "--kernel", kernel, "-p", "80"}, exitInvalid, "HOST:GUEST"},
		{"accelerator", []string{initramfs, "--kernel", kernel, "--accel", "xen"}, exitInvalid, `"xen" is none of`},
		{"architecture", []string{initramfs, "--kernel", kernel, "--arch", "s390x"}, exitInvalid, "s390x"},
		{"no CPU", []string{initramfs, "--kernel", kernel, "--cpus", "0"}, exitInvalid, "at least one CPU"},
		{"QEMU fails", []string{initramfs, "--kernel", kernel}, exitUnknown, "running qemu-system-x86_64: exit status 1: no such thing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := boot(t, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("got exit code %d, want %d, and %q, want %q in it", code, tt.code, stderr, tt.want)
			}
		})
	}
}

func TestBootTimeout(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, "exec sleep 100")
	code, _, stderr := boot(t, initramfs, "--kernel", kernel, "--timeout", "100ms")
	if code == exitOK || !strings.Contains(stderr, "still running after 100ms") {
		t.Errorf("got exit code %d and %q", code, stderr)
	}
}

func TestBootWithoutQEMU(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, "")
	t.Setenv("PATH", t.TempDir())
	code, _, stderr := boot(t, initramfs, "--kernel", kernel)
	if code != exitEnvironment || !strings.Contains(stderr, "apt-get install qemu-system-x86 ") {
		t.Errorf("got exit code %d and %q, want %d and the package", code, stderr, exitEnvironment)
	}
}

// TestBootPanic has a machine that stands still after a panic.
func TestBootPanic(t *testing.T) {
	kernel, initramfs := fakeQEMU(t, `echo "[ 1.0] Kernel panic - not syncing: no init"; exec sleep 100`)
	code, stdout, stderr := boot(t, initramfs, "--kernel", kernel)
	if code != exitUnknown || !strings.Contains(stdout, "no init") || !strings.Contains(stderr, "kernel panicked") {
		t.Errorf("got exit code %d, console %q and %q", code, stdout, stderr)
	}
}

func TestMemoryFor(t *testing.T) {
	for _, tt := range []struct {
		initramfs int64
		want      int
	}{{0, 1024}, {4 << 20, 1024}, {180 << 20, 1280}, {1 << 30, 3584}} {
		if got := memoryFor(tt.initramfs); got != tt.want {
			t.Errorf("memoryFor(%d MiB): got %d MiB, want %d", tt.initramfs>>20, got, tt.want)
		}
	}
	for _, tt := range []struct {
		largest int64
		want    int
	}{{0, 2048}, {200 << 20, 2048}, {1 << 30, 4608}} {
		if got := memoryForFirmware(tt.largest); got != tt.want {
			t.Errorf("memoryForFirmware(%d MiB): got %d MiB, want %d", tt.largest>>20, got, tt.want)
		}
	}
}
