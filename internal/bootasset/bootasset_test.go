package bootasset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/oci"
)

// writeTree makes a directory from "path" -> content; "path -> target" makes a
// symlink, "path/" a directory.
func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name, target, link := strings.Cut(name, " -> ")
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		switch {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(p, 0o755))
		case link:
			err = errors.Join(err, os.Symlink(target, p))
		default:
			err = errors.Join(err, os.WriteFile(p, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ext makes the directory of an extension.
func ext(t testing.TB, name string, rootfs map[string]string) string {
	t.Helper()
	files := map[string]string{
		"manifest.yaml": fmt.Sprintf("version: v1alpha1\nmetadata: {name: %s, version: v1, author: A, description: D}\n", name),
		"rootfs/":       "",
	}
	for p, content := range rootfs {
		files["rootfs/"+p] = content
	}
	return writeTree(t, files)
}

// baseFiles writes a base's initramfs with the given root, zstd around it as Talos has it.
func baseInitramfs(t testing.TB, root map[string]string) string {
	t.Helper()
	dir := writeTree(t, root)
	image, err := os.Create(filepath.Join(t.TempDir(), "rootfs.sqsh"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := squashfs.NewWriter(image, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		info, ierr := d.Info()
		h := &squashfs.Header{Name: filepath.ToSlash(rel), Mode: info.Mode(), Size: info.Size()}
		return errors.Join(err, ierr, w.Add(h, func() (io.ReadCloser, error) { return os.Open(p) }))
	})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(image.Name())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, err := cpio.NewCompressor(&b, cpio.Zstd, cpio.Default)
	if err != nil {
		t.Fatal(err)
	}
	c := cpio.NewWriter(z)
	for name, content := range map[string][]byte{"rootfs.sqsh": data} {
		err = errors.Join(err, c.WriteHeader(&cpio.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, werr := c.Write(content)
		err = errors.Join(err, werr)
	}
	out := filepath.Join(t.TempDir(), "initramfs.xz")
	if err := errors.Join(err, c.Close(), z.Close(), os.WriteFile(out, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return out
}

const release = "6.1.0-test"

var plainRoot = map[string]string{
	"usr/lib/os-release":                            "NAME=Test\nVERSION_ID=v1.14.0\n",
	"usr/lib/modules/" + release + "/modules.order": "",
	"usr/sbin/init":                                 "init",
}

// asset prepares an asset of directories.
func asset(t *testing.T, c *cache.Cache, base, talos string, level Level, dirs ...string) (*Asset, error) {
	t.Helper()
	ctx := context.Background()
	b, err := OpenBase(ctx, c, BaseOptions{Initramfs: base, Arch: "amd64", Talos: talos})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { b.Close() })
	opts := Options{Base: b, Level: level, Cache: c}
	for _, d := range dirs {
		img, err := oci.Open(ctx, d, oci.Options{SpoolDir: c.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		opts.Extensions = append(opts.Extensions, Extension{Source: filepath.Base(d), Image: img})
	}
	return Prepare(ctx, opts)
}

func write(t *testing.T, a *Asset, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, sum, err := a.Initramfs(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if sum.Size != int64(b.Len()) {
		t.Errorf("the summary says %d bytes, there are %d", sum.Size, b.Len())
	}
	return b.Bytes()
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents lists the archives of an initramfs, and the files of each layer.
func contents(t *testing.T, initramfs []byte) string {
	t.Helper()
	var b strings.Builder
	r := cpio.NewInitramfsReader(bytes.NewReader(initramfs))
	for {
		a, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "archive %v\n", r.Segment().Compression)
		for {
			h, err := a.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(a)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %v %d:%d %s", h.Mode, h.UID, h.GID, h.Name)
			switch {
			case h.Linkname != "":
				fmt.Fprintf(&b, " -> %s\n", h.Linkname)
			case strings.HasSuffix(h.Name, ".sqsh") && h.Name != "rootfs.sqsh":
				b.WriteString("\n" + layerListing(t, data))
			case len(data) > 0 && len(data) < 40:
				fmt.Fprintf(&b, " %q\n", data)
			default:
				b.WriteByte('\n')
			}
		}
	}
}

func layerListing(t *testing.T, image []byte) string {
	t.Helper()
	r, err := squashfs.NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for f, err := range r.Files() {
		if err != nil {
			t.Fatal(err)
		}
		if f.UID != 0 || f.GID != 0 || !f.ModTime.Equal(encode.Epoch) {
			t.Errorf("%s belongs to %d:%d and is of %v", f.Name, f.UID, f.GID, f.ModTime)
		}
		if !f.Mode.IsDir() {
			fmt.Fprintf(&b, "    %v %s %s\n", f.Mode, f.Name, f.Linkname)
		}
	}
	return b.String()
}

var ucode = map[string]string{
	"usr/lib/firmware/intel-ucode/06-01":           "intel one ",
	"usr/lib/firmware/intel-ucode/06-02":           "intel two ",
	"usr/lib/firmware/amd-ucode/microcode_amd.bin": "amd",
	"usr/lib/firmware/amd-ucode/README":            "not microcode",
}

// TestContents is the whole of an initramfs: order, places, owners.
func TestContents(t *testing.T) {
	c := newCache(t)
	base := baseInitramfs(t, plainRoot)
	more := ext(t, "more-ucode", map[string]string{"usr/lib/firmware/intel-ucode/07-01": "intel three"})
	fw := ext(t, "firmware", map[string]string{
		"usr/lib/firmware/a/fw.bin":                "firmware",
		"usr/lib/firmware/a/link.bin -> fw.bin":    "",
		"usr/lib/firmware/dir -> a":                "",
		"usr/local/share/firmware-doc/README.text": "doc",
	})
	got := contents(t, write2(t, c, base, ext(t, "ucode", ucode), more, fw))
	want := `archive plain
  drwxr-xr-x 0:0 kernel
  drwxr-xr-x 0:0 kernel/x86
  drwxr-xr-x 0:0 kernel/x86/microcode
  -rw-r--r-- 0:0 kernel/x86/microcode/AuthenticAMD.bin "amd"
  -rw-r--r-- 0:0 kernel/x86/microcode/GenuineIntel.bin "intel one intel two intel three"
archive zstd
  -rw-r--r-- 0:0 rootfs.sqsh
archive plain
  -rw-r--r-- 0:0 000.ucode-v1.sqsh
  -rw-r--r-- 0:0 001.more-ucode-v1.sqsh
  -rw-r--r-- 0:0 002.firmware-v1.sqsh
    -rw-r--r-- usr/local/share/firmware-doc/README.text 
  -rw-r--r-- 0:0 extensions.yaml
archive zstd
  drwxr-xr-x 0:0 usr
  drwxr-xr-x 0:0 usr/lib
  drwxr-xr-x 0:0 usr/lib/firmware
  drwxr-xr-x 0:0 usr/lib/firmware/amd-ucode
  -rw-r--r-- 0:0 usr/lib/firmware/amd-ucode/README "not microcode"
archive zstd
  drwxr-xr-x 0:0 usr
  drwxr-xr-x 0:0 usr/lib
  drwxr-xr-x 0:0 usr/lib/firmware
  drwxr-xr-x 0:0 usr/lib/firmware/a
  -rw-r--r-- 0:0 usr/lib/firmware/a/fw.bin "firmware"
  Lrwxrwxrwx 0:0 usr/lib/firmware/a/link.bin -> fw.bin
  Lrwxrwxrwx 0:0 usr/lib/firmware/dir -> a
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func write2(t *testing.T, c *cache.Cache, base string, dirs ...string) []byte {
	t.Helper()
	a, err := asset(t, c, base, "", "", dirs...)
	return write(t, a, err)
}

// TestBaseUntouched: the base is in there byte for byte, and no extension means
// nothing else.
func TestBaseUntouched(t *testing.T) {
	c := newCache(t)
	base := baseInitramfs(t, plainRoot)
	want, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	if got := write2(t, c, base); !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight(want, "\x00")) {
		t.Errorf("without extensions: got %d bytes, want the %d of the base", len(got), len(want))
	}
	if got := write2(t, c, base, ext(t, "a", map[string]string{"usr/local/x": "x"})); !bytes.HasPrefix(got, want) {
		t.Error("the base is not at the start, byte for byte")
	}
}

// TestOrder: list order is layer order, with more than ten layers, too.
func TestOrder(t *testing.T) {
	c := newCache(t)
	var dirs, want []string
	for i := range 12 {
		name := fmt.Sprintf("e%c", 'z'-i)
		dirs = append(dirs, ext(t, name, map[string]string{"usr/local/" + name: name}))
		want = append(want, fmt.Sprintf("%03d.%s-v1.sqsh", i, name))
	}
	var images []string
	for _, l := range config(t, write2(t, c, baseInitramfs(t, plainRoot), dirs...)).Layers {
		images = append(images, l.Image)
		if !strings.HasPrefix(l.Digest, "sha256:") {
			t.Errorf("%s has the digest %q", l.Image, l.Digest)
		}
	}
	if d := cmp.Diff(want, images); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func config(t *testing.T, initramfs []byte) extension.Config {
	t.Helper()
	r := cpio.NewInitramfsReader(bytes.NewReader(initramfs))
	for {
		a, err := r.Next()
		if err != nil {
			t.Fatalf("looking for %s: %v", extension.ConfigName, err)
		}
		for {
			h, err := a.Next()
			if err != nil {
				break
			}
			if h.Name != extension.ConfigName {
				continue
			}
			data, err := io.ReadAll(a)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := extension.ParseConfig(data)
			if err != nil {
				t.Fatal(err)
			}
			return cfg
		}
	}
}

// TestSameBytes: neither the cache, nor the number of CPUs, nor the place of
// the input is seen in the output.
func TestSameBytes(t *testing.T) {
	base := baseInitramfs(t, plainRoot)
	big := strings.Repeat("0123456789abcdef", 1<<17) // several blocks
	files := map[string]string{"usr/local/big": big, "usr/local/small": "s", "usr/lib/firmware/f.bin": big}
	var first []byte
	for _, procs := range []int{1, 2, 4} {
		old := runtime.GOMAXPROCS(procs)
		c := newCache(t)
		dir := ext(t, "a", files)
		for range 2 { // cold, then warm
			got := write2(t, c, base, dir)
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) {
				t.Errorf("with %d CPUs the output differs", procs)
			}
		}
		runtime.GOMAXPROCS(old)
	}
}

// TestOldTalos: before 1.8 the kernel reads xz only, before 1.10 firmware is in /lib.
func TestOldTalos(t *testing.T) {
	c := newCache(t)
	dir := ext(t, "a", map[string]string{"usr/local/x": "x", "lib/firmware/f": "fw"})
	a, err := asset(t, c, baseInitramfs(t, plainRoot), "v1.7.0", "", dir)
	got := contents(t, write(t, a, err))
	if !strings.Contains(got, "archive xz\n  drwxr-xr-x 0:0 lib\n") {
		t.Errorf("firmware is not in an xz archive below lib:\n%s", got)
	}
	if !strings.Contains(got, "    -rw-r--r-- usr/local/x") {
		t.Errorf("the layer cannot be read:\n%s", got)
	}
}

func TestFindings(t *testing.T) {
	c := newCache(t)
	base := baseInitramfs(t, plainRoot)
	a, err := asset(t, c, base, "", "", ext(t, "a", map[string]string{"usr/local/x": "1", "etc/passwd": "root"}), ext(t, "b", map[string]string{"usr/local/x": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, f := range a.Findings {
		rules = append(rules, f.Rule)
	}
	if want := []string{"path-not-allowed", "path-conflict"}; !slices.Equal(rules, want) {
		t.Errorf("got %v, want %v", rules, want)
	}
}

func TestBadBase(t *testing.T) {
	c := newCache(t)
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("this is no initramfs"),
		"no rootfs": archiveOf(t, "init", []byte("x")), "bad rootfs": archiveOf(t, "rootfs.sqsh", []byte("hsqs")),
	} {
		file := filepath.Join(t.TempDir(), "initramfs")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := asset(t, c, file, "", ""); err == nil || !strings.Contains(err.Error(), "opening the base") {
			t.Errorf("%s: got %v, want an error about the base", name, err)
		}
	}
}

func archiveOf(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	err := w.WriteHeader(&cpio.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
	_, werr := w.Write(data)
	if err := errors.Join(err, werr, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestInterrupted stops in the middle: nothing half-made may be in the cache.
func TestInterrupted(t *testing.T) {
	c := newCache(t)
	base := baseInitramfs(t, plainRoot)
	dir := ext(t, "a", map[string]string{"usr/local/x": strings.Repeat("x", 4<<20)})
	a, err := asset(t, c, base, "", "", dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := a.Initramfs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	entries, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Label, "layer") {
			t.Errorf("the cache has %s", e.Label)
		}
	}
	write2(t, c, base, dir)
}
