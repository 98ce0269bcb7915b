package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A contentRef says where the content of a file is.
type contentRef struct {
	start      uint64 // position of the first block in the image
	fragment   uint32
	fragOffset uint32
	sizes      cursor // at the size words of the blocks, in the inode table
}

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// Open returns the content of a regular file. It is decompressed block by block
// while it is read: memory is two blocks, whatever the size of the file.
func (f *File) Open() (io.ReadCloser, error) {
	if f.typ != typeFile {
		return nil, fmt.Errorf("opening %q: not a regular file", f.Name)
	}
	return &content{file: f, sizes: f.data.sizes, pos: f.data.start, left: f.Size}, nil
}

// content reads the content of a file as a stream.
type content struct {
	file  *File
	sizes cursor
	pos   uint64 // of the next block in the image
	left  int64  // bytes that are not decompressed yet
	plain []byte // rest of the current block

	packed, buf []byte // scratch
	err         error
}

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.plain) == 0 && c.err == nil {
		if c.left == 0 {
			c.err = io.EOF
		} else if err := c.nextBlock(); err != nil {
			c.err = fmt.Errorf("reading %q at %d: %w", c.file.Name, c.file.Size-c.left, err)
		}
	}
	if len(c.plain) == 0 {
		return 0, c.err
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// Close implements [io.Closer].
func (c *content) Close() error {
	c.err, c.plain, c.packed, c.buf = errClosed, nil, nil, nil
	return nil
}

var errClosed = errors.New("reading a file that is closed")

// nextBlock makes the next piece of content available in c.plain.
func (c *content) nextBlock() (err error) {
	r := c.file.r
	want := int(min(c.left, int64(r.sb.BlockSize)))
	if want < int(r.sb.BlockSize) && c.file.data.fragment != noFragment {
		c.plain, err = r.fragmentPart(c.file.data.fragment, c.file.data.fragOffset, want)
	} else {
		c.plain, err = c.dataBlock(want)
	}
	if err != nil {
		c.plain = nil
		return err
	}
	c.left -= int64(want)
	return nil
}

// dataBlock reads a block of want bytes at the current position.
func (c *content) dataBlock(want int) ([]byte, error) {
	size := c.sizes.u32()
	if c.sizes.err != nil {
		return nil, fmt.Errorf("reading block list: %w", c.sizes.err)
	}
	if cap(c.buf) < want {
		c.buf = make([]byte, want)
	}
	if size == 0 { // a hole
		clear(c.buf[:want])
		return c.buf[:want], nil
	}
	at := c.pos
	c.pos += uint64(size & blockSizeMask)
	plain, packed, err := c.file.r.dataBlock(c.buf[:0], c.packed, at, size)
	c.packed = packed
	if err == nil && len(plain) != want {
		err = fmt.Errorf("block at %d has %d bytes, want %d", at, len(plain), want)
	}
	return plain, err
}

// dataBlock reads the data block or fragment block with the given size word. It
// decompresses into the capacity of dst; packed is scratch, returned for the
// next call.
func (r *Reader) dataBlock(dst, packed []byte, at uint64, size uint32) (plain, scratch []byte, err error) {
	n := int(size & blockSizeMask)
	if n == 0 || n > int(r.sb.BlockSize) || size&^(blockSizeMask|blockStored) != 0 {
		return nil, packed, fmt.Errorf("block at %d with size word %#x, want at most %d bytes", at, size, r.sb.BlockSize)
	}
	if at > uint64(r.end) {
		return nil, packed, fmt.Errorf("block at %d, the image ends at %d", at, r.end)
	}
	if size&blockStored != 0 {
		if n > cap(dst) {
			return nil, packed, errBlockTooLarge
		}
		return dst[:n], packed, r.readAt(dst[:n], int64(at))
	}
	if cap(packed) < n {
		packed = make([]byte, n)
	}
	if err := r.readAt(packed[:n], int64(at)); err != nil {
		return nil, packed, err
	}
	plain, err = r.dec.decompress(dst, packed[:n])
	if err != nil {
		err = fmt.Errorf("decompressing block at %d: %w", at, err)
	}
	return plain, packed, err
}

// fragmentPart returns n bytes at an offset of a fragment block.
func (r *Reader) fragmentPart(i, offset uint32, n int) ([]byte, error) {
	b, err := r.fragment(i)
	if err != nil {
		return nil, fmt.Errorf("reading fragment %d: %w", i, err)
	}
	if int64(offset)+int64(n) > int64(len(b)) {
		return nil, fmt.Errorf("bytes %d to %d of fragment %d, which has %d", offset, int64(offset)+int64(n), i, len(b))
	}
	return b[offset:][:n], nil
}

// fragment returns a fragment block; it must not be changed.
func (r *Reader) fragment(i uint32) ([]byte, error) {
	if i >= r.sb.Fragments {
		return nil, fmt.Errorf("the image has %d", r.sb.Fragments)
	}
	if b, ok := r.fragCache.get(int64(i)); ok {
		return b, nil
	}
	var e [fragmentEntrySize]byte
	if err := r.lookup(r.sb.FragmentTable, i, e[:]); err != nil {
		return nil, err
	}
	at, size := binary.LittleEndian.Uint64(e[:]), le32(e[8:])
	b, _, err := r.dataBlock(make([]byte, 0, r.sb.BlockSize), nil, at, size)
	if err == nil {
		r.fragCache.put(int64(i), b)
	}
	return b, err
}
