package compress

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"sync"

	"github.com/ulikunitz/xz/lzma"
)

// xzPacker makes one stream ("The .xz File Format" 1.2) of blocks with their
// sizes in the headers, so that xz -T unpacks them at the same time, and CRC64.
//
// The LZMA2 in a block is as simple as it gets: what looks compressed is
// stored, and each stretch of the rest begins with an empty dictionary.
type xzPacker struct {
	level  Level
	blocks []xzRecord
}

// xzRecord is what the index says of a block.
type xzRecord struct{ unpadded, uncompressed uint64 }

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzCheckCRC64  = 4
	xzFilterLZMA2 = 0x21
	xzCheckSize   = 8
	xzAlign       = 4
	xzHasSizes    = 0xc0

	xzPiece        = 4 << 20
	xzStreamHeader = 12
	// xzBlockHeader is more than the sizes of a piece need.
	xzBlockHeader = 20

	lzmaEnd       = 0 // of a block
	lzmaStored    = 1 // a chunk that is stored, and clears the dictionary
	lzmaMaxStored = 1 << 16
	lzmaMaxChunk  = 2 << 20 // uncompressed
)

// xzDictionaries are all that the levels change: the encoder becomes slow as
// they grow.
var xzDictionaries = [...]int{Fast: 64 << 10, Default: 256 << 10, Best: 1 << 20}

var xzTable = crc64.MakeTable(crc64.ECMA)

func (x *xzPacker) layout() layout { return layout{piece: xzPiece} }

func (x *xzPacker) head() []byte {
	flags := []byte{0, xzCheckCRC64}
	return binary.LittleEndian.AppendUint32(append([]byte(xzMagic), flags...), crc32.ChecksumIEEE(flags))
}

func (x *xzPacker) coder() coder {
	dictionary := xzDictionaries[x.level]
	return func(p *piece) (err error) {
		p.out, err = appendChunks(append(p.out, make([]byte, xzBlockHeader)...), p.own(), dictionary)
		if err != nil {
			return err
		}
		p.note = uint64(len(p.out) + xzCheckSize)
		p.out = endXZBlock(p.out, p.own(), dictionary)
		return nil
	}
}

// appendChunks appends LZMA2 chunks, and the byte that ends them.
func appendChunks(dst, src []byte, dictionary int) ([]byte, error) {
	for k, at := range stretches(src) {
		b := src[at[0]:at[1]]
		switch k {
		case sparseBlock:
			dst = appendZeroChunks(dst, len(b))
		case denseBlock:
			dst = appendStoredChunks(dst, b)
		case plainBlock:
			var err error
			if dst, err = encodeChunks(dst, b, dictionary); err != nil {
				return dst, err
			}
		}
	}
	return append(dst, lzmaEnd), nil
}

// encodeChunks appends LZMA2 chunks, of which the first clears the dictionary,
// without the byte that ends them.
func encodeChunks(dst, src []byte, dictionary int) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w, err := lzma.Writer2Config{DictCap: dictionary, Matcher: lzma.HashTable4}.NewWriter2(out)
	if err != nil {
		return dst, err
	}
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out.Bytes()[:out.Len()-1], nil
}

func appendStoredChunks(dst, b []byte) []byte {
	for len(b) > 0 {
		n := min(len(b), lzmaMaxStored)
		dst = binary.BigEndian.AppendUint16(append(dst, lzmaStored), uint16(n-1))
		dst = append(dst, b[:n]...)
		b = b[n:]
	}
	return dst
}

// zeroChunks are blockSize and lzmaMaxChunk zeros, as chunks that may stand
// anywhere.
var zeroChunks = sync.OnceValues(func() (short, long []byte) {
	chunks := func(n int) []byte {
		b, err := encodeChunks(nil, make([]byte, n), xzDictionaries[Fast])
		if err != nil {
			panic(err) // a valid setting, and memory that takes everything
		}
		return b
	}
	return chunks(blockSize), chunks(lzmaMaxChunk)
})

// appendZeroChunks appends n zeros, a multiple of blockSize.
func appendZeroChunks(dst []byte, n int) []byte {
	short, long := zeroChunks()
	for ; n >= lzmaMaxChunk; n -= lzmaMaxChunk {
		dst = append(dst, long...)
	}
	for ; n > 0; n -= blockSize {
		dst = append(dst, short...)
	}
	return dst
}

// endXZBlock makes a block of chunks behind room for a header (section 3).
func endXZBlock(b, src []byte, dictionary int) []byte {
	h := append(b[:0], xzBlockHeader/4-1, xzHasSizes)
	h = binary.AppendUvarint(h, uint64(len(b)-xzBlockHeader))
	h = binary.AppendUvarint(h, uint64(len(src)))
	h = append(h, xzFilterLZMA2, 1, lzma.EncodeDictCap(int64(dictionary)))
	clear(b[len(h):xzBlockHeader])
	binary.LittleEndian.PutUint32(b[xzBlockHeader-4:], crc32.ChecksumIEEE(b[:xzBlockHeader-4]))
	for len(b)%xzAlign != 0 {
		b = append(b, 0)
	}
	return binary.LittleEndian.AppendUint64(b, crc64.Checksum(src, xzTable))
}

func (x *xzPacker) join(p *piece) []byte {
	x.blocks = append(x.blocks, xzRecord{p.note, uint64(len(p.own()))})
	return p.out
}

// xzZeros is a block of zeros, and its size without padding. It is right for
// all dictionaries: the header asks for the smallest.
var xzZeros = sync.OnceValues(func() ([]byte, uint64) {
	p := piece{buffers: buffers{src: make([]byte, xzPiece)}}
	if err := (&xzPacker{level: Fast}).coder()(&p); err != nil {
		panic(err) // nothing is encoded but what zeroChunks did
	}
	return p.out, p.note
})

func (x *xzPacker) zeros() []byte {
	b, unpadded := xzZeros()
	x.blocks = append(x.blocks, xzRecord{unpadded, xzPiece})
	return b
}

// tail is the index (section 4) and the footer (2.1.2).
func (x *xzPacker) tail() []byte {
	b := binary.AppendUvarint([]byte{0}, uint64(len(x.blocks)))
	for _, r := range x.blocks {
		b = binary.AppendUvarint(b, r.unpadded)
		b = binary.AppendUvarint(b, r.uncompressed)
	}
	for len(b)%xzAlign != 0 {
		b = append(b, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(b)/4-1))
	footer = append(footer, 0, xzCheckCRC64)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(footer))
	return append(append(b, footer...), xzFooterMagic...)
}
