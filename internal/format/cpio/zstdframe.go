package cpio

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The layout of a zstd frame is that of RFC 8878, section 3.1.1.
const (
	zstdMagic        = 0xfd2fb528
	zstdSingle       = 1 << 5 // the window is the content size
	zstdReserved     = 1 << 3
	zstdHasChecksum  = 1 << 2
	zstdDictIDMask   = 3
	zstdBlockRLE     = 1
	zstdBlockInvalid = 3
	zstdChecksumSize = 4
)

// newZstdFrame returns a reader of exactly one frame: the kernel decodes one,
// then looks again at what follows.
func newZstdFrame(src *source) *container {
	c := &container{src: src}
	c.step = c.zstdHeader
	return c
}

func (c *container) zstdHeader() error {
	b, err := c.take(5)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != zstdMagic {
		return fmt.Errorf("no zstd frame: it begins with % x", b[:4])
	}
	flags := b[4]
	switch {
	case flags&zstdReserved != 0:
		return errors.New("the zstd frame header has an unknown flag")
	case flags&zstdDictIDMask != 0:
		return errors.New("the zstd frame needs a dictionary, which the kernel does not have")
	}
	window, err := c.zstdWindow(flags)
	if err != nil {
		return err
	}
	if window > maxWindow {
		return fmt.Errorf("the zstd frame needs a window of %d bytes, the kernel has at most %d: compress without --long or --ultra", window, maxWindow)
	}
	c.step = func() error { return c.zstdBlock(flags&zstdHasChecksum != 0) }
	return nil
}

// zstdWindow reads the rest of the frame header and returns the size in bytes
// of the buffer that the decoder needs.
func (c *container) zstdWindow(flags byte) (uint64, error) {
	sizeLen := [4]int{0, 2, 4, 8}[flags>>6]
	if flags&zstdSingle == 0 {
		b, err := c.take(1)
		if err != nil {
			return 0, err
		}
		base := uint64(1) << (10 + b[0]>>3)
		window := base + base/8*uint64(b[0]&7)
		_, err = c.take(sizeLen)
		return window, err
	}
	b, err := c.take(max(sizeLen, 1))
	if err != nil {
		return 0, err
	}
	var size [8]byte
	copy(size[:], b)
	return binary.LittleEndian.Uint64(size[:]), nil
}

func (c *container) zstdBlock(checksum bool) error {
	b, err := c.take(3)
	if err != nil {
		return err
	}
	header := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	c.body = int64(header >> 3)
	switch header >> 1 & 3 {
	case zstdBlockRLE:
		c.body = 1
	case zstdBlockInvalid:
		return errors.New("the zstd frame has a block of an unknown type")
	}
	if last := header&1 != 0; last {
		c.step = endOfStream
		if checksum {
			c.body += zstdChecksumSize
		}
	}
	return nil
}
