package squashfs

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/ulikunitz/xz"

	"github.com/graftlinux/graft/internal/format/zstd"
)

// Compression is the algorithm of an image, by its number in the superblock.
type Compression uint16

// The algorithms of the format. The writer makes Zstd and XZ, the reader takes
// these and Gzip.
const (
	Gzip Compression = 1 + iota
	LZMA
	LZO
	XZ
	LZ4
	Zstd
)

var compressionNames = map[Compression]string{
	Gzip: "gzip", LZMA: "lzma", LZO: "lzo", XZ: "xz", LZ4: "lz4", Zstd: "zstd",
}

func (c Compression) String() string {
	if name, ok := compressionNames[c]; ok {
		return name
	}
	return fmt.Sprintf("algorithm %d", uint16(c))
}

// Level weighs size against time.
type Level int

const (
	// Default is the level for everyday use.
	Default Level = iota
	// Best takes several times as long as Default for a smaller image.
	Best
)

// A compressor compresses independent blocks, one at a time.
type compressor interface {
	// compress overwrites dst, from its start, with the compressed form of
	// src and returns the result, which may have been reallocated.
	compress(dst, src []byte) ([]byte, error)
}

func newCompressor(o Options) (compressor, error) {
	switch o.Compression {
	case Zstd:
		return newZstdCompressor(o.Level), nil
	case XZ:
		return xzCompressor{dictLimit: o.BlockSize}, nil
	}
	return nil, fmt.Errorf("compression with %v cannot be written, only zstd and xz", o.Compression)
}

// A zstdCompressor makes frames that the kernel takes: their window is the block
// and there is no checksum, as nobody would look at it.
type zstdCompressor struct{ enc *zstd.Encoder }

func newZstdCompressor(l Level) compressor {
	level := zstd.Default
	if l == Best {
		level = zstd.Best
	}
	return zstdCompressor{zstd.NewEncoder(level)}
}

func (c zstdCompressor) compress(dst, src []byte) ([]byte, error) {
	return c.enc.Append(dst[:0], src), nil
}

// An xzCompressor makes streams that the decoder of the kernel takes: checksum
// CRC32 and a dictionary no larger than a block (lib/xz is built without the
// other checks, and allocates the dictionary at mount time).
type xzCompressor struct{ dictLimit int }

func (c xzCompressor) compress(dst, src []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst[:0])
	cfg := xz.WriterConfig{CheckSum: xz.CRC32, DictCap: c.dictSize(len(src))}
	w, err := cfg.NewWriter(out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// dictSize returns the smallest power of two that holds n bytes and that the
// format and the kernel allow.
func (c xzCompressor) dictSize(n int) int {
	return min(1<<bits.Len(uint(max(n, minBlockSize)-1)), c.dictLimit)
}
