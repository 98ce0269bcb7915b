package iso

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// exercise reads everything in an image that is likely damaged, up to a budget
// of bytes. Errors are fine, panics and endless work are not.
func exercise(img []byte) error {
	r, err := NewReader(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		return err
	}
	var errs []error
	budget := int64(1 << 20)
	errs = append(errs, fs.WalkDir(r, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := r.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(io.Discard, io.LimitReader(f, budget))
		if budget -= n; budget <= 0 {
			return fs.SkipAll
		}
		return err
	}))
	for _, e := range r.Boot {
		_, err := io.Copy(io.Discard, io.LimitReader(e.Image.Reader(), 1<<20))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// small is an image without what is empty at its end.
func small(tb testing.TB) []byte {
	tb.Helper()
	o := options()
	o.GPT = true
	o.BIOS = &BIOSBoot{Image: sparse.Bytes(noise(100)), InfoTable: true}
	o.Files[0].Content = words("kernel")
	img, err := io.ReadAll(build(tb, o).Reader())
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimRight(img[:len(img)-gptSectors*sectorSize], "\x00")
}

func TestDamagedImagesAreRead(t *testing.T) {
	img := small(t)
	if err := exercise(img); err != nil {
		t.Fatal(err)
	}
	for i := range img {
		if img[i] == 0 && i%8 != 0 || i < systemBlocks*BlockSize && i > 1024 {
			continue // zeros are many
		}
		for _, c := range []byte{0, 0x7f, 0xff, img[i] + 1} {
			was := img[i]
			img[i] = c
			exercise(img)
			img[i] = was
		}
	}
	for n := 0; n < len(img); n += 7 {
		if exercise(img[:n]) == nil {
			t.Errorf("an image that was cut off at %d of %d bytes led to no error", n, len(img))
		}
	}
}

func TestHostile(t *testing.T) {
	r := read(t, build(t, options()))
	root := bytes.Index(mustRead(t, r.r, 0, 1<<16), []byte("SP\x07\x01")) - 34
	if root < 0 || root%BlockSize != 0 {
		t.Fatalf("no root directory found (at %d)", root)
	}
	for _, c := range []struct {
		what, want string
		change     func(img []byte)
	}{
		{"nothing", "no signature CD001", func(img []byte) { clear(img) }},
		{"no primary descriptor", "no primary volume descriptor", func(img []byte) { img[16*BlockSize] = 2 }},
		{"other blocks", "blocks of 512 bytes", func(img []byte) { littleEndian.PutUint16(img[16*BlockSize+128:], 512) }},
		{"a root that is nowhere", "are not in an image", func(img []byte) { littleEndian.PutUint32(img[16*BlockSize+158:], 1<<31) }},
		{"a directory that is the root", `directory "a directory": it is in itself`, func(img []byte) {
			at := bytes.Index(img[root:], []byte("A_DIRECTORY")) + root - 33
			littleEndian.PutUint32(img[at+2:], uint32(root/BlockSize))
		}},
		{"a file that is nowhere", `file "grüße.tar.gz": 4294967295 bytes`, func(img []byte) {
			at := bytes.Index(img[root:], []byte("GR__E_TAR.GZ;1")) + root - 33
			littleEndian.PutUint32(img[at+10:], 1<<32-1)
		}},
		{"a file without its last extent", "its last extent is missing", func(img []byte) {
			at := bytes.Index(img[root:], []byte("EMPTY.;1")) + root - 33
			img[at+25] = flagMultiExtent
		}},
		{"an interleaved file", "interleaved", func(img []byte) {
			at := bytes.Index(img[root:], []byte("EMPTY.;1")) + root - 33
			img[at+26] = 1
		}},
		{"a name with a slash", `name "em/ty" is not possible`, func(img []byte) {
			img[bytes.Index(img, []byte("\x01\x00empty"))+4] = '/'
		}},
		{"a continuation in itself", "a name of more than 255 bytes", func(img []byte) {
			// The name of 255 bytes continues in an area that, with a CE field in it, is its own.
			at := bytes.Index(img, []byte("long name long")) - 5
			area := at / BlockSize * BlockSize
			loop := field("CE", continueSize)
			putBoth32(loop[4:], uint32(area/BlockSize))
			putBoth32(loop[12:], uint32(at%BlockSize))
			putBoth32(loop[20:], 260+continueSize)
			copy(img[at+5+maxNamePart+10:], loop) // behind the second part
			patchContinuation(img[root:area], uint32(at%BlockSize), 265+continueSize)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			img := mustRead(t, r.r, 0, r.size)
			c.change(img)
			if err := exercise(img); err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// patchContinuation sets the size of the area that begins at an offset.
func patchContinuation(directories []byte, offset, size uint32) {
	for at := 0; ; at++ {
		i := bytes.Index(directories[at:], []byte("CE\x1c\x01"))
		if i < 0 {
			return
		}
		if at += i; littleEndian.Uint32(directories[at+12:]) == offset {
			putBoth32(directories[at+20:], size)
		}
	}
}

func mustRead(t *testing.T, r io.ReaderAt, at, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if n, err := r.ReadAt(b, at); n < len(b) {
		t.Fatal(err)
	}
	return b
}

// FuzzReader is given the system area and the rest, so that it does not spend
// its time on what is unused between them.
func FuzzReader(f *testing.F) {
	img := small(f)
	f.Add(img[:2048], img[systemBlocks*BlockSize:])
	f.Fuzz(func(t *testing.T, system, volume []byte) {
		img := make([]byte, systemBlocks*BlockSize, systemBlocks*BlockSize+len(volume))
		copy(img, system)
		exercise(append(img, volume...))
	})
}
