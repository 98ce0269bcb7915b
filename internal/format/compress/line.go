package compress

import (
	"bufio"
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	// maxWorkers bounds the memory, whatever the number of processors.
	maxWorkers = 8
	// piecesPerWorker lets workers go on while an earlier piece takes longer.
	piecesPerWorker = 2
)

// pack writes all of an image.
func pack(ctx context.Context, w io.Writer, m *sparse.Image, format packer, o Options) error {
	j := &joiner{ctx: ctx, w: bufio.NewWriterSize(w, 64<<10), image: m, packer: format, progress: o.Progress}
	l := newLine(m, format, o.workers())
	defer l.stop()
	j.write(format.head())
	for p := range cut(m, format.layout().piece) {
		for l.full() && j.err == nil {
			j.take(l.next())
		}
		if j.err != nil {
			return j.err
		}
		l.add(p)
	}
	for p := l.next(); p != nil && j.err == nil; p = l.next() {
		j.take(p)
	}
	j.write(format.tail())
	if j.err != nil {
		return j.err
	}
	return j.w.Flush()
}

func (o Options) workers() int {
	n := o.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return min(n, maxWorkers)
}

// A line has workers compress pieces, and returns them in order.
type line struct {
	image  *sparse.Image
	layout layout

	queue []*piece // in order
	busy  int      // of them are no holes
	limit int      // of busy
	spare []buffers

	work    chan *piece
	stopped atomic.Bool
	workers sync.WaitGroup
}

func newLine(m *sparse.Image, format packer, workers int) *line {
	l := &line{image: m, layout: format.layout(), limit: workers * piecesPerWorker}
	l.work = make(chan *piece, l.limit)
	for range workers {
		l.workers.Go(func() { l.run(format.coder()) })
	}
	return l
}

// stop returns when nobody works any more.
func (l *line) stop() {
	l.stopped.Store(true)
	close(l.work)
	l.workers.Wait()
}

// full says whether next must be called before add.
func (l *line) full() bool { return l.busy == l.limit }

func (l *line) add(p *piece) {
	l.queue = append(l.queue, p)
	if p.hole {
		return
	}
	l.busy++
	if n := len(l.spare); n > 0 {
		p.buffers, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	p.done = make(chan struct{})
	l.work <- p
}

// next returns the oldest piece once it is compressed, or nil if there is none.
// It is valid until the next add.
func (l *line) next() *piece {
	if len(l.queue) == 0 {
		return nil
	}
	p := l.queue[0]
	l.queue = l.queue[1:]
	if !p.hole {
		<-p.done
		l.busy--
		l.spare = append(l.spare, p.buffers)
	}
	return p
}

func (l *line) run(code coder) {
	for p := range l.work {
		if !l.stopped.Load() {
			p.err = l.compress(p, code)
		}
		close(p.done)
	}
}

// compress reads a piece and what precedes it, and does the work.
func (l *line) compress(p *piece, code coder) error {
	p.start = int(min(p.offset, l.layout.window))
	p.src = slices.Grow(p.src[:0], p.start+int(p.size))[:p.start+int(p.size)]
	if n, err := l.image.ReadAt(p.src, p.offset-int64(p.start)); n < len(p.src) {
		return err
	}
	p.out = slices.Grow(p.out[:0], int(p.size+p.size/64))
	if p.zero = p.size == l.layout.piece && allZero(p.own()); p.zero {
		return nil
	}
	return code(p)
}

// A joiner writes what workers made.
type joiner struct {
	ctx      context.Context
	w        *bufio.Writer
	image    *sparse.Image
	packer   packer
	progress func(int64)
	err      error
}

func (j *joiner) take(p *piece) {
	switch {
	case p.err != nil:
		j.err = p.err
	case p.hole || p.zero:
		for n := p.size / j.packer.layout().piece; n > 0 && j.err == nil; n-- {
			j.write(j.packer.zeros())
		}
	default:
		j.write(j.packer.join(p))
	}
	if j.err == nil && !p.hole && j.progress != nil {
		j.progress(j.image.Section(p.offset, p.size).DataSize())
	}
}

func (j *joiner) write(b []byte) {
	if j.err == nil {
		j.err = j.ctx.Err()
	}
	if j.err == nil {
		_, j.err = j.w.Write(b)
	}
}
