// Package vmdk writes and reads disk images in VMware's format VMDK.
//
// [Write] makes the subformat streamOptimized, which VMware products import:
// the disk is cut into grains of 64 KiB, each is compressed by itself, and
// grains of zeros are left out. Its tables follow the data, so it can go to a
// pipe. Grains are compressed on several processors; the bytes do not depend
// on how many.
//
// [NewReader] maps images of the subformats streamOptimized and
// monolithicSparse back to the raw disk. Subformats of several files and images
// with a parent are refused.
//
// The layout is that of VMware's "Virtual Disk Format 5.0" (hosted sparse
// extents and stream-optimized compressed sparse extents). All numbers are
// little-endian, and most offsets and sizes count sectors of 512 bytes.
package vmdk

const (
	magic = "KDMV"

	sectorSize   = 512
	grainSectors = 128 // 64 KiB
	grainSize    = grainSectors * sectorSize
	tableEntries = 512 // grains that a grain table maps: 32 MiB
	tableSize    = tableEntries * 4

	// What comes first: header, descriptor, and zeros up to a grain.
	descriptorSector  = 1
	descriptorSectors = 20
	overheadSectors   = grainSectors

	gdAtEnd = 1<<64 - 1 // the offset of the grain directory is in the footer

	compressionDeflate = 1
)

// Flags of the header.
const (
	flagNewlines   = 1 << 0 // the newline fields are valid
	flagZeroGrains = 1 << 2 // a grain table entry of 1 stands for zeros
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
)

// Types of markers: what follows one in a stream.
const (
	markerEnd       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3
)

// header begins an image, and is in its footer again.
type header struct {
	Magic              [4]byte
	Version            uint32
	Flags              uint32
	Capacity           uint64 // sectors
	GrainSectors       uint64
	DescriptorSector   uint64
	DescriptorSectors  uint64
	TableEntries       uint32
	RedundantDirectory uint64 // sector
	Directory          uint64 // sector
	Overhead           uint64 // sectors
	UncleanShutdown    uint8
	Newlines           [4]byte
	Compression        uint16
	_                  [433]byte
}

// newlines are damaged by a transfer as text, which readers notice.
const newlines = "\n \r\n"

// marker is the sector before a structure in a stream.
type marker struct {
	Value uint64 // sectors that follow
	Size  uint32 // 0
	Type  uint32
	_     [496]byte
}

// grainHeaderSize is what precedes the data of a compressed grain, where
// markers have their first two fields: the sector of the disk (8 bytes) and the
// size of the data in bytes (4 bytes).
const grainHeaderSize = 12

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
