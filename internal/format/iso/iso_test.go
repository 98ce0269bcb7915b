package iso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

var testTime = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

func words(s string) *sparse.Image { return sparse.Bytes([]byte(s)) }

// noise is incompressible and always the same.
func noise(size int) []byte {
	b := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(b)
	return b
}

// options is a volume with a bit of everything.
func options() Options {
	return Options{
		VolumeID:    "TALOS_V1_14_0",
		System:      "LINUX",
		Publisher:   "Graft, the tests",
		Preparer:    "preparer",
		Application: "application",
		Time:        testTime,
		Files: []File{
			{Path: "boot/vmlinuz", Content: sparse.Bytes(noise(5000))},
			{Path: "boot/initramfs.xz", Content: sparse.Bytes(noise(2048)), ModTime: testTime.Add(-24 * time.Hour)},
			{Path: "boot/grub/grub.cfg", Content: words("set timeout=3\n"), Mode: 0o644},
			{Path: "empty"},
			{Path: "a directory", Mode: fs.ModeDir | 0o700},
			{Path: strings.Repeat("long name ", 25) + "12345", Content: words("of 255 bytes\n")},
			{Path: "grüße.tar.gz", Content: words("not ASCII\n")},
		},
	}
}

// fakeBIOS is a boot image that has room for the tables.
func fakeBIOS() *BIOSBoot {
	return &BIOSBoot{
		Image: sparse.Bytes(noise(5001)), InfoTable: true, GRUB2Info: true, GRUB2MBR: noise(512),
	}
}

func bootable() Options {
	o := options()
	o.BIOS, o.EFI = fakeBIOS(), sparse.Bytes(noise(100<<10))
	return o
}

