package vmdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	minGrain = 4 << 10 // bytes
	maxGrain = 4 << 20 // bytes

	maxDescriptor = 1 << 20 // bytes

	// maxTables bounds the grain directory: the largest disk in tables of the
	// usual size.
	maxTables = maxSize / (tableEntries * grainSize)

	// maxRuns bounds the memory for the map of an image, about 100 bytes for
	// each run of grains.
	maxRuns = 2 << 20
)

// NewReader maps an image of size bytes to its raw disk. Grains that are not
// compressed are extents of r itself. It reads all grain tables; the grains are
// read with the disk, and damaged ones are found then.
func NewReader(r io.ReaderAt, size int64) (*sparse.Image, error) {
	rd := &reader{src: r, size: size}
	if err := rd.read(); err != nil {
		return nil, fmt.Errorf("reading a VMDK image: %w", err)
	}
	return rd.disk, nil
}

// reader builds the map of an image.
type reader struct {
	src    io.ReaderAt
	size   int64
	header header
	grain  int64 // bytes
	decode *decoder

	disk *sparse.Image
	run  mapping // that may still grow
	runs int
}

// mapping says where a run of bytes of the disk is found.
type mapping struct {
	guest, host, size int64
	packed            []uint32 // sectors of compressed grains; host is nothing then
}

func (r *reader) read() error {
	if err := r.readHeader(); err != nil {
		return err
	}
	if err := r.readDescriptor(); err != nil {
		return err
	}
	directory, err := r.readDirectory()
	if err != nil {
		return err
	}
	seen := map[uint32]bool{}
	for i := range int64(len(directory) / 4) {
		sector := binary.LittleEndian.Uint32(directory[i*4:])
		if sector == 0 {
			continue
		}
		if seen[sector] { // else a small file could describe a very large map
			return fmt.Errorf("two entries of the grain directory point to sector %d", sector)
		}
		seen[sector] = true
		if err := r.readTable(i, sector); err != nil {
			return err
		}
	}
	return r.flush()
}

// readHeader checks that this package can read the image.
func (r *reader) readHeader() error {
	start, err := r.readAt(0, min(r.size, sectorSize))
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(start), "# Disk DescriptorFile") {
		return errors.New("the file only describes an image of several files, which is not supported")
	}
	if len(start) < sectorSize || string(start[:len(magic)]) != magic {
		return errors.New("the file does not begin with a VMDK header")
	}
	h := &r.header
	if _, err := binary.Decode(start, binary.LittleEndian, h); err != nil {
		return err
	}
	return r.checkHeader()
}

func (r *reader) checkHeader() error {
	h := &r.header
	r.grain = int64(min(h.GrainSectors, maxGrain) * sectorSize)
	switch compressed := h.Flags&flagCompressed != 0; {
	case h.Version < 1 || h.Version > 3:
		return fmt.Errorf("version %d, want 1 to 3", h.Version)
	case h.Flags&flagNewlines != 0 && string(h.Newlines[:]) != newlines:
		return errors.New("the file was damaged by a transfer as text")
	case h.Capacity > maxSize/sectorSize:
		return fmt.Errorf("a disk of %d sectors, the limit is %d", h.Capacity, int64(maxSize/sectorSize))
	case r.grain < minGrain || r.grain > maxGrain || r.grain&(r.grain-1) != 0:
		return fmt.Errorf("grains of %d sectors, want a power of two from %d to %d", h.GrainSectors, minGrain/sectorSize, maxGrain/sectorSize)
	case h.TableEntries < 1 || h.TableEntries > tableEntries:
		return fmt.Errorf("grain tables of %d entries, want 1 to %d", h.TableEntries, tableEntries)
	case compressed && (h.Compression != compressionDeflate || h.Flags&flagMarkers == 0):
		return fmt.Errorf("grains compressed by method %d, flags %#x: want deflate and markers", h.Compression, h.Flags)
	case compressed:
		r.decode = newDecoder(r.src, r.size, r.grain)
	}
	r.disk = sparse.New(int64(h.Capacity * sectorSize))
	return nil
}

