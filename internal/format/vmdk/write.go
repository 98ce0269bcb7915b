package vmdk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Options say what is written. The zero value is fine.
type Options struct {
	// Adapter is the type of the disk controller: lsilogic (the default),
	// buslogic or ide. lsilogic stands for all SCSI controllers but BusLogic's.
	Adapter string

	// Name is the file name of the image in its descriptor, by default
	// disk.vmdk. Programs that import the image do not mind it.
	Name string

	// Label, Name and the size of the disk determine the content ID.
	Label string

	// Level of deflate, from 1 (fastest) to 9 (smallest). 0 is the default, 5.
	Level int

	// Workers is the number of goroutines that compress, by default one for
	// each processor. The image does not depend on it.
	Workers int
}

// defaultLevel is the highest one that is fast on what was compressed before,
// which most of a boot disk is: there level 6 takes 1.6 times as long. On Linux
// programs that one makes images smaller by 1 %, level 1 larger by 11 %.
const defaultLevel = 5

func (o Options) withDefaults() Options {
	if o.Adapter == "" {
		o.Adapter = "lsilogic"
	}
	if o.Name == "" {
		o.Name = "disk.vmdk"
	}
	if o.Level == 0 {
		o.Level = defaultLevel
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

// maxSize is the largest disk in bytes: that of VMware, 62 TiB.
const maxSize = 62 << 40

// Write writes a streamOptimized image of a raw disk, whose size has to be a
// multiple of 512 bytes. The last grain is filled up with zeros.
func Write(ctx context.Context, w io.Writer, raw *sparse.Image, o Options) error {
	if err := write(ctx, w, raw, o.withDefaults()); err != nil {
		return fmt.Errorf("writing a VMDK image: %w", err)
	}
	return nil
}

func write(ctx context.Context, w io.Writer, raw *sparse.Image, o Options) error {
	if size := raw.Size(); size == 0 || size%sectorSize != 0 || size > maxSize {
		return fmt.Errorf("the disk has %d bytes, want a multiple of %d and at most %d", size, sectorSize, int64(maxSize))
	}
	if o.Level < 1 || o.Level > 9 {
		return fmt.Errorf("compression level %d, want 1 to 9", o.Level)
	}
	text, err := descriptor(raw.Size()/sectorSize, o)
	if err != nil {
		return err
	}
	s := newStream(w, raw.Size())
	s.put(s.header(gdAtEnd), text)
	s.put(make([]byte, (overheadSectors-s.sector)*sectorSize))
	for g, err := range compressGrains(ctx, raw, o.Level, o.Workers) {
		if err != nil {
			return err
		}
		if s.grain(g); s.err != nil {
			return s.err
		}
	}
	s.finish()
	return s.err
}

// stream writes the parts of an image one after the other. After an error it
// writes nothing.
type stream struct {
	w       io.Writer
	err     error
	sector  int64 // written
	sectors int64 // of the disk

	directory []byte // sectors of the grain tables
	current   int64  // number of the table
	table     []byte // sectors of its grains
	used      bool   // it is not empty
}

func newStream(w io.Writer, size int64) *stream {
	tables := ceilDiv(size, tableEntries*grainSize)
	return &stream{w: w, sectors: size / sectorSize, directory: make([]byte, tables*4), table: make([]byte, tableSize)}
}

// put writes whole sectors.
func (s *stream) put(parts ...[]byte) {
	for _, b := range parts {
		if s.err == nil {
			_, s.err = s.w.Write(b)
		}
		s.sector += int64(len(b) / sectorSize)
	}
}

// entry notes in a table that something begins at the current sector. There
// are 32 bits for it, which is 2 TiB.
func (s *stream) entry(table []byte, index int64) {
	if s.sector > 1<<32-1 && s.err == nil {
		s.err = errors.New("the image is larger than 2 TiB, which the format cannot hold")
	}
	binary.LittleEndian.PutUint32(table[index*4:], uint32(s.sector))
}

// grain writes the next grain, if it is not of zeros.
func (s *stream) grain(g *packed) {
	if len(g.data) == 0 {
		return
	}
	if table := g.number / tableEntries; table != s.current {
		s.endTable()
		s.current = table
	}
	s.entry(s.table, g.number%tableEntries)
	s.used = true
	s.put(g.data)
}

// endTable writes the current grain table behind its grains, if it has any.
func (s *stream) endTable() {
	if !s.used {
		return
	}
	s.put(encode(marker{Value: tableSize / sectorSize, Type: markerTable}))
	s.entry(s.directory, s.current)
	s.put(s.table)
	clear(s.table)
	s.used = false
}

// finish writes what follows the grains.
func (s *stream) finish() {
	s.endTable()
	directory := padSector(s.directory)
	s.put(encode(marker{Value: uint64(len(directory) / sectorSize), Type: markerDirectory}))
	at := s.sector
	s.put(directory)
	s.put(encode(marker{Value: 1, Type: markerFooter}), s.header(uint64(at)), encode(marker{Type: markerEnd}))
}

// header is that at the start or in the footer, by where it says the directory is.
func (s *stream) header(directory uint64) []byte {
	return encode(header{
		Magic:             [4]byte([]byte(magic)),
		Version:           3,
		Flags:             flagNewlines | flagCompressed | flagMarkers,
		Capacity:          uint64(s.sectors),
		GrainSectors:      grainSectors,
		DescriptorSector:  descriptorSector,
		DescriptorSectors: descriptorSectors,
		TableEntries:      tableEntries,
		Directory:         directory,
		Overhead:          overheadSectors,
		Newlines:          [4]byte([]byte(newlines)),
		Compression:       compressionDeflate,
	})
}

func encode(structure any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, structure)
	if err != nil {
		panic(err) // the structures have fixed sizes
	}
	return b
}
