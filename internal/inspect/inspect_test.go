package inspect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// initramfs writes a plain archive of these files.
func initramfs(t testing.TB, files map[string][]byte) *os.File {
	t.Helper()
	tr := tree.New()
	for name, data := range files {
		if err := tr.Put(name, tree.File(0o644, data)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "initramfs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := encode.Cpio(context.Background(), f, tr, nil); err != nil {
		t.Fatal(err)
	}
	return f
}

func rootImage(t *testing.T) []byte {
	t.Helper()
	tr := tree.New()
	for name, text := range map[string]string{
		"usr/lib/os-release":              "NAME=Talos\nVERSION_ID=v1.9.2\n",
		"usr/lib/modules/6.12.0-talos/mo": "",
	} {
		if err := tr.Put(name, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return squashfsOf(t, tr)
}

func squashfsOf(t testing.TB, tr *tree.Tree) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := encode.Squashfs(context.Background(), f, tr, squashfs.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func ofFile(f *os.File, c *cache.Cache) (*Asset, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return Of(context.Background(), f.Name(), f, info.Size(), Options{Cache: c})
}

// TestProblems: what would go wrong at boot is said before.
func TestProblems(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := extension.Config{Layers: []extension.Layer{
		{Image: "000.a.sqsh", Digest: "sha256:00", Metadata: extension.Metadata{Name: "a"}},
		{Image: "001.gone.sqsh", Metadata: extension.Metadata{Name: "gone"}},
		{Image: "002.b.sqsh", Metadata: extension.Metadata{Name: "b"}},
	}}
	yaml, err := config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	a, err := ofFile(initramfs(t, map[string][]byte{
		"rootfs.sqsh": rootImage(t), "000.a.sqsh": []byte("a"), "002.b.sqsh": []byte("b"), "003.c.sqsh": []byte("c"),
		"extensions.yaml": yaml,
	}), c)
	if err != nil {
		t.Fatal(err)
	}
	r := a.Initramfs
	if d := cmp.Diff(a.Problems, r.Problems); d != "" {
		t.Errorf("problems of the whole, and of the initramfs:\n%s", d)
	}
	want := []string{
		"the layer 000.a.sqsh has the digest sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb, extensions.yaml says sha256:00",
		"the layer 001.gone.sqsh is listed in extensions.yaml and not there",
		"the file 003.c.sqsh is in no line of extensions.yaml: it will not be mounted",
	}
	if d := cmp.Diff(want, r.Problems); d != "" {
		t.Errorf("problems (-want +got):\n%s", d)
	}
	if r.Base.Version != "v1.9.2" || len(r.Base.Releases) != 1 || r.Base.Releases[0] != "6.12.0-talos" || r.Base.Format != "zstd" {
		t.Errorf("got the base %+v", r.Base)
	}
}

func TestUnknown(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("0123456789"), "zeros": make([]byte, 4096)} {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if _, err := ofFile(f, c); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v, want %v", name, err, ErrUnknown)
		}
		f.Close()
	}
}

func TestOfExtension(t *testing.T) {
	tr := tree.New()
	for name, text := range map[string]string{
		"manifest.yaml":                          "version: v1alpha1\nmetadata: {name: x, version: v1}\n",
		"rootfs/usr/local/bin/deep/er/tool":      "12345",
		"rootfs/usr/local/bin/tool":              "123",
		"rootfs/usr/lib/firmware/a/fw.bin":       "1",
		"rootfs/usr/local/etc/containers/s.yaml": "name: s\ncontainer: {entrypoint: ./x}\nrestart: always\n",
	} {
		if err := tr.Put(name, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	facts, err := survey.Of(context.Background(), tr)
	if err != nil {
		t.Fatal(err)
	}
	r := OfExtension("x", facts)
	want := []Directory{{"/usr/lib/firmware", 1, 1}, {"/usr/local/bin", 2, 8}, {"/usr/local/etc", 1, 53}}
	if d := cmp.Diff(want, r.Directories); d != "" {
		t.Errorf("directories (-want +got):\n%s", d)
	}
	if len(r.Services) != 1 || r.Services[0].Name != "s" || len(r.Firmware) != 1 || r.Manifest.Metadata.Name != "x" {
		t.Errorf("got %+v", r)
	}
}
