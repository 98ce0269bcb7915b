package oci

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// magic is how a file is compressed, as its first bytes tell. Media types are
// not asked: tools differ in what they write there.
type magic int

const (
	magicNone magic = iota
	magicGzip
	magicZstd
	magicOther // known, and nothing that images use
)

// A tar begins with a file name, so none of these can be one.
var magics = []struct {
	prefix string
	magic  magic
}{
	{"\x1f\x8b", magicGzip},
	{"\x28\xb5\x2f\xfd", magicZstd},
	{"\xfd7zXZ\x00", magicOther},
	{"BZh", magicOther},
}

func magicOf(r *bufio.Reader) magic {
	head, _ := r.Peek(6) // a short file has a short head
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.prefix)) {
			return m.magic
		}
	}
	return magicNone
}

var errCompression = errors.New("it is compressed with xz or bzip2, which images do not use: decompress it first")

// unpack returns what r unpacks to, which is r itself if it is not compressed.
func unpack(r io.Reader) (io.ReadCloser, magic, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	m := magicOf(br)
	switch m {
	case magicGzip:
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, m, fmt.Errorf("unpacking gzip: %w", err)
		}
		return zr, m, nil
	case magicZstd:
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, m, fmt.Errorf("unpacking zstd: %w", err)
		}
		return zr.IOReadCloser(), m, nil
	case magicOther:
		return nil, m, errCompression
	}
	return io.NopCloser(br), m, nil
}

// Compression is how Pack compresses layers.
type Compression string

// The compressions of layers.
const (
	Gzip Compression = "gzip" // what every tool reads
	Zstd Compression = "zstd" // smaller and faster; container engines since 2020
	None Compression = "none"
)

// ParseCompression reads "gzip", "zstd" or "none".
func ParseCompression(s string) (Compression, error) {
	switch c := Compression(s); c {
	case Gzip, Zstd, None:
		return c, nil
	}
	return "", fmt.Errorf("compression %q is none of gzip, zstd and none", s)
}

func (c Compression) mediaType() types.MediaType {
	switch c {
	case Zstd:
		return types.OCILayerZStd
	case None:
		return types.OCIUncompressedLayer
	}
	return types.OCILayer
}

// writer compresses to w. What it writes does not depend on the machine.
func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	case None:
		return nopWriteCloser{w}, nil
	}
	return newGzipWriter(w), nil
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
