package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxResumes is how often a download goes on after it broke.
const maxResumes = 8

// download reads a blob, and goes on where it was if the connection breaks.
type download struct {
	ctx     context.Context
	open    func(ctx context.Context, offset int64) (io.ReadCloser, error)
	size    int64
	offset  int64
	resumes int
	resumed int64 // offset when the last connection began

	body   io.ReadCloser
	cancel context.CancelFunc
	stall  *time.Timer
}

func newDownload(ctx context.Context, size int64, open func(context.Context, int64) (io.ReadCloser, error)) (*download, error) {
	d := &download{ctx: ctx, open: open, size: size}
	return d, d.connect()
}

func (d *download) connect() error {
	ctx, cancel := context.WithCancel(d.ctx)
	body, err := d.open(ctx, d.offset)
	if err != nil {
		cancel()
		return err
	}
	d.body, d.cancel, d.resumed = body, cancel, d.offset
	d.stall = time.AfterFunc(stallTimeout, cancel)
	return nil
}

// Read implements io.Reader. A blob that is longer than promised is for the
// reader to notice.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.body == nil {
			return 0, io.ErrClosedPipe
		}
		n, err := d.body.Read(p)
		d.offset += int64(n)
		d.stall.Reset(stallTimeout)
		if n == 0 && err == nil && len(p) > 0 {
			continue // of what was read before
		}
		if err == nil || err == io.EOF && d.offset >= d.size {
			return n, err
		}
		if err := d.resume(err); err != nil || n > 0 {
			return n, err
		}
	}
}

// resume connects again after an error. A registry that stalls twice at the same
// byte, or cannot be asked again, ends the download with the error that it broke
// with.
func (d *download) resume(cause error) error {
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	stuck := false
	broken := fmt.Errorf("%w at byte %d of %d: %w", errBroken, d.offset, d.size, cause)
	if errors.Is(cause, context.Canceled) { // not by the caller
		broken = fmt.Errorf("%w at byte %d of %d", errStalled, d.offset, d.size)
		stuck = d.resumes > 0 && d.offset == d.resumed
	}
	d.disconnect()
	if d.resumes++; stuck || d.resumes > maxResumes {
		return broken
	}
	if err := sleep(d.ctx, pause(1)); err != nil {
		return err
	}
	if d.connect() != nil {
		return broken
	}
	return nil
}

var (
	errBroken  = errors.New("the connection broke")
	errStalled = errors.New("the registry stopped sending")
)

func (d *download) disconnect() error {
	if d.body == nil {
		return nil
	}
	d.stall.Stop()
	d.cancel()
	err := d.body.Close()
	d.body = nil
	return err
}

// Close implements io.Closer.
func (d *download) Close() error { return d.disconnect() }
