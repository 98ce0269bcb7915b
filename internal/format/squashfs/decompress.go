package squashfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A decompressor decompresses independent blocks. It may be used by several
// goroutines at once.
type decompressor interface {
	// decompress appends to dst[:0] what src holds. That it does not fit in
	// the capacity of dst is an error: dst is never reallocated.
	decompress(dst, src []byte) ([]byte, error)
}

var errBlockTooLarge = errors.New("decompressed block is larger than a block can be")

func newDecompressor(c Compression) (decompressor, error) {
	switch c {
	case Gzip:
		return new(gzipDecompressor), nil
	case XZ:
		return xzDecompressor{}, nil
	case Zstd:
		return newZstdDecompressor()
	}
	return nil, fmt.Errorf("compression with %v cannot be read, only gzip, xz and zstd", c)
}

type zstdDecompressor struct{ dec *zstd.Decoder }

func newZstdDecompressor() (decompressor, error) {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(maxBlockSize),
		zstd.WithDecoderConcurrency(0))
	return zstdDecompressor{dec}, err
}

func (d zstdDecompressor) decompress(dst, src []byte) ([]byte, error) {
	return d.dec.DecodeAll(src, dst[:0])
}

// A gzipDecompressor reads zlib streams: what squashfs calls gzip.
type gzipDecompressor struct{ readers sync.Pool }

func (d *gzipDecompressor) decompress(dst, src []byte) ([]byte, error) {
	r, err := d.reader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	defer d.readers.Put(r)
	return readLimited(r, dst)
}

func (d *gzipDecompressor) reader(src io.Reader) (io.Reader, error) {
	if r, ok := d.readers.Get().(io.Reader); ok {
		return r, r.(zlib.Resetter).Reset(src, nil)
	}
	return zlib.NewReader(src)
}

// readLimited reads all of r into dst, up to its capacity.
func readLimited(r io.Reader, dst []byte) ([]byte, error) {
	dst = dst[:cap(dst)]
	n, err := io.ReadFull(r, dst)
	switch err {
	case nil:
		var more [1]byte
		if n, err := io.ReadFull(r, more[:]); n > 0 {
			return nil, errBlockTooLarge
		} else if err != io.EOF {
			return nil, err
		}
	case io.EOF, io.ErrUnexpectedEOF:
	default:
		return nil, err
	}
	return dst[:n], nil
}
