package xfs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/readfs"
	"github.com/graftlinux/graft/internal/format/sparse"
)

// What Linux 6.18 left in a file system of mkfs.xfs 6.1 (see TestUpdate): units
// with their offsets, and the listing that the kernel gave.
const (
	kernelImage     = "testdata/kernel.img.gz"
	kernelList      = "testdata/kernel.list"
	kernelImageSize = 320 << 20
	packUnit        = 1024
)

func loadKernelImage(t testing.TB) *sparse.Image {
	t.Helper()
	packed, err := os.ReadFile(kernelImage)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	img := sparse.New(kernelImageSize)
	for ; len(data) > 0; data = data[8+packUnit:] {
		img.Put(int64(binary.BigEndian.Uint64(data)), data[8:8+packUnit])
	}
	return img
}

func TestReadingKernelImage(t *testing.T) {
	img := loadKernelImage(t)
	r := mustRead(t, img, img.Size())
	got, err := listAll(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(kernelList)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); d != "" {
		t.Errorf("what the kernel listed (-) and the Reader found (+):\n%s", d)
	}
}

// Names that are not there, and files that are no directories.
func TestNotThere(t *testing.T) {
	img := mustBuild(t, options(minSize), boot())
	r := mustRead(t, img, img.Size())
	for _, name := range []string{"x", "grub/x", "grub/i386-pc/x", "grub/grub.cfg/x"} {
		if _, err := r.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want %v", name, err, fs.ErrNotExist)
		}
	}
	for _, name := range []string{"/grub", "grub/", "../grub", ""} {
		if _, err := r.Stat(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: got %v, want %v", name, err, fs.ErrInvalid)
		}
	}
	if _, err := r.ReadDir("grub/grub.cfg"); !errors.Is(err, readfs.ErrNotDir) {
		t.Errorf("got %v, want %v", err, readfs.ErrNotDir)
	}
}

// patched is an image with other bytes at some places.
type patched struct {
	io.ReaderAt
	patches []patch
}

type patch struct {
	at   int64
	data []byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	for _, c := range p.patches {
		if from := c.at - off; from < int64(n) && from+int64(len(c.data)) > 0 {
			copy(b[max(0, from):n], c.data[max(0, -from):])
		}
	}
	return n, err
}

// with changes metadata of some size at an offset, and seals it again.
func (p *patched) with(t testing.TB, at int64, size, sum int, edit func([]byte)) {
	t.Helper()
	b := make([]byte, size)
	if _, err := p.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	edit(b)
	seal(b, sum)
	p.patches = append(p.patches, patch{at, b})
}

