package squashfs

import (
	"bytes"
	"io"
	"sync"
)

// fileData says where the content of a file lies. Files with equal content
// point to the same fileData. The committer fills in start and blocks; they are
// complete when the pipeline has stopped.
type fileData struct {
	start      int64    // position of the first block in the image
	blocks     []uint32 // size words: stored length and blockStored; 0 is a hole
	sparse     int64    // bytes in holes
	fragment   uint32   // index of the fragment block that holds the end, or noFragment
	fragOffset uint32   // where the end begins in that fragment block
}

// A block is one unit of work of the pipeline: raw data on its way to the image.
type block struct {
	raw    []byte
	packed []byte
	hole   bool // a run of zeroes may become a hole
	err    error
	done   chan struct{}

	// placed is called in the order of the blocks, with the position and the
	// size word of the block in the image. A hole has the size word 0.
	placed func(at int64, size uint32)
}

// A pipeline compresses blocks on several goroutines and writes them in the
// order in which they were put in. The number of blocks in it is fixed, which
// bounds its memory.
type pipeline struct {
	out       io.WriterAt
	blockSize int
	free      chan *block
	work      chan *block
	order     chan *block
	workers   sync.WaitGroup
	committed chan struct{}

	pos int64 // end of the data written; for others once the pipeline has stopped

	mu  sync.Mutex
	err error
}

// newPipeline starts one worker for each compressor. The data begins at pos.
func newPipeline(out io.WriterAt, pos int64, blockSize int, comps []compressor) *pipeline {
	n := 2*len(comps) + 2 // in work and waiting for each worker, a fragment block, one being filled
	p := &pipeline{
		out:       out,
		pos:       pos,
		blockSize: blockSize,
		free:      make(chan *block, n),
		work:      make(chan *block, n),
		order:     make(chan *block, n),
		committed: make(chan struct{}),
	}
	for range n {
		p.free <- &block{done: make(chan struct{}, 1)}
	}
	for _, c := range comps {
		p.workers.Go(func() { p.compressBlocks(c) })
	}
	go p.commitBlocks()
	return p
}

// get returns an empty block to be filled. It waits until there is one.
func (p *pipeline) get() *block {
	b := <-p.free
	if b.raw == nil {
		b.raw = make([]byte, 0, p.blockSize)
	}
	b.raw, b.hole, b.placed = b.raw[:0], false, nil
	return b
}

// put hands a filled block over.
func (p *pipeline) put(b *block) {
	p.order <- b
	p.work <- b
}

// giveBack returns a block that is not needed after all.
func (p *pipeline) giveBack(b *block) { p.free <- b }

// stop ends the goroutines after the last block and returns the first error.
func (p *pipeline) stop() error {
	close(p.work)
	close(p.order)
	p.workers.Wait()
	<-p.committed
	return p.failed()
}

func (p *pipeline) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *pipeline) compressBlocks(c compressor) {
	for b := range p.work {
		if b.hole = b.hole && allZero(b.raw); !b.hole {
			b.packed, b.err = c.compress(b.packed, b.raw)
		}
		b.done <- struct{}{}
	}
}

// commitBlocks writes blocks in order. After an error it only empties the
// pipeline, so that nobody waits for ever.
func (p *pipeline) commitBlocks() {
	defer close(p.committed)
	for b := range p.order {
		<-b.done
		if p.failed() == nil {
			if err := p.commit(b); err != nil {
				p.fail(err)
			}
		}
		p.free <- b
	}
}

func (p *pipeline) commit(b *block) error {
	switch {
	case b.err != nil:
		return b.err
	case b.hole:
		b.placed(p.pos, 0)
		return nil
	case len(b.packed) < len(b.raw):
		return p.write(b, b.packed, uint32(len(b.packed)))
	}
	return p.write(b, b.raw, uint32(len(b.raw))|blockStored)
}

func (p *pipeline) write(b *block, data []byte, size uint32) error {
	if _, err := p.out.WriteAt(data, p.pos); err != nil {
		return err
	}
	b.placed(p.pos, size)
	p.pos += int64(len(data))
	return nil
}

// allZero tells whether b has no byte but zero.
func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}
