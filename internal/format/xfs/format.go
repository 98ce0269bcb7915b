package xfs

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Magic numbers.
const (
	magicSuper     = 0x58465342 // "XFSB"
	magicFree      = 0x58414746 // "XAGF"
	magicInodes    = 0x58414749 // "XAGI"
	magicFreeList  = 0x5841464c // "XAFL"
	magicByBlock   = 0x41423342 // "AB3B"
	magicByCount   = 0x41423343 // "AB3C"
	magicInodeTree = 0x49414233 // "IAB3"
	magicExtents   = 0x424d4133 // "BMA3"
	magicInode     = 0x494e     // "IN"
	magicDirBlock  = 0x58444233 // "XDB3"
	magicDirData   = 0x58444433 // "XDD3"
	magicDirLeaf   = 0x3df1
)

// null is the number of no block and no inode in an allocation group.
const null = 0xffffffff

// daddrSize is the unit of the block numbers in metadata headers, in bytes,
// whatever the sector size.
const daddrSize = 512

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var zeroSum [4]byte

// checksum is that of metadata whose own field, at an offset, counts as zero.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, zeroSum[:])
	return crc32.Update(sum, castagnoli, b[at+4:])
}

// seal stores the checksum: the only number on disk that is little-endian.
func seal(b []byte, at int) { binary.LittleEndian.PutUint32(b[at:], checksum(b, at)) }

var errChecksum = errors.New("the checksum does not match")

func verify(b []byte, at int) error {
	if binary.LittleEndian.Uint32(b[at:]) != checksum(b, at) {
		return errChecksum
	}
	return nil
}

// encode fills the front of b with a structure of fixed size.
func encode(b []byte, v any) {
	if _, err := binary.Encode(b, binary.BigEndian, v); err != nil {
		panic(err) // a structure that is larger than its place
	}
}

// decode is the opposite of encode.
func decode(b []byte, v any) {
	if _, err := binary.Decode(b, binary.BigEndian, v); err != nil {
		panic(err)
	}
}

// roundUp returns the next multiple of a power of two.
func roundUp[T int | int64 | uint32 | uint64](n, unit T) T { return (n + unit - 1) &^ (unit - 1) }
