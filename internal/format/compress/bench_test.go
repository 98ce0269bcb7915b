package compress

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// benchImage is the file in $GRAFT_BENCH_IMAGE, or else an image of 8 GiB with
// content like that of a disk image: 48 MiB that were compressed before, and
// this program.
func benchImage(b *testing.B) *os.File {
	b.Helper()
	if path := os.Getenv("GRAFT_BENCH_IMAGE"); path != "" {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		b.Fatal(err)
	}
	m := sparse.New(8 << 30)
	m.Put(1<<20, content)
	m.Put(1<<30, noise(48<<20))
	f, err := os.Create(filepath.Join(b.TempDir(), "disk.raw"))
	if err != nil {
		b.Fatal(err)
	}
	if err := m.WriteFile(b.Context(), f, nil); err != nil {
		b.Fatal(err)
	}
	return f
}

// holes finds the holes of a file as the file system tells them.
func holes(b *testing.B, f *os.File) *sparse.Image {
	b.Helper()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	m := sparse.New(size)
	for at := int64(0); at < size; {
		data, err := f.Seek(at, unix.SEEK_DATA)
		if err != nil {
			break // nothing but a hole
		}
		if at, err = f.Seek(data, unix.SEEK_HOLE); err != nil {
			b.Fatal(err)
		}
		m.Add(data, sparse.From(f, data, at-data))
	}
	return m
}

// cpuSeconds are those of this process, or of its children.
func cpuSeconds(b *testing.B, who int) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// measure reports the size of what pack writes, and the time of all processors
// (wall time is that of the benchmark).
func measure(b *testing.B, who int, pack func(w *os.File) error) {
	out, err := os.Create(filepath.Join(b.TempDir(), "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	before, size := cpuSeconds(b, who), int64(0)
	for b.Loop() {
		if err := out.Truncate(0); err != nil {
			b.Fatal(err)
		}
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if err := pack(out); err != nil {
			b.Fatal(err)
		}
		if size, err = out.Seek(0, io.SeekEnd); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpuSeconds(b, who)-before)/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(size), "bytes")
}

// BenchmarkWrite packs the same image as BenchmarkPeers.
func BenchmarkWrite(b *testing.B) {
	m := holes(b, benchImage(b))
	for _, f := range []Format{Zstd, XZ, Gzip} {
		for level, name := range []string{Default: "default", Fast: "fast", Best: "best"} {
			b.Run(fmt.Sprintf("%v/%s", f, name), func(b *testing.B) {
				measure(b, syscall.RUSAGE_SELF, func(w *os.File) error {
					return Write(b.Context(), w, m, f, Options{Level: Level(level)})
				})
			})
		}
	}
}

// BenchmarkPeers has the programs that Talos' imager runs do the same.
func BenchmarkPeers(b *testing.B) {
	in := benchImage(b)
	for _, args := range [][]string{{"zstd", "-q", "-T0", "-18", "-c"}, {"xz", "-0", "-T0", "-c"}, {"pigz", "-6", "--no-time", "-c"}} {
		b.Run(strings.Join(args, " "), func(b *testing.B) {
			if _, err := exec.LookPath(args[0]); err != nil {
				b.Skipf("%s is not installed", args[0])
			}
			measure(b, syscall.RUSAGE_CHILDREN, func(w *os.File) error {
				cmd := exec.Command(args[0], append(args[1:], in.Name())...)
				cmd.Stdout, cmd.Stderr = w, os.Stderr
				return cmd.Run()
			})
		})
	}
}
