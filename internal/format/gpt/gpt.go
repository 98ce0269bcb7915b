// Package gpt writes and reads GUID partition tables (UEFI specification 2.10,
// chapter 5: "GUID Partition Table (GPT) Disk Layout").
//
// A [Disk] is a list of partitions with their contents. Its Image puts them at
// places aligned to 1 MiB, between the primary table with the protective MBR in
// front and the backup at the end:
//
//	disk := gpt.Disk{GUID: gpt.DeterministicGUID("disk"), Size: 2 << 30, Partitions: []gpt.Partition{{
//		Name: "EFI", Type: gpt.EFISystem, GUID: gpt.DeterministicGUID("EFI"), Size: 512 << 20, Content: esp,
//	}}}
//	image, err := disk.Image()
//
// Read does the reverse, for disks of others too: it finds the size of the
// sectors, verifies both tables and goes on with the one that is sound.
//
// The limits: sectors of 512 or 4096 bytes; a table of 128 entries when
// written, of up to 4096 when read; no hybrid MBR.
package gpt

import (
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Alignment of partitions in bytes, unless they ask for a place of their own.
const Alignment = 1 << 20

// LegacyBIOSBootable is the attribute of a partition that a boot program of BIOS
// systems looks for (bit 2).
const LegacyBIOSBootable = 1 << 2

// MaxBootCode is how many bytes of the MBR are for a boot program.
const MaxBootCode = 440

// ErrNoTable says that a disk has no GUID partition table, not even a damaged one.
var ErrNoTable = errors.New("there is no GUID partition table")

// Disk is a disk with its partitions.
type Disk struct {
	GUID       GUID
	Size       int64  // bytes
	SectorSize int    // 512 or 4096 bytes; 0 is 512
	BootCode   []byte // at most MaxBootCode bytes at the start of the MBR, or nil
	Partitions []Partition

	// Damage is what Read found wrong: with one of the two tables, with the
	// protective MBR, or partitions that overlap. nil if all is well. Image does
	// not look at it.
	Damage error
}

// Partition is one entry of the table, and what is in the partition.
type Partition struct {
	Name       string // at most 36 UTF-16 code units
	Type       GUID
	GUID       GUID
	Attributes uint64
	Size       int64 // bytes, a multiple of the sector size

	// Offset in bytes. When written, 0 is the next aligned place behind the
	// partition before.
	Offset int64

	// Content begins the partition; zeros follow. nil is nothing but zeros.
	Content *sparse.Image
}

// End is the offset behind the partition.
func (p *Partition) End() int64 { return p.Offset + p.Size }

// TooSmallError says that a disk has no room for its partitions and tables.
type TooSmallError struct {
	Size, Needed int64 // bytes
}

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("a disk of %d bytes is %d bytes too small, the partitions need %d", e.Size, e.Needed-e.Size, e.Needed)
}

func (d *Disk) sectorSize() int64 {
	if d.SectorSize == 0 {
		return 512
	}
	return int64(d.SectorSize)
}
