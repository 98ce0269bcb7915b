package vmdk

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// disks are 128 MiB of three kinds. Programs are half a disk, and each is
// followed by a hole.
func disks(b *testing.B) map[string]*sparse.Image {
	b.Helper()
	const size = 128 << 20
	zeroRich := sparse.New(size)
	piece := testkit.Noise(4 << 10)
	for at := int64(0); at < size; at += grainSize {
		zeroRich.Put(at, append(bytes.Clone(piece), make([]byte, grainSize-len(piece))...))
	}
	return map[string]*sparse.Image{"noise": sparse.Bytes(testkit.Noise(size)), "zero-rich": zeroRich, "programs": programs(b, size)}
}

// programs are those of the Go distribution.
func programs(b *testing.B, size int64) *sparse.Image {
	b.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no Go distribution:", err)
	}
	root := strings.TrimSpace(string(out))
	paths, err := filepath.Glob(root + "/pkg/tool/*/*")
	if err != nil {
		b.Fatal(err)
	}
	m, at := sparse.New(size), int64(0)
	for _, path := range append(paths, root+"/bin/go") {
		content, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		if next := at + 2*int64(len(content))&^4095; next < size {
			m.Put(at, content)
			at = next
		}
	}
	return m
}

// BenchmarkWrite reports the size of the image by that of the disk, too.
func BenchmarkWrite(b *testing.B) {
	for name, raw := range disks(b) {
		for _, level := range []int{1, 3, 5, 6, 9} {
			b.Run(fmt.Sprintf("%s/%d", name, level), func(b *testing.B) {
				b.SetBytes(raw.Size())
				var n count
				for b.Loop() {
					n = 0
					if err := Write(b.Context(), &n, raw, Options{Level: level}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)/float64(raw.Size()), "ratio")
			})
		}
	}
}

// count is the number of bytes written to it.
type count int

func (c *count) Write(p []byte) (int, error) { *c += count(len(p)); return len(p), nil }

func BenchmarkQEMUImg(b *testing.B) {
	for name, raw := range disks(b) {
		b.Run(name, func(b *testing.B) {
			path := writeFile(b, raw, "disk.raw")
			b.SetBytes(raw.Size())
			for b.Loop() {
				testkit.Run(b, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", path, path+".vmdk")
			}
			info, err := os.Stat(path + ".vmdk")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(raw.Size()), "ratio")
		})
	}
}

func BenchmarkReader(b *testing.B) {
	image := encoded(b, disks(b)["programs"], Options{})
	b.SetBytes(128 << 20)
	for b.Loop() {
		if _, err := io.Copy(io.Discard, open(b, image).Reader()); err != nil {
			b.Fatal(err)
		}
	}
}
