package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const mib = 1 << 20

var testTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// pattern is size bytes that look different everywhere.
func pattern(size int, seed byte) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i*7) ^ seed
	}
	return b
}

func text(s string) *sparse.Image { return sparse.Bytes([]byte(s)) }

// espFiles are files like those on an ESP of Talos.
func espFiles() []File {
	return []File{
		{Path: "EFI/boot/BOOTX64.efi", Content: sparse.Bytes(pattern(100_000, 1))},
		{Path: "EFI/Linux/Talos-v1.14.0~1.efi", Content: sparse.Bytes(pattern(300_001, 2)), ModTime: testTime.Add(time.Hour + time.Second)},
		{Path: "EFI/Linux/Talos-v1.14.0.efi", Content: sparse.Bytes(pattern(4096, 3))},
		{Path: "loader/loader.conf", Content: text("timeout 10\n")},
		{Path: "loader/random-seed", Content: sparse.New(32), ReadOnly: true},
		{Path: "loader/keys/auto", ModTime: testTime.Add(-time.Hour)},
		{Path: "EMPTY.TXT", Content: sparse.New(0)},
		{Path: "grün.cfg", Content: text("ä")},
	}
}

func mustBuild(t testing.TB, o Options, files []File) *sparse.Image {
	t.Helper()
	m, err := Build(o, files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func bytesOf(t testing.TB, m *sparse.Image) []byte {
	t.Helper()
	b, err := io.ReadAll(m.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeFile puts an image where a judge can read it.
func writeFile(t testing.TB, m *sparse.Image) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fat.img"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.WriteFile(context.Background(), f, nil), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func read(t testing.TB, m *sparse.Image) *Reader {
	t.Helper()
	r, err := NewReader(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// listing has a line for each file.
func listing(fsys fs.FS) (string, error) {
	var b strings.Builder
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %6d %s %s\n", info.Mode(), info.Size(), info.ModTime().Format("2006-01-02T15:04:05"), path)
		return nil
	})
	return b.String(), err
}

const wantListing = `drwxr-xr-x      0 0001-01-01T00:00:00 .
drwxr-xr-x      0 2026-02-03T04:05:06 EFI
drwxr-xr-x      0 2026-02-03T04:05:06 EFI/Linux
-rw-r--r--   4096 2026-02-03T04:05:06 EFI/Linux/Talos-v1.14.0.efi
-rw-r--r-- 300001 2026-02-03T05:05:06 EFI/Linux/Talos-v1.14.0~1.efi
drwxr-xr-x      0 2026-02-03T04:05:06 EFI/boot
-rw-r--r-- 100000 2026-02-03T04:05:06 EFI/boot/BOOTX64.efi
-rw-r--r--      0 2026-02-03T04:05:06 EMPTY.TXT
-rw-r--r--      2 2026-02-03T04:05:06 grün.cfg
drwxr-xr-x      0 2026-02-03T04:05:06 loader
drwxr-xr-x      0 2026-02-03T04:05:06 loader/keys
drwxr-xr-x      0 2026-02-03T03:05:06 loader/keys/auto
-rw-r--r--     11 2026-02-03T04:05:06 loader/loader.conf
-r--r--r--     32 2026-02-03T04:05:06 loader/random-seed
`

// variants are file systems of all kinds and sizes.
var variants = []struct {
	name string
	o    Options
	want string // summary
}{
	{"1M", Options{Size: mib}, "FAT12 sector=512 cluster=2048 free=604160"},
	{"1M of 4096", Options{Size: mib, SectorSize: 4096}, "FAT12 sector=4096 cluster=4096 free=573440"},
	{"5M with small clusters", Options{Size: 5 * mib, ClusterSize: 512}, "FAT16 sector=512 cluster=512 free=4772352"},
	{"8M", Options{Size: 8 * mib}, "FAT12 sector=512 cluster=4096 free=7917568"},
	{"17M", Options{Size: 17 * mib}, "FAT16 sector=512 cluster=2048 free=17348608"},
	{"34M of FAT32", Options{Size: 34 * mib, Kind: FAT32}, "FAT32 sector=512 cluster=512 free=34676736"},
	{"100M", Options{Size: 100 * mib, Kind: FAT32}, "FAT32 sector=512 cluster=512 free=102817792"},
	{"100M of 4096", Options{Size: 100 * mib, SectorSize: 4096}, "FAT16 sector=4096 cluster=4096 free=104284160"},
	{"511M", Options{Size: 511 * mib}, "FAT16 sector=512 cluster=8192 free=535044096"},
	{"512M", Options{Size: 512 * mib}, "FAT32 sector=512 cluster=4096 free=535355392"},
	{"1101M", Options{Size: 1101 * mib}, "FAT32 sector=512 cluster=4096 free=1151762432"},
	{"2101M", Options{Size: 2101 * mib}, "FAT32 sector=512 cluster=4096 free=2198294528"},
	{"2101M of 4096", Options{Size: 2101 * mib, SectorSize: 4096}, "FAT32 sector=4096 cluster=4096 free=2198175744"},
	{"odd size", Options{Size: 3*mib + 512*7}, "FAT12 sector=512 cluster=2048 free=2699264"},
}

func (o Options) named() Options {
	o.Label, o.VolumeID, o.Time, o.HiddenSectors = "EFI", 0x1234abcd, testTime, 2048
	return o
}

func summary(t testing.TB, r *Reader) string {
	t.Helper()
	free, err := r.Free()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s sector=%d cluster=%d free=%d", r.Kind, r.SectorSize, r.ClusterSize, free)
}

func TestRoundTrip(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			files := espFiles()
			m := mustBuild(t, v.o.named(), files)
			r := read(t, m)
			if got := summary(t, r); got != v.want || r.Size != v.o.Size || r.Label != "EFI" || r.VolumeID != 0x1234abcd {
				t.Errorf("got %s size=%d %s %x, want %s", got, r.Size, r.Label, r.VolumeID, v.want)
			}
			got, err := listing(r)
			if diff := cmp.Diff(wantListing, got); err != nil || diff != "" {
				t.Errorf("%v, want (-), got (+):\n%s", err, diff)
			}
			for _, f := range files {
				if f.Content == nil {
					continue
				}
				if got, err := fs.ReadFile(r, f.Path); err != nil || !bytes.Equal(got, bytesOf(t, f.Content)) {
					t.Errorf("%s: other bytes came back, %v", f.Path, err)
				}
			}
		})
	}
}

