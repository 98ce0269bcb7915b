package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
)

// Offsets in boot.img and boot_hybrid.img (include/grub/i386/pc/boot.h).
const (
	kernelSector = 0x5c // 64 bits
	driveCheck   = 0x66 // a jump of two bytes
	bootCodeSize = 440  // then come the disk's signature and the partition table
	bootMagic    = 510
)

// HybridBlock is the offset of a 64-bit little-endian number in what HybridMBR
// returns: the 512-byte sector of the boot image's fifth such sector, where
// cdboot.img ends: four times the block of the ISO where the file of CDCore
// is, plus 4 (what xorriso does for --grub2-mbr).
const HybridBlock = 0x1b0

// InstallDisk tells a core image of DiskCore that it begins at the sector
// coreLBA of the disk, and returns it with the boot code that loads it: the
// first 440 bytes of sector 0. The core fills whole sectors. Sectors of another
// size than 512 bytes are refused.
func InstallDisk(files fs.FS, core []byte, coreLBA uint64, size int) (bootCode, patchedCore []byte, err error) {
	if size != sectorSize {
		return nil, nil, fmt.Errorf("installing GRUB on a disk with sectors of %d bytes: a BIOS boots from sectors of %d bytes only", size, sectorSize)
	}
	if coreLBA == 0 || coreLBA > math.MaxInt64 {
		return nil, nil, fmt.Errorf("installing GRUB: the core image cannot be at sector %d", coreLBA)
	}
	patchedCore, err = locate(core, coreLBA)
	if err != nil {
		return nil, nil, fmt.Errorf("installing GRUB: %w", err)
	}
	bootCode, err = pc(files).bootCode("boot.img")
	if err != nil {
		return nil, nil, err
	}
	binary.LittleEndian.PutUint64(bootCode[kernelSector:], coreLBA)
	// Some BIOSes start the boot code of a hard disk with the number of a floppy
	// disk. The jump passes over the correction; of a hard disk it is taken out.
	copy(bootCode[driveCheck:], []byte{0x90, 0x90}) // nop
	return bootCode, patchedCore, nil
}

// locate fills the list of sectors in diskboot.img with one run: all sectors
// behind the first one.
func locate(core []byte, lba uint64) ([]byte, error) {
	count := sectors(len(core)) - 1
	if count < 1 || count > maxCore/sectorSize {
		return nil, fmt.Errorf("the core image has %d bytes", len(core))
	}
	if binary.LittleEndian.Uint16(core[blockTarget:]) != coreSegment {
		return nil, errors.New("the core image does not begin with diskboot.img")
	}
	core = append(bytes.Clone(core), make([]byte, (count+1)*sectorSize-len(core))...)
	binary.LittleEndian.PutUint64(core[blockStart:], lba+1)
	binary.LittleEndian.PutUint16(core[blockCount:], uint16(count))
	return core, nil
}

// HybridMBR returns the boot code, 440 bytes, that makes an ISO with the file
// of CDCore boot from a disk. The writer of the ISO fills in HybridBlock.
func HybridMBR(files fs.FS) ([]byte, error) { return pc(files).bootCode("boot_hybrid.img") }

func (p platform) bootCode(name string) ([]byte, error) {
	boot, err := p.readSized(name, sectorSize)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint16(boot[bootMagic:]) != 0xaa55 {
		return nil, fmt.Errorf("reading GRUB's file %s for %s: it is not a boot sector", name, p.name)
	}
	return boot[:bootCodeSize:bootCodeSize], nil
}
