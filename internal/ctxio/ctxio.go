// Package ctxio ends reading and writing with a context: what hashes or packs a
// large file would otherwise go on after it was asked to stop.
package ctxio

import (
	"context"
	"io"
)

// NewReader is a reader that reads from r, and fails with the context's error
// once that has ended. A Read that has begun is not cut short.
func NewReader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// NewWriter is the same for writing.
func NewWriter(ctx context.Context, w io.Writer) io.Writer { return &writer{ctx, w} }

type writer struct {
	ctx context.Context
	w   io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}