func build(tb testing.TB, o Options) *sparse.Image {
	tb.Helper()
	m, err := Build(o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func read(tb testing.TB, m *sparse.Image) *Reader {
	tb.Helper()
	r, err := NewReader(m, m.Size())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// write makes a file of an image for a judge.
func write(tb testing.TB, m *sparse.Image) string {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "x.iso"))
	if err != nil {
		tb.Fatal(err)
	}
	err = m.WriteFile(context.Background(), f, nil)
	if err := errors.Join(err, f.Close()); err != nil {
		tb.Fatal(err)
	}
	return f.Name()
}

// listing has a line for each file: mode, size, time and path.
func listing(tb testing.TB, fsys fs.FS) string {
	tb.Helper()
	var b strings.Builder
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%v %5d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format("2006-01-02 15:04:05"), name)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

var longName = strings.Repeat("long name ", 25) + "12345"

var wantListing = `dr-xr-xr-x     0 2024-02-29 12:34:56 .
drwx------     0 2024-02-29 12:34:56 a directory
dr-xr-xr-x     0 2024-02-29 12:34:56 boot
dr-xr-xr-x     0 2024-02-29 12:34:56 boot/grub
-rw-r--r--    14 2024-02-29 12:34:56 boot/grub/grub.cfg
-r--r--r--  2048 2024-02-28 12:34:56 boot/initramfs.xz
-r--r--r--  5000 2024-02-29 12:34:56 boot/vmlinuz
-r--r--r--     0 2024-02-29 12:34:56 empty
-r--r--r--    10 2024-02-29 12:34:56 grüße.tar.gz
-r--r--r--    13 2024-02-29 12:34:56 ` + longName + "\n"

func TestRoundTrip(t *testing.T) {
	for name, o := range map[string]Options{"plain": options(), "bootable": bootable()} {
		t.Run(name, func(t *testing.T) {
			m := build(t, o)
			if m.Size()%cylinder != 0 {
				t.Errorf("got %d bytes, want a multiple of 1 MiB", m.Size())
			}
			r := read(t, m)
			if got := listing(t, r); got != wantListing {
				t.Errorf("got\n%s\nwant\n%s", got, wantListing)
			}
			want := Volume{"TALOS_V1_14_0", "LINUX", "Graft, the tests", "preparer", "application", testTime, testTime, m.Size(), true}
			if r.Volume != want {
				t.Errorf("got volume %v, want %v", r.Volume, want)
			}
			sameContents(t, r, o.Files)
		})
	}
}

// sameContents compares all files with what was written.
func sameContents(t *testing.T, fsys fs.FS, files []File) {
	t.Helper()
	for _, f := range files {
		if f.Content == nil {
			continue
		}
		got, err := fs.ReadFile(fsys, f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := io.ReadAll(f.Content.Reader()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the content is another (%v)", f.Path, err)
		}
	}
}

func TestFileSystem(t *testing.T) {
	r := read(t, build(t, options()))
	if err := fstest.TestFS(r, "boot/vmlinuz", "boot/grub/grub.cfg", "empty", "a directory", longName); err != nil {
		t.Fatal(err)
	}
	f, err := r.Open("boot/grub/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := f.(io.ReaderAt).ReadAt(got, 4); err != nil || string(got) != "timeout" {
		t.Errorf("got %q, %v, want timeout", got, err)
	}
}

// The same bytes whatever the order of files and the number of processors.
func TestReproducible(t *testing.T) {
	sum := func(o Options, procs int) [32]byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		b, err := io.ReadAll(build(t, o).Reader())
		if err != nil {
			t.Fatal(err)
		}
		return identity(b)
	}
	for _, gpt := range []bool{false, true} {
		o := bootable()
		o.GPT = gpt
		want := sum(o, 1)
		rand.New(rand.NewSource(1)).Shuffle(len(o.Files), func(i, j int) { o.Files[i], o.Files[j] = o.Files[j], o.Files[i] })
		o.Time = o.Time.In(time.FixedZone("elsewhere", 3600))
		if sum(o, 2) != want {
			t.Errorf("gpt %v: the bytes differ", gpt)
		}
	}
}

func TestBootEntriesAndPartitions(t *testing.T) {
	o := bootable()
	o.GPT = true
	r := read(t, build(t, o))
	var got []string
	for _, e := range r.Boot {
		got = append(got, fmt.Sprintf("boot %#02x %v media %d sectors %d block %d size %d", e.Platform, e.Bootable, e.Media, e.Sectors, e.Block, e.Image.Size()))
	}
	for _, p := range r.Partitions {
		got = append(got, fmt.Sprintf("%s %d %s %q %v at %d size %d", p.Table, p.Number, p.Type, p.Name, p.Active, p.Offset, p.Size))
	}
	want := `boot 0x00 true media 0 sectors 4 block 27 size 5001
boot 0xef true media 0 sectors 200 block 512 size 102400
mbr 1 0xee "" false at 512 size 2096640
gpt 1 ebd0a0a2-b9e5-4433-87c0-68b6b72699c7 "ISO9660" false at 32768 size 1015808
gpt 2 c12a7328-f81f-11d2-ba4b-00a0c93ec93b "EFI" false at 1048576 size 102400`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if n := grubMBRAddress; len(r.BootCode) != mbrCodeSize || !bytes.Equal(r.BootCode[:n], o.BIOS.GRUB2MBR[:n]) {
		t.Errorf("the boot code has %d bytes, and is not that of the MBR", len(r.BootCode))
	}
	if r := read(t, build(t, options())); r.BootCode != nil {
		t.Errorf("boot code of %d bytes, and there is none", len(r.BootCode))
	}
}

func TestIdentifiers(t *testing.T) {
	ids := identifiers{used: map[string]bool{}, next: map[string]int{}}
	for _, c := range []struct{ name, want string }{
		{"vmlinuz", "VMLINUZ."},
		{"VMLINUZ", "VMLINUZ000."},
		{"vmlinuZ", "VMLINUZ001."},
		{"initramfs.xz", "INITRAMFS.XZ"},
		{".hidden", "_HIDDEN."},
		{"a.b.c", "A_B.C"},
		{"ends.", "ENDS."},
		{"x.extension-that-is-long", "X.EXTENSIO"},
		{strings.Repeat("n", 40) + ".gz", strings.Repeat("N", 28) + ".GZ"},
		{strings.Repeat("n", 41) + ".gz", strings.Repeat("N", 25) + "000.GZ"},
		{"dir.d/", "DIR_D."},
		{strings.Repeat("d", 32) + "/", strings.Repeat("D", 31) + "."},
		{"vmlinuz/", "VMLINUZ002."},
	} {
		name, dir := strings.CutSuffix(c.name, "/")
		stem, ext := ids.of(name, dir)
		if got := stem + "." + ext; got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"volume identifier has 1 to 32":                 func(o *Options) { o.VolumeID = "" },
		`"TALOS-1": a volume identifier`:                func(o *Options) { o.VolumeID = "TALOS-1" },
		`"` + strings.Repeat("A", 33) + `": a volume`:   func(o *Options) { o.VolumeID = strings.Repeat("A", 33) },
		"not only printable ASCII":                      func(o *Options) { o.Publisher = "ü" },
		"more than 32 characters":                       func(o *Options) { o.System = strings.Repeat("x", 33) },
		"time of the volume: 0001":                      func(o *Options) { o.Time = time.Time{} },
		`file "old": 1969`:                              func(o *Options) { o.Files = []File{{Path: "old", ModTime: time.Unix(-1, 0).UTC()}} },
		"the EFI system partition is empty":             func(o *Options) { o.EFI = sparse.New(0) },
		"the BIOS boot image is empty":                  func(o *Options) { o.BIOS = &BIOSBoot{} },
		"no room for a boot information table":          func(o *Options) { o.BIOS.Image = sparse.New(63) },
		"no room for GRUB's boot information":           func(o *Options) { o.BIOS.Image = sparse.New(2555) },
		"at most 67108864 can be patched":               func(o *Options) { o.BIOS.Image = sparse.New(65 << 20) },
		"needs a BIOS boot image with GRUB's":           func(o *Options) { o.BIOS.GRUB2Info = false },
		"MBR of 439 bytes: want 440 to 512":             func(o *Options) { o.BIOS.GRUB2MBR = noise(439) },
		`file "/a": not a path`:                         func(o *Options) { o.Files = []File{{Path: "/a"}} },
		`file "a": it is given twice`:                   func(o *Options) { o.Files = []File{{Path: "a"}, {Path: "a"}} },
		`file "a/b": "a" is a file and a directory`:     func(o *Options) { o.Files = []File{{Path: "a/b"}, {Path: "a"}} },
		`file "a": a directory has no content`:          func(o *Options) { o.Files = []File{{Path: "a", Mode: fs.ModeDir, Content: words("")}} },
		"only files and directories can be written":     func(o *Options) { o.Files = []File{{Path: "a", Mode: fs.ModeSymlink}} },
		"a name of more than 255 bytes":                 func(o *Options) { o.Files = []File{{Path: strings.Repeat("a", 256)}} },
		"more than 128 directories above each other":    func(o *Options) { o.Files = []File{{Path: strings.Repeat("a/", 129) + "a"}} },
		"more than 2 TiB":                               func(o *Options) { o.EFI = sparse.New(1 << 41) },
		"more than 2 TiB have no place in an image":     func(o *Options) { o.Files = []File{{Path: "a", Content: sparse.New(1<<63 - 1)}} },
		"66000 directories: at most 65535 are possible": func(o *Options) { o.Files = manyDirectories(65999) },
	} {
		o := bootable()
		change(&o)
		if _, err := Build(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func manyDirectories(n int) (files []File) {
	for i := range n {
		files = append(files, File{Path: fmt.Sprintf("%d", i), Mode: fs.ModeDir})
	}
	return files
}

// Records, path tables and continuation areas of many blocks, identifiers that
// differ from the names, a deep tree and a file of more than one extent.
func large() Options {
	o := options()
	for i := range 300 {
		o.Files = append(o.Files,
			File{Path: fmt.Sprintf("many/file number %d with a name that is rather long", i), Content: words(fmt.Sprint(i))},
			File{Path: fmt.Sprintf("dirs/%d/%0200d", i, i)})
	}
	o.Files = append(o.Files,
		File{Path: strings.Repeat("deep/", 20) + "file", Content: words("here\n")},
		File{Path: "huge", Content: sparse.Concat(1<<32, words("start"), words("end"))},
		File{Path: "zz", Content: words("behind it\n")})
	return o
}

func TestLarge(t *testing.T) {
	o := large()
	r := read(t, build(t, o))
	for _, f := range o.Files {
		info, err := r.Stat(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Content != nil && info.Size() != f.Content.Size() {
			t.Errorf("%s: got %d bytes, want %d", f.Path, info.Size(), f.Content.Size())
		}
	}
	f, err := r.Open("huge")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := f.(io.ReaderAt).ReadAt(got, 1<<32); string(got) != "end" {
		t.Errorf("got %q, %v, want the end", got, err)
	}
	if got, err := fs.ReadFile(r, "zz"); string(got) != "behind it\n" {
		t.Errorf("got %q, %v behind the huge file", got, err)
	}
}
