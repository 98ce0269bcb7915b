package vhd

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Encode lays out an image of a raw disk, whose size has to be a multiple of
// 512 bytes and at most 2040 GiB. The result refers to the extents of the disk.
func Encode(raw *sparse.Image, o Options) (*sparse.Image, error) {
	f, err := newFooter(raw.Size(), o)
	if err != nil {
		return nil, fmt.Errorf("encoding a VHD image: %w", err)
	}
	if o.Fixed {
		return fixed(raw, f), nil
	}
	return dynamic(raw, f), nil
}

// newFooter describes a disk of at least size bytes.
func newFooter(size int64, o Options) (*footer, error) {
	if err := checkSize(size, o); err != nil {
		return nil, err
	}
	stamp, err := o.timestamp()
	if err != nil {
		return nil, err
	}
	f := &footer{
		Cookie:         [8]byte([]byte(cookieFooter)),
		Features:       2,
		Version:        formatVersion,
		DataOffset:     noOffset,
		Time:           stamp,
		CreatorVersion: 5<<16 | 3,
		CreatorHost:    [4]byte([]byte("Wi2k")),
		DiskType:       typeFixed,
		UniqueID:       uniqueID(size, o.Label),
	}
	f.setSize(size, o.ForceSize)
	if !o.Fixed {
		f.DiskType, f.DataOffset = typeDynamic, footerSize
	}
	return f, nil
}

func checkSize(size int64, o Options) error {
	switch {
	case size == 0, size%sectorSize != 0:
		return fmt.Errorf("the disk has %d bytes, want a multiple of %d", size, sectorSize)
	case o.ForceSize && size%(1<<20) != 0:
		return fmt.Errorf("the disk has %d bytes, force_size wants a multiple of 1 MiB, as Azure does", size)
	case size > maxSize:
		return fmt.Errorf("the disk has %d bytes, the format holds %d", size, int64(maxSize))
	}
	return nil
}

// setSize chooses size and geometry as qemu-img does. By the creator QEMU
// decides later which of the two counts: the geometry for "qemu", the size for
// "qem2".
func (f *footer) setSize(size int64, force bool) {
	g := largest
	f.CreatorApp = [4]byte([]byte("qem2"))
	if !force {
		f.CreatorApp = [4]byte([]byte("qemu"))
		if g = roundUp(size / sectorSize); g != largest {
			size = g.product() * sectorSize
		}
	}
	f.OriginalSize, f.CurrentSize = uint64(size), uint64(size)
	f.Cylinders, f.Heads, f.SectorsPerHead = uint16(g.cylinders), uint8(g.heads), uint8(g.sectors)
}

// uniqueID is a UUID of version 8 (RFC 9562) that follows from the arguments.
func uniqueID(size int64, label string) [16]byte {
	h := sha256.New()
	fmt.Fprintf(h, "VHD %d %s", size, label)
	id := [16]byte(h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

func fixed(raw *sparse.Image, f *footer) *sparse.Image {
	m := sparse.New(int64(f.CurrentSize) + footerSize)
	m.Add(0, raw)
	m.Put(int64(f.CurrentSize), seal(f, footerChecksum))
	return m
}

// dynamic is a copy of the footer, a header, a table of the blocks, each block
// with data behind a bitmap of its sectors, and the footer.
func dynamic(raw *sparse.Image, f *footer) *sparse.Image {
	end := seal(f, footerChecksum)
	entries := (int64(f.CurrentSize) + blockSize - 1) / blockSize
	table := bytes.Repeat([]byte{0xff}, wholeSectors(entries*4))
	used := usedBlocks(raw)
	const tableOffset = footerSize + dynamicHeaderSize
	at := int64(tableOffset + len(table))
	m := sparse.New(at + int64(len(used))*(bitmapSize+blockSize) + footerSize)
	m.Put(0, end)
	m.Put(footerSize, newDynamicHeader(entries, tableOffset))
	bitmap := bytes.Repeat([]byte{0xff}, bitmapSize)
	for _, block := range used {
		binary.BigEndian.PutUint32(table[block*4:], uint32(at/sectorSize))
		m.Put(at, bitmap)
		m.Add(at+bitmapSize, raw.Section(block*blockSize, min(blockSize, raw.Size()-block*blockSize)))
		at += bitmapSize + blockSize
	}
	m.Put(tableOffset, table)
	m.Put(at, end)
	return m
}

// wholeSectors is a number of bytes, rounded up to sectors.
func wholeSectors(n int64) int { return int((n + sectorSize - 1) / sectorSize * sectorSize) }

func newDynamicHeader(entries, tableOffset int64) []byte {
	return seal(&dynamicHeader{
		Cookie:          [8]byte([]byte(cookieDynamic)),
		DataOffset:      noOffset,
		TableOffset:     uint64(tableOffset),
		Version:         formatVersion,
		MaxTableEntries: uint32(entries),
		BlockSize:       blockSize,
	}, dynamicChecksum)
}

// usedBlocks are the numbers of the blocks that extents of the disk touch.
func usedBlocks(raw *sparse.Image) (used []int64) {
	next := int64(0)
	for e := range raw.Extents() {
		for next = max(next, e.Offset/blockSize); next*blockSize < e.End(); next++ {
			used = append(used, next)
		}
	}
	return used
}
