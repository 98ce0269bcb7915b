package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/readfs"
	"github.com/graftlinux/graft/internal/testkit"
)

func TestFS(t *testing.T) {
	tree := []entry{
		dir("etc"), file("etc/os-release", text(10000, 1)), link("etc/mtab", "../proc/mounts"),
		dir("lib"), link("lib/abs", "/etc"), link("lib/up", "../../../etc/os-release"),
		dir("proc"), file("proc/mounts", nil),
		link("self", "self"), link("nowhere", "etc/missing"),
	}
	r := reader(t, image(t, Options{BlockSize: 4 << 10}, tree))
	if err := fstest.TestFS(onlyReal{r}, "etc/os-release", "proc/mounts"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"etc/os-release", "lib/abs/os-release", "lib/up"} {
		got, err := fs.ReadFile(r, name)
		if err != nil || !bytes.Equal(got, tree[1].content) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
	if target, err := fs.ReadLink(r, "lib/abs"); target != "/etc" || err != nil {
		t.Errorf("link leads to %q, %v, want /etc", target, err)
	}
	if fi, err := fs.Lstat(r, "lib/abs"); err != nil || fi.Mode().Type() != fs.ModeSymlink {
		t.Errorf("got %v, %v, want a symbolic link", fi, err)
	}
	if fi, err := fs.Stat(r, "lib/abs"); err != nil || !fi.IsDir() {
		t.Errorf("got %v, %v, want a directory", fi, err)
	}
	for name, want := range map[string]error{
		"nowhere": fs.ErrNotExist, "etc/zzz": fs.ErrNotExist, "a": fs.ErrNotExist, "etc/": fs.ErrInvalid,
	} {
		if _, err := r.Open(name); !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", name, err, want)
		}
	}
	if _, err := r.Open("self"); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("got error %v, want too many symbolic links", err)
	}
}

// onlyReal hides the links that lead nowhere: fstest opens every name.
type onlyReal struct{ *Reader }

func (o onlyReal) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := o.Reader.ReadDir(name)
	var real []fs.DirEntry
	for _, e := range all {
		if e.Name() != "self" && e.Name() != "nowhere" {
			real = append(real, e)
		}
	}
	return real, err
}

func (o onlyReal) Open(name string) (fs.File, error) {
	f, err := o.Reader.Open(name)
	if name != "." || err != nil {
		return f, err
	}
	return readfs.Dir(o.root.info(), func() ([]fs.DirEntry, error) { return o.ReadDir(name) }), nil
}

