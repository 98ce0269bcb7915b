// Package vhd writes and reads disk images in Microsoft's format VHD, which
// QEMU calls vpc.
//
// [Encode] plans a fixed image (the raw disk and a footer) or a dynamic one
// (blocks of 2 MiB, of which those without data are left out) around a raw
// disk, whose bytes stay where they are. [NewReader] maps either kind back.
//
// A disk in this format has a geometry of cylinders, heads and sectors, and
// some programs take its product for the size. So the size is rounded up to
// one that such a geometry can express, as qemu-img does it, unless it is to be
// kept exactly ([Options].ForceSize); Azure needs the latter. A partition table
// at the end of the raw disk is not at the end of a rounded one.
//
// Times and identifiers are given by the caller, so that equal disks are equal
// images.
//
// The layout is that of Microsoft's "Virtual Hard Disk Image Format
// Specification", version 1.0. All numbers are big-endian. Differencing disks
// are refused.
package vhd

import (
	"encoding/binary"
	"time"
)

const (
	sectorSize        = 512
	footerSize        = 512
	dynamicHeaderSize = 1024
	blockSize         = 2 << 20 // bytes of the disk in a block of a dynamic image
	bitmapSize        = blockSize / sectorSize / 8

	// maxSize is the largest disk, 2040 GiB: what the specification allows.
	maxSize = 2040 << 30

	cookieFooter  = "conectix"
	cookieDynamic = "cxsparse"
	formatVersion = 1 << 16

	noOffset = 1<<64 - 1 // there is no further structure
	noBlock  = 1<<32 - 1 // a block that reads as zeros
)

// Types of disks.
const (
	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4
)

// epoch is the beginning of time stamps.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// footer is at the end of each image, and of a dynamic one at the start too.
type footer struct {
	Cookie         [8]byte
	Features       uint32 // bit 1 is always set
	Version        uint32
	DataOffset     uint64 // of the dynamic header
	Time           uint32 // seconds since epoch
	CreatorApp     [4]byte
	CreatorVersion uint32
	CreatorHost    [4]byte
	OriginalSize   uint64
	CurrentSize    uint64
	Cylinders      uint16
	Heads          uint8
	SectorsPerHead uint8
	DiskType       uint32
	Checksum       uint32
	UniqueID       [16]byte
	SavedState     uint8
	_              [427]byte
}

// dynamicHeader follows the first footer of a dynamic image.
type dynamicHeader struct {
	Cookie          [8]byte
	DataOffset      uint64
	TableOffset     uint64
	Version         uint32
	MaxTableEntries uint32
	BlockSize       uint32
	Checksum        uint32
	ParentID        [16]byte
	ParentTime      uint32
	_               uint32
	ParentName      [512]byte
	ParentLocators  [192]byte
	_               [256]byte
}

// Offsets of the checksums.
const (
	footerChecksum  = 64
	dynamicChecksum = 36
)

// checksum is the complement of the sum of all bytes but the four at an offset.
func checksum(b []byte, at int) uint32 {
	var sum uint32
	for i, c := range b {
		if i < at || i >= at+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

// seal encodes a structure and puts its checksum to an offset.
func seal(structure any, at int) []byte {
	b, err := binary.Append(nil, binary.BigEndian, structure)
	if err != nil {
		panic(err) // the structures have fixed sizes
	}
	binary.BigEndian.PutUint32(b[at:], checksum(b, at))
	return b
}
