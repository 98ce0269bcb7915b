package compress

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory of a decoder for what it has to remember, in
// bytes. zstd without --long and xz -9 need no more than half of it.
const maxWindow = 128 << 20

// NewReader finds out by its first bytes how an image is packed, and returns a
// reader of the image: of the first file in it if it is TarGz. More than limit
// bytes of image are an error when they are reached, so that a small file
// cannot fill a disk. What is not packed is Raw, and read as it is. Checksums
// are verified, at the latest when the reader returns io.EOF. Memory is bounded
// by some 300 MiB, whatever the input says of itself.
func NewReader(r io.Reader, limit int64) (io.Reader, Format, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(len(xzMagic))
	if err != nil && err != io.EOF {
		return nil, Raw, fmt.Errorf("reading an image: %w", err)
	}
	f := detect(head)
	unpacked, err := newDecoder(b, f)
	if err != nil {
		return nil, f, unpackError(f, err)
	}
	if f == Gzip {
		unpacked, f, err = openTar(unpacked)
		if err != nil {
			return nil, f, unpackError(f, err)
		}
	}
	return &reader{r: unpacked, format: f, left: limit, limit: limit}, f, nil
}

func detect(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte(xzMagic)):
		return XZ
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	}
	return Raw
}

// newDecoder returns a decoder that leaves nothing behind if it is not read to
// the end.
func newDecoder(b *bufio.Reader, f Format) (io.Reader, error) {
	switch f {
	case Gzip:
		return gzip.NewReader(b)
	case XZ:
		return newXZReader(b)
	case Zstd:
		return zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	}
	return b, nil
}

// openTar looks for a tar archive in a gzip, and opens its first file.
func openTar(r io.Reader) (io.Reader, Format, error) {
	b := bufio.NewReaderSize(r, tarBlock)
	head, err := b.Peek(tarBlock)
	if err != nil && err != io.EOF {
		return nil, Gzip, err
	}
	const magicAt = 257
	if len(head) < tarBlock || !bytes.HasPrefix(head[magicAt:], []byte("ustar")) {
		return b, Gzip, nil
	}
	archive := tar.NewReader(b)
	for range maxTarMembers {
		switch h, err := archive.Next(); {
		case err == io.EOF:
			return nil, TarGz, errors.New("there is no file in the archive")
		case err != nil:
			return nil, TarGz, err
		case h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse:
			return &tarReader{archive: archive, rest: b}, TarGz, nil
		}
	}
	return nil, TarGz, fmt.Errorf("there is no file among the first %d members of the archive", maxTarMembers)
}

// maxTarMembers is how many directories and the like may precede the file.
const maxTarMembers = 16

// tarReader reads one file, and then what is behind it, so that the checksum
// of the gzip is seen.
type tarReader struct {
	archive *tar.Reader
	rest    io.Reader
}

func (t *tarReader) Read(p []byte) (int, error) {
	n, err := t.archive.Read(p)
	if err == io.EOF {
		if _, rest := io.CopyN(io.Discard, t.rest, maxTarRest); rest != io.EOF {
			return n, noEOF(rest)
		}
	}
	return n, err
}

// maxTarRest is far more than the padding behind a file.
const maxTarRest = 1 << 20

// reader holds a decoder to a limit, and says what went wrong with what.
type reader struct {
	r           io.Reader
	format      Format
	left, limit int64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.left < int64(len(p)) { // one byte more shows that there are too many
		p = p[:r.left+1]
	}
	n, err := r.r.Read(p)
	if int64(n) > r.left {
		n = int(r.left)
		err = fmt.Errorf("it holds more than %d bytes, which is the limit", r.limit)
	}
	r.left -= int64(n)
	if err != nil && err != io.EOF {
		err = unpackError(r.format, err)
	}
	return n, err
}

func unpackError(f Format, err error) error {
	return fmt.Errorf("unpacking an image from %v: %w", f, noEOF(err))
}

// noEOF is for where the input must not end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
