package zstd

import (
	"encoding/binary"
	"math/bits"
)

// magic begins each frame.
const magic = 0xfd2fb528

// appendSegmentHeader appends the header of a frame that is one segment: the
// decoder needs no window beside its output, of which the header has the size
// (RFC 8878, 3.1.1.1).
func appendSegmentHeader(dst []byte, size int) []byte {
	const (
		singleSegment = 1 << 5
		size16        = 1 << 6
		size32        = 2 << 6
		size64        = 3 << 6
	)
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	switch {
	case size < 1<<8:
		return append(dst, singleSegment, byte(size))
	case size < 1<<16+1<<8:
		return binary.LittleEndian.AppendUint16(append(dst, singleSegment|size16), uint16(size-1<<8))
	case size < 1<<32:
		return binary.LittleEndian.AppendUint32(append(dst, singleSegment|size32), uint32(size))
	}
	return binary.LittleEndian.AppendUint64(append(dst, singleSegment|size64), uint64(size))
}

// appendWindowHeader appends the header of a frame of unknown size, of which
// the window is a power of two.
func appendWindowHeader(dst []byte, window int) []byte {
	log := bits.Len(uint(window)) - 1
	return append(binary.LittleEndian.AppendUint32(dst, magic), 0, byte(log-minWindowLog)<<3)
}
