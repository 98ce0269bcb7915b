package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// linked is a relocatable ELF file laid out from the address page on.
type linked struct {
	elf    elf.Machine
	memory []byte   // from the address page on; whole pages
	code   int      // size of the part that is executed, whole pages
	entry  uint32   // address of _start
	fixups []uint32 // addresses of pointers, which move with the program
}

type linker struct {
	*linked
	file     *elf.File
	sections map[int]uint64 // address of each section that is in memory
	symbols  []elf.Symbol   // without the first of the file, which is empty
}

// link lays out a relocatable file: code, data, zeros.
func link(data []byte, machine elf.Machine) (*linked, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if f.Type != elf.ET_REL || f.Machine != machine || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("it is an ELF file of type %v for %v, want a relocatable one for %v", f.Type, f.Machine, machine)
	}
	l := &linker{&linked{elf: machine}, f, map[int]uint64{}, nil}
	if l.symbols, err = f.Symbols(); err != nil {
		return nil, fmt.Errorf("reading the symbols: %w", err)
	}
	if err := l.layOut(); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_RELA {
			if err := l.relocateSection(s); err != nil {
				return nil, fmt.Errorf("section %s: %w", s.Name, err)
			}
		}
	}
	return l.linked, l.findEntry()
}

func isCode(s *elf.Section) bool { return s.Flags&elf.SHF_EXECINSTR != 0 }
func isZero(s *elf.Section) bool { return s.Type == elf.SHT_NOBITS }

// layOut gives every section its address.
func (l *linker) layOut() error {
	kinds := []func(*elf.Section) bool{
		isCode,
		func(s *elf.Section) bool { return !isCode(s) && !isZero(s) },
		func(s *elf.Section) bool { return !isCode(s) && isZero(s) },
	}
	for i, kind := range kinds {
		for index, s := range l.file.Sections {
			if s.Flags&elf.SHF_ALLOC != 0 && kind(s) {
				if err := l.place(index, s); err != nil {
					return fmt.Errorf("section %s: %w", s.Name, err)
				}
			}
		}
		if i == 0 {
			l.pad(page)
			l.code = len(l.memory)
		}
	}
	l.pad(page)
	return nil
}

func (l *linker) pad(to int) {
	l.memory = append(l.memory, make([]byte, align(len(l.memory), to)-len(l.memory))...)
}

func (l *linker) place(index int, s *elf.Section) error {
	if s.Size > maxFile || len(l.memory) > maxFile || s.Addralign > page || s.Addralign&(s.Addralign-1) != 0 {
		return fmt.Errorf("it has %d bytes and is aligned to %d", s.Size, s.Addralign)
	}
	content := make([]byte, s.Size)
	if !isZero(s) {
		var err error
		if content, err = s.Data(); err != nil {
			return err
		}
	}
	l.pad(int(max(1, s.Addralign)))
	l.sections[index] = uint64(page + len(l.memory))
	l.memory = append(l.memory, content...)
	return nil
}

func (l *linker) findEntry() error {
	for i, s := range l.symbols {
		if s.Name == "_start" {
			address, err := l.address(uint32(i + 1))
			l.entry = uint32(address)
			return err
		}
	}
	return errors.New("it has no symbol _start")
}

// address of a symbol, by its number in the file.
func (l *linker) address(number uint32) (uint64, error) {
	if number == 0 || uint64(number) > uint64(len(l.symbols)) {
		return 0, fmt.Errorf("there is no symbol %d", number)
	}
	s := l.symbols[number-1]
	section, ok := l.sections[int(s.Section)]
	if !ok {
		return 0, fmt.Errorf("the symbol %q is not in a section that is loaded", s.Name)
	}
	return section + s.Value, nil
}

// relocateSection works through a table of Elf64_Rela for a section in memory.
func (l *linker) relocateSection(table *elf.Section) error {
	base, loaded := l.sections[int(table.Info)]
	if !loaded {
		return nil
	}
	const size = 24
	data, err := table.Data()
	if err != nil {
		return err
	}
	end := base + l.file.Sections[table.Info].Size
	for ; len(data) >= size; data = data[size:] {
		offset, info := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
		if offset >= end-base {
			return fmt.Errorf("a relocation is for the offset %#x, beyond the section", offset)
		}
		symbol, err := l.address(elf.R_SYM64(info))
		if err != nil {
			return err
		}
		r := relocation{place: base + offset, target: symbol + binary.LittleEndian.Uint64(data[16:])}
		if err := l.relocate(elf.R_TYPE64(info), r); err != nil {
			return err
		}
	}
	return nil
}

// relocation has the addresses where something is to be filled in and of what;
// the psABIs of both processors call them P and S+A.
type relocation struct{ place, target uint64 }

// relocate knows what GRUB's kernel is built with: large code model, no GOT.
func (l *linker) relocate(kind uint32, r relocation) error {
	if l.elf == elf.EM_AARCH64 {
		return l.relocateARM64(elf.R_AARCH64(kind), r)
	}
	switch k := elf.R_X86_64(kind); k {
	case elf.R_X86_64_64:
		return l.pointer(r)
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		b, err := l.at(r.place, 4)
		if err == nil {
			binary.LittleEndian.PutUint32(b, uint32(r.target-r.place))
		}
		return err
	default:
		return fmt.Errorf("relocations of type %v are not known", k)
	}
}

func (l *linker) relocateARM64(kind elf.R_AARCH64, r relocation) error {
	low := uint32(r.target & (page - 1))
	switch kind {
	case elf.R_AARCH64_ABS64:
		return l.pointer(r)
	case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		return l.instruction(r, 1<<26-1, uint32((r.target-r.place)>>2))
	case elf.R_AARCH64_ADD_ABS_LO12_NC:
		return l.instruction(r, 0xfff<<10, low<<10)
	case elf.R_AARCH64_LDST64_ABS_LO12_NC:
		return l.instruction(r, 0xfff<<10, low>>3<<10)
	case elf.R_AARCH64_ADR_PREL_PG_HI21:
		pages := uint32(r.target/page - r.place/page)
		return l.instruction(r, 3<<29|(1<<19-1)<<5, pages&3<<29|pages>>2<<5)
	}
	return fmt.Errorf("relocations of type %v are not known", kind)
}

// pointer fills in an address, which the firmware corrects by where the program is.
func (l *linker) pointer(r relocation) error {
	b, err := l.at(r.place, 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, r.target)
		l.fixups = append(l.fixups, uint32(r.place))
	}
	return err
}

// instruction fills in the bits of a mask.
func (l *linker) instruction(r relocation, mask, bits uint32) error {
	b, err := l.at(r.place, 4)
	if err == nil {
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)&^mask|bits&mask)
	}
	return err
}

func (l *linker) at(address uint64, size int) ([]byte, error) {
	if address < page || address-page > uint64(len(l.memory)-size) || len(l.memory) < size {
		return nil, fmt.Errorf("a relocation is for the address %#x", address)
	}
	return l.memory[address-page:][:size], nil
}