func TestLookup(t *testing.T) {
	testkit.NotUnderRace(t)
	tree := wideTree(5000)
	r := reader(t, image(t, Options{BlockSize: 4 << 10}, tree))
	for _, e := range tree {
		f, err := r.Lookup(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Mode.IsRegular() && !bytes.Equal(readFile(t, f), e.content) {
			t.Errorf("%s has other content", e.Name)
		}
	}
	for _, name := range []string{"missing", "wide/aaa", "wide/zzz", "wide/file-with-a-longer-name-000001/x", "../x"} {
		if f, err := r.Lookup(name); err == nil {
			t.Errorf("%s: found %v", name, f.Header)
		}
	}
}

func TestWalkCanStop(t *testing.T) {
	r := reader(t, image(t, Options{}, wideTree(10)))
	n := 0
	for range r.Files() {
		if n++; n == 5 {
			break
		}
	}
	if n != 5 {
		t.Errorf("got %d entries, want 5", n)
	}
}

func TestReadAfterClose(t *testing.T) {
	r := reader(t, image(t, Options{}, []entry{file("a", []byte("content"))}))
	f, err := r.Lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
	if n, err := rc.Read(make([]byte, 5)); n != 0 || err == nil {
		t.Errorf("got %d, %v, want an error", n, err)
	}
}

// Each case changes one thing in an image without compression and names the
// error that must follow.
func TestHostileImages(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name   string
		change func(img []byte, sb *superblock)
		want   string
	}{
		{"magic", func(img []byte, _ *superblock) { img[0] = 'x' }, "not a squashfs 4.0 image"},
		{"version", func(img []byte, _ *superblock) { img[28] = 3 }, "version 3.0"},
		{"compression lz4", func(img []byte, _ *superblock) { img[20] = byte(LZ4) }, "compression with lz4 cannot be read"},
		{"compression unknown", func(img []byte, _ *superblock) { img[20] = 99 }, "compression with algorithm 99 cannot be read"},
		{"block size", func(img []byte, _ *superblock) { le.PutUint32(img[12:], 1<<30) }, "block size 1073741824"},
		{"block log", func(img []byte, _ *superblock) { img[22] = 31 }, "want a power of two"},
		{"bytes used", func(img []byte, _ *superblock) { le.PutUint64(img[40:], 1<<40) }, "image says it uses"},
		{"bytes used negative", func(img []byte, _ *superblock) { le.PutUint64(img[40:], 1<<63) }, "image says it uses"},
		{"inode table", func(img []byte, sb *superblock) { le.PutUint64(img[64:], sb.DirTable) }, "inode table at"},
		{"directory table", func(img []byte, _ *superblock) { le.PutUint64(img[72:], 1<<63) }, "directory table at"},
		{"id table", func(img []byte, _ *superblock) { le.PutUint64(img[48:], 1<<62) }, "id table at"},
		{"root inode block", func(img []byte, _ *superblock) { le.PutUint64(img[32:], 1<<40) }, "reading root directory"},
		{"root inode offset", func(img []byte, _ *superblock) { le.PutUint64(img[32:], 0xffff) }, "reference to byte 65535"},
		{"no ids", func(img []byte, _ *superblock) { img[26] = 0 }, "owner 0 of a table of 0"},
		{"metadata length", func(img []byte, sb *superblock) { le.PutUint16(img[sb.InodeTable:], 0xffff) }, "length 32767, want 1 to 8192"},
		{"metadata empty", func(img []byte, sb *superblock) { le.PutUint16(img[sb.InodeTable:], 0x8000) }, "length 0, want 1 to 8192"},
		{"directory is its own child", loopDirectory, "is in the image twice or contains itself"},
		{"slash in name", func(img []byte, _ *superblock) { replace(img, "name1", "na/e1") }, "has a slash or a NUL"},
		{"NUL in name", func(img []byte, _ *superblock) { replace(img, "name1", "nam\x001") }, "has a slash or a NUL"},
		{"dots as name", func(img []byte, _ *superblock) { replace(img, "xx", "..") }, `path element ".." is not allowed`},
		{"name twice", func(img []byte, _ *superblock) { replace(img, "name2", "name1") }, "not sorted"},
		{"names not sorted", func(img []byte, _ *superblock) { replace(img, "name2", "aaaa2") }, "not sorted"},
		{"xattr namespace", func(img []byte, _ *superblock) { replace(img, "\x00\x00\x04\x00attr", "\x07\x00\x04\x00attr") }, "unknown namespace 7"},
		{"xattr value", func(img []byte, _ *superblock) { replace(img, "attr\x05\x00\x00\x00", "attr\xff\xff\xff\xff") }, "value of 4294967295 bytes"},
		{"xattr twice", func(img []byte, _ *superblock) { replace(img, "attR", "attr") }, "is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := plainImage(t, []entry{
				dir("d"), file("d/name1", []byte("1")), file("d/name2", []byte("2")), dir("d/xx"),
				file("e", nil).with(func(h *Header) { h.Xattrs = map[string]string{"user.attR": "value", "user.attr": "value"} }),
			})
			if err := exercise(img); err != nil {
				t.Fatal(err)
			}
			tt.change(img, reader(t, img).sb)
			if err := exercise(img); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

func replace(img []byte, old, with string) {
	i := bytes.Index(img, []byte(old))
	if i < 0 {
		panic(fmt.Sprintf("%q is not in the image", old))
	}
	copy(img[i:], with)
}

// loopDirectory makes the entry of d/xx lead to d.
func loopDirectory(img []byte, _ *superblock) {
	d := bytes.Index(img, []byte("\x00\x00d"))   // the size of the name before it
	xx := bytes.Index(img, []byte("\x01\x00xx")) // type and size before, offset first
	copy(img[xx-6:xx-4], img[d-6:d-4])
}

func TestHolesAreZeroes(t *testing.T) {
	want := join(make([]byte, 9000), []byte("x"), make([]byte, 9000))
	r := reader(t, image(t, Options{BlockSize: 4 << 10}, []entry{file("a", want)}))
	f, err := r.Lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, f); !bytes.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// Several goroutines may read one image.
func TestConcurrentReading(t *testing.T) {
	tree := sampleTree(16 << 10)
	r := reader(t, image(t, Options{BlockSize: 16 << 10}, tree))
	done := make(chan error)
	const readers = 4
	for range readers {
		go func() {
			var errs []error
			for f, err := range r.Files() {
				errs = append(errs, err)
				if f.Mode.IsRegular() {
					rc, err := f.Open()
					if err != nil {
						errs = append(errs, err)
						continue
					}
					n, err := io.Copy(io.Discard, rc)
					if err == nil && n != f.Size {
						err = fmt.Errorf("%s has %d bytes, want %d", f.Name, n, f.Size)
					}
					errs = append(errs, err)
				}
			}
			done <- errors.Join(errs...)
		}()
	}
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
