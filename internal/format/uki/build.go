package uki

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Characteristics of sections that are added.
const (
	sectionCode    = 0x00000020
	sectionData    = 0x00000040
	sectionExecute = 0x20000000
	sectionRead    = 0x40000000
)

// page is what the addresses of added sections are a multiple of, in bytes.
// Stubs may ask for less, which would have two sections on one page.
const page = 4096

// Build returns the stub with sections added, in their order. Names may come
// more than once, as profiles need it, but none that the stub itself has:
// systemd-stub would use that one. An empty section is an error, as
// systemd-stub takes it for absent.
//
// Whatever follows the stub's last section, its certificates and its symbols,
// is left out, and the room for the section table grows as it must.
func Build(stub *sparse.Image, sections []Section) (*sparse.Image, error) {
	h, err := readHeader(stub, stub.Size())
	if err != nil {
		return nil, fmt.Errorf("reading the UKI stub: %w", err)
	}
	if err := h.canGrow(); err != nil {
		return nil, fmt.Errorf("adding sections to the UKI stub: %w", err)
	}
	if err := h.checkAdded(sections); err != nil {
		return nil, fmt.Errorf("building the UKI: %w", err)
	}
	m, err := h.build(stub, sections)
	if err != nil {
		return nil, fmt.Errorf("building the UKI: %w", err)
	}
	return m, nil
}

// canGrow looks whether sections can be added behind those that are there.
func (h *header) canGrow() error {
	if !powerOfTwo(h.fileAlign) || !powerOfTwo(h.sectionAlign) || h.fileAlign < 512 || h.fileAlign > 1<<16 || h.sectionAlign < h.fileAlign || h.sectionAlign > 1<<21 {
		return fmt.Errorf("its alignment is %d bytes in the file and %d in memory", h.fileAlign, h.sectionAlign)
	}
	sorted := h.byOffset()
	if len(sorted) == 0 {
		return errors.New("it has no sections")
	}
	for i, s := range sorted[:len(sorted)-1] {
		if next := sorted[i+1]; alignUp(s.fileEnd(), int64(h.fileAlign)) != int64(next.RawOffset) {
			return fmt.Errorf("its section %s is not followed by %s but by a gap or an overlap", s.name(), next.name())
		}
	}
	return nil
}

func powerOfTwo(n uint32) bool { return n != 0 && n&(n-1) == 0 }

// checkAdded looks at the sections that are to be added.
func (h *header) checkAdded(sections []Section) error {
	own := map[string]bool{}
	for _, s := range h.sections {
		own[s.name()] = true
	}
	if n := len(h.sections) + len(sections); n > maxSections {
		return fmt.Errorf("%d sections are too many; %d are the limit", n, maxSections)
	}
	for _, s := range sections {
		switch {
		case len(s.Name) < 2 || len(s.Name) > 8 || s.Name[0] != '.':
			return fmt.Errorf("%q is no name of a section: a dot and one to seven letters are", s.Name)
		case own[s.Name]:
			return fmt.Errorf("the stub has a section %s of its own", s.Name)
		case s.Content.Size() == 0:
			return fmt.Errorf("the section %s is empty", s.Name)
		}
	}
	return nil
}

// build lays out the new file: the headers, the stub's sections, the added
// ones.
func (h *header) build(stub *sparse.Image, sections []Section) (*sparse.Image, error) {
	own := sparse.Extent{Offset: int64(h.byOffset()[0].RawOffset)}
	own.Size = h.contentEnd() - own.Offset
	if err := h.growHeaders(len(sections)); err != nil {
		return nil, err
	}
	h.closeGaps()
	stubs := len(h.sections)
	for _, s := range sections {
		if err := h.add(s); err != nil {
			return nil, err
		}
	}
	m := sparse.New(h.contentEnd())
	m.Put(0, h.encode())
	m.Add(int64(h.sizeOfHeaders), stub.Section(own.Offset, own.Size))
	for i, s := range sections {
		m.Add(int64(h.sections[stubs+i].RawOffset), s.Content)
	}
	return m, nil
}