func TestBadSuperblock(t *testing.T) {
	img := mustBuild(t, options(minSize), boot())
	be := binary.BigEndian
	for name, c := range map[string]struct {
		edit func([]byte)
		want string
	}{
		"magic":       {func(b []byte) { b[0] = 'Y' }, ErrFormat.Error()},
		"version 4":   {func(b []byte) { b[101]-- }, ErrFormat.Error()},
		"sectors":     {func(b []byte) { b[121] = 60 }, "sectors of 512 bytes"},
		"repair":      {func(b []byte) { b[219] |= incompatNeedsRepair }, "in need of repair"},
		"features":    {func(b []byte) { b[218] |= 1 }, "unknown to this reader (incompatible ones 0x100)"},
		"no types":    {func(b []byte) { b[219] &^= incompatFileType }, "no file types"},
		"realtime":    {func(b []byte) { be.PutUint64(b[16:], 1) }, "realtime device"},
		"unfinished":  {func(b []byte) { b[126] = 1 }, "mkfs"},
		"block size":  {func(b []byte) { b[120] = 13 }, "not possible"},
		"inode size":  {func(b []byte) { b[122] = 8 }, "not possible"},
		"directories": {func(b []byte) { b[192] = 5 }, "not possible"},
		"too long":    {func(b []byte) { be.PutUint64(b[8:], minSize/blockSize+1) }, "ends after 67108864 bytes"},
		"no groups":   {func(b []byte) { be.PutUint32(b[88:], 0) }, "0 allocation groups"},
		"many groups": {func(b []byte) { be.PutUint32(b[88:], 5) }, "5 allocation groups"},
		"group log":   {func(b []byte) { b[124] = 3 }, "not possible"},
		"root":        {func(b []byte) { be.PutUint64(b[56:], 1<<40) }, "inode 1099511627776 is beyond"},
		"root free":   {func(b []byte) { be.PutUint64(b[56:], 64+383) }, "not in use"},
		"root a file": {func(b []byte) { be.PutUint64(b[56:], 65) }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			p := patched{ReaderAt: img}
			p.with(t, 0, 512, superblockSum, c.edit)
			_, err := NewReader(p, img.Size())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := NewReader(img, 100); !errors.Is(err, ErrFormat) {
		t.Errorf("100 bytes: got %v, want %v", err, ErrFormat)
	}
	if _, err := NewReader(img, img.Size()-1); err == nil {
		t.Error("a file system that is cut off is read")
	}
}

// A flipped bit in any metadata that is read is found.
func TestFlippedBits(t *testing.T) {
	files := []File{regular("A/vmlinuz", 10)}
	for i := range 25 {
		files = append(files, regular(fmt.Sprintf("grub/%d.mod", i), i))
	}
	img := mustBuild(t, options(minSize), files)
	for _, a := range metadata(t, mustRead(t, img, img.Size())) {
		for at := a.at; at < a.at+int64(a.size); at += 13 {
			b := make([]byte, 1)
			if _, err := img.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1 << (at % 8)
			p := patched{img, []patch{{at, b}}}
			if err := readAll(p, img.Size()); err == nil {
				t.Fatalf("byte %d of the block at %d is changed, and all is read", at-a.at, a.at)
			}
		}
	}
}

// An image that ends before its metadata does is an error.
func TestTruncated(t *testing.T) {
	img := mustBuild(t, options(minSize), boot())
	var end int64
	for _, a := range metadata(t, mustRead(t, img, img.Size())) {
		end = max(end, a.at+int64(a.size))
	}
	for n := int64(0); n < end; n += 5*1024 + 7 {
		if err := readAll(io.NewSectionReader(img, 0, n), img.Size()); err == nil {
			t.Errorf("an image of %d bytes is read", n)
		}
	}
}

// Directories that contain themselves, or each other, end a walk.
func TestLoops(t *testing.T) {
	img := mustBuild(t, options(minSize), []File{{Path: "a/b/c"}, {Path: "d"}})
	const root, a, b, d = 64, 67, 68, 70
	for name, c := range map[string]struct {
		in, to, parent uint32
		want           string
	}{
		"itself":         {in: b, to: b, want: "two places"},
		"root":           {in: b, to: root, want: "two places"},
		"ancestor":       {in: b, to: a, want: "is in directory 68, but says 64"},
		"two names":      {in: root, to: a, want: "two places"},
		"foreign parent": {in: d, parent: b, want: "is in directory 64, but says 68"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &patched{ReaderAt: img}
			at, err := mustRead(t, img, img.Size()).sb.inodeOffset(uint64(c.in))
			if err != nil {
				t.Fatal(err)
			}
			p.with(t, at, inodeSize, inodeSum, func(i []byte) {
				fork := i[inodeCoreSize:]
				if c.parent > 0 {
					binary.BigEndian.PutUint32(fork[2:], c.parent)
				} else {
					end := binary.BigEndian.Uint64(i[56:])
					binary.BigEndian.PutUint32(fork[end-4:], c.to)
				}
			})
			err = readAll(p, img.Size())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// area is a piece of metadata with a checksum of its own.
type area struct {
	at        int64
	size, sum int // sum: where the checksum is, 0 for none
}

// metadata finds all that a Reader may read, but for content.
func metadata(t testing.TB, r *Reader) []area {
	t.Helper()
	areas := []area{{0, int(r.sb.SectorSize), superblockSum}}
	err := fs.WalkDir(r, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := r.lookup(name)
		if err != nil {
			return err
		}
		at, err := r.sb.inodeOffset(f.Number)
		if err != nil {
			return err
		}
		areas = append(areas, area{at, int(r.sb.InodeSize), inodeSum})
		if f.Format == formatTree {
			n := (len(f.fork) - 4) / 16
			block := binary.BigEndian.Uint64(f.fork[4+n*8:])
			areas = append(areas, area{r.sb.offset(block), int(r.sb.BlockSize), longTreeSum})
		}
		if d.IsDir() && f.Format != formatLocal {
			extents, err := r.extents(f)
			if err != nil {
				return err
			}
			for _, e := range extents {
				if e.offset<<r.sb.BlockLog < dirLeafStart {
					areas = append(areas, area{r.sb.offset(e.block), int(r.sb.BlockSize), dirSum})
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return areas
}

// readAll reads a file system that may be damaged, up to a budget.
func readAll(img io.ReaderAt, size int64) error {
	r, err := NewReader(img, size)
	if err != nil {
		return err
	}
	budget := int64(16 << 20)
	return fs.WalkDir(r, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if budget < 0 {
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := r.Open(name)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, io.LimitReader(f, min(budget, 4<<20)))
		budget -= n + 4096
		if err == nil && n < min(info.Size(), 4<<20) && budget > 0 {
			err = fmt.Errorf("%s: %d bytes instead of %d", name, n, info.Size())
		}
		return err
	})
}

// FuzzReader changes metadata and seals it again, so that the checksums do not
// keep the changes out. Four bytes of input are one change: which area, where in
// it, and what to write.
func FuzzReader(f *testing.F) {
	type base struct {
		img   *sparse.Image
		areas []area
	}
	var bases []base
	for _, img := range []*sparse.Image{
		loadKernelImage(f),
		mustBuild(f, options(minSize), append(boot()[:6], regular("grub/a", 5), regular("grub/b", 5))),
	} {
		areas := metadata(f, mustRead(f, img, img.Size()))
		bases = append(bases, base{img, areas})
		for i := range len(areas) {
			f.Add(uint8(len(bases)-1), []byte{byte(i), byte(i >> 8), 0, byte(i % 100), 0xff})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, changes []byte) {
		b := bases[int(which)%len(bases)]
		p := &patched{ReaderAt: b.img}
		for range 8 {
			if len(changes) < 5 {
				break
			}
			a := b.areas[int(binary.LittleEndian.Uint16(changes))%len(b.areas)]
			at := int(binary.BigEndian.Uint16(changes[2:])) % a.size
			p.with(t, a.at, a.size, a.sum, func(m []byte) { m[at] = changes[4] })
			changes = changes[5:]
		}
		_ = readAll(p, b.img.Size()) // any error is fine
	})
}
