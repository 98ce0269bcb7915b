package cpio

import (
	"errors"
	"fmt"
	"io"
)

// DefaultMaxUnpacked bounds the decompressed bytes of an initramfs unless
// InitramfsReader.MaxUnpacked says otherwise: they all go to the memory of a
// node, and real ones stay below 1 GiB. A few MiB of zstd can say more.
const DefaultMaxUnpacked = 8 << 30

// Segment describes one archive, or one compressed stream of archives, in an
// initramfs.
type Segment struct {
	Offset      int64 // of the first byte in the file
	Size        int64 // bytes in the file, without the zero bytes that follow
	Compression Compression
	Archives    int   // how many archives the segment holds
	Unpacked    int64 // bytes of them, decompressed
}

// InitramfsReader reads the segments of an initramfs one after the other, as
// the kernel does. Its methods must not be called concurrently.
type InitramfsReader struct {
	// MaxUnpacked bounds the sum of all decompressed bytes; set it before the
	// first call of Next. 0 means DefaultMaxUnpacked.
	MaxUnpacked int64

	src      *source
	current  *Reader
	segment  Segment
	unpacked int64 // decompressed bytes of all segments
	err      error
}

// NewInitramfsReader returns a reader of the initramfs r.
func NewInitramfsReader(r io.Reader) *InitramfsReader {
	return &InitramfsReader{src: newSource(r)}
}

// Next passes over what is unread of the current segment and returns a reader
// of the entries of the next one, io.EOF after the last. Errors name the offset
// in the file at which the segment begins.
func (r *InitramfsReader) Next() (*Reader, error) {
	if r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.current, nil
}

// Segment describes the current segment. Its sizes and counts are final once
// its Reader has returned io.EOF, or after the next call of Next.
func (r *InitramfsReader) Segment() Segment {
	s := r.segment
	if r.current != nil {
		s.Size = r.src.off - s.Offset
		s.Archives = r.current.archives
		s.Unpacked = r.current.src.off
		if s.Compression == Plain {
			s.Unpacked = s.Size
		}
	}
	return s
}

func (r *InitramfsReader) next() error {
	if err := r.drain(); err != nil {
		return fmt.Errorf("reading the initramfs segment at offset %d (%v): %w", r.segment.Offset, r.segment.Compression, err)
	}
	first, err := r.src.skipZeros()
	if err == io.EOF {
		return err
	}
	if err == nil {
		err = r.open(first)
	}
	if err != nil {
		return fmt.Errorf("reading the initramfs segment at offset %d: %w", r.src.off, noEOF(err))
	}
	return nil
}

// drain reads the current segment to its end, to learn where the next begins.
func (r *InitramfsReader) drain() error {
	if r.current == nil {
		return nil
	}
	for {
		if _, err := r.current.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// open begins the segment whose first byte is first. A plain archive begins and
// ends at a multiple of four; compressed ones may follow each other anywhere.
func (r *InitramfsReader) open(first byte) error {
	const longestMagic = 3
	head, _ := r.src.r.Peek(longestMagic)
	compression, err := detectCompression(head)
	if err != nil {
		return err
	}
	afterPlain := r.current != nil && r.segment.Compression == Plain
	if compression == Plain || afterPlain {
		if err := checkAligned(r.src.off); err != nil {
			return err
		}
	}
	r.segment = Segment{Offset: r.src.off, Compression: compression}
	if compression == Plain {
		r.current = newReader(r.src)
		return nil
	}
	decompressed, err := newDecompressor(r.src, compression)
	if err != nil {
		return fmt.Errorf("decompressing %v: %w", compression, err)
	}
	r.current = newSegmentReader(newSource(&unpacker{r, decompressed}))
	return nil
}

// ErrTooMuch reports an initramfs that decompresses to more than the limit.
var ErrTooMuch = errors.New("the initramfs decompresses to more than the limit")

// unpacker counts what one decompressor yields against the limit.
type unpacker struct {
	r            *InitramfsReader
	decompressed io.Reader
}

func (u *unpacker) Read(p []byte) (int, error) {
	limit := u.r.MaxUnpacked
	if limit == 0 {
		limit = DefaultMaxUnpacked
	}
	n, err := u.decompressed.Read(p)
	u.r.unpacked += int64(n)
	if u.r.unpacked > limit {
		return 0, fmt.Errorf("%w of %d bytes", ErrTooMuch, limit)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decompressing %v: %w", u.r.segment.Compression, err)
	}
	return n, err
}
