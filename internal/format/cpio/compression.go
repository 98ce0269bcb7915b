package cpio

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	encoder "github.com/graftlinux/graft/internal/format/zstd"
)

// Compression says how a segment of an initramfs is stored.
type Compression int

// The formats that the kernel knows by their first bytes (lib/decompress.c).
// This package reads the first five and writes Plain, Zstd and XZ.
const (
	Plain Compression = iota
	Gzip
	XZ
	Zstd
	LZMA
	Bzip2
	LZO
	LZ4
)

var compressions = []struct {
	name  string
	magic string
}{
	Plain: {"plain", ""},
	Gzip:  {"gzip", "\x1f\x8b"},
	XZ:    {"xz", "\xfd7"},
	Zstd:  {"zstd", "\x28\xb5"},
	LZMA:  {"lzma", "\x5d\x00"},
	Bzip2: {"bzip2", "BZh"},
	LZO:   {"lzo", "\x89\x4c"},
	LZ4:   {"lz4", "\x02\x21"},
}

// String returns the name of the format in lower case, "plain" for none.
func (c Compression) String() string {
	if c < 0 || int(c) >= len(compressions) {
		return fmt.Sprintf("Compression(%d)", int(c))
	}
	return compressions[c].name
}

// detectCompression tells from the first bytes of a segment how it is stored.
func detectCompression(head []byte) (Compression, error) {
	if len(head) > 0 && head[0] == '0' {
		return Plain, nil
	}
	for c, f := range compressions {
		if f.magic != "" && bytes.HasPrefix(head, []byte(f.magic)) {
			return Compression(c), nil
		}
	}
	return Plain, fmt.Errorf("neither a cpio archive nor a compression that the kernel knows: it begins with % x", head)
}

// maxWindow bounds the memory of a decompressor for its dictionary, in bytes.
// The kernel takes no more for zstd (lib/decompress_unzstd.c); xz -9 uses half.
const maxWindow = 128 << 20

// newDecompressor returns a reader of the one compressed stream at the start of
// src. When the reader has returned io.EOF, src stands behind the stream.
func newDecompressor(src *source, c Compression) (io.Reader, error) {
	switch c {
	case Gzip:
		zr, err := gzip.NewReader(src)
		if err != nil {
			return nil, noEOF(err)
		}
		zr.Multistream(false)
		return zr, nil
	case Zstd:
		return newZstdReader(src)
	case XZ:
		return newXZReader(src)
	case LZMA:
		return lzma.ReaderConfig{DictCap: maxWindow}.NewReader(src)
	}
	return nil, fmt.Errorf("%v is not supported here; recompress the segment with zstd, xz or gzip", c)
}

// newZstdReader decodes without goroutines, so that nothing is left behind if
// the caller stops reading.
func newZstdReader(src *source) (io.Reader, error) {
	frame := newZstdFrame(src)
	zr, err := zstd.NewReader(frame, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	return streamDecoder{zr, frame}, err
}

// newXZReader relies on xzStream for the limits: the decoder makes room for
// whatever dictionary a block header asks for.
func newXZReader(src *source) (io.Reader, error) {
	stream := newXZStream(src)
	config := xz.ReaderConfig{DictCap: lzma.MinDictCap, SingleStream: true}
	xr, err := config.NewReader(stream)
	d := streamDecoder{xr, stream}
	return d, d.explain(err)
}

// Level chooses between speed and size in NewCompressor.
type Level int

const (
	// Default is about 35 MB/s per core with zstd.
	Default Level = iota
	// Best is half as fast and a few per cent smaller.
	Best
)

// writeWindow is the distance in bytes over which repetitions are found. It is
// what a decompressor must keep, in the kernel too, and what every zstd takes.
const writeWindow = 8 << 20

// NewCompressor returns a writer that compresses one segment of an initramfs to
// w: a single zstd frame, or a single xz stream with CRC32 (as xz
// --check=crc32: the kernel has no CRC64). Level concerns zstd only. The bytes
// depend on the content alone, not on the number of cores or on how it is cut
// into calls of Write. Close ends the segment; it does not close w.
func NewCompressor(w io.Writer, c Compression, level Level) (io.WriteCloser, error) {
	switch c {
	case Plain:
		return nopCloser{w}, nil
	case Zstd:
		effort := encoder.Default
		if level == Best {
			effort = encoder.Best
		}
		return encoder.NewWriter(w, effort, writeWindow), nil
	case XZ:
		return xz.WriterConfig{DictCap: writeWindow, CheckSum: xz.CRC32}.NewWriter(w)
	}
	return nil, fmt.Errorf("compressing a segment with %v is not supported: choose zstd, xz or plain", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
