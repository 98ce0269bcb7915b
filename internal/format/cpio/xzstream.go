package cpio

import (
	"errors"
	"fmt"

	"github.com/ulikunitz/xz/lzma"
)

// The layout of an xz stream is that of "The .xz File Format" 1.2; the chunks
// of LZMA2 are described in its reference implementation (lzma2_decoder.c).
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzHeaderSize  = 12
	xzFooterSize  = 12
	xzCheckNone   = 0
	xzCheckCRC32  = 1
	xzFilterLZMA2 = 0x21
	xzAlignment   = 4

	// maxXZBlocks bounds the memory for the index, which the decoder compares
	// at the end. xz -T makes blocks of 3 MiB or more.
	maxXZBlocks = 1 << 20
)

// xzStream is the state of a container for xz.
type xzStream struct {
	container
	checkSize int
	blocks    int
	block     int64 // compressed bytes of the current block
}

// newXZStream returns a reader of exactly one stream. Settings that the kernel
// or this package cannot decode, or that need too much memory, are errors
// before the decoder sees them.
func newXZStream(src *source) *container {
	x := &xzStream{container: container{src: src}}
	x.step = x.header
	return &x.container
}

func (x *xzStream) header() error {
	b, err := x.take(xzHeaderSize)
	if err != nil {
		return err
	}
	if string(b[:len(xzMagic)]) != xzMagic {
		return fmt.Errorf("no xz stream: it begins with % x", b[:len(xzMagic)])
	}
	switch check := b[7] & 0xf; check {
	case xzCheckNone:
	case xzCheckCRC32:
		x.checkSize = 4
	default:
		return fmt.Errorf("the xz stream has integrity checks of type %d, the kernel takes CRC32 or none: compress with --check=crc32", check)
	}
	x.step = x.blockHeader
	return nil
}

// blockHeader reads the header of a block, or finds the index instead.
func (x *xzStream) blockHeader() error {
	b, err := x.take(1)
	if err != nil {
		return err
	}
	if b[0] == 0 {
		return x.index()
	}
	if x.blocks++; x.blocks > maxXZBlocks {
		return fmt.Errorf("the xz stream has more than %d blocks", maxXZBlocks)
	}
	// Size of the header in words, this byte included, then flags, filters
	// and a checksum.
	header, err := x.take((int(b[0])+1)*4 - 1)
	if err != nil {
		return err
	}
	dictionary, err := xzDictionary(header)
	if err != nil {
		return err
	}
	if dictionary > maxWindow {
		return fmt.Errorf("the xz stream needs a dictionary of %d bytes, the limit is %d: compress with a lower level", dictionary, maxWindow)
	}
	x.block = 0
	x.step = x.chunk
	return nil
}

// xzDictionary finds the size of the dictionary in a block header without its
// first byte, and checks that LZMA2 is the only filter.
func xzDictionary(header []byte) (int64, error) {
	errShort := errors.New("the header of an xz block is too short")
	flags := header[0]
	r := varints{header[1:]}
	for _, present := range []bool{flags&0x40 != 0, flags&0x80 != 0} { // sizes
		if present {
			if _, ok := r.next(); !ok {
				return 0, errShort
			}
		}
	}
	id, ok := r.next()
	size, ok2 := r.next()
	if !ok || !ok2 || len(r.b) < 1 {
		return 0, errShort
	}
	if flags&3 != 0 || id != xzFilterLZMA2 || size != 1 {
		return 0, errors.New("the xz stream has filters other than LZMA2, which is not supported: compress without --x86, --arm64 or --delta")
	}
	return lzma.DecodeDictCap(r.b[0])
}

// varints reads the variable-length integers of xz from the front of b.
type varints struct{ b []byte }

func (v *varints) next() (n uint64, ok bool) {
	for i, c := range v.b {
		if i == xzMaxVarint {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			v.b = v.b[i+1:]
			return n, true
		}
	}
	return 0, false
}

const xzMaxVarint = 9 // bytes

// chunk reads the header of an LZMA2 chunk; the last one is a zero byte.
func (x *xzStream) chunk() error {
	b, err := x.take(1)
	if err != nil {
		return err
	}
	x.block++
	control := b[0]
	switch {
	case control == 0:
		x.step = x.blockHeader
		x.body = -x.block&(xzAlignment-1) + int64(x.checkSize)
		return nil
	case control <= 2: // stored: size - 1
		return x.chunkBody(2, 0)
	case control >= 0x80: // size - 1, compressed size - 1, perhaps properties
		properties := 0
		if control >= 0xc0 {
			properties = 1
		}
		return x.chunkBody(4+properties, 2)
	}
	return fmt.Errorf("the xz stream has an LZMA2 chunk of the unknown type %#x", control)
}

// chunkBody reads the n bytes of sizes that follow the control byte. The number
// of bytes in the chunk, less one, is the big-endian number at index at.
func (x *xzStream) chunkBody(n, at int) error {
	b, err := x.take(n)
	if err != nil {
		return err
	}
	x.body = int64(b[at])<<8 + int64(b[at+1]) + 1
	x.block += int64(n) + x.body
	return nil
}

// index reads the number of records. Each has two numbers; the whole is padded
// to a multiple of four, and a checksum and the footer follow.
func (x *xzStream) index() error {
	size := int64(1)
	records, n, err := x.takeVarint()
	if err != nil {
		return err
	}
	if records != uint64(x.blocks) {
		return fmt.Errorf("the index of the xz stream has %d records for %d blocks", records, x.blocks)
	}
	size += n
	numbers := 2 * x.blocks
	x.step = func() error {
		if numbers > 0 {
			numbers--
			_, n, err := x.takeVarint()
			size += n
			return err
		}
		x.step = endOfStream
		x.body = -size&(xzAlignment-1) + 4 + xzFooterSize
		return nil
	}
	return nil
}

func (x *xzStream) takeVarint() (v uint64, size int64, err error) {
	for i := range xzMaxVarint {
		b, err := x.take(1)
		if err != nil {
			return 0, 0, err
		}
		v |= uint64(b[0]&0x7f) << (7 * i)
		if b[0] < 0x80 {
			return v, int64(i) + 1, nil
		}
	}
	return 0, 0, errors.New("the index of the xz stream has a number that is too long")
}
