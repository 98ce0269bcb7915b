package cpio

import (
	"bufio"
	"io"
)

// sourceBuffer is the read-ahead in bytes: two zstd blocks or two thousand headers.
const sourceBuffer = 256 << 10

// source is a buffered input that knows its position. It implements
// io.ByteReader, from which the decoders of the standard library and of
// ulikunitz/xz take not one byte more than they need.
type source struct {
	r   *bufio.Reader
	off int64
}

func newSource(r io.Reader) *source {
	return &source{r: bufio.NewReaderSize(r, sourceBuffer)}
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.off += int64(n)
	return n, err
}

func (s *source) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.off++
	}
	return b, err
}

// readFull fills p, or returns io.ErrUnexpectedEOF.
func (s *source) readFull(p []byte) error {
	_, err := io.ReadFull(s, p)
	return noEOF(err)
}

// skip passes over n bytes, or returns io.ErrUnexpectedEOF.
func (s *source) skip(n int64) error {
	const most = 1 << 30 // fits an int everywhere
	for n > 0 {
		k, err := s.r.Discard(int(min(n, most)))
		s.off += int64(k)
		n -= int64(k)
		if err != nil {
			return noEOF(err)
		}
	}
	return nil
}

// skipZeros passes over zero bytes and returns the first other one, unread.
// At the end of the input it returns io.EOF.
func (s *source) skipZeros() (byte, error) {
	for {
		if _, err := s.r.Peek(1); err != nil {
			return 0, err
		}
		p, _ := s.r.Peek(s.r.Buffered()) // what is there can be peeked at
		n := 0
		for n < len(p) && p[n] == 0 {
			n++
		}
		if n < len(p) {
			b := p[n]
			return b, s.skip(int64(n))
		}
		if err := s.skip(int64(n)); err != nil {
			return 0, err
		}
	}
}

// noEOF is for places where the input must not end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
