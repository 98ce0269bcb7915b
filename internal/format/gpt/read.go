package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Read reads the table of a disk of size bytes. If the primary table is damaged
// it is the backup that counts; Damage of the disk says so, and what else is
// wrong. Contents of partitions are read from r when they are needed. A disk
// without any table is an ErrNoTable.
func Read(r io.ReaderAt, size int64) (*Disk, error) {
	d, err := read(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading a GUID partition table: %w", err)
	}
	return d, nil
}

func read(r io.ReaderAt, size int64) (*Disk, error) {
	t, damage, err := findTable(r, size)
	if err != nil {
		return nil, err
	}
	mbr := make([]byte, 512)
	if err := readFull(r, mbr, 0); err != nil {
		return nil, err
	}
	if !isProtective(mbr) {
		damage = errors.Join(damage, errors.New("there is no protective MBR"))
	}
	d := &Disk{GUID: t.header.Disk, Size: size, SectorSize: int(t.sector)}
	if code := mbr[:MaxBootCode]; !allZero(code) {
		d.BootCode = code
	}
	if d.Partitions, err = t.partitions(r, size); err != nil {
		return nil, err
	}
	d.Damage = errors.Join(damage, checkTogether(d.Partitions))
	return d, nil
}

// table is one of the two tables of a disk, verified.
type table struct {
	sector  int64 // bytes
	header  header
	entries []byte
}

var sectorSizes = [2]int64{512, 4096}

// findTable finds the sound table of a disk, the primary one if possible, and
// says what is wrong with the other.
func findTable(r io.ReaderAt, size int64) (t *table, damage, err error) {
	var errs []error // of tables that are there
	note := func(which string, sector int64, err error) error {
		err = fmt.Errorf("%s table, sectors of %d bytes: %w", which, sector, err)
		if !errors.Is(err, ErrNoTable) {
			errs = append(errs, err)
		}
		return err
	}
	var primary [2]error
	for i, sector := range sectorSizes {
		if t, err = readTable(r, size, sector, 1); err == nil {
			return t, checkBackup(r, size, t), nil
		}
		primary[i] = note("primary", sector, err)
	}
	for i, sector := range sectorSizes {
		if t, err = readTable(r, size, sector, size/sector-1); err == nil {
			return t, fmt.Errorf("%w; the backup is used", primary[i]), nil
		}
		note("backup", sector, err)
	}
	if len(errs) == 0 {
		return nil, nil, ErrNoTable
	}
	return nil, nil, errors.Join(errs...)
}

// checkBackup says what is wrong with the backup of a primary table.
func checkBackup(r io.ReaderAt, size int64, primary *table) error {
	last := size/primary.sector - 1
	if at := primary.header.Alternate; at != uint64(last) {
		return fmt.Errorf("backup table: it is said to be in sector %d and belongs in the last one, %d", at, last)
	}
	backup, err := readTable(r, size, primary.sector, last)
	if err != nil {
		return fmt.Errorf("backup table: %w", err)
	}
	if backup.header.EntriesCRC != primary.header.EntriesCRC || backup.header.Disk != primary.header.Disk {
		return errors.New("backup table: it has other partitions than the primary one")
	}
	return nil
}

// readTable reads and verifies the table whose header is in sector number my.
func readTable(r io.ReaderAt, size, sector, my int64) (*table, error) {
	if my < 1 || my >= size/sector {
		return nil, ErrNoTable
	}
	b := make([]byte, sector)
	if err := readFull(r, b, my*sector); err != nil {
		return nil, err
	}
	if string(b[:8]) != signature {
		return nil, ErrNoTable
	}
	h, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	if h.My != uint64(my) {
		return nil, fmt.Errorf("the header in sector %d says that it is in %d", my, h.My)
	}
	t := &table{sector: sector, header: h, entries: make([]byte, h.Count*h.EntrySize)}
	if h.Entries >= uint64(size/sector) || int64(len(t.entries)) > size-int64(h.Entries)*sector {
		return nil, fmt.Errorf("the entries in sector %d are beyond the end of the disk", h.Entries)
	}
	if err := readFull(r, t.entries, int64(h.Entries)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(t.entries) != h.EntriesCRC {
		return nil, errors.New("the checksum of the entries does not match")
	}
	return t, nil
}

// partitions are the entries in use.
func (t *table) partitions(r io.ReaderAt, size int64) ([]Partition, error) {
	var parts []Partition
	for i := range int(t.header.Count) {
		var e entry
		if _, err := binary.Decode(t.entries[i*int(t.header.EntrySize):], binary.LittleEndian, &e); err != nil {
			return nil, err
		}
		if e.Type.IsZero() {
			continue
		}
		name, sectors := decodeName(e.Name[:]), uint64(size/t.sector)
		if e.First < 1 || e.First > e.Last || e.Last >= sectors {
			return nil, fmt.Errorf("partition %d (%q) has sectors %d to %d, the disk has %d", i+1, name, e.First, e.Last, sectors)
		}
		at, n := int64(e.First)*t.sector, int64(e.Last-e.First+1)*t.sector
		parts = append(parts, Partition{
			Name: name, Type: e.Type, GUID: e.GUID, Attributes: e.Attributes,
			Offset: at, Size: n, Content: sparse.From(r, at, n),
		})
	}
	return parts, nil
}

func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at %d: %w", len(p), at, err)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
