package iso

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// BootEntry is an entry of the boot catalog.
type BootEntry struct {
	Platform    byte // PlatformBIOS, PlatformEFI or another
	Bootable    bool
	Media       byte   // emulated medium, 0 for none
	LoadSegment uint16 // 0 is 0x7c0
	Sectors     uint16 // of 512 bytes: what a BIOS loads, or the size for UEFI
	Block       uint32 // of 2048 bytes, where the image begins

	// Image is the boot image. The catalog need not know its size: it is that
	// of the partition that begins there, or of the boot information table in
	// it, or Sectors, or for UEFI the rest of the volume.
	Image *sparse.Image
}

// Partition is an entry of a partition table.
type Partition struct {
	Table  string // "mbr" or "gpt"
	Number int    // from 1 on
	Type   string // "0xef" in an MBR, a GUID in small letters in a GPT
	Active bool   // in an MBR
	Name   string // in a GPT
	Offset int64  // in bytes
	Size   int64  // in bytes; it may end outside of the image
}

// readCatalog reads the first block of the boot catalog.
func (r *Reader) readCatalog(block uint32) ([]BootEntry, error) {
	b, err := r.bytes(int64(block)*BlockSize, BlockSize)
	if err != nil {
		return nil, err
	}
	v := b[:catalogEntry]
	if v[0] != catalogValidation || v[30] != 0x55 || v[31] != 0xaa || sum16(v) != 0 {
		return nil, errors.New("no valid validation entry")
	}
	first, err := r.bootEntry(v[1], b[catalogEntry:])
	if err != nil {
		return nil, err
	}
	return r.readSections([]BootEntry{first}, b[2*catalogEntry:])
}

// readSections appends the entries of all sections: a header, and as many
// entries as it says, with extensions between them.
func (r *Reader) readSections(all []BootEntry, b []byte) ([]BootEntry, error) {
	var platform byte
	entries, last := 0, false
	for ; len(b) >= catalogEntry; b = b[catalogEntry:] {
		switch {
		case b[0] == catalogExtension:
		case entries > 0:
			e, err := r.bootEntry(platform, b)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
			entries--
		case !last && (b[0] == catalogHeader || b[0] == catalogLastHeader):
			platform, last = b[1], b[0] == catalogLastHeader
			entries = int(littleEndian.Uint16(b[2:]))
		default:
			return all, nil
		}
	}
	return all, nil
}

func (r *Reader) bootEntry(platform byte, b []byte) (BootEntry, error) {
	e := BootEntry{
		Platform:    platform,
		Bootable:    b[0] == catalogBootable,
		Media:       b[1] & 0x0f,
		LoadSegment: littleEndian.Uint16(b[2:]),
		Sectors:     littleEndian.Uint16(b[6:]),
		Block:       littleEndian.Uint32(b[8:]),
	}
	offset := int64(e.Block) * BlockSize
	image, err := r.section(offset, r.bootSize(e, offset))
	if err != nil {
		return e, fmt.Errorf("boot image of platform %#02x: %w", platform, err)
	}
	e.Image = image
	return e, nil
}

// bootSize finds out the size of a boot image, in bytes.
func (r *Reader) bootSize(e BootEntry, offset int64) int64 {
	for _, p := range r.Partitions {
		if p.Offset == offset && r.within(offset, p.Size) == nil {
			return p.Size
		}
	}
	if n := r.tableSize(e, offset); n != 0 {
		return n
	}
	if e.Platform == PlatformEFI && e.Sectors < 2 { // UEFI 13.3.2.1
		return max(0, min(r.size, r.Volume.Size)-offset)
	}
	// The last sector need not be there: an image ends where it ends.
	return min(int64(e.Sectors)*sectorSize, max(0, r.size-offset))
}

// tableSize is the size in the boot information table of an image, 0 if it has
// no table that is right about where it is.
func (r *Reader) tableSize(e BootEntry, offset int64) int64 {
	b, err := r.bytes(offset, infoTableEnd)
	if err != nil || littleEndian.Uint32(b[8:]) != systemBlocks || littleEndian.Uint32(b[12:]) != e.Block {
		return 0
	}
	size := int64(littleEndian.Uint32(b[16:]))
	if r.within(offset, size) != nil {
		return 0
	}
	return size
}

// readPartitions reads the tables. What is not valid is not there, as it is for
// firmware: most images have nothing in these places.
func (r *Reader) readPartitions() ([]Partition, error) {
	b, err := r.bytes(0, 2*sectorSize)
	if err != nil {
		return nil, err
	}
	var all []Partition
	if b[510] == 0x55 && b[511] == 0xaa {
		if code := b[:mbrCodeSize]; slices.Max(code) > 0 {
			r.BootCode = code
		}
		for i := range 4 {
			if p, ok := parseMBREntry(b[446+16*i:]); ok {
				p.Number = i + 1
				all = append(all, p)
			}
		}
	}
	return append(all, r.readGPT(b[sectorSize:])...), nil
}

func parseMBREntry(e []byte) (Partition, bool) {
	p := Partition{
		Table:  "mbr",
		Type:   fmt.Sprintf("%#02x", e[4]),
		Active: e[0] == mbrActive,
		Offset: int64(littleEndian.Uint32(e[8:])) * sectorSize,
		Size:   int64(littleEndian.Uint32(e[12:])) * sectorSize,
	}
	return p, e[0]&^mbrActive == 0 && e[4] != 0 && p.Size > 0
}

func (r *Reader) readGPT(header []byte) (all []Partition) {
	size := littleEndian.Uint32(header[12:])
	if string(header[:8]) != gptSignature || size < gptHeaderSize || size > sectorSize {
		return nil
	}
	sum := littleEndian.Uint32(header[16:])
	h := append([]byte(nil), header[:size]...)
	clear(h[16:20])
	first, count, each := littleEndian.Uint64(h[72:]), littleEndian.Uint32(h[80:]), littleEndian.Uint32(h[84:])
	if crc32.ChecksumIEEE(h) != sum || first > maxSize/sectorSize || count > 1024 || each < gptEntrySize || each > sectorSize {
		return nil
	}
	entries, err := r.bytes(int64(first)*sectorSize, int64(count*each))
	if err != nil || crc32.ChecksumIEEE(entries) != littleEndian.Uint32(h[88:]) {
		return nil
	}
	for i := range int(count) {
		if p, ok := parseGPTEntry(entries[i*int(each):]); ok {
			p.Number = i + 1
			all = append(all, p)
		}
	}
	return all
}

func parseGPTEntry(e []byte) (Partition, bool) {
	start, last := littleEndian.Uint64(e[32:]), littleEndian.Uint64(e[40:])
	if [16]byte(e) == [16]byte{} || last < start || last > maxSize/sectorSize {
		return Partition{}, false
	}
	return Partition{
		Table:  "gpt",
		Type:   formatGUID(e),
		Name:   utf16Text(e[56:gptEntrySize]),
		Offset: int64(start) * sectorSize,
		Size:   int64(last-start+1) * sectorSize,
	}, true
}

// utf16Text is a text that ends at the first zero.
func utf16Text(b []byte) string {
	var codes []uint16
	for ; len(b) >= 2 && (b[0] != 0 || b[1] != 0); b = b[2:] {
		codes = append(codes, littleEndian.Uint16(b))
	}
	return string(utf16.Decode(codes))
}
