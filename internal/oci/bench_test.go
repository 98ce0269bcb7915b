package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/tree"
)

// BenchmarkPack packs 100 MB: the Go toolchain's own binaries, again and again.
func BenchmarkPack(b *testing.B) {
	tr, size := goBinaries(b, 100<<20)
	for _, c := range []Compression{Gzip, Zstd, None} {
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				res, err := Pack(b.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}}, filepath.Join(b.TempDir(), "x.tar"), PackOptions{Compression: c})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(res.Size)/float64(size), "ratio")
			}
		})
	}
}

// BenchmarkTree reads such an image from an OCI layout: verify, unpack, index.
func BenchmarkTree(b *testing.B) {
	tr, size := goBinaries(b, 100<<20)
	for _, c := range []Compression{Gzip, Zstd, None} {
		dir := filepath.Join(b.TempDir(), string(c))
		if _, err := Pack(b.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}}, dir, PackOptions{Compression: c}); err != nil {
			b.Fatal(err)
		}
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				img, err := Open(b.Context(), dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := img.Tree(b.Context()); err != nil {
					b.Fatal(err)
				}
				img.Close()
			}
		})
	}
}

// goBinaries is a tree of real programs, at least so many bytes of them.
func goBinaries(b *testing.B, least int64) (*tree.Tree, int64) {
	b.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skipf("asking go for its directory: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "pkg/tool/*/*"))
	if err != nil || len(files) == 0 {
		b.Skip("the Go toolchain has no binaries here")
	}
	tr, size := tree.New(), int64(0)
	for round := 0; size < least; round++ {
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				b.Fatal(err)
			}
			for i := range data { // no two files are alike, as in life
				data[i] ^= byte(round)
			}
			name := fmt.Sprintf("rootfs/usr/local/%d/%s", round, filepath.Base(f))
			if err := tr.Put(name, tree.File(0o755, data)); err != nil {
				b.Fatal(err)
			}
			size += int64(len(data))
		}
	}
	return tr, size
}
