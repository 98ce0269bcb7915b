// Package sparse describes a large file without holding its bytes: extents of
// other files and of memory, at offsets, and zeros between them.
//
// It is what the writers of disk formats return. A kernel is an extent of a
// UKI, the UKI is an extent of a FAT file system, that one of a disk image:
// each only says what goes where, and nothing is copied before the whole is
// written, once, with holes where nothing is.
//
//	m := sparse.New(1 << 30)
//	m.Put(0, bootSector)
//	m.Add(1<<20, sparse.File(f, 0, size))
//	err := m.WriteFile(ctx, out, nil)
package sparse

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sort"
)

// Image is a file that does not exist yet. It is an io.ReaderAt, so that what
// reads a format can read what was not written. Adding to it is for one
// goroutine; reading is for any number.
type Image struct {
	size    int64
	extents []extent // by offset, disjoint
}

// extent is a run of bytes that are somewhere else.
type extent struct {
	Extent
	src io.ReaderAt
	at  int64 // offset in src
}

// Extent is a run of bytes that are not known to be zero.
type Extent struct{ Offset, Size int64 }

// End is the offset behind the extent.
func (e Extent) End() int64 { return e.Offset + e.Size }

// New returns an image of so many zero bytes.
func New(size int64) *Image { return &Image{size: size} }

// Bytes is an image of what is in memory. The slice must not change any more.
func Bytes(data []byte) *Image { return From(bytes.NewReader(data), 0, int64(len(data))) }

// From is an image of size bytes of r, from offset at. If r is an *os.File, its
// blocks may come to be shared; it has to stay open as long as the image is used.
func From(r io.ReaderAt, at, size int64) *Image {
	m := New(size)
	if size > 0 {
		m.extents = []extent{{Extent{0, size}, r, at}}
	}
	return m
}

// Concat is its parts one after the other, each begun at a multiple of align
// bytes (1 for none).
func Concat(align int64, parts ...*Image) *Image {
	m := &Image{}
	for _, p := range parts {
		at := (m.size + align - 1) / align * align
		m.size = at + p.size
		m.Add(at, p)
	}
	return m
}

// Size of the whole in bytes.
func (m *Image) Size() int64 { return m.size }

// Resize sets the size. Extents beyond it must not be there.
func (m *Image) Resize(size int64) {
	if n := len(m.extents); n > 0 && m.extents[n-1].End() > size {
		panic(fmt.Sprintf("sparse: %d bytes are too few for an extent that ends at %d", size, m.extents[n-1].End()))
	}
	m.size = size
}

// Put places bytes of memory at an offset. The slice must not change any more.
func (m *Image) Put(offset int64, data []byte) { m.Add(offset, Bytes(data)) }

// Add places what is in another image at an offset; its holes stay holes. That
// two extents overlap or one ends beyond the image is a mistake of the program
// and panics: who lays out a format knows its sizes.
func (m *Image) Add(offset int64, sub *Image) {
	if offset < 0 || sub.size > m.size-offset {
		panic(fmt.Sprintf("sparse: %d bytes at %d do not fit into %d", sub.size, offset, m.size))
	}
	for _, e := range sub.extents {
		e.Offset += offset
		m.insert(e)
	}
}

func (m *Image) insert(e extent) {
	i := m.search(e.Offset)
	if i < len(m.extents) && m.extents[i].Offset < e.End() {
		panic(fmt.Sprintf("sparse: bytes at %d to %d are placed twice", e.Offset, e.End()))
	}
	m.extents = slices.Insert(m.extents, i, e)
}

// search finds the first extent that ends behind an offset.
func (m *Image) search(offset int64) int {
	if n := len(m.extents); n == 0 || m.extents[n-1].End() <= offset { // most are added in order
		return n
	}
	return sort.Search(len(m.extents), func(i int) bool { return m.extents[i].End() > offset })
}

// Section is size bytes from an offset on, as an image of its own.
func (m *Image) Section(offset, size int64) *Image {
	if offset < 0 || size > m.size-offset {
		panic(fmt.Sprintf("sparse: no %d bytes at %d of %d", size, offset, m.size))
	}
	sub := New(size)
	for _, e := range m.extents[m.search(offset):] {
		if e.Offset >= offset+size {
			break
		}
		skip := max(0, offset-e.Offset)
		e.at += skip
		e.Offset, e.Size = e.Offset+skip-offset, min(e.End(), offset+size)-e.Offset-skip
		sub.extents = append(sub.extents, e)
	}
	return sub
}

// Extents are all bytes that are not known to be zero, in order. Neighbours are
// one extent.
func (m *Image) Extents() iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		for i := 0; i < len(m.extents); {
			run := m.extents[i].Extent
			for i++; i < len(m.extents) && m.extents[i].Offset == run.End(); i++ {
				run.Size += m.extents[i].Size
			}
			if !yield(run) {
				return
			}
		}
	}
}

// DataSize is the sum of the extents in bytes.
func (m *Image) DataSize() (sum int64) {
	for _, e := range m.extents {
		sum += e.Size
	}
	return sum
}

// ReadAt implements io.ReaderAt. A source that ends early is an
// io.ErrUnexpectedEOF.
func (m *Image) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("reading an image: offset %d: %w", off, os.ErrInvalid)
	}
	if off >= m.size {
		return 0, io.EOF
	}
	if int64(len(p)) > m.size-off {
		p, err = p[:m.size-off], io.EOF
	}
	for i := m.search(off); n < len(p); i++ {
		hole := int64(len(p) - n)
		if i < len(m.extents) {
			hole = min(hole, max(0, m.extents[i].Offset-off))
		}
		clear(p[n : n+int(hole)])
		n, off = n+int(hole), off+hole
		if n == len(p) {
			break
		}
		k, rerr := m.extents[i].read(p[n:], off)
		n, off = n+k, off+int64(k)
		if rerr != nil {
			return n, rerr
		}
	}
	return n, err
}

// read fills p, or as much of it as the extent has from an offset of the image on.
func (e extent) read(p []byte, off int64) (int, error) {
	want := int(min(int64(len(p)), e.End()-off))
	n, err := e.src.ReadAt(p[:want], e.at+off-e.Offset)
	if n == want {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("reading an image: %w", err)
}

// Reader reads the whole from the start, zeros included.
func (m *Image) Reader() *io.SectionReader { return io.NewSectionReader(m, 0, m.size) }
