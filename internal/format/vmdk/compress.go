package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"iter"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// packed is a grain on its way to the image.
type packed struct {
	number int64
	data   []byte // header, compressed data, zeros to a whole sector; none for a grain of zeros
	err    error
	ready  chan struct{}
}

// usedGrains are the numbers of the grains that extents of the disk touch.
func usedGrains(raw *sparse.Image) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		next := int64(0)
		for e := range raw.Extents() {
			for next = max(next, e.Offset/grainSize); next*grainSize < e.End(); next++ {
				if !yield(next) {
					return
				}
			}
		}
	}
}

// compressGrains gives the grains of the disk in order, compressed by a number
// of workers. The grains under way are four for each worker, which bounds the
// memory. Data is valid until the next grain is asked for.
func compressGrains(ctx context.Context, raw *sparse.Image, level, workers int) iter.Seq2[*packed, error] {
	return func(yield func(*packed, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		free := make(chan *packed, 4*workers)
		work, order := make(chan *packed, cap(free)), make(chan *packed, cap(free))
		for range cap(free) {
			free <- &packed{ready: make(chan struct{}, 1)}
		}
		for range workers {
			all.Go(func() { compressAll(raw, level, work) })
		}
		all.Go(func() { hand(ctx, usedGrains(raw), free, work, order) })
		for g := range order {
			<-g.ready
			if !yield(g, g.err) {
				return
			}
			free <- g
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// hand passes each number on to be compressed and, in order, to be written. The
// channels hold all that are under way, so only free blocks.
func hand(ctx context.Context, numbers iter.Seq[int64], free <-chan *packed, work, order chan<- *packed) {
	defer close(work)
	defer close(order)
	for n := range numbers {
		select {
		case <-ctx.Done():
			return
		case g := <-free:
			g.number = n
			work <- g
			order <- g
		}
	}
}

// compressAll is a worker.
func compressAll(raw *sparse.Image, level int, work <-chan *packed) {
	c, err := newCompressor(raw, level)
	for g := range work {
		if g.err = err; err == nil {
			g.err = c.compress(g)
		}
		g.ready <- struct{}{}
	}
}

// compressor compresses one grain after the other.
type compressor struct {
	raw   *sparse.Image
	grain []byte
	out   bytes.Buffer
	zlib  *zlib.Writer
}

func newCompressor(raw *sparse.Image, level int) (*compressor, error) {
	c := &compressor{raw: raw, grain: make([]byte, grainSize)}
	var err error
	c.zlib, err = zlib.NewWriterLevel(&c.out, level)
	return c, err
}

// compress reads a grain and fills in its data. What is behind the end of the
// disk in its last grain is zeros.
func (c *compressor) compress(g *packed) error {
	g.data = g.data[:0]
	n, err := c.raw.ReadAt(c.grain, g.number*grainSize)
	if err != nil && err != io.EOF {
		return err
	}
	clear(c.grain[n:])
	if bytes.Equal(c.grain, zeroGrain[:]) {
		return nil
	}
	c.out = *bytes.NewBuffer(append(g.data, make([]byte, grainHeaderSize)...))
	c.zlib.Reset(&c.out)
	if _, err := c.zlib.Write(c.grain); err != nil {
		return err
	}
	if err := c.zlib.Close(); err != nil {
		return err
	}
	g.data = c.out.Bytes()
	binary.LittleEndian.PutUint64(g.data, uint64(g.number*grainSectors))
	binary.LittleEndian.PutUint32(g.data[8:], uint32(len(g.data)-grainHeaderSize))
	g.data = padSector(g.data)
	return nil
}

var zeroGrain [grainSize]byte

// padSector adds zeros up to a whole sector.
func padSector(b []byte) []byte {
	return append(b, zeroGrain[:-len(b)&(sectorSize-1)]...)
}
