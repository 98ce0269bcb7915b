package iso

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"unicode/utf16"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Types of MBR partitions.
const (
	mbrLinux      = 0x83
	mbrProtective = 0xee
	mbrEFI        = 0xef
	mbrActive     = 0x80
)

// Types of GPT partitions.
const (
	gptBasicData = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
	gptEFI       = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
)

const (
	gptSignature   = "EFI PART"
	gptRevision    = 0x10000
	gptHeaderSize  = 92
	gptEntrySize   = 128
	gptEntries     = 128
	gptSectors     = gptEntries*gptEntrySize/sectorSize + 1 // with the header
	gptRequired    = 1 << 0                                 // attributes
	gptReadOnly    = 1 << 60
	systemSectors  = systemBlocks * BlockSize / sectorSize
	volumeFirstGPT = systemSectors // a partition cannot hold the GPT itself
)

// identity is a number that another volume does not have, and this always.
func identity(parts ...[]byte) (id [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// partition writes the partition tables, if firmware has a use for them.
func (p *plan) partition(m *sparse.Image, id [sha256.Size]byte) {
	if p.EFI == nil && !p.GPT && (p.BIOS == nil || p.BIOS.GRUB2MBR == nil) {
		return
	}
	m.Put(0, p.mbr(id))
	if p.GPT {
		p.gpt(m, id)
	}
}

// sectors of the image.
func (p *plan) sectors() int64 { return p.end * BlockSize / sectorSize }

// volumeEnd is the first sector behind the partition of the volume.
func (p *plan) volumeEnd() int64 {
	if p.EFI != nil {
		return p.efi * BlockSize / sectorSize
	}
	if p.GPT {
		return p.sectors() - gptSectors
	}
	return p.sectors()
}

func (p *plan) efiSectors() int64 { return (p.EFI.Size() + sectorSize - 1) / sectorSize }

// mbr encodes the first sector: boot code, the table, and the signature.
func (p *plan) mbr(id [sha256.Size]byte) []byte {
	b := make([]byte, sectorSize)
	hybrid := p.BIOS != nil && p.BIOS.GRUB2MBR != nil
	if hybrid {
		copy(b[:mbrCodeSize], p.BIOS.GRUB2MBR)
		littleEndian.PutUint64(b[grubMBRAddress:], uint64(p.bios*4+grubCDBoot))
	}
	copy(b[mbrCodeSize:], id[:4])
	table := b[446:510]
	if p.GPT {
		putMBREntry(table, mbrProtective, 1, p.sectors()-1)
	} else {
		putMBREntry(table, mbrLinux, 0, p.volumeEnd())
		if p.EFI != nil {
			putMBREntry(table[16:], mbrEFI, p.volumeEnd(), p.efiSectors())
		}
	}
	if hybrid {
		p.activate(table)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// activate marks a partition, without which many a BIOS starts no stick. The
// one that protects a GPT must not be marked (UEFI 5.2.3), so an empty one is.
func (p *plan) activate(table []byte) {
	if p.GPT {
		table = table[16:]
		putMBREntry(table, 0, 0, 1)
	}
	table[0] = mbrActive
}

func putMBREntry(e []byte, kind byte, start, size int64) {
	putCHS(e[1:], start)
	e[4] = kind
	putCHS(e[5:], start+size-1)
	littleEndian.PutUint32(e[8:], uint32(start))
	littleEndian.PutUint32(e[12:], uint32(size))
}

// putCHS writes the address of a sector in a geometry of 64 heads and 32
// sectors, or the largest there is.
func putCHS(b []byte, sector int64) {
	c, h, s := sector/(64*32), sector/32%64, sector%32+1
	if c > 1023 {
		c, h, s = 1023, 254, 63
	}
	b[0], b[1], b[2] = byte(h), byte(s)|byte(c>>8<<6), byte(c)
}

// gpt writes the GUID partition table and its backup (UEFI 5.3).
func (p *plan) gpt(m *sparse.Image, id [sha256.Size]byte) {
	entries := make([]byte, gptEntries*gptEntrySize)
	putGPTEntry(entries, gptBasicData, guid(id, 1), volumeFirstGPT, p.volumeEnd(), gptRequired|gptReadOnly, "ISO9660")
	if p.EFI != nil {
		start := p.volumeEnd()
		putGPTEntry(entries[gptEntrySize:], gptEFI, guid(id, 2), start, start+p.efiSectors(), 0, "EFI")
	}
	last := p.sectors() - 1
	m.Put(1*sectorSize, p.gptHeader(id, entries, 1, last, 2))
	m.Put(2*sectorSize, entries)
	m.Put((last-gptSectors+1)*sectorSize, entries)
	m.Put(last*sectorSize, p.gptHeader(id, entries, last, 1, last-gptSectors+1))
}

// gptHeader encodes the header at sector self, whose entries begin at another.
func (p *plan) gptHeader(id [sha256.Size]byte, entries []byte, self, other, first int64) []byte {
	b := make([]byte, sectorSize)
	copy(b, gptSignature)
	littleEndian.PutUint32(b[8:], gptRevision)
	littleEndian.PutUint32(b[12:], gptHeaderSize)
	littleEndian.PutUint64(b[24:], uint64(self))
	littleEndian.PutUint64(b[32:], uint64(other))
	littleEndian.PutUint64(b[40:], volumeFirstGPT)
	littleEndian.PutUint64(b[48:], uint64(p.sectors()-gptSectors-1))
	copy(b[56:], guid(id, 0))
	littleEndian.PutUint64(b[72:], uint64(first))
	littleEndian.PutUint32(b[80:], gptEntries)
	littleEndian.PutUint32(b[84:], gptEntrySize)
	littleEndian.PutUint32(b[88:], crc32.ChecksumIEEE(entries))
	littleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:gptHeaderSize]))
	return b
}

// putGPTEntry writes the entry of a partition that ends before sector end.
func putGPTEntry(e []byte, kind string, id []byte, start, end int64, attributes uint64, name string) {
	copy(e, parseGUID(kind))
	copy(e[16:], id)
	littleEndian.PutUint64(e[32:], uint64(start))
	littleEndian.PutUint64(e[40:], uint64(end-1))
	littleEndian.PutUint64(e[48:], attributes)
	for i, c := range utf16.Encode([]rune(name)) {
		littleEndian.PutUint16(e[56+2*i:], c)
	}
}

// guid is the number n'th identifier of a volume, a UUID of version 8 (RFC 9562).
func guid(id [sha256.Size]byte, n byte) []byte {
	sum := identity(id[:], []byte{n})
	g := sum[:16]
	g[7] = g[7]&0x0f | 0x80 // little endian
	g[8] = g[8]&0x3f | 0x80
	return g
}

// parseGUID encodes a GUID: the first three groups are numbers of little endian.
func parseGUID(s string) []byte {
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		panic(err) // one of the constants above
	}
	swapGUID(b)
	return b
}

func swapGUID(b []byte) {
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5], b[6], b[7] = b[5], b[4], b[7], b[6]
}

// formatGUID is the reverse of parseGUID.
func formatGUID(g []byte) string {
	b := append([]byte(nil), g[:16]...)
	swapGUID(b)
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
