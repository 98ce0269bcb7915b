package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// judge runs a program that is not ours, and skips the test without it.
func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testkit.Judge(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// wholesome is all that fsck.vfat says of a file system without a mistake.
var wholesome = regexp.MustCompile(`(?s)^fsck.fat [^\n]*\nChecking we can access the last sector of the filesystem\n` +
	`Boot sector contents:\nSystem ID "MSWIN4.1"\nMedia byte 0xf8 \(hard disk\)\n.*` +
	`2048 hidden sectors\n[^\n]* sectors total\n(Checking file [^\n]*\n)*(Checking for unused clusters.\n)(Checking free cluster summary.\n)?[^\n]* files, [^\n]* clusters\n$`)

func checkFsck(t *testing.T, image string) {
	t.Helper()
	if out := judge(t, "fsck.vfat", "-n", "-v", image); !wholesome.MatchString(out) {
		t.Errorf("fsck.vfat says:\n%s", out)
	}
}

func TestFsck(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			checkFsck(t, writeFile(t, mustBuild(t, v.o.named(), espFiles())))
		})
	}
	t.Run("empty", func(t *testing.T) {
		checkFsck(t, writeFile(t, mustBuild(t, Options{Size: 512 * mib, HiddenSectors: 2048}, nil)))
	})
}

// TestMtools: another program sees the same names, times and bytes.
func TestMtools(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			image, files := writeFile(t, mustBuild(t, v.o.named(), espFiles())), espFiles()
			dir := t.TempDir()
			judge(t, "mcopy", "-s", "-m", "-n", "-i", image, "::/", dir)
			for _, f := range files {
				if f.Content == nil {
					continue
				}
				got, err := os.ReadFile(filepath.Join(dir, f.Path))
				if err != nil || !bytes.Equal(got, bytesOf(t, f.Content)) {
					t.Errorf("%s: other bytes came back, %v", f.Path, err)
				}
			}
		})
	}
}

func TestMdir(t *testing.T) {
	image := writeFile(t, mustBuild(t, variants[0].o.named(), espFiles()))
	want := `Volume in drive : is EFI
Volume Serial Number is 1234-ABCD
Directory for ::/
EFI <DIR> 2026-02-03 4:05
EMPTY TXT 0 2026-02-03 4:05
GR_N~1 CFG 2 2026-02-03 4:05 grün.cfg
LOADER <DIR> 2026-02-03 4:05 loader
4 files 2 bytes
Directory for ::/EFI
. <DIR> 2026-02-03 4:05
.. <DIR> 2026-02-03 4:05
LINUX <DIR> 2026-02-03 4:05 Linux
BOOT <DIR> 2026-02-03 4:05 boot
4 files 0 bytes
Directory for ::/EFI/Linux
. <DIR> 2026-02-03 4:05
.. <DIR> 2026-02-03 4:05
TALOS-~1 EFI 4096 2026-02-03 4:05 Talos-v1.14.0.efi
TALOS-~2 EFI 300001 2026-02-03 5:05 Talos-v1.14.0~1.efi
4 files 304 097 bytes
Directory for ::/EFI/boot
. <DIR> 2026-02-03 4:05
.. <DIR> 2026-02-03 4:05
BOOTX64 EFI 100000 2026-02-03 4:05 BOOTX64.efi
3 files 100 000 bytes
Directory for ::/loader
. <DIR> 2026-02-03 4:05
.. <DIR> 2026-02-03 4:05
KEYS <DIR> 2026-02-03 4:05 keys
LOADER~1 CON 11 2026-02-03 4:05 loader.conf
RANDOM~1 32 2026-02-03 4:05 random-seed
5 files 43 bytes
Directory for ::/loader/keys
. <DIR> 2026-02-03 4:05
.. <DIR> 2026-02-03 4:05
AUTO <DIR> 2026-02-03 3:05 auto
3 files 0 bytes
Directory for ::/loader/keys/auto
. <DIR> 2026-02-03 3:05
.. <DIR> 2026-02-03 4:05
2 files 0 bytes
Total files listed:
25 files 404 142 bytes
604 160 bytes free
`
	var got strings.Builder
	for line := range strings.Lines(judge(t, "mdir", "-/", "-a", "-i", image, "::/")) {
		if fields := strings.Fields(line); len(fields) > 0 {
			fmt.Fprintln(&got, strings.Join(fields, " "))
		}
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("want (-), mdir says (+):\n%s", diff)
	}
	for _, path := range []string{"::/LOADER/LOADER~1.CON", "::/loader/loader.conf"} {
		if got := judge(t, "mtype", "-i", image, path); got != "timeout 10\n" {
			t.Errorf("mtype says %q", got)
		}
	}
}