func (r *reader) readDescriptor() error {
	h := &r.header
	if h.DescriptorSector == 0 {
		return errors.New("the file is one of several of an image, which is not supported")
	}
	b, err := r.readSectors(h.DescriptorSector, int64(min(h.DescriptorSectors, maxDescriptor/sectorSize))*sectorSize)
	if err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	text, _, _ := strings.Cut(string(b), "\x00")
	return checkDescriptor(text)
}

// readDirectory reads as much of the grain directory as the disk needs.
func (r *reader) readDirectory() ([]byte, error) {
	sector := r.header.Directory
	if sector == gdAtEnd {
		footer, err := r.readAt(r.size-2*sectorSize, sectorSize) // before the end marker
		if err != nil {
			return nil, fmt.Errorf("footer: %w", err)
		}
		var h header
		if _, err := binary.Decode(footer, binary.LittleEndian, &h); err != nil || string(h.Magic[:]) != magic {
			return nil, errors.New("the image has no footer: it is not complete")
		}
		sector = h.Directory
	}
	tables := ceilDiv(r.disk.Size(), r.grain*int64(r.header.TableEntries))
	if tables > maxTables {
		return nil, fmt.Errorf("the disk has %d grain tables, the limit is %d", tables, maxTables)
	}
	b, err := r.readSectors(sector, tables*4)
	if err != nil {
		return nil, fmt.Errorf("grain directory: %w", err)
	}
	return b, nil
}

// readTable maps the grains of one grain table.
func (r *reader) readTable(index int64, sector uint32) error {
	entries := int64(r.header.TableEntries)
	table, err := r.readSectors(uint64(sector), entries*4)
	if err != nil {
		return fmt.Errorf("grain table: %w", err)
	}
	guest := index * entries * r.grain
	for i := 0; i < len(table) && guest < r.disk.Size(); i += 4 {
		if err := r.mapGrain(guest, binary.LittleEndian.Uint32(table[i:])); err != nil {
			return err
		}
		guest += r.grain
	}
	return nil
}

// mapGrain adds what an entry of a grain table says about the grain at an
// offset of the disk.
func (r *reader) mapGrain(guest int64, sector uint32) error {
	host, m := int64(sector)*sectorSize, &r.run
	switch {
	case sector == 0, sector == 1 && r.header.Flags&flagZeroGrains != 0:
		return nil
	case host >= r.size:
		return fmt.Errorf("the grain for offset %d of the disk is at sector %d, outside the file", guest, sector)
	case m.guest+m.size != guest || m.size == 0:
		return r.begin(guest, sector)
	case r.decode != nil:
		m.packed = append(m.packed, sector)
	case m.host+m.size != host:
		return r.begin(guest, sector)
	}
	m.size += r.grain
	return nil
}

// begin ends the current run and begins another.
func (r *reader) begin(guest int64, sector uint32) error {
	if r.runs++; r.runs > maxRuns {
		return fmt.Errorf("the disk is scattered over more than %d places", maxRuns)
	}
	err := r.flush()
	r.run = mapping{guest: guest, host: int64(sector) * sectorSize, size: r.grain}
	if r.decode != nil {
		r.run.packed = []uint32{sector}
	}
	return err
}

// flush adds the current run to the disk. The last grain may end before its
// size does: that of the disk at its end, that of the file with zeros.
func (r *reader) flush() error {
	m := r.run
	n := min(m.size, r.disk.Size()-m.guest)
	if m.packed != nil {
		r.disk.Add(m.guest, sparse.From(&packedRun{r.decode, m.guest, m.packed}, 0, n))
		return nil
	}
	r.disk.Add(m.guest, sparse.From(r.src, m.host, min(n, r.size-m.host)))
	return nil
}

func (r *reader) readSectors(sector uint64, n int64) ([]byte, error) {
	if sector > uint64(r.size/sectorSize) {
		return nil, fmt.Errorf("sector %d lies outside the file of %d bytes", sector, r.size)
	}
	return r.readAt(int64(sector)*sectorSize, n)
}

// readAt reads n bytes that lie within the file.
func (r *reader) readAt(at, n int64) ([]byte, error) {
	if at < 0 || at > r.size-n {
		return nil, fmt.Errorf("%d bytes at %d lie outside the file of %d", n, at, r.size)
	}
	b := make([]byte, n)
	if k, err := r.src.ReadAt(b, at); k < len(b) {
		return nil, noEOF(err)
	}
	return b, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
