// Package iso writes and reads ISO 9660 images: the file system of bootable
// installation media, with the real names of files (Rock Ridge), the boot
// catalog of firmware that starts from a CD (El Torito) and the partition
// tables of firmware that starts from the same bytes on a USB stick.
//
// # Writing
//
// [Build] plans an image and copies nothing. From the start it holds, in blocks
// of 2048 bytes:
//
//	0       system area: MBR with boot code, and GPT if it is wanted
//	16      volume descriptors: primary, El Torito, terminator
//	        path tables, directories, continuations of long names
//	        boot catalog, BIOS boot image, contents of the files by path
//	1 MiB n EFI system partition, a FAT file system
//	        padding, and the backup GPT at its end
//
// One image starts four ways: firmware of the BIOS kind loads the boot image
// that the catalog names, or from a stick the MBR's code, which loads the same
// boot image; UEFI finds the FAT file system by the catalog or by partition 2.
//
// The partition table is an MBR as xorriso makes it for -append_partition:
// partition 1 is the ISO 9660 volume, from the first sector on, so that it can
// be mounted as a partition too; partition 2 is the EFI system partition. They
// do not overlap, which UEFI would not accept. Both and the whole are aligned
// to 1 MiB, a cylinder of 64 heads and 32 sectors, because the BIOS guesses the
// geometry of a stick from where partitions end.
//
// The same options make the same bytes: times come from the options and the
// identifiers of the partition tables from the volume itself.
//
// # Reading
//
// [NewReader] reads the descriptors, the catalog, the partition tables and all
// directories of any image, and is a file system of package io/fs. It trusts
// nothing: extents have to lie in the image, a directory is read once, and the
// directories together may have 64 MiB.
//
// # Limits
//
// No Joliet, no symbolic links, no owners but root. Directories may be nested
// deeper than the eight levels of ISO 9660, which no system of today minds.
// Reading ignores Joliet, and does not follow symbolic links.
//
// Comments refer to ECMA-119 (4th edition), the System Use Sharing Protocol and
// Rock Ridge Interchange Protocol (IEEE P1281, P1282 1.12), El Torito 1.0 and
// the UEFI specification 2.10 (5.3 GPT, 13.3 file system format).
package iso

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// BlockSize of an image and of its addresses, in bytes.
const BlockSize = 2048

const (
	sectorSize   = 512       // of partition tables and boot images
	systemBlocks = 16        // what ISO 9660 leaves to others
	cylinder     = 1 << 20   // alignment of partitions
	maxSize      = 1<<41 - 1 // more has no address in an MBR
)

// Options say what is in an image. Texts are of printable ASCII characters;
// none has to be there but VolumeID.
type Options struct {
	VolumeID    string // 1 to 32 characters of A-Z, 0-9 and _
	System      string // up to 32 characters; the others up to 128
	Publisher   string
	Preparer    string
	Application string

	// Time of the volume, and of files without one. From 1970 to 2155, in whole
	// seconds; it is written as UTC.
	Time  time.Time
	Files []File // in any order

	BIOS *BIOSBoot     // nil for an image that a BIOS does not start
	EFI  *sparse.Image // FAT file system that UEFI starts, or nil

	// GPT adds a GUID partition table. The MBR then only protects it, as the
	// specification demands, so that partition 1 begins behind the system area
	// and cannot be mounted.
	GPT bool
}

// File is a file or, with fs.ModeDir and without content, a directory. The
// directories above it need not be named.
type File struct {
	Path    string        // as in io/fs: no slash at the start
	Content *sparse.Image // nil is an empty file
	Mode    fs.FileMode   // permissions; none are 0444, of a directory 0555
	ModTime time.Time     // none is Options.Time
}

// BIOSBoot is a boot image that a BIOS loads from a CD as it is, without
// emulation of another medium. For GRUB that is what grub-mkimage makes in the
// format i386-pc-eltorito (cdboot.img and the core), with InfoTable and
// GRUB2Info.
type BIOSBoot struct {
	Image       *sparse.Image
	LoadSegment uint16 // 0 is the usual 0x7c0
	LoadSectors uint16 // of 512 bytes that the BIOS loads; 0 is 4

	// InfoTable writes the place, length and checksum of the image into its
	// bytes 8 to 63 (mkisofs -boot-info-table).
	InfoTable bool
	// GRUB2Info writes the place of the core into byte 2548 (xorriso
	// --grub2-boot-info).
	GRUB2Info bool
	// GRUB2MBR is the code of a hybrid MBR, GRUB's boot_hybrid.img, that loads
	// the image from a stick; nil for none. It needs GRUB2Info.
	GRUB2MBR []byte
}

// Build plans an image. The contents are not read, except the BIOS boot image
// if a table is written into it. The size is a multiple of 1 MiB.
func Build(o Options) (*sparse.Image, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, fmt.Errorf("planning ISO 9660 image %q: %w", o.VolumeID, err)
	}
	return p.image(), nil
}

func (o Options) check() error {
	if err := checkVolumeID(o.VolumeID); err != nil {
		return err
	}
	for _, t := range []struct {
		what, text string
		max        int
	}{
		{"system", o.System, 32},
		{"publisher", o.Publisher, 128},
		{"preparer", o.Preparer, 128},
		{"application", o.Application, 128},
	} {
		if err := checkText(t.text, t.max); err != nil {
			return fmt.Errorf("%s %q: %w", t.what, t.text, err)
		}
	}
	if err := checkTime(o.Time); err != nil {
		return fmt.Errorf("time of the volume: %w", err)
	}
	if o.EFI != nil && o.EFI.Size() == 0 {
		return errors.New("the EFI system partition is empty")
	}
	if o.BIOS != nil {
		return o.BIOS.check()
	}
	return nil
}

func checkVolumeID(id string) error {
	if len(id) < 1 || len(id) > 32 || strings.IndexFunc(id, notD) >= 0 {
		return errors.New("a volume identifier has 1 to 32 characters of A-Z, 0-9 and _")
	}
	return nil
}

func checkText(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("more than %d characters", limit)
	}
	if strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
		return errors.New("not only printable ASCII characters")
	}
	return nil
}

// checkTime: a year is a byte behind 1900, and nothing means what is before 1970.
func checkTime(t time.Time) error {
	if y := t.UTC().Year(); y < 1970 || y > 2155 {
		return fmt.Errorf("%v is not from 1970 to 2155", t)
	}
	return nil
}

// blocks that so many bytes fill.
func blocks(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

func alignUp(n, align int64) int64 { return (n + align - 1) / align * align }
