package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxSection bounds each of the sections that are read, in bytes: symbols and
// strings. The largest of a real module, with debug symbols, have a few MiB.
const maxSection = 64 << 20

// elfFile gives access to the sections of a module. It reads ELF itself
// because debug/elf takes memory for all section headers and symbols.
type elfFile struct {
	r        io.ReaderAt
	size     int64
	machine  string
	sections []section
	names    []byte
}

type section struct {
	name         uint32 // offset in names
	offset, size uint64
}

// The sizes of the ELF64 structures, from the System V ABI.
const (
	elfHeaderSize     = 64
	sectionHeaderSize = 64
	symbolSize        = 24
)

var machines = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
}

// openELF reads the header and the section table.
func openELF(r io.ReaderAt, size int64) (*elfFile, error) {
	var h [elfHeaderSize]byte
	if err := readFullAt(r, h[:], 0); err != nil {
		return nil, fmt.Errorf("reading the ELF header: %w", err)
	}
	f := &elfFile{r: r, size: size}
	if err := f.checkHeader(h[:]); err != nil {
		return nil, err
	}
	return f, f.readSections(h[:])
}

func (f *elfFile) checkHeader(h []byte) error {
	le := binary.LittleEndian
	switch {
	case string(h[:4]) != elf.ELFMAG:
		return fmt.Errorf("not a kernel module: it begins with % x, want an ELF file", h[:4])
	case h[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h[elf.EI_DATA] != byte(elf.ELFDATA2LSB):
		return errors.New("not a 64-bit little-endian ELF file")
	case elf.Type(le.Uint16(h[16:])) != elf.ET_REL:
		return fmt.Errorf("not a kernel module: ELF type %v, want %v", elf.Type(le.Uint16(h[16:])), elf.ET_REL)
	}
	machine := elf.Machine(le.Uint16(h[18:]))
	f.machine = machines[machine]
	if f.machine == "" {
		return fmt.Errorf("a module for %v, want x86-64 or arm64", machine)
	}
	return nil
}

// readSections reads the section table and the names in it. A table of more
// than 65279 sections, which ELF describes elsewhere, has count 0 here.
func (f *elfFile) readSections(h []byte) error {
	le := binary.LittleEndian
	offset, entry, count, names := le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:]), le.Uint16(h[62:])
	if entry != sectionHeaderSize || names >= count {
		return fmt.Errorf("an ELF file with %d sections of %d bytes each, names in number %d", count, entry, names)
	}
	table, err := f.read(offset, uint64(count)*sectionHeaderSize)
	if err != nil {
		return fmt.Errorf("reading the section table: %w", err)
	}
	f.sections = make([]section, count)
	for i := range f.sections {
		s := table[i*sectionHeaderSize:]
		f.sections[i] = section{name: le.Uint32(s), offset: le.Uint64(s[24:]), size: le.Uint64(s[32:])}
	}
	if f.names, err = f.content(int(names)); err != nil {
		return fmt.Errorf("reading the section names: %w", err)
	}
	return nil
}

// data returns the content of the first section of that name, nil without one.
func (f *elfFile) data(name string) ([]byte, error) {
	for i, s := range f.sections {
		if i > 0 && hasCString(f.names, s.name, name) {
			return f.content(i)
		}
	}
	return nil, nil
}

func (f *elfFile) content(i int) ([]byte, error) {
	return f.read(f.sections[i].offset, f.sections[i].size)
}

// read returns a part of the file, within its bounds and the limit.
func (f *elfFile) read(offset, size uint64) ([]byte, error) {
	switch {
	case size > maxSection:
		return nil, fmt.Errorf("%d bytes, the limit is %d", size, maxSection)
	case offset > uint64(f.size) || size > uint64(f.size)-offset:
		return nil, fmt.Errorf("%d bytes at offset %d of a file of %d: %w", size, offset, f.size, io.ErrUnexpectedEOF)
	}
	b := make([]byte, size)
	return b, readFullAt(f.r, b, int64(offset))
}

func readFullAt(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// hasCString reports whether the NUL-terminated string at an offset of b is s.
func hasCString(b []byte, offset uint32, s string) bool {
	end := uint64(offset) + uint64(len(s))
	return end < uint64(len(b)) && b[end] == 0 && string(b[offset:end]) == s
}

// splitNUL yields the strings of b that NUL bytes separate, without empty ones.
func splitNUL(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for s := range bytes.SplitSeq(b, []byte{0}) {
			if len(s) > 0 && !yield(s) {
				return
			}
		}
	}
}
