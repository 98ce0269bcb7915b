package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// variants are the options that the tests of the format run with.
var variants = map[string]Options{
	"zstd-1M":      {},
	"zstd-128K":    {BlockSize: 128 << 10},
	"zstd-4K":      {BlockSize: 4 << 10, Workers: 3},
	"zstd-best-1M": {Level: Best},
	"xz-256K":      {Compression: XZ, BlockSize: 256 << 10},
	"xz-4K":        {Compression: XZ, BlockSize: 4 << 10},
}

func treeFor(o Options) []entry {
	if o.BlockSize == 0 {
		return sampleTree(maxBlockSize)
	}
	return sampleTree(o.BlockSize)
}

func TestRoundTrip(t *testing.T) {
	testkit.NotUnderRace(t)
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			tree := treeFor(o)
			r := reader(t, image(t, o, tree))
			if d := cmp.Diff(wantListing(tree), readListing(t, r)); d != "" {
				t.Errorf("what was written (-) and read back (+):\n%s", d)
			}
		})
	}
}

func TestRoundTripOfWhatWasRead(t *testing.T) {
	testkit.NotUnderRace(t)
	img := image(t, Options{}, sampleTree(maxBlockSize))
	r := reader(t, img)
	var out memory
	w, err := NewWriter(&out, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range r.Files() {
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(&f.Header, f.Open); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again := reader(t, out)
	if d := cmp.Diff(readListing(t, r), readListing(t, again)); d != "" {
		t.Error(d)
	}
}

func TestSameBytesForAnyNumberOfWorkers(t *testing.T) {
	tree := append(sampleTree(64<<10), wideTree(3000)[1:]...)
	for i := range 12 {
		tree = append(tree, file(fmt.Sprintf("many%02d", i), join(text(i*99<<10, uint64(i)), noise(i<<10, uint64(i)))))
	}
	levels := []Level{Default, Best}
	if testing.Short() {
		levels = levels[:1]
	}
	for _, level := range levels {
		var first []byte
		for _, workers := range []int{1, 2, 4, 7} {
			img := image(t, Options{BlockSize: 64 << 10, Workers: workers, Level: level}, tree)
			if first == nil {
				first = img
			}
			if !bytes.Equal(first, img) {
				t.Errorf("level %d: image made by %d workers differs from that of 1", level, workers)
			}
		}
	}
}

func TestEmptyImage(t *testing.T) {
	img := image(t, Options{ModTime: testTime}, nil)
	if len(img) != imageAlign {
		t.Errorf("image of %d bytes, want %d", len(img), imageAlign)
	}
	r := reader(t, img)
	want := []string{`"." drwxr-xr-x 0:0 2 links, time 1788611415,  []`}
	if d := cmp.Diff(want, readListing(t, r)); d != "" {
		t.Error(d)
	}
	info := Info{Compression: Zstd, BlockSize: 1 << 20, Inodes: 1, ModTime: testTime, Size: r.Info().Size}
	if d := cmp.Diff(info, r.Info()); d != "" {
		t.Error(d)
	}
}

func TestEqualContentIsStoredOnce(t *testing.T) {
	const bs = 64 << 10
	for _, size := range []int{100, bs - 1, bs, bs + 1, 3*bs + 10} {
		one := image(t, Options{BlockSize: bs}, []entry{file("a", noise(size, 1))})
		two := image(t, Options{BlockSize: bs}, []entry{file("a", noise(size, 1)), file("b", noise(size, 1))})
		if len(two) > len(one)+imageAlign {
			t.Errorf("size %d: image with a twin has %d bytes, without it %d", size, len(two), len(one))
		}
	}
}

func TestHolesTakeNoRoom(t *testing.T) {
	img := image(t, Options{}, []entry{file("hole", make([]byte, 100<<20))})
	if len(img) != imageAlign {
		t.Errorf("image of 100 MiB of zeroes has %d bytes, want %d", len(img), imageAlign)
	}
}

func TestIncompressibleDataIsStored(t *testing.T) {
	testkit.NotUnderRace(t)
	const n = 3 << 20
	for _, o := range []Options{{}, {Compression: XZ}} {
		img := image(t, o, []entry{file("noise", noise(n, 1))})
		if len(img) > n+2*imageAlign {
			t.Errorf("%v: image of %d bytes of noise has %d", o.Compression, n, len(img))
		}
	}
}

func TestAddErrors(t *testing.T) {
	long := strings.Repeat("n", 256)
	for _, tt := range []struct {
		name string
		tree []entry
		want string
	}{
		{"no parent", []entry{file("a/b", nil)}, `adding "a/b" to squashfs image: parent directory: "a" has not been added`},
		{"no grandparent", []entry{dir("a"), file("a/b/c/d", nil)}, `parent directory: "a/b" has not been added`},
		{"parent is a file", []entry{file("a", nil), file("a/b", nil)}, `parent "a" is not a directory`},
		{"twice", []entry{dir("a"), file("a", nil)}, "has been added already"},
		{"root twice", []entry{dir("."), dir("")}, "the root has been added already"},
		{"root is a file", []entry{file(".", nil)}, "the root must be a directory"},
		{"absolute", []entry{file("/a", nil)}, `path element "" is not allowed`},
		{"dot dot", []entry{dir("a"), file("a/../b", nil)}, `path element ".." is not allowed`},
		{"trailing slash", []entry{dir("a/")}, `path element "" is not allowed`},
		{"NUL", []entry{file("a\x00b", nil)}, "has a slash or a NUL in it"},
		{"long name", []entry{file(long, nil)}, "path element of 256 bytes, at most 255 are possible"},
		{"hard link to nothing", []entry{hardlink("b", "a")}, `hard link to "a": "a" has not been added`},
		{"hard link to directory", []entry{dir("a"), hardlink("b", "a")}, "which is a directory"},
		{"empty link", []entry{link("a", "")}, "symbolic link without a target"},
		{"long link", []entry{link("a", strings.Repeat("x", 4096))}, "target of 4096 bytes, at most 4095 are possible"},
		{"major", []entry{node("a", fs.ModeDevice, 1<<12, 0)}, "device number 4096:0 does not fit"},
		{"minor", []entry{node("a", fs.ModeDevice, 0, 1<<20)}, "device number 0:1048576 does not fit"},
		{"irregular", []entry{node("a", fs.ModeIrregular, 0, 0)}, "cannot be stored"},
		{"time before 1970", []entry{dir("a").with(func(h *Header) { h.ModTime = time.Unix(-1, 0) })}, "time 1969-12-31T23:59:59Z is outside of 1970 to 2106"},
		{"time after 2106", []entry{dir("a").with(func(h *Header) { h.ModTime = time.Unix(1<<32, 0) })}, "is outside of 1970 to 2106"},
		{"uid", []entry{dir("a").with(func(h *Header) { h.UID = -1 })}, "owner id -1 is outside"},
		{"gid", []entry{dir("a").with(func(h *Header) { h.GID = 1 << 32 })}, "owner id 4294967296 is outside"},
		{"size too large", []entry{file("a", []byte("abc")).with(func(h *Header) { h.Size = 4 })}, "content ends before the 4 bytes of the header"},
		{"size too small", []entry{file("a", []byte("abc")).with(func(h *Header) { h.Size = 2 })}, "content goes on after the 2 bytes of the header"},
		{"size absurd", []entry{file("a", []byte("abc")).with(func(h *Header) { h.Size = 1 << 62 })}, "content ends before"},
		{"size negative", []entry{file("a", nil).with(func(h *Header) { h.Size = -1 })}, "negative size -1"},
		{"xattr namespace", []entry{file("a", nil).with(func(h *Header) { h.Xattrs = map[string]string{"system.posix_acl_access": ""} })}, "squashfs holds only user.*, trusted.*, security.* attributes"},
		{"xattr value", []entry{file("a", nil).with(func(h *Header) { h.Xattrs = map[string]string{"user.a": strings.Repeat("x", 65537)} })}, "value of 65537 (at most 65536)"},
		{"xattr without name", []entry{file("a", nil).with(func(h *Header) { h.Xattrs = map[string]string{"user.": "x"} })}, "name of 0 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out memory
			w, err := NewWriter(&out, Options{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			err = addAll(w, tt.tree)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if again := w.Add(&Header{Name: "fine", Mode: 0o644}, nil); again != err {
				t.Errorf("next Add returned %v, want the same error", again)
			}
			if again := w.Close(); again != err {
				t.Errorf("Close returned %v, want the same error", again)
			}
			if len(out) >= 4 && string(out[:4]) == "hsqs" {
				t.Error("the image has a superblock")
			}
		})
	}
}

func TestOptionErrors(t *testing.T) {
	for _, o := range []Options{
		{BlockSize: 2 << 10}, {BlockSize: 2 << 20}, {BlockSize: 100000}, {Workers: -1},
		{Compression: Gzip}, {Compression: 99}, {Level: 7}, {ModTime: time.Unix(-5, 0)},
	} {
		if _, err := NewWriter(new(memory), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// failing fails at the n-th write, or read.
type failing struct{ n int }

var errTest = errors.New("test error")

func (f *failing) WriteAt(p []byte, _ int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, errTest
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	tree := sampleTree(4 << 10)
	for n := 0; ; n++ {
		out := &failing{n}
		w, err := NewWriter(out, Options{BlockSize: 4 << 10, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		err = addAll(w, tree)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err == nil && out.n >= 0 {
			return // enough writes for all
		}
		if !errors.Is(err, errTest) {
			t.Fatalf("after %d writes: got error %v, want %v", n, err, errTest)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, size := range []int64{100, 1 << 20, 5 << 20} {
		w, err := NewWriter(new(memory), Options{})
		if err != nil {
			t.Fatal(err)
		}
		open := func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, size/2)), &failingReader{})), nil
		}
		if err := w.Add(&Header{Name: "a", Size: size}, open); !errors.Is(err, errTest) {
			t.Errorf("got error %v, want %v", err, errTest)
		}
		w.Close()
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errTest }

func TestContentIsClosed(t *testing.T) {
	open := map[string]int{}
	w, err := NewWriter(new(memory), Options{BlockSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		content := text(i/2*3000, 1)
		name := fmt.Sprint(i)
		err := w.Add(&Header{Name: name, Size: int64(len(content))}, func() (io.ReadCloser, error) {
			open[name]++
			return countingCloser{bytes.NewReader(content), func() { open[name]-- }}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if open[name] != 0 {
			t.Errorf("file of %d bytes is open %d times", len(content), open[name])
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

type countingCloser struct {
	io.Reader
	closed func()
}

func (c countingCloser) Close() error { c.closed(); return nil }

func TestAddAfterClose(t *testing.T) {
	w, err := NewWriter(new(memory), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(&Header{Name: "a", Mode: fs.ModeDir}, nil); err == nil {
		t.Error("no error")
	}
}

// Data beyond 4 GiB needs the extended form of inodes. Stored data would make
// the test slow, so the image begins with a hole in the output file.
func TestOffsetsBeyond4GiB(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/large.sqsh")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.pipe.pos = 5 << 30
	large := file("large", noise(2<<20+5, 1))
	small := file("small", text(100, 1))
	if err := errors.Join(addAll(w, []entry{large, small}), w.Close()); err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, fi.Size())
	if err != nil {
		t.Fatal(err)
	}
	got := readListing(t, r)[1:]
	if d := cmp.Diff(wantListing([]entry{large, small}), got); d != "" {
		t.Error(d)
	}
}
