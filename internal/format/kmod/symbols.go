package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	crcPrefix = "__crc_"

	// An entry of __versions is a checksum of 8 bytes and a name of 56.
	versionSize = 64
	versionName = 8
)

// elfSymbol is an entry of the symbol table with its name still in the table of
// strings, because most of the names are not needed.
type elfSymbol struct {
	name    []byte
	info    byte
	section uint16
	value   uint64
}

// readSymbols finds the exported and the needed symbols, in the order in which
// kmod does (libkmod-elf.c).
func (f *elfFile) readSymbols(info *Info) error {
	symbols, err := f.symbolTable()
	if err != nil {
		return fmt.Errorf("reading the symbol table: %w", err)
	}
	if info.Exports, err = f.exports(symbols); err != nil {
		return fmt.Errorf("reading the exported symbols: %w", err)
	}
	if info.Needs, err = f.needs(symbols); err != nil {
		return fmt.Errorf("reading the needed symbols: %w", err)
	}
	return nil
}

func (f *elfFile) symbolTable() ([]elfSymbol, error) {
	table, err := f.data(".symtab")
	if err != nil {
		return nil, err
	}
	names, err := f.data(".strtab")
	if err != nil {
		return nil, err
	}
	if len(table)%symbolSize != 0 {
		return nil, fmt.Errorf("%d bytes, want a multiple of %d", len(table), symbolSize)
	}
	var symbols []elfSymbol
	for i := symbolSize; i < len(table); i += symbolSize { // the first is empty
		s, err := decodeSymbol(table[i:], names)
		if err != nil {
			return nil, err
		}
		if s.section == uint16(elf.SHN_UNDEF) || bytes.HasPrefix(s.name, []byte(crcPrefix)) {
			symbols = append(symbols, s)
		}
	}
	return symbols, nil
}

func decodeSymbol(b, names []byte) (elfSymbol, error) {
	le := binary.LittleEndian
	offset := le.Uint32(b)
	if uint64(offset) >= uint64(len(names)) {
		return elfSymbol{}, fmt.Errorf("a symbol has its name at offset %d of %d bytes", offset, len(names))
	}
	name, _, _ := bytes.Cut(names[offset:], []byte{0})
	return elfSymbol{name: name, info: b[4], section: le.Uint16(b[6:]), value: le.Uint64(b[8:])}, nil
}

// exports returns the symbols that have a checksum, in a kernel without
// checksums the names in __ksymtab_strings.
func (f *elfFile) exports(symbols []elfSymbol) ([]Symbol, error) {
	var exports []Symbol
	table := crcTable{file: f}
	for _, s := range symbols {
		name, ok := bytes.CutPrefix(s.name, []byte(crcPrefix))
		if !ok {
			continue
		}
		crc, err := table.crc(s)
		if err != nil {
			return nil, err
		}
		exports = append(exports, Symbol{Name: string(name), CRC: crc})
	}
	if exports != nil {
		return exports, nil
	}
	names, err := f.data("__ksymtab_strings")
	for name := range splitNUL(names) {
		exports = append(exports, Symbol{Name: string(name)})
	}
	return exports, err
}

// crcTable reads checksums. It keeps the section that the first of them is in,
// as a rule that of all; others are read one by one, because a hostile file can
// have very many.
type crcTable struct {
	file    *elfFile
	section uint16
	content []byte
}

// crc returns the checksum that belongs to a __crc_ symbol: its value, or the
// four bytes in the section where it points.
func (t *crcTable) crc(s elfSymbol) (uint32, error) {
	switch elf.SectionIndex(s.section) {
	case elf.SHN_UNDEF, elf.SHN_ABS:
		return uint32(s.value), nil
	}
	if int(s.section) >= len(t.file.sections) {
		return 0, fmt.Errorf("%s is in section %d of %d", s.name, s.section, len(t.file.sections))
	}
	in := t.file.sections[s.section]
	if in.size < 4 || s.value > in.size-4 {
		return 0, fmt.Errorf("%s is at offset %d of a section of %d bytes", s.name, s.value, in.size)
	}
	if t.content == nil {
		var err error
		t.section = s.section
		if t.content, err = t.file.content(int(s.section)); err != nil {
			return 0, err
		}
	}
	if s.section == t.section {
		return binary.LittleEndian.Uint32(t.content[s.value:]), nil
	}
	b, err := t.file.read(in.offset+s.value, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// needs returns the undefined symbols, then what else __versions lists: that is
// module_layout, which no instruction mentions.
func (f *elfFile) needs(symbols []elfSymbol) ([]Symbol, error) {
	versions, err := f.versions()
	if err != nil {
		return nil, err
	}
	var needs []Symbol
	crcs := map[string]uint32{}
	for _, v := range versions {
		crcs[v.Name] = v.CRC
	}
	seen := map[string]bool{}
	for _, s := range symbols {
		name := string(s.name)
		if s.section != uint16(elf.SHN_UNDEF) || name == "" || seen[name] {
			continue
		}
		seen[name] = true
		weak := elf.ST_BIND(s.info) == elf.STB_WEAK
		needs = append(needs, Symbol{Name: name, CRC: crcs[name], Weak: weak})
	}
	for _, v := range versions {
		if !seen[v.Name] {
			seen[v.Name] = true
			needs = append(needs, v)
		}
	}
	return needs, nil
}

func (f *elfFile) versions() ([]Symbol, error) {
	b, err := f.data("__versions")
	if err != nil {
		return nil, err
	}
	if len(b)%versionSize != 0 {
		return nil, errors.New("__versions is not a sequence of entries of 64 bytes")
	}
	versions := make([]Symbol, 0, len(b)/versionSize)
	for ; len(b) > 0; b = b[versionSize:] {
		name, _, _ := bytes.Cut(b[versionName:versionSize], []byte{0})
		versions = append(versions, Symbol{Name: string(name), CRC: binary.LittleEndian.Uint32(b)})
	}
	return versions, nil
}