func TestFS(t *testing.T) {
	if err := fstest.TestFS(read(t, mustBuild(t, variants[0].o.named(), espFiles())), "EFI/boot/BOOTX64.efi", "loader/keys/auto"); err != nil {
		t.Error(err)
	}
}

// TestSameBytes: neither the order of the files nor the number of CPUs matters.
func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	files := espFiles()
	one := bytesOf(t, mustBuild(t, variants[0].o.named(), files))
	runtime.GOMAXPROCS(2)
	slices.Reverse(files)
	if !bytes.Equal(one, bytesOf(t, mustBuild(t, variants[0].o.named(), files))) {
		t.Error("the same files made different images")
	}
}

func TestShortNames(t *testing.T) {
	var files []File
	for _, name := range strings.Fields("BOOTX64.EFI bootaa64.efi Makefile Talos-v1.14.0~1.efi Talos-v1.14.0.efi loader.conf random-seed " +
		"TALOS-~1.EFI .profile archive.tar.gz a+b.txt A_B.TXT ünïcödé x.ä README.TXT2 no.dots.here.but.many ~1 12345678.123 123456789") {
		files = append(files, File{Path: name, Content: sparse.New(0)})
	}
	for i := range 12 {
		files = append(files, File{Path: fmt.Sprintf("numbered %02d", i), Content: sparse.New(0)})
	}
	root, err := newTree(files, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range root.children {
		got = append(got, fmt.Sprintf("%s %s %d", n.name, n.short[:], len(n.long)/slotSize))
	}
	want := []string{ // name, short name, slots of the long name
		".profile PROFIL~1    1",
		"12345678.123 12345678123 0",
		"123456789 123456~1    1",
		"A_B.TXT A_B     TXT 0",
		"BOOTX64.EFI BOOTX64 EFI 0",
		"Makefile MAKEFILE    1",
		"README.TXT2 README~1TXT 1",
		"TALOS-~1.EFI TALOS-~1EFI 0",
		"Talos-v1.14.0.efi TALOS-~2EFI 2",
		"Talos-v1.14.0~1.efi TALOS-~3EFI 2",
		"a+b.txt A_B~1   TXT 1",
		"archive.tar.gz ARCHIV~1GZ  2",
		"bootaa64.efi BOOTAA64EFI 1",
		"loader.conf LOADER~1CON 1",
		"no.dots.here.but.many NODOTS~1MAN 2",
		"numbered 00 NUMBER~1    1",
		"numbered 01 NUMBER~2    1",
		"numbered 02 NUMBER~3    1",
		"numbered 03 NUMBER~4    1",
		"numbered 04 NUMBER~5    1",
		"numbered 05 NUMBER~6    1",
		"numbered 06 NUMBER~7    1",
		"numbered 07 NUMBER~8    1",
		"numbered 08 NUMBER~9    1",
		"numbered 09 NUMBE~10    1",
		"numbered 10 NUMBE~11    1",
		"numbered 11 NUMBE~12    1",
		"random-seed RANDOM~1    1",
		"x.ä X~1     _   1",
		"~1 ~1          0",
		"ünïcödé _N_C_D~1    1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestLongestName: 255 characters, also if some of them are two code units.
func TestLongestName(t *testing.T) {
	for _, name := range []string{strings.Repeat("n", 255), strings.Repeat("n", 247), strings.Repeat("💾", 127) + "n"} {
		r := read(t, mustBuild(t, Options{Size: mib}, []File{{Path: name, Content: text("found")}}))
		if got, err := fs.ReadFile(r, name); err != nil || string(got) != "found" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	file := func(paths ...string) (files []File) {
		for _, p := range paths {
			files = append(files, File{Path: p, Content: sparse.New(1)})
		}
		return files
	}
	o := Options{Size: mib}
	for _, c := range []struct {
		want  string
		o     Options
		files []File
	}{
		{"the size of 1000 bytes is not a multiple of the sector size 512", Options{Size: 1000}, nil},
		{"sectors of 300 bytes are not possible", Options{Size: mib, SectorSize: 300}, nil},
		{"clusters of 3000 bytes are not possible with sectors of 512", Options{Size: mib, ClusterSize: 3000}, nil},
		{"clusters of 512 bytes are not possible with sectors of 4096", Options{Size: mib, SectorSize: 4096, ClusterSize: 512}, nil},
		{"FAT13 does not exist", Options{Size: mib, Kind: 13}, nil},
		{"FAT12 of 1073741824 bytes is not possible: there are too many clusters", Options{Size: 1 << 30, Kind: FAT12}, nil},
		{"a file system of 214748364800 bytes is not possible: there are too many clusters", Options{Size: 200 << 30, ClusterSize: 512}, nil},
		{"the size of 2199023255552 bytes is more than FAT can have", Options{Size: 2 << 40}, nil},
		{"the label \"efi\" is not possible", Options{Size: mib, Label: "efi"}, nil},
		{"the label \"TWELVE CHARS\" is not possible", Options{Size: mib, Label: "TWELVE CHARS"}, nil},
		{"/a: the path is not like", o, file("/a")},
		{"a/../b: the path is not like", o, file("a/../b")},
		{"a/: the path is not like", o, file("a/")},
		{"a: the file is there twice", o, file("a", "a")},
		{"the names a and A are the same for FAT", o, file("a", "A")},
		{"the names EFI and efi are the same for FAT", o, file("EFI/x", "efi/y")},
		{"a is a file, not a directory", o, file("a", "a/b")},
		{"a: the file has the name of a directory", o, file("a/b", "a")},
		{"a:b: the name has the character ':', which FAT does not allow", o, file("a:b")},
		{"the name has the character '\\\\', which", o, file("EFI\\BOOT")},
		{"the name has the character '\\n'", o, file("a\n")},
		{"the name ends with a dot or a space", o, file("dir./b")},
		{"the name ends with a dot or a space", o, file("a ")},
		{"the path is not like", o, file("a\xff")},
		{"the name is longer than 255 characters", o, file(strings.Repeat("x", 256))},
		{"the path has more than 128 parts", o, file(strings.Repeat("d/", 128) + "f")},
		{"the file has 4294967296 bytes, at most 4 GiB - 1 are possible", o, []File{{Path: "big", Content: sparse.New(1 << 32)}}},
	} {
		if _, err := Build(c.o, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestDirectoryLimit(t *testing.T) {
	var files []File
	for i := range 30_000 {
		files = append(files, File{Path: fmt.Sprintf("d/a name of two slots.%d", i), Content: sparse.New(0)})
	}
	_, err := Build(Options{Size: 512 * mib}, files)
	if want := "directory \"d\" has too many files: their names need 2880064 bytes, a directory has at most 2097152"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestFitted: what Size says is enough, and a MiB less is not, for all kinds.
func TestFitted(t *testing.T) {
	many := espFiles()
	for i := range 600 {
		many = append(many, File{Path: fmt.Sprint("dir/", i), Content: sparse.New(int64(i))})
	}
	large := append(espFiles(), File{Path: "large", Content: sparse.New(700 * mib)})
	largest := append(espFiles(), File{Path: "largest", Content: sparse.New(1<<32 - 1)})
	for _, c := range []struct {
		o     Options
		files []File
		want  int64 // MiB
	}{
		{Options{}, nil, 1},
		{Options{}, espFiles(), 1},
		{Options{}, many, 2},
		{Options{}, large, 702},
		{Options{}, largest, 4105},
		{Options{SectorSize: 4096}, largest, 4105},
		{Options{Kind: FAT32}, espFiles(), 33},
		{Options{Kind: FAT32, SectorSize: 4096}, espFiles(), 257},
		{Options{Kind: FAT16}, espFiles(), 9},
		{Options{ClusterSize: 32 << 10}, many, 20},
	} {
		size, err := Size(c.o, c.files)
		if err != nil || size != c.want*mib {
			t.Errorf("%+v: got %d MiB, %v, want %d", c.o, size/mib, err, c.want)
			continue
		}
		c.o.Size = size
		read(t, mustBuild(t, c.o, c.files))
		if c.o.Size -= mib; c.o.Size == 0 {
			continue
		}
		var small *TooSmallError
		if _, err := Build(c.o, c.files); !errors.As(err, &small) || *small != (TooSmallError{c.o.Size, size}) {
			t.Errorf("%+v: got %v", c.o, err)
		}
	}
	if _, err := Size(Options{Kind: FAT12}, large); !errors.Is(err, errManyClusters) {
		t.Errorf("got %v, want %v", err, errManyClusters)
	}
}

// TestFull: a file system is usable to the last cluster.
func TestFull(t *testing.T) {
	for _, o := range []Options{{Size: mib}, {Size: 20 * mib}, {Size: 34 * mib, Kind: FAT32}} {
		free, err := read(t, mustBuild(t, o, nil)).Free()
		if err != nil {
			t.Fatal(err)
		}
		files := []File{{Path: "all", Content: sparse.New(free)}}
		m := mustBuild(t, o, files)
		if free, err := read(t, m).Free(); free != 0 || err != nil {
			t.Errorf("%d bytes are free, %v", free, err)
		}
		files[0].Content = sparse.New(free + 1)
		var small *TooSmallError
		if _, err := Build(o, files); !errors.As(err, &small) || small.Needed != o.Size+mib {
			t.Errorf("one byte more: got %v", err)
		}
	}
}

// TestSizes builds with every size: each has its parts in order, no more
// clusters than its tables have entries for, and at most a few sectors to spare.
func TestSizes(t *testing.T) {
	for _, sector := range []int64{512, 1024, 2048, 4096} {
		for size := 20 * sector; size < 5<<30; size += max(sector, size/97/sector*sector) {
			for _, kind := range []Kind{0, FAT32} {
				g, err := newGeometry(Options{Kind: kind, SectorSize: int(sector)}, size, 0)
				if errors.Is(err, errFewClusters) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				end := g.dataAt() + g.clusters*g.cluster
				entries := g.fatSize * g.sector * 8 / int64(g.kind)
				if end > size || entries < g.clusters+2 || g.dataAt()%max(g.cluster, contentAlign) != 0 || g.reserved >= 1<<16 {
					t.Errorf("%d: %+v", size, g)
				}
				if spare := size - end; spare > 3*g.cluster+contentAlign {
					t.Errorf("%d: %d bytes behind the last cluster: %+v", size, spare, g)
				}
			}
		}
	}
}

// TestFAT32Header: what only FAT32 has, byte by byte.
func TestFAT32Header(t *testing.T) {
	b := make([]byte, 32*512)
	m := mustBuild(t, Options{Size: 512 * mib}.named(), espFiles())
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what     string
		at, size int
		want     string
	}{
		{"jump and system", 0, 11, "eb58904d5357494e342e31"},
		{"sector size, clusters, reserved, tables", 11, 6, "000208240002"},
		{"no root, media", 17, 5, "00000000f8"},
		{"hidden, sectors", 28, 8, "0008000000001000"},
		{"table, root, info, backup", 36, 16, "fe03000000000000" + "0200000001000600"},
		{"name", 64, 26, "800029cdab3412" + fmt.Sprintf("%x", "EFI        FAT32   ")},
		{"info", 512 + 488, 8, "8efe0100" + "70000000"},
	} {
		if got := fmt.Sprintf("%x", b[c.at:c.at+c.size]); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	if !bytes.Equal(b[:1024], b[6*512:8*512]) {
		t.Error("the backup differs from the first two sectors")
	}
}

// TestTimes: a file system has times from 1980 to 2107, in steps of two seconds.
func TestTimes(t *testing.T) {
	for _, c := range []struct{ give, want string }{
		{"2026-02-03T04:05:07Z", "2026-02-03T04:05:06Z"},
		{"2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06Z"},
		{"1970-01-01T00:00:00Z", "1980-01-01T00:00:00Z"},
		{"2107-12-31T23:59:59Z", "2107-12-31T23:59:58Z"},
		{"2200-01-01T00:00:00Z", "2107-12-31T23:59:58Z"},
	} {
		give, err := time.Parse(time.RFC3339, c.give)
		if err != nil {
			t.Fatal(err)
		}
		info, err := read(t, mustBuild(t, Options{Size: mib}, []File{{Path: "f", Content: sparse.New(0), ModTime: give}})).Stat("f")
		if err != nil || info.ModTime().Format(time.RFC3339) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.give, info.ModTime(), err, c.want)
		}
	}
}

// TestOtherCase: case does not matter to FAT.
func TestOtherCase(t *testing.T) {
	r := read(t, mustBuild(t, Options{Size: mib}, espFiles()))
	if got, err := fs.ReadFile(r, "LOADER/Loader.Conf"); err != nil || string(got) != "timeout 10\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := r.Open("loader/loader.conf/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}
