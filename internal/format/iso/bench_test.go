package iso

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// media are options with files of the size that installation media have: 120 MB
// of EFI system partition, and 60 MB for a BIOS.
func media(b *testing.B) (o Options, bytes int64) {
	b.Helper()
	sized := func(name string, size int) *sparse.Image {
		path := filepath.Join(b.TempDir(), name)
		if err := os.WriteFile(path, noise(size), 0o600); err != nil {
			b.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		return sparse.From(f, 0, int64(size))
	}
	o = options()
	o.EFI = sized("esp", 120e6)
	o.BIOS = fakeBIOS()
	o.Files = append(o.Files, File{Path: "boot/kernel", Content: sized("kernel", 10e6)}, File{Path: "boot/initrd", Content: sized("initrd", 50e6)})
	return o, 180e6
}

func BenchmarkBuild(b *testing.B) {
	o, _ := media(b)
	for b.Loop() {
		build(b, o)
	}
}

func BenchmarkWriteFile(b *testing.B) {
	o, size := media(b)
	b.SetBytes(size)
	path := filepath.Join(b.TempDir(), "x.iso")
	for b.Loop() {
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := build(b, o).WriteFile(context.Background(), f, nil); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
