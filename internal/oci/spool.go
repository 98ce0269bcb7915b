package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/graftlinux/graft/internal/ctxio"
)

// spool holds files that belong to one image: unpacked layers, in files that
// have no name any more, and opened ones. They vanish with Close, or with the
// process however it ends.
type spool struct {
	dir  string
	left atomic.Int64 // bytes that may still be written, see MaxUncompressed

	mu    sync.Mutex
	files []io.Closer
}

func newSpool(dir string) *spool {
	if dir == "" {
		dir = os.TempDir()
	}
	s := &spool{dir: dir}
	s.left.Store(MaxUncompressed)
	return s
}

// keep makes Close close c.
func (s *spool) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, c)
}

// Close closes every file. It may be called again.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	s.files = nil
	return err
}

// create makes an empty file of the spool.
func (s *spool) create() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, "graft-spool-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.keep(f)
	return f, nil
}

// fill makes a file of the spool from all that r has, and tells its size.
func (s *spool) fill(ctx context.Context, r io.Reader) (*os.File, int64, error) {
	f, err := s.create()
	if err != nil {
		return nil, 0, fmt.Errorf("making room in %s: %w", s.dir, cause(err))
	}
	n, err := copyTo(&bounded{f, &s.left}, ctxio.NewReader(ctx, r))
	return f, n, err
}

// bounded is a writer that ends with the budget that it shares with others.
type bounded struct {
	w    io.Writer
	left *atomic.Int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left.Add(-int64(len(p))) < 0 {
		return 0, errTooLarge
	}
	n, err := b.w.Write(p)
	if err != nil {
		err = fmt.Errorf("writing a temporary file: %w", cause(err))
	}
	return n, err
}

var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copyTo is io.Copy with a large buffer that is used again.
func copyTo(w io.Writer, r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(onlyWriter{w}, onlyReader{r}, buf[:])
}

// onlyWriter and onlyReader hide the shortcuts that would not use the buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
