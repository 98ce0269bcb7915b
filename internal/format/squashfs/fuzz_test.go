package squashfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// exercise reads everything in an image that is likely damaged, up to a budget
// of entries and bytes. Errors are fine, panics and endless work are not.
func exercise(img []byte) error {
	r, err := NewReader(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		return err
	}
	var errs []error
	entries, budget := 2000, int64(8<<20)
	for f, err := range r.Files() {
		if entries--; err != nil || entries < 0 || budget < 0 {
			errs = append(errs, err)
			break
		}
		if _, err := r.Lookup(f.Name); err != nil && len(f.Name) < maxLinuxName {
			errs = append(errs, fmt.Errorf("a walk found what a lookup does not: %w", err))
		}
		if f.Mode.IsRegular() {
			rc, err := f.Open()
			if err != nil {
				return err
			}
			n, err := io.CopyN(io.Discard, rc, min(f.Size, budget))
			budget -= n
			errs = append(errs, err, rc.Close())
		}
		if fs.ValidPath(f.Name) {
			_, err := r.Stat(f.Name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// storing compresses nothing, so that a fuzzer reaches all fields of an image.
type storing struct{}

func (storing) compress(dst, src []byte) ([]byte, error) {
	return append(append(dst[:0], src...), 0), nil
}

// plainImage is an image without any compression.
func plainImage(tb testing.TB, tree []entry) []byte {
	tb.Helper()
	var out memory
	w, err := NewWriter(&out, Options{BlockSize: 4 << 10, Workers: 1})
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.pipe.stop(); err != nil {
		tb.Fatal(err)
	}
	w.comps = []compressor{storing{}}
	w.pipe = newPipeline(&out, superblockSize, w.opts.BlockSize, w.comps)
	w.store = newContentStore(w.pipe, w.opts.BlockSize)
	err = addAll(w, tree)
	if err := errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out
}

// tinyTree has one of everything, in few bytes.
func tinyTree() []entry {
	return []entry{
		dir("."),
		dir("d").with(func(h *Header) { h.Xattrs = map[string]string{"security.selinux": "d"} }),
		node("d/c", fs.ModeDevice|fs.ModeCharDevice, 1, 3),
		node("d/p", fs.ModeNamedPipe, 0, 0),
		file("f", []byte("hello")).with(func(h *Header) { h.Xattrs = map[string]string{"user.a": "1", "user.b": "2"} }),
		hardlink("g", "f"),
		file("h", join(make([]byte, 4096), []byte("some text in a block of its own"))),
		link("l", "d/../f"),
	}
}

func TestDamagedImagesAreRead(t *testing.T) {
	for name, img := range map[string][]byte{
		"plain": plainImage(t, tinyTree()),
		"zstd":  image(t, Options{BlockSize: 4 << 10}, tinyTree()),
		"xz":    image(t, Options{BlockSize: 4 << 10, Compression: XZ}, tinyTree()),
	} {
		t.Run(name, func(t *testing.T) {
			if err := exercise(img); err != nil {
				t.Fatal(err)
			}
			used := reader(t, img).end
			failed := 0
			for i := range used {
				for _, c := range []byte{0, 1, 0x7f, 0x80, 0xff, img[i] + 1, img[i] - 1, img[i] ^ 0x20} {
					bad := bytes.Clone(img)
					bad[i] = c
					if exercise(bad) != nil {
						failed++
					}
				}
			}
			if failed == 0 {
				t.Error("no change of any byte led to an error")
			}
			for n := range used {
				if exercise(img[:n]) == nil {
					t.Errorf("image cut off at %d of %d bytes led to no error", n, used)
				}
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add(plainImage(f, tinyTree()))
	f.Add(plainImage(f, []entry{dir("a"), dir("a/b"), dir("a/b/c"), file("a/b/c/d", text(10000, 1))}))
	f.Add(image(f, Options{BlockSize: 4 << 10}, tinyTree()))
	f.Add(image(f, Options{BlockSize: 4 << 10, Compression: XZ}, tinyTree()))
	paths, err := filepath.Glob("testdata/*.sqsh")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		img, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(img)
	}
	f.Fuzz(func(t *testing.T, img []byte) {
		exercise(img)
	})
}

// No decompressor may write more than it is given room for, or panic.
func FuzzDecompress(f *testing.F) {
	plain := text(3000, 1)
	for _, c := range []Compression{XZ, Zstd} {
		comp, err := newCompressor(Options{Compression: c, BlockSize: 4 << 10})
		if err != nil {
			f.Fatal(err)
		}
		packed, err := comp.compress(nil, plain)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	var gz bytes.Buffer
	w := zlib.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	f.Add(gz.Bytes())
	var all []decompressor
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		d, err := newDecompressor(c)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, d)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		const room = 5000
		for _, d := range all {
			dst := make([]byte, 0, room)
			got, err := d.decompress(dst, packed)
			if err == nil && len(got) > 0 && (len(got) > room || &got[0] != &dst[:1][0]) {
				t.Errorf("%T: got %d bytes outside of the %d given", d, len(got), room)
			}
		}
	})
}
