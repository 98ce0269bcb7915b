package oci

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/graftlinux/graft/internal/testkit"
)

// benchCatalog is a catalog of 100 extensions for two platforms, 1 GiB of layers.
func benchCatalog(b *testing.B) (dir string, size int64, routes func(dest string) []Route) {
	b.Helper()
	dir = filepath.Join(b.TempDir(), "catalog")
	testkit.Catalog{Extensions: 100, LayerSize: 5 << 20, Signed: true}.Write(b, dir)
	found := must(Names(b.Context(), dir, Options{}))(b)
	return dir, sizeOf(b, dir), func(dest string) []Route {
		var routes []Route
		for _, n := range found {
			routes = append(routes, Route{From: n.Source, To: dest + n.Name})
		}
		return routes
	}
}

func sizeOf(b *testing.B, dir string) (size int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// copyFiles is what cp -r does.
func copyFiles(b *testing.B, src, dst string) {
	b.Helper()
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(src, p)
		if err != nil || rerr != nil || d.IsDir() {
			return os.MkdirAll(filepath.Join(dst, rel), 0o777)
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(dst, rel))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in) // copy_file_range
		return errorsOf(err, out.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}

func errorsOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// BenchmarkCopyAll mirrors the catalog, and copies its files for comparison. It
// reports the memory that the program got from the system.
func BenchmarkCopyAll(b *testing.B) {
	dir, size, routes := benchCatalog(b)
	archive := filepath.Join(b.TempDir(), "from.tar")
	if err := CopyAll(b.Context(), routes("oci-archive:"+archive+":"), CopyOptions{}); err != nil {
		b.Fatal(err)
	}
	fromArchive := routes("")
	for i, n := range must(Names(b.Context(), archive, Options{}))(b) {
		fromArchive[i].From = n.Source
	}
	for _, bb := range []struct {
		name string
		run  func(b *testing.B, dest string) error
	}{
		{"cp", func(b *testing.B, dest string) error { copyFiles(b, dir, dest); return nil }},
		{"layout-to-layout", func(b *testing.B, dest string) error {
			return CopyAll(b.Context(), routes("oci:"+dest+":"), CopyOptions{})
		}},
		{"layout-to-archive", func(b *testing.B, dest string) error {
			return CopyAll(b.Context(), routes("oci-archive:"+dest+":"), CopyOptions{})
		}},
		{"archive-to-layout", func(b *testing.B, dest string) error {
			for i, r := range routes("oci:" + dest + ":") {
				fromArchive[i].To = r.To
			}
			return CopyAll(b.Context(), fromArchive, CopyOptions{})
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				dest := filepath.Join(b.TempDir(), "dest")
				if err := bb.run(b, dest); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				os.RemoveAll(dest)
				b.StartTimer()
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.Sys>>20), "MiB-sys")
		})
	}
}
