package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode/utf16"
)

const (
	signature  = "EFI PART"
	revision   = 1 << 16
	headerSize = 92
	entrySize  = 128
	nameUnits  = 36

	// entryCount is the number of entries in a table that is written: the
	// least that the specification allows, and what all others write.
	entryCount = 128

	// maxEntries bounds the entries of a table that is read.
	maxEntries = 4096
)

// header is the header of a table. Addresses are numbers of sectors.
type header struct {
	Signature   [8]byte
	Revision    uint32
	Size        uint32
	CRC         uint32 // of Size bytes, with this field 0
	_           uint32
	My          uint64 // address of this header
	Alternate   uint64 // address of the other one
	FirstUsable uint64
	LastUsable  uint64
	Disk        GUID
	Entries     uint64 // address of the entries
	Count       uint32
	EntrySize   uint32
	EntriesCRC  uint32
}

// encode returns the bytes of the header with its checksum.
func (h header) encode() []byte {
	h.CRC = 0
	h.CRC = crc32.ChecksumIEEE(encode(h))
	return encode(h)
}

// decodeHeader reads and verifies a header in the bytes of a sector.
func decodeHeader(sector []byte) (header, error) {
	var h header
	if _, err := binary.Decode(sector, binary.LittleEndian, &h); err != nil || string(h.Signature[:]) != signature {
		return h, errors.New("no header is there")
	}
	if h.Size < headerSize || int64(h.Size) > int64(len(sector)) {
		return h, fmt.Errorf("the header claims a size of %d bytes", h.Size)
	}
	b := bytes.Clone(sector[:h.Size])
	clear(b[16:20])
	if crc32.ChecksumIEEE(b) != h.CRC {
		return h, errors.New("the checksum of the header does not match")
	}
	if n := h.EntrySize; n < entrySize || n > 4096 || n&(n-1) != 0 || h.Count > maxEntries {
		return h, fmt.Errorf("the table has %d entries of %d bytes, which is not supported", h.Count, n)
	}
	return h, nil
}

// entry is one partition in a table.
type entry struct {
	Type        GUID
	GUID        GUID
	First, Last uint64 // sectors
	Attributes  uint64
	Name        [nameUnits]uint16
}

// encodeEntries returns all entries of a table, of partitions that are in place.
func encodeEntries(parts []Partition, sector int64) []byte {
	b := make([]byte, 0, entryCount*entrySize)
	for _, p := range parts {
		e := entry{
			Type: p.Type, GUID: p.GUID, Attributes: p.Attributes,
			First: uint64(p.Offset / sector), Last: uint64(p.End()/sector - 1),
		}
		copy(e.Name[:], utf16.Encode([]rune(p.Name)))
		b = append(b, encode(e)...)
	}
	return b[:cap(b)]
}

func decodeName(units []uint16) string {
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// encode returns the bytes of a structure of numbers and arrays.
func encode(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err) // the type has no fixed size: a mistake of this package
	}
	return b
}

// protectiveMBR tells programs that know only MBRs that the disk is full: one
// partition of type 0xEE covers all that 32 bits of sectors can. It is not
// marked active; the boot program and the signature are all that a BIOS asks for.
func protectiveMBR(bootCode []byte, sectors int64) []byte {
	b := make([]byte, 512)
	copy(b, bootCode)
	copy(b[446:], []byte{
		0x00, 0x00, 0x02, 0x00, // inactive, begins at cylinder 0, head 0, sector 2
		0xee, 0xff, 0xff, 0xff, // ends where such addresses end
	})
	binary.LittleEndian.PutUint32(b[454:], 1)
	binary.LittleEndian.PutUint32(b[458:], uint32(min(sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// isProtective says whether an MBR points to a GUID partition table, as Linux
// wants it: any of the four partitions has the type 0xEE.
func isProtective(mbr []byte) bool {
	for i := 446 + 4; i < 510; i += 16 {
		if mbr[i] == 0xee {
			return mbr[510] == 0x55 && mbr[511] == 0xaa
		}
	}
	return false
}
