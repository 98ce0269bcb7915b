package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

const (
	// maxExtents bounds what is kept of one file: 64 GiB in pieces of 64 KiB.
	maxExtents = 1 << 20

	// maxFileSize keeps offsets in 64 bits with a sign; the format ends at twice that.
	maxFileSize = 1 << 62

	// maxTreeDepth is more than the kernel allows for an extent tree.
	maxTreeDepth = 9

	longTreeHeaderSize = 72
	longTreeSum        = 64
)

// extents returns what maps the data fork, in order.
func (r *Reader) extents(f *file) ([]extent, error) {
	m := extentMap{r: r, owner: f.Number}
	if f.extentCount() > maxExtents {
		return nil, fmt.Errorf("it has %d extents, more than %d", f.extentCount(), maxExtents)
	}
	var err error
	switch f.Format {
	case formatExtents:
		err = m.add(f.fork, f.extentCount())
	case formatTree:
		err = m.addRoot(f.fork)
	default:
		err = fmt.Errorf("format %d of its data is not possible here", f.Format)
	}
	if err != nil {
		return nil, err
	}
	if n := uint64(len(m.extents)); n != f.extentCount() {
		return nil, fmt.Errorf("it has %d extents instead of %d", n, f.extentCount())
	}
	return m.extents, nil
}

// extentMap collects the extents of one file. As they must ascend and every
// leaf has some, even a tree with loops comes to an end.
type extentMap struct {
	r       *Reader
	owner   uint64
	extents []extent
}

// add takes a list of extents.
func (m *extentMap) add(b []byte, count uint64) error {
	if count > uint64(len(b)/extentSize) {
		return fmt.Errorf("%d extents are too many for their place", count)
	}
	for i := range int(count) {
		e := unpackExtent(b[i*extentSize:])
		if e.count == 0 || !m.r.sb.contains(e.block, e.count) {
			return fmt.Errorf("%d blocks at %d are not in the file system", e.count, e.block)
		}
		if e.end() > maxFileSize>>m.r.sb.BlockLog {
			return fmt.Errorf("an extent at block %d of the file is not possible", e.offset)
		}
		if n := len(m.extents); n > 0 && m.extents[n-1].end() > e.offset {
			return errors.New("its extents are not in order")
		}
		if len(m.extents) == maxExtents {
			return fmt.Errorf("it has more than %d extents", maxExtents)
		}
		m.extents = append(m.extents, e)
	}
	return nil
}

// addRoot takes the root of a tree, which is in the inode: level, count, keys,
// and from the middle on the blocks of the next level.
func (m *extentMap) addRoot(b []byte) error {
	if len(b) < 4 {
		return errors.New("there is no place for an extent tree")
	}
	level, count := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if level == 0 || level > maxTreeDepth {
		return fmt.Errorf("an extent tree of %d levels is not possible", level)
	}
	return m.addChildren(b[4:], int(count), level)
}

// addChildren takes keys and block numbers, 8 bytes each, of a block of a level.
func (m *extentMap) addChildren(b []byte, count int, level uint16) error {
	most := len(b) / 16
	if count == 0 || count > most {
		return fmt.Errorf("a block of its extent tree has %d entries", count)
	}
	for i := range count {
		if err := m.addBlock(binary.BigEndian.Uint64(b[(most+i)*8:]), level-1); err != nil {
			return err
		}
	}
	return nil
}

// addBlock takes a block of the tree.
func (m *extentMap) addBlock(block uint64, level uint16) error {
	b, err := m.r.treeBlock(block, m.owner)
	if err != nil {
		return fmt.Errorf("block %d of its extent tree: %w", block, err)
	}
	count := int(binary.BigEndian.Uint16(b[6:]))
	if binary.BigEndian.Uint16(b[4:]) != level || count == 0 {
		return fmt.Errorf("block %d of its extent tree is not of level %d, or is empty", block, level)
	}
	if level > 0 {
		return m.addChildren(b[longTreeHeaderSize:], count, level)
	}
	return m.add(b[longTreeHeaderSize:], uint64(count))
}

// treeBlock reads and checks a block of an extent tree.
func (r *Reader) treeBlock(block, owner uint64) ([]byte, error) {
	if !r.sb.contains(block, 1) {
		return nil, errors.New("it is beyond the file system")
	}
	b := make([]byte, r.sb.BlockSize)
	if n, err := r.r.ReadAt(b, r.sb.offset(block)); n < len(b) {
		return nil, err
	}
	if binary.BigEndian.Uint32(b) != magicExtents {
		return nil, errors.New("there is none")
	}
	if err := verify(b, longTreeSum); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint64(b[24:]) != r.sb.daddr(block) || [16]byte(b[40:]) != r.uuid || binary.BigEndian.Uint64(b[56:]) != owner {
		return nil, errors.New("it is that of another place, file or file system")
	}
	return b, nil
}

// content is the data of a file as extents map it. What is in none is zeros.
type content struct {
	r       *Reader
	extents []extent
	size    int64
}

// ReadAt implements [io.ReaderAt].
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("offset %d is not possible", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	if int64(len(p)) > c.size-off {
		p, err = p[:c.size-off], io.EOF
	}
	for n < len(p) {
		k, rerr := c.readRun(p[n:], off+int64(n))
		n += k
		if rerr != nil {
			return n, rerr
		}
	}
	return n, err
}

// readRun reads what is in one extent, or the zeros before the next.
func (c *content) readRun(p []byte, off int64) (int, error) {
	log := c.r.sb.BlockLog
	block := uint64(off) >> log
	i := sort.Search(len(c.extents), func(i int) bool { return c.extents[i].end() > block })
	end := c.size
	if i < len(c.extents) {
		e := c.extents[i]
		if e.offset <= block {
			p = p[:min(int64(len(p)), int64(e.end())<<log-off)]
			if !e.unwritten {
				return c.readBlocks(p, c.r.sb.offset(e.block)+off-int64(e.offset)<<log)
			}
			clear(p)
			return len(p), nil
		}
		end = int64(e.offset) << log
	}
	p = p[:min(int64(len(p)), end-off)]
	clear(p)
	return len(p), nil
}

func (c *content) readBlocks(p []byte, off int64) (int, error) {
	n, err := c.r.r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
