package oci

import (
	"context"
	"io"
)

// ctxReader and ctxWriter end with their context.
type (
	ctxReader struct {
		ctx context.Context
		r   io.Reader
	}
	ctxWriter struct {
		ctx context.Context
		w   io.Writer
	}
)

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (c ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
