package squashfs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goTools returns the programs of the Go distribution: real Go binaries.
func goTools(b *testing.B) (tree []entry, size int64) {
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
	for _, path := range append(paths, root+"/bin/go") {
		content, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		tree = append(tree, file(filepath.Base(path), content))
		size += int64(len(content))
	}
	return tree, size
}

// BenchmarkWrite reports the size of the image by the size of the files, too.
func BenchmarkWrite(b *testing.B) {
	tree, size := goTools(b)
	for _, level := range []Level{Default, Best} {
		for _, blockSize := range []int{128 << 10, 256 << 10, 512 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dK", []string{"default", "best"}[level], blockSize>>10), func(b *testing.B) {
				b.SetBytes(size)
				var img []byte
				for b.Loop() {
					img = image(b, Options{Level: level, BlockSize: blockSize}, tree)
				}
				b.ReportMetric(float64(len(img))/float64(size), "ratio")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	tree, size := goTools(b)
	r := reader(b, image(b, Options{}, tree))
	b.SetBytes(size)
	for b.Loop() {
		for f, err := range r.Files() {
			if err != nil {
				b.Fatal(err)
			}
			if f.Mode.IsRegular() {
				rc, err := f.Open()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, rc); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// BenchmarkWalk reads names and metadata only.
func BenchmarkWalk(b *testing.B) {
	r := reader(b, image(b, Options{}, wideTree(50_000)))
	for b.Loop() {
		n := 0
		for _, err := range r.Files() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 50_002 {
			b.Fatalf("got %d entries", n)
		}
	}
}
