// Package compress packs a finished disk image for transport: as gzip, xz or
// zstd, or as the tar.gz that Compute Engine wants, and reads all of them.
//
// An image is many gigabytes of zeros and some hundred megabytes of content,
// most of which is compressed already. So that it takes the time of what can
// become smaller, and of nothing else,
//
//   - it is cut in pieces at multiples of a fixed length, which are read and
//     compressed at the same time, and joined in order (pieces.go);
//   - a piece of zeros is not compressed but known by heart. What a
//     sparse.Image has no extents for is not even read;
//   - blocks that look compressed are stored.
//
// What comes out is what everyone reads: one gzip member (gzip.go), one xz
// stream of many blocks (xz.go), one zstd frame (zstd.go), each with the
// checksums of its format. It depends on the content and the level alone: not
// on the number of processors, nor on where the image has holes.
//
// Memory is bounded by the number of workers, whatever the size of the image:
// two need 100 MiB or less, and there are never more than eight.
package compress

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Format is how an image is packed.
type Format int

// The formats. Raw is an image as it is; TarGz is a gzip of a tar archive of
// one file.
const (
	Raw Format = iota
	Gzip
	XZ
	Zstd
	TarGz
)

var suffixes = [...]string{Raw: "", Gzip: ".gz", XZ: ".xz", Zstd: ".zst", TarGz: ".tar.gz"}

// Suffix is what file names of the format end with, "" for Raw.
func (f Format) Suffix() string {
	if f < 0 || int(f) >= len(suffixes) {
		return ""
	}
	return suffixes[f]
}

// String is "raw", or the suffix, as the profiles of Talos' imager name the
// format (outFormat).
func (f Format) String() string {
	switch s := f.Suffix(); {
	case f == Raw:
		return "raw"
	case s == "":
		return fmt.Sprintf("Format(%d)", int(f))
	default:
		return s
	}
}

// ParseFormat is the inverse of String. The dot before a suffix may be absent.
func ParseFormat(s string) (Format, error) {
	if s == Raw.String() {
		return Raw, nil
	}
	for f, suffix := range suffixes {
		if suffix != "" && strings.TrimPrefix(s, ".") == suffix[1:] {
			return Format(f), nil
		}
	}
	return Raw, fmt.Errorf("there is no packing %q: choose raw, .gz, .xz, .zst or .tar.gz", s)
}

// Level chooses between time and size.
type Level int

const (
	// Default makes about the size that Talos' imager makes (zstd -18, pigz -6,
	// xz -0), in less time: images with the usual content are less than 1 %
	// larger, and what was never compressed before up to 6 %.
	Default Level = iota
	// Fast takes half to two thirds of the time of Default, for up to 7 % more
	// bytes of content that was never compressed before.
	Fast
	// Best takes up to twice the time of Default with zstd, and saves up to
	// 2 %.
	Best
)

// Options are about how to pack. The zero value works.
type Options struct {
	Level Level
	// Workers is how many pieces are compressed at the same time: 0 for as
	// many as there are processors. There are never more than eight.
	Workers int
	// Progress is told of each number of bytes that was packed, unless it is
	// nil. Only bytes in extents count: the sum is the DataSize of the image.
	Progress func(int64)
}

// Write packs an image as Gzip, XZ or Zstd.
func Write(ctx context.Context, w io.Writer, m *sparse.Image, f Format, o Options) error {
	p, err := newPacker(f, o.Level, m.Size())
	if err == nil {
		err = pack(ctx, w, m, p, o)
	}
	if err != nil {
		return fmt.Errorf("packing an image as %v: %w", f, err)
	}
	return nil
}

func newPacker(f Format, level Level, size int64) (packer, error) {
	if level < Default || level > Best {
		return nil, fmt.Errorf("there is no level %d", level)
	}
	switch f {
	case Gzip:
		return &gzipPacker{level: level}, nil
	case XZ:
		return &xzPacker{level: level}, nil
	case Zstd:
		return &zstdPacker{level: level, size: size}, nil
	}
	return nil, fmt.Errorf("it is not the format of a stream: choose %v, %v or %v", Gzip, XZ, Zstd)
}
