package deb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// xzGuard passes an xz file of one stream through, and stops at a block header
// that asks for a dictionary larger than MaxDictionary: the decoder behind the
// guard allocates whatever a header says, up to 4 GiB. To know a header when it
// comes by, the guard follows the structure of the file (the .xz File Format,
// sections 2 and 3) down to the lengths of the LZMA2 chunks. It decodes
// nothing and verifies nothing else; that is the decoder's part.
type xzGuard struct {
	r    io.Reader
	skip int64  // bytes ahead that need no look
	part []byte // the bytes that do, gathered until there are want
	want int
	next func(g *xzGuard, part []byte) error

	block int64 // bytes of the block's compressed data so far
	check int64 // bytes of the check after each block
}

const (
	xzStreamHeader = 12
	xzFilterLZMA2  = 0x21
)

func newXZGuard(r io.Reader) *xzGuard {
	return &xzGuard{r: r, want: xzStreamHeader, next: (*xzGuard).streamHeader}
}

// Read hands nothing out that has not been approved. A header may have been
// handed out in part, but the decoder acts only when it has all of it.
func (g *xzGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if bad := g.look(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

func (g *xzGuard) look(p []byte) error {
	for len(p) > 0 {
		if n := min(g.skip, int64(len(p))); n > 0 {
			g.skip -= n
			p = p[n:]
			continue
		}
		n := min(g.want-len(g.part), len(p))
		g.part = append(g.part, p[:n]...)
		p = p[n:]
		if len(g.part) < g.want {
			return nil
		}
		part := g.part
		g.part = g.part[:0]
		if err := g.next(g, part); err != nil {
			return err
		}
	}
	return nil
}

func (g *xzGuard) expect(n int, next func(*xzGuard, []byte) error) error {
	g.want, g.next = n, next
	return nil
}

func (g *xzGuard) streamHeader(part []byte) error {
	// Check IDs come in groups of three with one size each (section 2.1.1.2).
	sizes := [...]int64{0, 4, 8, 16, 32, 64}
	g.check = sizes[(part[7]&0x0f+2)/3]
	return g.expect(1, (*xzGuard).blockSize)
}

func (g *xzGuard) blockSize(part []byte) error {
	if part[0] == 0 { // the index: no block follows
		g.skip = math.MaxInt64
		return nil
	}
	return g.expect(int(part[0])*4+3, (*xzGuard).blockHeader)
}

func (g *xzGuard) blockHeader(part []byte) error {
	dict, err := blockDictionary(part)
	if err != nil {
		return err
	}
	if dict > MaxDictionary {
		return fmt.Errorf("the xz data asks for a dictionary of %d MiB, more than the %d that are allowed",
			dict>>20, MaxDictionary>>20)
	}
	g.block = 0
	return g.expect(1, (*xzGuard).chunkControl)
}

var errXZHeader = errors.New("damaged xz block header")

// blockDictionary finds the size of the dictionary in a block header without
// its first byte (section 3.1).
func blockDictionary(part []byte) (uint64, error) {
	flags, rest := part[0], part[1:]
	if flags&0x03 != 0 {
		return 0, errors.New("xz data with filters besides LZMA2, which packages do not have")
	}
	for _, present := range []byte{0x40, 0x80} { // compressed and uncompressed size
		if flags&present != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return 0, errXZHeader
			}
			rest = rest[n:]
		}
	}
	if len(rest) < 3 || rest[0] != xzFilterLZMA2 || rest[1] != 1 || rest[2] > 40 {
		return 0, errXZHeader
	}
	bits := rest[2]
	return uint64(2|bits&1) << (bits/2 + 11), nil
}

// chunkControl reads the first byte of an LZMA2 chunk, or the end of the block.
func (g *xzGuard) chunkControl(part []byte) error {
	control := part[0]
	g.block++
	switch {
	case control == 0:
		g.skip = -g.block&3 + g.check
		return g.expect(1, (*xzGuard).blockSize)
	case control <= 2: // stored: a size
		return g.expect(2, (*xzGuard).chunkHeader)
	case control < 0x80:
		return errors.New("damaged xz data: unknown kind of LZMA2 chunk")
	case control < 0xc0: // compressed: two sizes
		return g.expect(4, (*xzGuard).chunkHeader)
	default: // and new properties
		return g.expect(5, (*xzGuard).chunkHeader)
	}
}

// chunkHeader skips the data of a chunk; the size in the file is the last of
// the sizes, and one less than it means.
func (g *xzGuard) chunkHeader(part []byte) error {
	sizes := part[:len(part)&^1]
	g.skip = int64(binary.BigEndian.Uint16(sizes[len(sizes)-2:])) + 1
	g.block += int64(len(part)) + g.skip
	return g.expect(1, (*xzGuard).chunkControl)
}
