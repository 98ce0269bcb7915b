package compress

import (
	"bytes"
	"iter"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/zstd"
)

// A packer makes a file of one format from the pieces of an image. All but
// what coder returns is called by one goroutine, in the order of the file.
type packer interface {
	layout() layout
	// head is what precedes all pieces.
	head() []byte
	// coder returns a compressor. It is for one goroutine, and keeps its
	// memory from piece to piece.
	coder() coder
	// join returns what stands in the file for a piece.
	join(p *piece) []byte
	// zeros returns what stands there for a piece of zeros of full length.
	zeros() []byte
	// tail is what follows all pieces.
	tail() []byte
}

// A coder appends to p.out what p compresses to, and leaves join a note.
type coder func(p *piece) error

// A layout is how an image is cut, in bytes.
type layout struct {
	piece  int64 // length of all pieces but the last
	window int64 // how much of what precedes a piece its coder sees
}

// A piece of an image, or several of zeros in a row.
type piece struct {
	offset, size int64
	hole         bool // no need to read it: it is zeros, and its size a multiple of the full length

	buffers
	start int    // of the own bytes in src
	note  uint64 // a checksum or size
	zero  bool   // it was found to be a full length of zeros
	err   error
	done  chan struct{} // closed when it is compressed
}

// buffers are what a piece needs while it is worked on, and the next one after.
type buffers struct{ src, out []byte }

func (p *piece) own() []byte { return p.src[p.start:] }

// cut yields the pieces of an image.
func cut(m *sparse.Image, size int64) iter.Seq[*piece] {
	return func(yield func(*piece) bool) {
		at := int64(0)
		holeUpTo := func(end int64) bool {
			n := (end - at) / size * size
			at += n
			return n == 0 || yield(&piece{offset: at - n, size: n, hole: true})
		}
		dataUpTo := func(end int64) bool {
			for at < end {
				p := &piece{offset: at, size: min(size, m.Size()-at)}
				at += p.size
				if !yield(p) {
					return false
				}
			}
			return true
		}
		for e := range m.Extents() {
			if e.Offset > at && !holeUpTo(e.Offset) || !dataUpTo(e.End()) {
				return
			}
		}
		_ = holeUpTo(m.Size()) && dataUpTo(m.Size())
	}
}

// kind is what can be seen of a block before it is compressed.
type kind int

const (
	sparseBlock kind = iota // zeros
	denseBlock              // it looks compressed
	plainBlock
)

// blockSize is how many bytes are compressed, stored or known by heart
// together, in formats whose own blocks are not fixed.
const blockSize = 128 << 10

// stretches yields neighbouring blocks of the same kind, as offsets in b. Those
// of zeros are multiples of blockSize.
func stretches(b []byte) iter.Seq2[kind, [2]int] {
	return func(yield func(kind, [2]int) bool) {
		for start := 0; start < len(b); {
			k, end := blockKind(b, start)
			for end < len(b) {
				next, far := blockKind(b, end)
				if next != k {
					break
				}
				end = far
			}
			if !yield(k, [2]int{start, end}) {
				return
			}
			start = end
		}
	}
}

// blockKind returns the kind of the block at start, and where it ends.
func blockKind(b []byte, start int) (kind, int) {
	end := min(start+blockSize, len(b))
	switch block := b[start:end]; {
	case len(block) == blockSize && allZero(block):
		return sparseBlock, end
	case zstd.Dense(block):
		return denseBlock, end
	}
	return plainBlock, end
}

// allZero says whether b is nothing but zeros; it is not empty.
func allZero(b []byte) bool {
	return b[0] == 0 && b[len(b)-1] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
