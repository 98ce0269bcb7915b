package compress

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/flate"
)

// gzipPacker makes one member (RFC 1952) with no time and no name. As pigz
// does, it begins each piece at a byte and with the 32 KiB before it in sight.
type gzipPacker struct {
	level Level
	crc   uint32
	size  uint32
	shift crcShift // by a piece
}

const (
	gzipPiece  = 1 << 20
	gzipWindow = 32 << 10
	maxStored  = 1<<16 - 1
)

// The default is the level that makes about the size of zlib's level 6.
var gzipLevels = [...]int{Fast: 5, Default: 7, Best: 9}

func (g *gzipPacker) layout() layout { return layout{piece: gzipPiece, window: gzipWindow} }

func (g *gzipPacker) head() []byte {
	g.shift = shiftBy(gzipPiece)
	const unix = 3
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unix}
}

func (g *gzipPacker) coder() coder {
	w, err := flate.NewWriter(nil, gzipLevels[g.level])
	return func(p *piece) error {
		p.note = uint64(crc32.ChecksumIEEE(p.own()))
		if err != nil {
			return err
		}
		for k, at := range stretches(p.own()) {
			b := p.own()[at[0]:at[1]]
			if k == denseBlock {
				p.out = appendStored(p.out, b)
				continue
			}
			out := bytes.NewBuffer(p.out)
			w.ResetDict(out, p.src[max(0, p.start+at[0]-gzipWindow):p.start+at[0]])
			if err := deflate(w, b); err != nil {
				return err
			}
			p.out = out.Bytes()
		}
		return nil
	}
}

// deflate writes b, and ends at a byte.
func deflate(w *flate.Writer, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Flush()
}

// appendStored appends stored blocks (RFC 1951, 3.2.4) that begin at a byte.
func appendStored(dst, b []byte) []byte {
	for len(b) > 0 {
		n := min(len(b), maxStored)
		dst = append(dst, 0)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, b[:n]...)
		b = b[n:]
	}
	return dst
}

func (g *gzipPacker) join(p *piece) []byte {
	n := len(p.own())
	shift := g.shift
	if n != gzipPiece {
		shift = shiftBy(uint64(n))
	}
	g.add(shift, uint32(p.note), n)
	return p.out
}

// add appends n bytes with a CRC to the sums; shift is by n.
func (g *gzipPacker) add(shift crcShift, crc uint32, n int) {
	g.crc = shift.of(g.crc) ^ crc
	g.size += uint32(n)
}

// gzipZeros is a piece of zeros, compressed with nothing before it in sight,
// and its CRC.
var gzipZeros = sync.OnceValues(func() ([]byte, uint32) {
	var out bytes.Buffer
	zeros := make([]byte, gzipPiece)
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err == nil {
		err = deflate(w, zeros)
	}
	if err != nil { // a valid level, and a buffer that takes everything
		panic(err)
	}
	return out.Bytes(), crc32.ChecksumIEEE(zeros)
})

func (g *gzipPacker) zeros() []byte {
	b, crc := gzipZeros()
	g.add(g.shift, crc, gzipPiece)
	return b
}

// tail is an empty block, which is the last, the CRC and the size.
func (g *gzipPacker) tail() []byte {
	b := binary.LittleEndian.AppendUint32([]byte{3, 0}, g.crc)
	return binary.LittleEndian.AppendUint32(b, g.size)
}
