package refbase_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/guest"
	"github.com/graftlinux/graft/internal/tree"
)

// program is enough of a program for a base that is not booted.
const program = "\x7fELF and so on"

func config(t *testing.T, pkg io.Reader) refbase.Config {
	t.Helper()
	init := filepath.Join(t.TempDir(), "graft-init")
	if err := os.WriteFile(init, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	node, err := refbase.Program(init)
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New()
	if err := root.Put("usr/sbin/init", node); err != nil {
		t.Fatal(err)
	}
	return refbase.Config{Package: pkg, Init: init, Root: root}
}

// debianKernel is Debian's kernel package without its compression, which takes
// a test with the race detector minutes to undo.
func debianKernel(t *testing.T) []byte {
	t.Helper()
	file := guest.KernelPackage(t)
	files, err := exec.Command(testkit.Judge(t, "dpkg-deb"), "--fsys-tarfile", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(filepath.Base(file), "_")
	return pack(t, "Package: "+name+"\nVersion: 1\nArchitecture: amd64\n", files)
}

// build makes a base and returns its initramfs.
func build(t *testing.T, pkg []byte) []byte {
	t.Helper()
	b, err := refbase.Build(t.Context(), config(t, bytes.NewReader(pkg)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if vmlinuz, err := b.Files.ReadFile(refbase.Kernel, 1<<30); err != nil || len(vmlinuz) < 1<<20 {
		t.Errorf("the kernel: got %d bytes, error %v", len(vmlinuz), err)
	}
	if !strings.HasSuffix(b.Release, "-cloud-amd64") || !strings.HasPrefix(b.Package, "linux-image-"+b.Release+" ") {
		t.Errorf("got kernel %q of package %q", b.Release, b.Package)
	}
	data, err := b.Files.ReadFile(refbase.Initramfs, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestBuild looks into a base, and makes it again on one core.
func TestBuild(t *testing.T) {
	pkg := debianKernel(t)
	initramfs := build(t, pkg)
	checkInitramfs(t, initramfs)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if !bytes.Equal(build(t, pkg), initramfs) {
		t.Error("with one core the initramfs has other bytes")
	}
}

func checkInitramfs(t *testing.T, initramfs []byte) {
	t.Helper()
	files, listing := unpack(t, initramfs)
	want := []string{
		"-rwxr-xr-x init",
		"drwxr-xr-x lib",
		"drwxr-xr-x lib/init-modules",
		"-rw-r--r-- lib/init-modules/00-loop.ko",
		"-rw-r--r-- lib/init-modules/01-squashfs.ko",
		"-rw-r--r-- lib/init-modules/02-overlay.ko",
		"-rw-r--r-- rootfs.sqsh",
	}
	if diff := cmp.Diff(want, listing); diff != "" {
		t.Errorf("initramfs (-want +got):\n%s", diff)
	}
	if string(files["init"]) != program {
		t.Errorf("/init: got %q", files["init"])
	}
	checkRoot(t, files["rootfs.sqsh"])
}

// unpack lists an initramfs.
func unpack(t *testing.T, data []byte) (files map[string][]byte, listing []string) {
	t.Helper()
	files = map[string][]byte{}
	segments := cpio.NewInitramfsReader(bytes.NewReader(data))
	archive, err := segments.Next()
	if err != nil {
		t.Fatal(err)
	}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, listing
		}
		if err != nil {
			t.Fatal(err)
		}
		listing = append(listing, h.Mode.String()+" "+h.Name)
		if files[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// checkRoot compares the root filesystem with what unsquashfs sees in it.
func checkRoot(t *testing.T, image []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rootfs.sqsh")
	if err := os.WriteFile(file, image, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(testkit.Judge(t, "unsquashfs"), "-lln", "-d", "", file).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	for _, want := range []string{
		"drwxrwxrwt 0/0 /tmp", "-rw-r--r-- 0/0 0 /etc/extensions.yaml", "lrwxrwxrwx 0/0 /sbin -> usr/sbin",
		"drwxr-xr-x 0/0 /proc", "drwxr-xr-x 0/0 /dev", "drwxr-xr-x 0/0 /usr/lib/firmware", "/usr/sbin/init",
		"/kernel/drivers/net/virtio_net.ko", "/kernel/drivers/net/net_failover.ko", "/modules.dep.bin", "/modules.builtin",
	} {
		if !slices.ContainsFunc(strings.Split(string(out), "\n"), func(line string) bool { return matches(line, want) }) {
			t.Errorf("the root lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "btrfs") {
		t.Error("the root has modules that a virtual machine does not need")
	}
}

// matches says whether a line has all words of want, in their order: sizes and
// times stand between them.
func matches(line, want string) bool {
	for word := range strings.FieldsSeq(want) {
		_, after, ok := strings.Cut(line, word)
		if !ok {
			return false
		}
		line = after
	}
	return true
}

func TestRefused(t *testing.T) {
	good := map[string]string{"boot/vmlinuz-1": "kernel", "lib/modules/1/modules.order": ""}
	tests := []struct {
		name, arch string
		files      map[string]string
		want       string
	}{
		{"other architecture", "arm64", good, "is for arm64"},
		{"no kernel", "amd64", map[string]string{"usr/share/doc/x": ""}, "it is no kernel"},
		{"no modules", "amd64", good, "has no modules"},
		{"broken module", "amd64", map[string]string{"lib/modules/1/a.ko": "ELF?"}, "lib/modules/1/a.ko"},
		{"two kernels", "amd64", map[string]string{"lib/modules/1/x": "", "lib/modules/2/x": ""}, "beside those of 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkg := pack(t, "Package: k\nVersion: 1\nArchitecture: "+tt.arch+"\n", tarball(t, tt.files))
			_, err := refbase.Build(t.Context(), config(t, bytes.NewReader(pkg)), t.TempDir())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// pack makes a Debian package of a control file and a tar of files.
func pack(t *testing.T, control string, files []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	member := func(name string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", name, 0, 0, 0, "100644", len(data), data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	b.WriteString("!<arch>\n")
	member("debian-binary", []byte("2.0\n"))
	member("control.tar", tarball(t, map[string]string{"control": control}))
	member("data.tar", files)
	return b.Bytes()
}

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestProgramRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := refbase.Program(file); err == nil || !strings.Contains(err.Error(), "no ELF program") {
		t.Errorf("got error %v", err)
	}
}
