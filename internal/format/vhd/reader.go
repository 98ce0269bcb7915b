package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// maxBlocks bounds the map of a dynamic image: the largest disk in blocks of
// 512 KiB, the smallest in use.
const maxBlocks = maxSize / (512 << 10)

// NewReader maps an image of size bytes to its raw disk. All data is extents of
// r. The size of the disk is the one in bytes, also in an image whose geometry
// says another. Which sectors of a block of a dynamic image were never written
// is not looked up: they are zeros in the file.
func NewReader(r io.ReaderAt, size int64) (*sparse.Image, error) {
	m, err := newReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading a VHD image: %w", err)
	}
	return m, nil
}

func newReader(r io.ReaderAt, size int64) (*sparse.Image, error) {
	f, err := readFooter(r, size)
	if err != nil {
		return nil, err
	}
	if f.CurrentSize > maxSize || f.CurrentSize%sectorSize != 0 {
		return nil, fmt.Errorf("a disk of %d bytes, want a multiple of 512 and at most %d", f.CurrentSize, int64(maxSize))
	}
	disk := int64(f.CurrentSize)
	switch f.DiskType {
	case typeFixed:
		if disk > size-footerSize {
			return nil, fmt.Errorf("a fixed disk of %d bytes in a file of %d", disk, size)
		}
		return sparse.From(r, 0, disk), nil
	case typeDynamic:
		return readDynamic(r, size, f)
	case typeDifferencing:
		return nil, errors.New("the image is the difference to another one, which is not supported")
	}
	return nil, fmt.Errorf("a disk of the unknown type %d", f.DiskType)
}

// readFooter reads the footer at the end of the file.
func readFooter(r io.ReaderAt, size int64) (*footer, error) {
	f := &footer{}
	b, err := readAt(r, size, size-footerSize, footerSize)
	if err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	return f, open(b, f, "footer", cookieFooter, footerChecksum)
}

// open decodes a structure that begins with a cookie.
func open(b []byte, structure any, name, cookie string, checksumAt int) error {
	if string(b[:len(cookie)]) != cookie {
		return fmt.Errorf("the %s does not begin with %q", name, cookie)
	}
	if got, want := binary.BigEndian.Uint32(b[checksumAt:]), checksum(b, checksumAt); got != want {
		return fmt.Errorf("the %s has the checksum %#x, its content %#x", name, got, want)
	}
	_, err := binary.Decode(b, binary.BigEndian, structure)
	return err
}

// readDynamic maps the blocks of a dynamic image.
func readDynamic(r io.ReaderAt, size int64, f *footer) (*sparse.Image, error) {
	h, err := readDynamicHeader(r, size, f.DataOffset)
	if err != nil {
		return nil, err
	}
	block := int64(h.BlockSize)
	m := sparse.New(int64(f.CurrentSize))
	entries := (m.Size() + block - 1) / block
	if entries > int64(h.MaxTableEntries) || entries > maxBlocks {
		return nil, fmt.Errorf("a disk of %d bytes has %d blocks, the table %d, the limit is %d",
			m.Size(), entries, h.MaxTableEntries, maxBlocks)
	}
	table, err := readAt(r, size, int64(h.TableOffset), entries*4)
	if err != nil {
		return nil, fmt.Errorf("table of blocks: %w", err)
	}
	for i := range entries {
		sector := binary.BigEndian.Uint32(table[i*4:])
		if sector == noBlock {
			continue
		}
		at := int64(sector)*sectorSize + int64(wholeSectors(block/sectorSize/8))
		n := min(block, m.Size()-i*block)
		if at > size-n {
			return nil, fmt.Errorf("block %d at sector %d lies outside the file", i, sector)
		}
		m.Add(i*block, sparse.From(r, at, n))
	}
	return m, nil
}

func readDynamicHeader(r io.ReaderAt, size int64, at uint64) (*dynamicHeader, error) {
	b, err := readAt(r, size, int64(at), dynamicHeaderSize)
	if err != nil {
		return nil, fmt.Errorf("dynamic header: %w", err)
	}
	h := &dynamicHeader{}
	if err := open(b, h, "dynamic header", cookieDynamic, dynamicChecksum); err != nil {
		return nil, err
	}
	if n := h.BlockSize; n < sectorSize || n&(n-1) != 0 {
		return nil, fmt.Errorf("blocks of %d bytes, want a power of two from %d on", n, sectorSize)
	}
	return h, nil
}

// readAt reads n bytes that lie within the file.
func readAt(r io.ReaderAt, size, at, n int64) ([]byte, error) {
	if at < 0 || at > size-n {
		return nil, fmt.Errorf("%d bytes at %d lie outside the file of %d", n, at, size)
	}
	b := make([]byte, n)
	if k, err := r.ReadAt(b, at); k < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}
