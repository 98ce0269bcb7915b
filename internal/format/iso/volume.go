package iso

import (
	"encoding/binary"
	"fmt"
	"time"
)

var (
	littleEndian = binary.LittleEndian
	bigEndian    = binary.BigEndian
)

// Types of volume descriptors (8.1.1).
const (
	typeBoot       = 0
	typePrimary    = 1
	typeTerminator = 255
)

const (
	standardID = "CD001"                                   // of every volume descriptor
	elToritoID = "EL TORITO SPECIFICATION\x00\x00\x00\x00" // of the boot record
)

// descriptors encodes the volume descriptors (8).
func (p *plan) descriptors() []byte {
	all := p.primary()
	if p.bootable() {
		boot := descriptor(typeBoot)
		copy(boot[7:], elToritoID)
		littleEndian.PutUint32(boot[71:], uint32(p.catalog))
		all = append(all, boot...)
	}
	return append(all, descriptor(typeTerminator)...)
}

func descriptor(kind byte) []byte {
	b := make([]byte, BlockSize)
	b[0], b[6] = kind, 1
	copy(b[1:], standardID)
	return b
}

// primary encodes the primary volume descriptor (8.4). The volume includes the
// EFI system partition: UEFI takes the end of the volume for that of a boot
// image that is too large for the catalog, and programs that copy a CD by the
// size of its volume copy everything.
func (p *plan) primary() []byte {
	b := descriptor(typePrimary)
	putText(b[8:40], p.System)
	putText(b[40:72], p.VolumeID)
	putBoth32(b[80:], uint32(p.end))
	putBoth16(b[120:], 1) // volumes of the set
	putBoth16(b[124:], 1) // number of this
	putBoth16(b[128:], BlockSize)
	putBoth32(b[132:], uint32(p.pathTableSize))
	littleEndian.PutUint32(b[140:], uint32(p.pathL))
	bigEndian.PutUint32(b[148:], uint32(p.pathM))
	copy(b[156:190], appendRecord(nil, record{"\x00", p.root.block, p.root.size, p.root.modTime, flagDirectory, nil}))
	putText(b[190:318], "") // volume set
	putText(b[318:446], p.Publisher)
	putText(b[446:574], p.Preparer)
	putText(b[574:702], p.Application)
	putText(b[702:813], "") // files of copyright, abstract and bibliography
	putLongTime(b[813:830], p.Time)
	putLongTime(b[830:847], p.Time)
	putLongTime(b[847:864], time.Time{}) // does not expire
	putLongTime(b[864:881], time.Time{}) // is effective at once
	b[881] = 1
	return b
}

// pathTable encodes a path table (9.4): all directories, each with the number
// of its parent.
func (p *plan) pathTable(order binary.AppendByteOrder) (b []byte) {
	for i, d := range p.dirs {
		id := d.stem
		if i == 0 {
			id = "\x00"
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, uint32(d.block))
		b = order.AppendUint16(b, d.parent.number)
		b = append(b, id...)
		b = append(b, make([]byte, len(id)%2)...)
	}
	return b
}

// putText fills a field with a text and spaces behind it.
func putText(field []byte, s string) {
	for i := copy(field, s); i < len(field); i++ {
		field[i] = ' '
	}
}

// putBoth16 and putBoth32 write a number in both byte orders (7.2.3, 7.3.3).
func putBoth16(b []byte, n uint16) {
	littleEndian.PutUint16(b, n)
	bigEndian.PutUint16(b[2:], n)
}

func putBoth32(b []byte, n uint32) {
	littleEndian.PutUint32(b, n)
	bigEndian.PutUint32(b[4:], n)
}

// putLongTime writes a time as digits (8.4.26.1), in UTC, or none.
func putLongTime(field []byte, t time.Time) {
	digits := "0000000000000000"
	if !t.IsZero() {
		digits = t.UTC().Format("20060102150405") + "00"
	}
	copy(field, digits)
	field[16] = 0
}

// shortTime is a time as in a directory record (9.1.5), in UTC.
func shortTime(t time.Time) []byte {
	t = t.UTC()
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()),
		byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}

// parseShortTime is the reverse. The last byte is quarters of an hour east of
// Greenwich.
func parseShortTime(b []byte) time.Time {
	offset := time.Duration(int8(b[6])) * 15 * time.Minute
	return time.Date(1900+int(b[0]), time.Month(b[1]), int(b[2]),
		int(b[3]), int(b[4]), int(b[5]), 0, time.UTC).Add(-offset)
}

// parseLongTime reads a time of digits; one that is none is the zero time.
func parseLongTime(b []byte) time.Time {
	t, err := time.Parse("20060102150405", string(b[:14]))
	if err != nil {
		return time.Time{}
	}
	return t.Add(-time.Duration(int8(b[16])) * 15 * time.Minute)
}

// record is a directory record (9.1) without its parts that are always the same.
type record struct {
	id      string
	block   int64
	size    int64 // in bytes
	modTime time.Time
	flags   byte
	system  []byte // system use
}

// Flags of a directory record (9.1.6).
const (
	flagDirectory   = 0x02
	flagMultiExtent = 0x80 // the next record goes on with the same file
)

// recordSize is the size without system use, which begins at an even offset.
func recordSize(id string) int { return (33 + len(id) + 1) &^ 1 }

func appendRecord(dst []byte, r record) []byte {
	b := make([]byte, recordSize(r.id), recordSize(r.id)+len(r.system)+1)
	putBoth32(b[2:], uint32(r.block))
	putBoth32(b[10:], uint32(r.size))
	copy(b[18:], shortTime(r.modTime))
	b[25] = r.flags
	putBoth16(b[28:], 1) // number of the volume
	b[32] = byte(len(r.id))
	copy(b[33:], r.id)
	b = append(b, r.system...)
	b = append(b, make([]byte, len(b)%2)...)
	if len(b) > maxRecord {
		panic(fmt.Sprintf("iso: a directory record of %d bytes", len(b)))
	}
	b[0] = byte(len(b))
	return append(dst, b...)
}
