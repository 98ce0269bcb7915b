package check

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "bpf": elf.EM_BPF}

// elfFile makes the smallest ELF file with the attributes: interp=PATH and
// needed=NAME of a program; vermagic=RELEASE and "signed" of a module;
// "damaged" of either.
func elfFile(arch string, attrs []string, module bool) []byte {
	b := elfBuilder{typ: elf.ET_DYN, machine: machines[arch], strings: []byte{0}}
	signature := ""
	for _, a := range attrs {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "interp":
			b.interp = value + "\x00"
		case "needed":
			b.needed = append(b.needed, uint64(len(b.strings)))
			b.strings = append(b.strings, value+"\x00"...)
		case "vermagic":
			b.modinfo += "vermagic=" + value + " SMP\x00"
		case "signed":
			signature = "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00~Module signature appended~\n"
		case "damaged":
			return []byte(elf.ELFMAG + strings.Repeat("\xff", 200))
		}
	}
	if module {
		b.typ = elf.ET_REL
		b.modinfo += "name=m\x00"
	}
	return append(b.bytes(), signature...)
}

type elfBuilder struct {
	typ     elf.Type
	machine elf.Machine
	interp  string
	needed  []uint64
	strings []byte // .dynstr
	modinfo string

	out      bytes.Buffer
	sections []elf.Section64
	names    []byte
}

const headerSize, progSize = 64, 56

func (b *elfBuilder) bytes() []byte {
	b.out.Write(make([]byte, headerSize+progSize))
	b.names = []byte{0}
	b.sections = []elf.Section64{{}}
	interpAt := uint64(b.out.Len())
	b.out.WriteString(b.interp)
	var dynamic bytes.Buffer
	for _, at := range b.needed {
		b.put(&dynamic, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: at})
	}
	b.put(&dynamic, elf.Dyn64{})
	if b.typ == elf.ET_DYN {
		b.section(".dynstr", elf.SHT_STRTAB, b.strings, 0)
		b.section(".dynamic", elf.SHT_DYNAMIC, dynamic.Bytes(), 1)
	} else {
		b.section(".modinfo", elf.SHT_PROGBITS, []byte(b.modinfo), 0)
	}
	b.section(".shstrtab", elf.SHT_STRTAB, append(b.names, ".shstrtab\x00"...), 0)
	shoff := uint64(b.out.Len())
	for _, s := range b.sections {
		b.put(&b.out, s)
	}
	data := b.out.Bytes()
	var head bytes.Buffer
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(b.typ), Machine: uint16(b.machine), Version: 1, Shoff: shoff, Ehsize: headerSize,
		Phentsize: progSize, Shentsize: 64, Shnum: uint16(len(b.sections)), Shstrndx: uint16(len(b.sections) - 1),
	}
	if b.interp != "" {
		h.Phoff, h.Phnum = headerSize, 1
	}
	b.put(&head, h)
	b.put(&head, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: interpAt, Filesz: uint64(len(b.interp)), Memsz: uint64(len(b.interp))})
	copy(data, head.Bytes())
	return data
}

func (b *elfBuilder) section(name string, typ elf.SectionType, data []byte, link uint32) {
	if typ == elf.SHT_DYNAMIC {
		link = uint32(len(b.sections) - 1) // .dynstr stands before it
	}
	b.sections = append(b.sections, elf.Section64{
		Name: uint32(len(b.names)), Type: uint32(typ), Off: uint64(b.out.Len()), Size: uint64(len(data)), Link: link, Addralign: 1,
	})
	b.names = append(b.names, name+"\x00"...)
	b.out.Write(data)
}

func (b *elfBuilder) put(w *bytes.Buffer, v any) {
	if err := binary.Write(w, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}
