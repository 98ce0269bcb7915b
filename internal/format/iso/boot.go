package iso

import (
	"errors"
	"fmt"
	"io"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Platforms of boot catalog entries (El Torito 2.1, UEFI 13.3.2.1).
const (
	PlatformBIOS = 0x00
	PlatformEFI  = 0xef
)

// Bytes that begin the entries of a boot catalog.
const (
	catalogValidation = 0x01
	catalogBootable   = 0x88
	catalogHeader     = 0x90 // of a section, if others follow
	catalogLastHeader = 0x91
	catalogExtension  = 0x44
	catalogEntry      = 32 // size in bytes
)

const (
	defaultLoadSectors = 4        // of 512 bytes: cdboot.img loads the rest
	maxPatched         = 64 << 20 // bytes of a boot image that is read to patch it

	infoTable      = 8    // offset of the boot information table
	infoTableEnd   = 64   // from here on the checksum counts
	grubBlocklist  = 2548 // offset of the address in diskboot.img, behind cdboot.img
	grubMBRAddress = 432  // offset of the address in boot_hybrid.img
	grubCDBoot     = 4    // sectors of cdboot.img
	mbrCodeSize    = 440  // of boot code, before the disk signature
)

func (b *BIOSBoot) check() error {
	if b.Image == nil || b.Image.Size() == 0 {
		return errors.New("the BIOS boot image is empty")
	}
	size := b.Image.Size()
	switch {
	case b.InfoTable && size < infoTableEnd:
		return fmt.Errorf("a BIOS boot image of %d bytes has no room for a boot information table", size)
	case b.GRUB2Info && size < grubBlocklist+8:
		return fmt.Errorf("a BIOS boot image of %d bytes has no room for GRUB's boot information", size)
	case b.needsPatch() && size > maxPatched:
		return fmt.Errorf("a BIOS boot image of %d bytes: at most %d can be patched", size, maxPatched)
	case b.GRUB2MBR != nil && !b.GRUB2Info:
		return errors.New("a GRUB 2 MBR needs a BIOS boot image with GRUB's boot information")
	case b.GRUB2MBR != nil && (len(b.GRUB2MBR) < mbrCodeSize || len(b.GRUB2MBR) > sectorSize):
		return fmt.Errorf("a GRUB 2 MBR of %d bytes: want %d to %d", len(b.GRUB2MBR), mbrCodeSize, sectorSize)
	}
	return nil
}

func (b *BIOSBoot) needsPatch() bool { return b.InfoTable || b.GRUB2Info }

// patched is the boot image with the tables that tell it where it is.
func (b *BIOSBoot) patched(block int64) (*sparse.Image, error) {
	if !b.needsPatch() {
		return b.Image, nil
	}
	data, err := io.ReadAll(b.Image.Reader())
	if err != nil {
		return nil, fmt.Errorf("reading the BIOS boot image: %w", err)
	}
	if b.GRUB2Info { // diskboot.img is loaded already, and loads what is behind it
		littleEndian.PutUint64(data[grubBlocklist:], uint64(block*4+grubCDBoot+1))
	}
	if b.InfoTable {
		table := data[infoTable:infoTableEnd]
		clear(table)
		littleEndian.PutUint32(table, systemBlocks)
		littleEndian.PutUint32(table[4:], uint32(block))
		littleEndian.PutUint32(table[8:], uint32(len(data)))
		littleEndian.PutUint32(table[12:], checksum32(data[infoTableEnd:]))
	}
	return sparse.Bytes(data), nil
}

// checksum32 is the sum of all words, as if zeros followed.
func checksum32(b []byte) (sum uint32) {
	for ; len(b) >= 4; b = b[4:] {
		sum += littleEndian.Uint32(b)
	}
	var last [4]byte
	copy(last[:], b)
	return sum + littleEndian.Uint32(last[:])
}

// bootCatalog encodes the boot catalog (El Torito 2): the entry of the first
// platform and, if there is another, a section for it.
func (p *plan) bootCatalog() []byte {
	b := make([]byte, 0, BlockSize)
	if p.BIOS != nil {
		b = append(b, validation(PlatformBIOS)...)
		b = append(b, p.biosEntry()...)
		if p.EFI != nil {
			header := make([]byte, catalogEntry)
			header[0], header[1], header[2] = catalogLastHeader, PlatformEFI, 1
			b = append(b, header...)
		}
	} else {
		b = append(b, validation(PlatformEFI)...)
	}
	if p.EFI != nil {
		b = append(b, p.efiEntry()...)
	}
	return b[:BlockSize]
}

// validation is the validation entry, whose words sum to zero.
func validation(platform byte) []byte {
	e := make([]byte, catalogEntry)
	e[0], e[1], e[30], e[31] = catalogValidation, platform, 0x55, 0xaa
	littleEndian.PutUint16(e[28:], -sum16(e))
	return e
}

func sum16(b []byte) (sum uint16) {
	for ; len(b) >= 2; b = b[2:] {
		sum += littleEndian.Uint16(b)
	}
	return sum
}

func (p *plan) biosEntry() []byte {
	sectors := p.BIOS.LoadSectors
	if sectors == 0 {
		sectors = defaultLoadSectors
	}
	return bootEntry(p.BIOS.LoadSegment, sectors, p.bios)
}

// efiEntry has the size of the image in sectors. A larger one than 16 bits can
// say, 32 MiB, has size 0, and reaches to the end of the volume.
func (p *plan) efiEntry() []byte {
	sectors := (p.EFI.Size() + sectorSize - 1) / sectorSize
	if sectors > 0xffff {
		sectors = 0
	}
	return bootEntry(0, uint16(sectors), p.efi)
}

// bootEntry is an entry without emulation.
func bootEntry(segment, sectors uint16, block int64) []byte {
	e := make([]byte, catalogEntry)
	e[0] = catalogBootable
	littleEndian.PutUint16(e[2:], segment)
	littleEndian.PutUint16(e[6:], sectors)
	littleEndian.PutUint32(e[8:], uint32(block))
	return e
}
