package xfs

import "encoding/binary"

const (
	extentSize = 16 // bytes on disk

	// maxExtentBlocks is what one extent can hold: it has 21 bits for it.
	maxExtentBlocks = 1<<21 - 1
)

// extent maps blocks of a file to blocks of the file system.
type extent struct {
	offset    uint64 // first block in the file
	block     uint64 // first block in the file system
	count     uint64 // blocks
	unwritten bool   // allocated, and reads as zeros
}

func (e extent) end() uint64 { return e.offset + e.count }

// put packs an extent: 1 bit, 54 bits of offset, 52 of block, 21 of count.
func (e extent) put(b []byte) {
	binary.BigEndian.PutUint64(b, e.offset<<9|e.block>>43)
	binary.BigEndian.PutUint64(b[8:], e.block<<21|e.count)
}

func unpackExtent(b []byte) extent {
	hi, lo := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return extent{
		offset:    hi << 1 >> 10,
		block:     hi&(1<<9-1)<<43 | lo>>21,
		count:     lo & maxExtentBlocks,
		unwritten: hi>>63 != 0,
	}
}
