package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// newXZReader reads one stream.
func newXZReader(b *bufio.Reader) (io.Reader, error) {
	g := &xzGuard{r: b}
	g.next = g.stream
	r, err := xz.ReaderConfig{DictCap: lzma.MinDictCap, SingleStream: true}.NewReader(g)
	if err == nil {
		return r, nil
	}
	return nil, err
}

// xzGuard passes an xz stream on to a decoder that takes as much memory as the
// header of a block asks for, and looks at these headers before. It follows
// the structure of the stream ("The .xz File Format" 1.2, sections 2 and 3) down
// to the lengths of the LZMA2 chunks; to verify it is the decoder's part.
type xzGuard struct {
	r     *bufio.Reader
	pass  int64        // bytes that are passed on before the next look
	next  func() error // which is this: it sets pass
	check int64        // bytes of the check behind each block
	block int64        // bytes of the chunks of this one
}

func (g *xzGuard) Read(p []byte) (int, error) {
	for g.pass == 0 {
		if err := g.next(); err != nil {
			return 0, noEOF(err)
		}
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.pass)])
	g.pass -= int64(n)
	return n, err
}

func (g *xzGuard) stream() error {
	b, err := g.r.Peek(xzStreamHeader)
	if err != nil {
		return err
	}
	// The sizes belong to three types of check each (section 2.1.1.2).
	g.check = [...]int64{0, 4, 8, 16, 32, 64}[(b[7]&0xf+2)/3]
	g.pass, g.next = xzStreamHeader, g.header
	return nil
}

// header looks at the header of a block, or at the index instead.
func (g *xzGuard) header() error {
	b, err := g.r.Peek(1)
	if err != nil {
		return err
	}
	if b[0] == 0 {
		g.pass = math.MaxInt64
		return nil
	}
	size := (int(b[0]) + 1) * 4
	if b, err = g.r.Peek(size); err != nil {
		return err
	}
	dictionary, err := xzDictionary(b)
	if err != nil {
		return err
	}
	if dictionary > maxWindow {
		return fmt.Errorf("the xz stream needs a dictionary of %d bytes, the limit is %d", dictionary, maxWindow)
	}
	g.pass, g.next, g.block = int64(size), g.chunk, 0
	return nil
}

// chunk looks at a chunk of LZMA2, or at the byte that ends them.
func (g *xzGuard) chunk() error {
	b, err := g.r.Peek(1)
	if err != nil {
		return err
	}
	size, at := 0, 0 // of the header of the chunk, and where its length is
	switch control := b[0]; {
	case control == lzmaEnd:
		g.pass, g.next = 1+-(g.block+1)&(xzAlign-1)+g.check, g.header
		return nil
	case control <= 2: // stored
		size, at = 3, 1
	case control < 0x80:
		return errors.New("the xz stream is damaged: there is no such LZMA2 chunk")
	case control < 0xc0:
		size, at = 5, 3
	default: // with new properties
		size, at = 6, 3
	}
	if b, err = g.r.Peek(size); err != nil {
		return err
	}
	g.pass = int64(size) + int64(binary.BigEndian.Uint16(b[at:])) + 1
	g.block += g.pass
	return nil
}

// xzDictionary finds the size of the dictionary in the header of a block
// (section 3.1).
func xzDictionary(header []byte) (int64, error) {
	errHeader := errors.New("the header of an xz block is damaged")
	flags, b := header[1], header[2:]
	if flags&3 != 0 {
		return 0, errors.New("the xz stream has filters other than LZMA2, which is not supported: pack it without --x86, --arm64 or --delta")
	}
	for _, present := range []byte{0x40, 0x80} { // sizes
		if flags&present != 0 {
			_, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, errHeader
			}
			b = b[n:]
		}
	}
	if len(b) < 3 || b[0] != xzFilterLZMA2 || b[1] != 1 {
		return 0, errHeader
	}
	return lzma.DecodeDictCap(b[2])
}
