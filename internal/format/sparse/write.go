package sparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// WriteFile writes the image to an empty file, with holes where it has no
// extents; to what is no regular file it writes zeros. Each number of bytes
// that was written goes to progress, if that is not nil.
//
// Where the file system can share blocks between files, it does. The rest is
// read and written at the same time: that is quicker than copy_file_range,
// which does one page after the other, and each in two pieces if the pages of
// the one file lie across those of the other.
func (m *Image) WriteFile(ctx context.Context, f *os.File, progress func(int64)) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if !info.Mode().IsRegular() {
		_, err := m.WriteTo(f)
		return err
	}
	if err := f.Truncate(m.size); err != nil {
		return fmt.Errorf("writing an image of %d bytes: %w", m.size, err)
	}
	if progress == nil {
		progress = func(int64) {}
	}
	if err := copyExtents(ctx, f, share(f, m.extents, progress), progress); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	return nil
}

// shareUnit is a multiple of the blocks that file systems share, in bytes.
const shareUnit = 4096

// share has the file system share what it can, and returns the extents that are
// left to be copied.
func share(f *os.File, extents []extent, progress func(int64)) (left []extent) {
	can := true
	for _, e := range extents {
		src, ok := e.src.(*os.File)
		n := e.Size / shareUnit * shareUnit
		if can && ok && n > 0 && e.Offset%shareUnit == 0 && e.at%shareUnit == 0 {
			if can = cloneRange(f, e.Offset, src, e.at, n) == nil; can {
				progress(n)
				e = extent{Extent{e.Offset + n, e.Size - n}, e.src, e.at + n}
			}
		}
		if e.Size > 0 {
			left = append(left, e)
		}
	}
	return left
}

// writeChunk is how much is written at a time, in bytes. Of chunks that begin at
// multiples of it, file systems make few and large folios.
const writeChunk = 1 << 20

// chunk is a piece of an extent on its way.
type chunk struct {
	buf []byte // all of it
	n   int    // bytes of buf that are used
	at  int64  // offset in the image
	err error  // of reading it
}

// copyExtents reads the extents and writes them, one chunk while the next one
// is read.
func copyExtents(ctx context.Context, f *os.File, extents []extent, progress func(int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, full := make(chan []byte, 3), make(chan chunk, 1)
	for range cap(free) {
		free <- make([]byte, writeChunk)
	}
	go func() {
		defer close(full)
		readExtents(ctx, extents, free, full)
	}()
	for c := range full {
		if c.err != nil {
			return c.err
		}
		if _, err := f.WriteAt(c.buf[:c.n], c.at); err != nil {
			cancel()
			for range full { // the reader uses files that the caller may close
			}
			return err
		}
		progress(int64(c.n))
		free <- c.buf
	}
	return ctx.Err()
}

// readExtents sends the extents, chunk by chunk, to its end or that of ctx or
// to the first error.
func readExtents(ctx context.Context, extents []extent, free <-chan []byte, full chan<- chunk) {
	for _, e := range extents {
		for at := e.Offset; at < e.End(); {
			var c chunk
			select {
			case <-ctx.Done():
				return
			case buf := <-free:
				c = chunk{buf: buf, at: at}
			}
			c.n, c.err = e.read(c.buf[:min(e.End()-at, writeChunk-at%writeChunk)], at)
			full <- c
			if c.err != nil {
				return
			}
			at += int64(c.n)
		}
	}
}

// WriteTo writes the whole, zeros included, to a stream.
func (m *Image) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{m.Reader()}, make([]byte, 1<<20))
}

// ErrTooMuch says that a stream has more data than Fill may write.
var ErrTooMuch = errors.New("more data than is allowed")

// Fill writes a stream to an empty file, with holes where it has zeros, and
// returns its size. What is not zero may have so many bytes, more are
// ErrTooMuch.
func Fill(f *os.File, r io.Reader, most int64) (size int64, err error) {
	const block = 64 << 10 // what file systems keep as a hole, and more
	buf, zeros := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(r, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if most -= int64(n); most < 0 {
				return size, ErrTooMuch
			}
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return size, err
			}
		}
		size += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return size, f.Truncate(size)
		default:
			return size, err
		}
	}
}
