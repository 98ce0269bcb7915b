package oci

import (
	"io"
	"sync"
	"sync/atomic"
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

// counter counts one thing that may have to be read several times.
type counter struct {
	p *progress
	n atomic.Int64
}

func (p *progress) counter() *counter { return &counter{p: p} }

// set tells the progress that n bytes in all have been read.
func (c *counter) set(n int64) { c.p.add(n - c.n.Swap(n)) }

func (c *counter) add(n int64) {
	c.n.Add(n)
	c.p.add(n)
}

// reader counts what is read from r.
func (c *counter) reader(r io.Reader) io.Reader { return counted{r, c} }

type counted struct {
	r io.Reader
	c *counter
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.c.add(int64(n))
	return n, err
}
