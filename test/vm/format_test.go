package vm

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit"
)

// TestDiskFormats has qemu-img make raw disks of what clouds take. They must be
// the disks that the same profiles make without a format.
func TestDiskFormats(t *testing.T) {
	qemuImg := testkit.Judge(t, "qemu-img")
	a := newAssets(t)
	for _, tt := range []struct {
		profile, format, qemu string
		member                string // suffix, of the disk in a tar
	}{
		{"azure", "vhd", "vpc", ""},
		{"vmware", "ova", "vmdk", ".vmdk"},
		{"alibabacloud", "qcow2", "qcow2", ""},
	} {
		t.Run(tt.profile, func(t *testing.T) {
			file := a.make(t, "disk."+tt.format, tt.profile, "--output-format", "raw")
			if tt.member != "" {
				file = member(t, file, tt.member)
			}
			back := filepath.Join(t.TempDir(), "back.raw")
			run(t, nil, qemuImg, "convert", "-f", tt.qemu, "-O", "raw", file, back)
			want := a.raw(t, tt.profile, tt.format)
			if got, want := size(t, back), size(t, want); got != want {
				t.Errorf("the disk has %d bytes, want %d", got, want)
			}
			run(t, nil, qemuImg, "compare", "-f", "raw", "-F", "raw", back, want)
		})
	}
}

// TestPackedDisk has zstd unpack what metal machines take.
func TestPackedDisk(t *testing.T) {
	zstd := testkit.Judge(t, "zstd")
	a := newAssets(t)
	packed := a.make(t, "metal.raw.zst", "metal")
	back := filepath.Join(t.TempDir(), "back.raw")
	run(t, nil, zstd, "-q", "-d", packed, "-o", back)
	run(t, nil, testkit.Judge(t, "cmp"), back, a.make(t, "metal.raw", "metal", "--output-format", "raw"))
}

// raw makes the disk of a profile as it is, by the profile as a document.
func (a *assets) raw(t *testing.T, profile, format string) string {
	t.Helper()
	document, err := graft(t, append([]string{"image", profile, "--dry-run", "--output-format", "raw", "--cache-dir", a.cache}, a.args...)...)
	if err != nil {
		t.Fatal(err)
	}
	as := "diskFormat: " + format
	if !strings.Contains(document, as) {
		t.Fatalf("the profile has no %q:\n%s", as, document)
	}
	file := filepath.Join(t.TempDir(), "disk.raw")
	var lines []string
	for line := range strings.Lines(document) {
		if !strings.Contains(line, "diskFormatOptions:") {
			lines = append(lines, strings.Replace(line, as, "diskFormat: raw", 1))
		}
	}
	if _, err := graftWith(t, strings.Join(lines, ""), "image", "-", "--cache-dir", a.cache, "-o", file); err != nil {
		t.Fatal(err)
	}
	return file
}

// member takes the file with a suffix out of a tar.
func member(t *testing.T, archive, suffix string) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("looking for %s in %s: %v", suffix, archive, err)
		}
		if !strings.HasSuffix(h.Name, suffix) {
			continue
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "member"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if _, err := io.Copy(out, r); err != nil {
			t.Fatal(err)
		}
		return out.Name()
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
