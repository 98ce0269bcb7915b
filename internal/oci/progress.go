package oci

import (
	"io"
	"sync"
)

// progress adds up what several readers have read.
type progress struct {
	report func(done, total int64)
	total  int64

	mu   sync.Mutex
	done int64
}

func newProgress(total int64, report func(done, total int64)) *progress {
	return &progress{report: report, total: total}
}

// add counts n bytes; they are negative if something has to be read again.
func (p *progress) add(n int64) {
	if p.report == nil || n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.report(p.done, p.total)
}

// reader counts what is read from r.
func (p *progress) reader(r io.Reader) io.Reader { return &countingReader{r, p} }

type countingReader struct {
	r io.Reader
	p *progress
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.add(int64(n))
	return n, err
}
