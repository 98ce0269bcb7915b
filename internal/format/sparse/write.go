package sparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// copyChunk is how much is copied between two looks at the context, in bytes.
const copyChunk = 4 << 20

// WriteFile writes the image to an empty file, with holes where it has no
// extents; to what is no regular file it writes zeros. Each number of bytes
// that was written goes to progress, if that is not nil.
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
	w := fileWriter{f: f, buf: make([]byte, 1<<20)}
	for _, e := range m.extents {
		for done := int64(0); done < e.Size; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := w.copy(e, done, min(copyChunk, e.Size-done))
			if err != nil {
				return fmt.Errorf("writing an image: %w", err)
			}
			done += n
			if progress != nil {
				progress(n)
			}
		}
	}
	return nil
}

// fileWriter copies pieces of extents into a file.
type fileWriter struct {
	f     *os.File
	buf   []byte
	plain bool // the kernel cannot copy between these files
}

// copy moves n bytes, or a part of them, from offset skip of an extent on.
func (w *fileWriter) copy(e extent, skip, n int64) (int64, error) {
	if src, ok := e.src.(*os.File); ok && !w.plain {
		copied, err := copyRange(w.f, e.Offset+skip, src, e.at+skip, n)
		if err == nil && copied > 0 {
			return copied, nil
		}
		w.plain = true // the plain way finds out what is wrong, if anything is
	}
	p := w.buf[:min(n, int64(len(w.buf)))]
	k, err := e.read(p, e.Offset+skip)
	if err != nil {
		return 0, err
	}
	_, err = w.f.WriteAt(p[:k], e.Offset+skip)
	return int64(k), err
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
