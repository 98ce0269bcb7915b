package gpt

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Image lays out the disk. A disk without room for its partitions is a
// *TooSmallError.
func (d *Disk) Image() (*sparse.Image, error) {
	m, err := d.image()
	if err != nil {
		return nil, fmt.Errorf("partitioning a disk: %w", err)
	}
	return m, nil
}

func (d *Disk) image() (*sparse.Image, error) {
	parts, err := d.place()
	if err != nil {
		return nil, err
	}
	if len(d.BootCode) > MaxBootCode {
		return nil, fmt.Errorf("the boot code has %d bytes, at most %d are possible", len(d.BootCode), MaxBootCode)
	}
	if needed := d.needed(parts); d.Size < needed {
		return nil, &TooSmallError{d.Size, needed}
	}
	if d.Size%d.sectorSize() != 0 {
		return nil, fmt.Errorf("the size of %d bytes is not a multiple of the sector size %d", d.Size, d.sectorSize())
	}
	m := sparse.New(d.Size)
	d.putTables(m, encodeEntries(parts, d.sectorSize()))
	for _, p := range parts {
		if p.Content != nil {
			m.Add(p.Offset, p.Content)
		}
	}
	return m, nil
}

// entriesSize is the room of the entries in bytes.
func (d *Disk) entriesSize() int64 { return roundUp(entryCount*entrySize, d.sectorSize()) }

// first is where the first partition may begin: behind the MBR, the header and
// the entries.
func (d *Disk) first() int64 { return 2*d.sectorSize() + d.entriesSize() }

// needed is the size of a disk that ends with the backup behind the partitions.
func (d *Disk) needed(parts []Partition) int64 {
	end := d.first()
	for _, p := range parts {
		end = max(end, p.End())
	}
	return end + d.entriesSize() + d.sectorSize()
}

// putTables places the protective MBR and both tables.
func (d *Disk) putTables(m *sparse.Image, entries []byte) {
	sector := d.sectorSize()
	last := d.Size/sector - 1
	backup := last - d.entriesSize()/sector // the entries are in front of the header there
	primary := header{
		Signature: [8]byte([]byte(signature)), Revision: revision, Size: headerSize,
		My: 1, Alternate: uint64(last), Entries: 2,
		FirstUsable: uint64(d.first() / sector), LastUsable: uint64(backup - 1),
		Disk: d.GUID, Count: entryCount, EntrySize: entrySize, EntriesCRC: crc32.ChecksumIEEE(entries),
	}
	m.Put(0, protectiveMBR(d.BootCode, d.Size/sector))
	m.Put(sector, primary.encode())
	m.Put(2*sector, entries)
	other := primary
	other.My, other.Alternate, other.Entries = primary.Alternate, primary.My, uint64(backup)
	m.Put(backup*sector, entries)
	m.Put(last*sector, other.encode())
}

// place returns the partitions with their offsets and finds all that is wrong
// with them, but for the size of the disk.
func (d *Disk) place() ([]Partition, error) {
	if s := d.sectorSize(); s != 512 && s != 4096 {
		return nil, fmt.Errorf("sectors of %d bytes are not supported, only 512 and 4096", s)
	}
	if d.GUID.IsZero() {
		return nil, errors.New("the disk has no GUID")
	}
	if len(d.Partitions) > entryCount {
		return nil, fmt.Errorf("there are %d partitions, at most %d are possible", len(d.Partitions), entryCount)
	}
	parts, next := slices.Clone(d.Partitions), int64(Alignment)
	for i := range parts {
		p := &parts[i]
		if p.Offset == 0 {
			p.Offset = next
		}
		if err := d.check(p); err != nil {
			return nil, fmt.Errorf("partition %d (%s): %w", i+1, p.Name, err)
		}
		next = roundUp(p.End(), Alignment)
	}
	return parts, checkTogether(parts)
}

// maxDisk bounds offsets and sizes in bytes, far from any overflow.
const maxDisk = 1 << 60

func (d *Disk) check(p *Partition) error {
	sector := d.sectorSize()
	switch {
	case p.Type.IsZero():
		return errors.New("it has no type")
	case p.GUID.IsZero():
		return errors.New("it has no GUID")
	case !utf8.ValidString(p.Name):
		return errors.New("the name is not valid UTF-8")
	case len(utf16.Encode([]rune(p.Name))) > nameUnits:
		return fmt.Errorf("the name is longer than %d characters", nameUnits)
	case p.Size <= 0 || p.Size > maxDisk || p.Size%sector != 0:
		return fmt.Errorf("the size of %d bytes is not a multiple of the sector size %d", p.Size, sector)
	case p.Offset < d.first() || p.Offset > maxDisk || p.Offset%sector != 0:
		return fmt.Errorf("offset %d is impossible: it has to be a multiple of %d, and at least %d", p.Offset, sector, d.first())
	case p.Content != nil && p.Content.Size() > p.Size:
		return fmt.Errorf("the content has %d bytes, the partition %d", p.Content.Size(), p.Size)
	}
	return nil
}

// checkTogether finds partitions that overlap or have a GUID in common.
func checkTogether(parts []Partition) error {
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b Partition) int { return cmp.Compare(a.Offset, b.Offset) })
	seen := map[GUID]string{}
	for i, p := range sorted {
		if i > 0 && sorted[i-1].End() > p.Offset {
			return fmt.Errorf("partitions %q and %q overlap", sorted[i-1].Name, p.Name)
		}
		if other, ok := seen[p.GUID]; ok {
			return fmt.Errorf("partitions %q and %q have the same GUID %s", other, p.Name, p.GUID)
		}
		seen[p.GUID] = p.Name
	}
	return nil
}

func roundUp(n, align int64) int64 { return (n + align - 1) / align * align }
