package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// readAt fills p from the used part of the image.
func (r *Reader) readAt(p []byte, at int64) error {
	if at < 0 || at > r.end-int64(len(p)) {
		return fmt.Errorf("%d bytes at %d are outside of the image of %d bytes", len(p), at, r.end)
	}
	if n, err := r.r.ReadAt(p, at); n < len(p) {
		return err
	}
	return nil
}

// A metaBlock is a metadata block after decompression.
type metaBlock struct {
	data []byte
	next int64 // position of the block after it
}

// metaBlock reads the metadata block at a position of the image.
func (r *Reader) metaBlock(at int64) (metaBlock, error) {
	if b, ok := r.metaCache.get(at); ok {
		return b, nil
	}
	b, err := r.readMetaBlock(at)
	if err != nil {
		return b, fmt.Errorf("reading metadata block at %d: %w", at, err)
	}
	r.metaCache.put(at, b)
	return b, nil
}

func (r *Reader) readMetaBlock(at int64) (metaBlock, error) {
	var header [2]byte
	if err := r.readAt(header[:], at); err != nil {
		return metaBlock{}, err
	}
	h := binary.LittleEndian.Uint16(header[:])
	size := int(h &^ metadataStored)
	if size == 0 || size > metadataSize {
		return metaBlock{}, fmt.Errorf("length %d, want 1 to %d", size, metadataSize)
	}
	data := make([]byte, size)
	if err := r.readAt(data, at+2); err != nil {
		return metaBlock{}, err
	}
	if h&metadataStored == 0 {
		var err error
		if data, err = r.dec.decompress(make([]byte, 0, metadataSize), data); err != nil {
			return metaBlock{}, err
		}
	}
	if len(data) == 0 {
		return metaBlock{}, errors.New("empty after decompression")
	}
	return metaBlock{data, at + 2 + int64(size)}, nil
}

// A cursor reads a table of metadata blocks as one stream.
type cursor struct {
	r    *Reader
	rest []byte // of the current block
	next int64  // position of the next block
	end  int64  // end of the table
	err  error  // the first error of read
}

// cursorAt returns a cursor for the table from start to end, at ref in it.
func (r *Reader) cursorAt(start, end int64, ref inodeRef) (*cursor, error) {
	c := &cursor{r: r, next: start + ref.block(), end: end}
	if ref.block() > end-start {
		return nil, fmt.Errorf("reference to %d in a table of %d bytes", ref.block(), end-start)
	}
	if err := c.advance(); err != nil {
		return nil, err
	}
	if ref.offset() > len(c.rest) {
		return nil, fmt.Errorf("reference to byte %d of a metadata block of %d bytes", ref.offset(), len(c.rest))
	}
	c.rest = c.rest[ref.offset():]
	return c, nil
}

func (c *cursor) advance() error {
	if c.next >= c.end {
		return io.ErrUnexpectedEOF
	}
	b, err := c.r.metaBlock(c.next)
	c.rest, c.next = b.data, b.next
	return err
}

// read fills p. After an error it does nothing: the error stays in c.err, and
// whoever reads several fields looks at it once.
func (c *cursor) read(p []byte) {
	for len(p) > 0 && c.err == nil {
		if len(c.rest) == 0 {
			c.err = c.advance()
			continue
		}
		n := copy(p, c.rest)
		p, c.rest = p[n:], c.rest[n:]
	}
}

// bytes returns the next n bytes as a new slice. The caller has checked n.
func (c *cursor) bytes(n int) []byte {
	p := make([]byte, n)
	c.read(p)
	return p
}

func (c *cursor) u16() uint16 {
	var b [2]byte
	c.read(b[:])
	return binary.LittleEndian.Uint16(b[:])
}

func (c *cursor) u32() uint32 {
	var b [4]byte
	c.read(b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func (c *cursor) u64() uint64 {
	var b [8]byte
	c.read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// lookup reads entry i of the lookup table at start into p. Such a table is an
// array of the positions of its metadata blocks.
func (r *Reader) lookup(start uint64, i uint32, p []byte) error {
	perBlock := uint32(metadataSize / len(p))
	var pos [8]byte
	if err := r.readAt(pos[:], int64(start)+int64(i/perBlock)*8); err != nil {
		return err
	}
	b, err := r.metaBlock(int64(binary.LittleEndian.Uint64(pos[:])))
	if err != nil {
		return err
	}
	at := int(i%perBlock) * len(p)
	if at+len(p) > len(b.data) {
		return fmt.Errorf("entry %d is behind the end of its table", i)
	}
	copy(p, b.data[at:])
	return nil
}

// A cache keeps the last few values that were put in, by position in the image.
type cache[V any] struct {
	mu     sync.Mutex
	values map[int64]V
	order  []int64 // ring of the keys in values
	next   int
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{values: make(map[int64]V, size), order: make([]int64, 0, size)}
}

func (c *cache[V]) get(at int64) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.values[at]
	return v, ok
}

func (c *cache[V]) put(at int64, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.values[at]; ok {
		return
	}
	if len(c.order) < cap(c.order) {
		c.order = append(c.order, at)
	} else {
		delete(c.values, c.order[c.next])
		c.order[c.next] = at
		c.next = (c.next + 1) % len(c.order)
	}
	c.values[at] = v
}
