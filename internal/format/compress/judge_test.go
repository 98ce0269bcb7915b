package compress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// judge runs a program, and returns what it says.
func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testkit.Judge(t, name), args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func packedFile(t *testing.T, m *sparse.Image, f Format) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw"+f.Suffix())
	if err := os.WriteFile(path, packed(t, m, f, Options{}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJudges has the programs that users unpack with test and unpack all.
func TestJudges(t *testing.T) {
	for _, j := range []struct {
		format       Format
		name         string
		test, unpack []string
	}{
		{Gzip, "gzip", []string{"-tv"}, []string{"-dc"}},
		{Gzip, "pigz", []string{"-tv"}, []string{"-dc"}},
		{XZ, "xz", []string{"-tv"}, []string{"-dc", "-T2"}},
		{Zstd, "zstd", []string{"-tv", "--memory=8MB"}, []string{"-dcq", "--memory=8MB"}},
		{TarGz, "tar", []string{"-tzf"}, []string{"-xzOf"}},
		{TarGz, "bsdtar", []string{"-tzf"}, []string{"-xzOf"}},
	} {
		t.Run(fmt.Sprintf("%v/%s %s", j.format, j.name, strings.Join(j.unpack, " ")), func(t *testing.T) {
			for name, m := range samples() {
				path := packedFile(t, m, j.format)
				judge(t, j.name, append(j.test, path)...)
				cmd := exec.Command(j.name, append(j.unpack, path)...)
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				readsAs(t, bytes.NewReader(out), m)
			}
		})
	}
}

func TestZstdList(t *testing.T) {
	out := judge(t, "zstd", "-lv", packedFile(t, disk(33<<20), Zstd))
	for _, want := range []string{"# Zstandard Frames: 1", "Window Size: 8.00 MiB (8388608 B)", "Decompressed Size: 33.0 MiB (34603008 B)", "Check: XXH64"} {
		if !strings.Contains(out, want) {
			t.Errorf("zstd -lv does not say %q, but\n%s", want, out)
		}
	}
}

// TestXZList compares what xz says of the blocks: all have their sizes in the
// headers, and those of zeros are small.
func TestXZList(t *testing.T) {
	out := judge(t, "xz", "--robot", "-lvv", packedFile(t, disk(9<<20), XZ))
	got := ""
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); f[0] == "block" { // sizes, check, its flags and filters
			got += fmt.Sprintf("%8s of %8s bytes, %s, %s, %s\n", f[6], f[7], f[9], f[12], f[len(f)-1])
		}
	}
	want := `  321668 of  4194304 bytes, CRC64, cu, --lzma2=dict=256KiB
     872 of  4194304 bytes, CRC64, cu, --lzma2=dict=64KiB
    1000 of  1048576 bytes, CRC64, cu, --lzma2=dict=256KiB
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestTarListing: a size of 8 GiB needs the binary form, and programs read it.
func TestTarListing(t *testing.T) {
	for size, want := range map[int64]string{
		5000:      "-rw-r--r-- 0/0            5000 2023-11-14 22:13 disk.raw\n",
		8<<30 - 1: "-rw-r--r-- 0/0      8589934591 2023-11-14 22:13 disk.raw\n",
		8 << 30:   "-rw-r--r-- 0/0      8589934592 2023-11-14 22:13 disk.raw\n",
		100 << 30: "-rw-r--r-- 0/0    107374182400 2023-11-14 22:13 disk.raw\n",
	} {
		m, err := tarArchive("disk.raw", sparse.New(size), time.Unix(1_700_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if m.Size()%10240 != 0 {
			t.Errorf("%d bytes make an archive of %d, want a multiple of 10 KiB", size, m.Size())
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "disk.tar"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := m.WriteFile(t.Context(), f, nil); err != nil {
			t.Fatal(err)
		}
		if got := judge(t, "tar", "-tvf", f.Name()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if magic, err := io.ReadAll(io.NewSectionReader(m, 257, 8)); string(magic) != "ustar  \x00" || err != nil {
			t.Errorf("got the magic %q, want that of oldgnu", magic)
		}
	}
}
