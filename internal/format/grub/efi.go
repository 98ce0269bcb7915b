package grub

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
)

// page is what sections of the program are aligned to, in memory and in the
// file, which are laid out alike.
const page = 0x1000

// EFI returns GRUB as a program for UEFI firmware, for the architecture amd64
// or arm64, from the files of x86_64-efi or arm64-efi. It is not signed, and has
// none of what shim asks for (.sbat): firmware with Secure Boot refuses it.
func EFI(files fs.FS, arch string, o Options) ([]byte, error) {
	p, machine, err := efiPlatform(files, arch)
	if err != nil {
		return nil, err
	}
	data, err := p.read("kernel.img")
	if err != nil {
		return nil, err
	}
	kernel, err := link(data, machine)
	if err != nil {
		return nil, fmt.Errorf("linking GRUB's file kernel.img for %s: %w", p.name, err)
	}
	modules, err := p.objects(o, 8)
	if err != nil {
		return nil, err
	}
	return kernel.program(modules), nil
}

func efiPlatform(files fs.FS, arch string) (platform, elf.Machine, error) {
	switch arch {
	case "amd64":
		return platform{files, "x86_64-efi", "grub-efi-amd64-bin"}, elf.EM_X86_64, nil
	case "arm64":
		return platform{files, "arm64-efi", "grub-efi-arm64-bin"}, elf.EM_AARCH64, nil
	}
	return platform{}, 0, fmt.Errorf("assembling GRUB for UEFI: the architecture is %q, want amd64 or arm64", arch)
}

// program writes the PE file: headers, the kernel's code and data, the modules
// in a section of the name by which the kernel finds them, and fixups.
func (l *linked) program(modules []byte) []byte {
	fixups := l.fixupTable()
	var sections []pe.SectionHeader32
	at := uint32(page)
	for _, s := range []struct {
		name            string
		size            int
		characteristics uint32
	}{
		{".text", l.code, pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_EXECUTE | pe.IMAGE_SCN_MEM_READ},
		{".data", len(l.memory) - l.code, pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ | pe.IMAGE_SCN_MEM_WRITE},
		{"mods", len(modules), pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ | pe.IMAGE_SCN_MEM_WRITE},
		{".reloc", len(fixups), pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_DISCARDABLE | pe.IMAGE_SCN_MEM_READ},
	} {
		size := uint32(align(s.size, page))
		h := pe.SectionHeader32{VirtualSize: size, VirtualAddress: at, SizeOfRawData: size, PointerToRawData: at, Characteristics: s.characteristics}
		copy(h.Name[:], s.name)
		sections = append(sections, h)
		at += size
	}
	var b bytes.Buffer
	l.writeHeaders(&b, sections)
	for _, content := range [][]byte{nil, l.memory, modules, fixups} {
		b.Write(content)
		b.Write(make([]byte, align(b.Len(), page)-b.Len()))
	}
	return b.Bytes()
}

const (
	peOffset  = 0x80
	dosOffset = 0x3c // of the field that has it

	// The time is that of every PE file by grub-mkimage: 1 January 2015.
	timeStamp = 1420070400

	stackAndHeap = 0x10000
	efiProgram   = 10 // the subsystem
	relocations  = 5  // of the data directories
)

// writeHeaders writes all before the first section. Writing to memory does not fail.
func (l *linked) writeHeaders(b *bytes.Buffer, sections []pe.SectionHeader32) {
	dos := make([]byte, peOffset)
	copy(dos, "MZ")
	dos[dosOffset] = peOffset
	b.Write(dos)
	b.WriteString("PE\x00\x00")
	text, mods, reloc := sections[0], sections[2], sections[3]
	optional := pe.OptionalHeader64{
		Magic:                 0x20b,
		SizeOfCode:            text.VirtualSize,
		SizeOfInitializedData: mods.VirtualAddress + mods.VirtualSize - text.VirtualAddress - text.VirtualSize,
		AddressOfEntryPoint:   l.entry,
		BaseOfCode:            text.VirtualAddress,
		SectionAlignment:      page,
		FileAlignment:         page,
		SizeOfImage:           reloc.VirtualAddress + reloc.VirtualSize,
		SizeOfHeaders:         page,
		Subsystem:             efiProgram,
		SizeOfStackReserve:    stackAndHeap,
		SizeOfStackCommit:     stackAndHeap,
		SizeOfHeapReserve:     stackAndHeap,
		SizeOfHeapCommit:      stackAndHeap,
		NumberOfRvaAndSizes:   16,
	}
	optional.DataDirectory[relocations] = pe.DataDirectory{VirtualAddress: reloc.VirtualAddress, Size: reloc.VirtualSize}
	for _, part := range []any{pe.FileHeader{
		Machine:              l.machine(),
		NumberOfSections:     uint16(len(sections)),
		TimeDateStamp:        timeStamp,
		SizeOfOptionalHeader: uint16(binary.Size(optional)),
		Characteristics:      pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LINE_NUMS_STRIPPED | pe.IMAGE_FILE_LOCAL_SYMS_STRIPPED | pe.IMAGE_FILE_DEBUG_STRIPPED,
	}, optional, sections} {
		_ = binary.Write(b, binary.LittleEndian, part)
	}
}

func (l *linked) machine() uint16 {
	if l.elf == elf.EM_AARCH64 {
		return pe.IMAGE_FILE_MACHINE_ARM64
	}
	return pe.IMAGE_FILE_MACHINE_AMD64
}

// fixupTable lists the addresses of 64-bit pointers in blocks, one for each
// page: its address and the size of the block, then 16 bits for each pointer, the
// kind above the offset. Kind 0 fills up a block, and the last one fills the
// section: a block without a size would have the firmware go on for ever.
func (l *linked) fixupTable() []byte {
	const pointer64 = 10 << 12
	slices.Sort(l.fixups)
	var table []byte
	for i := 0; i < len(l.fixups); {
		base := l.fixups[i] &^ (page - 1)
		block := binary.LittleEndian.AppendUint32(nil, base)
		block = binary.LittleEndian.AppendUint32(block, 0)
		for ; i < len(l.fixups) && l.fixups[i]-base < page; i++ {
			block = binary.LittleEndian.AppendUint16(block, uint16(pointer64|(l.fixups[i]-base)))
		}
		size := align(len(block), 8)
		if i == len(l.fixups) {
			size = align(len(table)+size, page) - len(table)
		}
		block = append(block, make([]byte, size-len(block))...)
		binary.LittleEndian.PutUint32(block[4:], uint32(size))
		table = append(table, block...)
	}
	return table
}
