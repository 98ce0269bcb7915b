// Package fat writes and reads FAT12, FAT16 and FAT32 file systems with long
// names: EFI system partitions, and the boot images in ISO 9660 file systems
// ("Microsoft Extensible Firmware Initiative FAT32 File System Specification",
// version 1.03, called fatgen103 below).
//
// [Build] knows all files before it lays out anything. So every file is one run
// of clusters, a run is an extent of the image that the file came with, and the
// allocation tables are needed only up to the last cluster in use. A file system
// of 2 GiB costs what its files cost:
//
//	esp, err := fat.Build(fat.Options{Size: 2101 << 20, Label: "EFI"}, []fat.File{
//		{Path: "EFI/BOOT/BOOTX64.EFI", Content: loader},
//		{Path: "EFI/Linux/Talos-v1.14.0.efi", Content: uki},
//	})
//
// [Reader] is an [io/fs.FS]. It follows every chain of clusters when it is made,
// and refuses a file system in which one is broken, has a loop or meets another.
//
// The limits: files have at most 4 GiB - 1; short names are ASCII when written;
// times are UTC, since a FAT file system does not say of which place they are.
package fat

import (
	"errors"
	"fmt"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Kind is the number of bits of an entry of the allocation table. It follows
// from the number of clusters.
type Kind int

// The three kinds.
const (
	FAT12 Kind = 12
	FAT16 Kind = 16
	FAT32 Kind = 32
)

func (k Kind) String() string { return fmt.Sprintf("FAT%d", int(k)) }

// ErrNotFAT says that what is read is not a FAT file system, not even a damaged one.
var ErrNotFAT = errors.New("it is not a FAT file system")

// Options say what a file system is like. Only the size has to be given.
type Options struct {
	Size       int64 // bytes, a multiple of the sector size
	SectorSize int   // 512, 1024, 2048 or 4096 bytes; 0 is 512

	// Kind and ClusterSize (in bytes) are chosen by the size if they are 0, as
	// mkfs.vfat does it: FAT32 from 512 MiB on, with clusters of 4 KiB. A file
	// system that has to be FAT32 needs 33 MiB at least, 257 MiB with sectors
	// of 4096 bytes.
	Kind        Kind
	ClusterSize int

	Label    string // at most 11 characters of upper case, or empty
	VolumeID uint32

	// Time is that of the label, and of all files that have none of their own.
	// Years before 1980 and after 2107 are not possible, the nearest is taken.
	Time time.Time

	// HiddenSectors is the number of sectors in front of the file system: where
	// its partition begins on the disk.
	HiddenSectors uint32
}

func (o Options) sectorSize() int64 {
	if o.SectorSize == 0 {
		return 512
	}
	return int64(o.SectorSize)
}

// File is a file or directory that is to be in a file system. Directories on
// the way to a file are made where no File describes them.
type File struct {
	Path     string        // like EFI/BOOT/BOOTX64.EFI
	Content  *sparse.Image // nil is a directory
	ModTime  time.Time     // zero is Options.Time
	ReadOnly bool
}

// TooSmallError says that a file system has no room for its files, or is too
// small for its kind.
type TooSmallError struct {
	Size, Needed int64 // bytes
}

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("a file system of %d bytes is %d bytes too small, it needs %d", e.Size, e.Needed-e.Size, e.Needed)
}