// growHeaders makes room for n more entries of the section table. The headers
// are loaded to address 0, so that they can grow up to the first section; in
// the file, the stub's sections move back.
func (h *header) growHeaders(n int) error {
	need := max(int64(len(h.raw)+n*sectionSize), int64(h.sizeOfHeaders))
	need = alignUp(need, int64(h.fileAlign))
	for _, s := range h.sections {
		if int64(s.VirtualAddress) < need {
			return fmt.Errorf("the stub has no room for %d more sections: its headers would be of %d bytes, and %s is at address %d", n, need, s.name(), s.VirtualAddress)
		}
	}
	delta := uint32(need) - h.byOffset()[0].RawOffset // may be negative, and wrap
	if _, size := h.directory(debugAt); size > 0 && delta != 0 {
		return errors.New("the stub has no room for its section table to grow, and debugging information, which tells offsets in the file, so that it cannot be moved")
	}
	for i := range h.sections {
		if h.sections[i].RawSize > 0 {
			h.sections[i].RawOffset += delta
		}
	}
	h.sizeOfHeaders = uint32(need)
	return nil
}

// closeGaps lets each of the stub's sections end where the next one begins, or
// at a multiple of the alignment. Some linkers leave the padding out of the
// sizes, and what is in no section is hashed differently by different programs.
func (h *header) closeGaps() {
	for i, s := range h.sections {
		h.sections[i].RawSize = uint32(alignUp(int64(s.RawSize), int64(h.fileAlign)))
	}
}

// add appends an entry to the section table, and chooses the place of its
// section: behind all others, in the file and in memory.
func (h *header) add(s Section) error {
	address := int64(0)
	for _, other := range h.sections {
		address = max(address, other.memoryEnd())
	}
	address = alignUp(address, max(int64(h.sectionAlign), page))
	offset, size := h.contentEnd(), s.Content.Size()
	if limit := int64(1)<<32 - int64(h.sectionAlign); size > limit-address || size > limit-offset {
		return fmt.Errorf("section %s of %d bytes makes it larger than the 4 GiB that a PE file can have", s.Name, size)
	}
	e := sectionHeader{
		VirtualSize:     uint32(size),
		VirtualAddress:  uint32(address),
		RawSize:         uint32(alignUp(size, int64(h.fileAlign))),
		RawOffset:       uint32(offset),
		Characteristics: sectionData | sectionRead,
	}
	sum := sizeOfDataAt
	if s.Name == ".linux" { // old stubs run the kernel where it is
		e.Characteristics = sectionCode | sectionExecute | sectionRead
		sum = sizeOfCodeAt
	}
	h.setField(sum, h.field(sum)+e.RawSize)
	copy(e.Name[:], s.Name)
	h.sections = append(h.sections, e)
	return nil
}

// encode returns the headers as they are in the file.
func (h *header) encode() []byte {
	memory := int64(0)
	for _, s := range h.sections {
		memory = max(memory, s.memoryEnd())
	}
	h.setField(sizeOfImageAt, uint32(alignUp(memory, int64(h.sectionAlign))))
	h.setField(sizeOfHeadersAt, h.sizeOfHeaders)
	h.setField(checksumAt, 0)
	if h.hasDirectory(certificatesAt) {
		h.setField(certificatesAt, 0)
		h.setField(certificatesAt+4, 0)
	}
	b := append(make([]byte, 0, h.sizeOfHeaders), h.raw[:h.table]...)
	coff := b[h.coff:]
	binary.LittleEndian.PutUint16(coff[6:], uint16(len(h.sections)))
	clear(coff[12:20]) // where the symbols were, and their number
	for _, s := range h.sections {
		b, _ = binary.Append(b, binary.LittleEndian, s) // fails for types only
	}
	return b
}
