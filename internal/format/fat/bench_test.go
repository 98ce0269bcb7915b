package fat

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// uki is a file of 150 MB on disk.
func uki(b *testing.B) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "uki"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.Write(pattern(150_000_000, 0)); err != nil {
		b.Fatal(err)
	}
	return f
}

func espOf(f *os.File) []File {
	return append(espFiles(), File{Path: "EFI/Linux/uki.efi", Content: sparse.From(f, 0, 150_000_000)})
}

func BenchmarkBuild(b *testing.B) {
	files := espOf(uki(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(Options{Size: 2101 * mib, Label: "EFI"}, files); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuildAndWrite(b *testing.B) {
	files := espOf(uki(b))
	out := filepath.Join(b.TempDir(), "esp")
	b.SetBytes(150_000_000)
	for b.Loop() {
		m, err := Build(Options{Size: 2101 * mib, Label: "EFI"}, files)
		if err != nil {
			b.Fatal(err)
		}
		write(b, out, func(f *os.File) error { return m.WriteFile(context.Background(), f, nil) })
	}
}

// BenchmarkCopy is what BenchmarkBuildAndWrite is compared with.
func BenchmarkCopy(b *testing.B) {
	src := uki(b)
	out := filepath.Join(b.TempDir(), "copy")
	b.SetBytes(150_000_000)
	for b.Loop() {
		write(b, out, func(f *os.File) error {
			_, err := src.Seek(0, io.SeekStart)
			if err == nil {
				_, err = io.Copy(f, src)
			}
			return err
		})
	}
}

func BenchmarkRead(b *testing.B) {
	m := mustBuild(b, Options{Size: 2101 * mib, Label: "EFI"}, espOf(uki(b)))
	b.ReportAllocs()
	for b.Loop() {
		read(b, m)
	}
}

func write(b *testing.B, name string, fill func(*os.File) error) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := fill(f); err != nil {
		b.Fatal(err)
	}
}