// mkfs has mkfs.vfat make an empty file system.
func mkfs(t *testing.T, size int64, args ...string) *Reader {
	t.Helper()
	image := writeFile(t, sparse.New(size))
	judge(t, "mkfs.vfat", append(args, "--invariant", image)...)
	return readFile(t, image)
}

// TestFewClusters: FAT32 with fewer clusters than it may have is common.
func TestFewClusters(t *testing.T) {
	if got, want := summary(t, mkfs(t, 20*mib, "-F", "32", "-s", "8")), "FAT32 sector=512 cluster=4096 free=20910080"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestLikeMkfs: kind and cluster size are those of mkfs.vfat.
func TestLikeMkfs(t *testing.T) {
	for _, size := range []int64{1, 3, 7, 16, 33, 100, 128, 129, 256, 257, 511, 512, 600, 2101, 9000} {
		r := mkfs(t, size*mib)
		mine := read(t, mustBuild(t, Options{Size: size * mib}, nil))
		got, want := fmt.Sprint(mine.Kind, mine.ClusterSize), fmt.Sprint(r.Kind, r.ClusterSize)
		if got != want {
			t.Errorf("%d MiB: got %s, mkfs.vfat chooses %s", size, got, want)
		}
	}
}

func readFile(t *testing.T, image string) *Reader {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestForeign reads what other programs wrote.
func TestForeign(t *testing.T) {
	for _, c := range []struct{ size, kind, sector, cluster string }{
		{"4096", "12", "512", "4"}, {"20480", "16", "512", "1"}, {"40960", "32", "512", "1"}, {"300000", "32", "4096", "1"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			dir := t.TempDir()
			image, tree := filepath.Join(dir, "img"), filepath.Join(dir, "tree")
			judge(t, "mkfs.vfat", "-C", "-F", c.kind, "-S", c.sector, "-s", c.cluster, "-n", "FOREIGN", "-i", "beefcafe", image, c.size)
			want := map[string]string{}
			for i := range 40 {
				want[fmt.Sprintf("dir %d/a long name for file number %d.data", i%7, i)] = string(pattern(i*1000, byte(i)))
				want[fmt.Sprintf("low%d.txt", i)] = string(pattern(i, byte(i)))
				want[fmt.Sprintf("UP%d.TXT", i)] = string(pattern(i+1, byte(i)))
			}
			for name, content := range want {
				name = filepath.Join(tree, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			entries, err := filepath.Glob(tree + "/*")
			if err != nil {
				t.Fatal(err)
			}
			judge(t, "mcopy", append(append([]string{"-s", "-i", image}, entries...), "::/")...)
			judge(t, "mdel", "-i", image, "::/low3.txt", "::/dir 1/a long name for file number 8.data")
			delete(want, "low3.txt")
			delete(want, "dir 1/a long name for file number 8.data")

			r := readFile(t, image)
			got := map[string]string{}
			err = fs.WalkDir(r, ".", func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					var b []byte
					b, err = fs.ReadFile(r, path)
					got[path] = string(b)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(want, got) {
				t.Errorf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
			if r.Label != "FOREIGN" || r.VolumeID != 0xbeefcafe || fmt.Sprint(int(r.Kind)) != c.kind {
				t.Errorf("got %s", summary(t, r))
			}
			free, err := r.Free()
			if err != nil {
				t.Fatal(err)
			}
			if out := judge(t, "mdir", "-i", image, "::/"); !strings.Contains(strings.ReplaceAll(out, " ", ""), fmt.Sprintf("%dbytesfree", free)) {
				t.Errorf("%d bytes are free, mdir says:\n%s", free, out)
			}
		})
	}
}

// TestManyNames: a directory of several hundred long names that begin alike.
func TestManyNames(t *testing.T) {
	var files []File
	for i := range 700 {
		files = append(files, File{Path: fmt.Sprintf("a directory/A rather long name, number %d of many.configuration", i), Content: text(fmt.Sprint(i))})
		files = append(files, File{Path: fmt.Sprintf("in-the-root-%d.conf", i), Content: sparse.New(int64(i))})
	}
	for _, size := range []int64{16 * mib, 512 * mib} {
		m := mustBuild(t, Options{Size: size, HiddenSectors: 2048}, files)
		image := writeFile(t, m)
		checkFsck(t, image)
		r := read(t, m)
		got, err := fs.ReadDir(r, "a directory")
		if err != nil || len(got) != 700 {
			t.Errorf("got %d names, %v", len(got), err)
		}
		for _, f := range []File{files[0], files[1398], files[1], files[1399]} {
			want := string(bytesOf(t, f.Content))
			if got, err := fs.ReadFile(r, f.Path); err != nil || string(got) != want {
				t.Errorf("%s: got %q, %v", f.Path, got, err)
			}
			if got := judge(t, "mtype", "-i", image, "::/"+f.Path); got != want {
				t.Errorf("%s: mtype says %q", f.Path, got)
			}
		}
	}
}
