package compress

import (
	"encoding/binary"

	"github.com/graftlinux/graft/internal/format/zstd"
)

// zstdPacker makes one frame (RFC 8878, 3.1.1) with the size of the content and
// a checksum. Pieces see the end of the one before, as the jobs of zstd -T do.
type zstdPacker struct {
	level Level
	size  int64
	sum   xxh64
}

const (
	zstdMagic   = 0xfd2fb528
	zstdPiece   = 4 << 20
	zstdOverlap = 4 << 20
	// zstdWindowLog is of what a piece and its overlap need together: 8 MiB,
	// which every decoder has to take.
	zstdWindowLog = 23

	zstdMaxBlock = 128 << 10
	zstdRaw      = 0 << 1
	zstdRLE      = 1 << 1
	zstdLast     = 1
)

var zstdLevels = [...]zstd.Level{Fast: zstd.Default, Default: zstd.Best, Best: zstd.Deep}

func (z *zstdPacker) layout() layout { return layout{piece: zstdPiece, window: zstdOverlap} }

func (z *zstdPacker) head() []byte {
	const (
		contentSize64 = 3 << 6
		checksum      = 1 << 2
	)
	z.sum = newXXH64()
	b := binary.LittleEndian.AppendUint32(nil, zstdMagic)
	b = append(b, contentSize64|checksum, (zstdWindowLog-10)<<3)
	return binary.LittleEndian.AppendUint64(b, uint64(z.size))
}

func (z *zstdPacker) coder() coder {
	e := zstd.NewEncoder(zstdLevels[z.level])
	return func(p *piece) error {
		p.out = e.AppendPart(p.out, p.src, p.start, 1<<zstdWindowLog)
		return nil
	}
}

func (z *zstdPacker) join(p *piece) []byte {
	z.sum.write(p.own())
	return p.out
}

// zstdZeros are blocks that repeat a zero byte.
var zstdZeros = func() (b []byte) {
	for range zstdPiece / zstdMaxBlock {
		h := zstdRLE | zstdMaxBlock<<3
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return b
}()

func (z *zstdPacker) zeros() []byte {
	z.sum.zeros(zstdPiece)
	return zstdZeros
}

// tail is an empty block and the checksum.
func (z *zstdPacker) tail() []byte {
	return binary.LittleEndian.AppendUint32([]byte{zstdRaw | zstdLast, 0, 0}, uint32(z.sum.sum()))
}
