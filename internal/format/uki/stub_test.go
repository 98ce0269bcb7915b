package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// stubOptions tell how the stub is laid out that [testStub] makes.
type stubOptions struct {
	machine      uint16
	headers      uint32 // where the first section begins in the file, in bytes
	firstAddress uint32 // where it begins in memory
	sectionAlign uint32
	short        bool // sections end with their contents: the padding is in none
	symbols      bool // COFF symbols follow the sections
	debug        bool // there is debugging information
}

// plainStub has room for few sections in its headers, as systemd-stub has.
var plainStub = stubOptions{machine: machineAMD64, headers: 1024, firstAddress: 4096, sectionAlign: 4096}

// stubContents are the sections of all test stubs.
var stubContents = []struct{ name, data string }{{".text", strings.Repeat("t", 300)}, {".sbat", strings.Repeat("s", 20)}}

// testStub is the smallest program that sections can be added to. Its headers
// are those of debug/pe, an independent reader.
func testStub(o stubOptions) []byte {
	const coff, fileAlign, symbolSize = 0x40, 512, 18
	optional := pe.OptionalHeader64{
		Magic: 0x20b, AddressOfEntryPoint: o.firstAddress, BaseOfCode: o.firstAddress,
		SectionAlignment: o.sectionAlign, FileAlignment: fileAlign,
		// What a stub has beyond that is a gap, not headers.
		SizeOfHeaders: min(o.headers, 1024),
		CheckSum:      0x1234, Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16,
	}
	table, body := o.sections(fileAlign)
	last := table[len(table)-1]
	optional.SizeOfImage = uint32(alignUp(int64(last.VirtualAddress+last.VirtualSize), int64(o.sectionAlign)))
	if o.debug {
		optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_DEBUG] = pe.DataDirectory{VirtualAddress: o.firstAddress, Size: 28}
	}
	file := pe.FileHeader{
		Machine: o.machine, NumberOfSections: uint16(len(table)), SizeOfOptionalHeader: uint16(binary.Size(optional)),
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LINE_NUMS_STRIPPED | pe.IMAGE_FILE_DEBUG_STRIPPED,
	}
	if o.symbols {
		file.PointerToSymbolTable, file.NumberOfSymbols = o.headers+uint32(len(body)), 2
		body = append(body, bytes.Repeat([]byte{0xff}, 2*symbolSize)...)
		body = append(body, 4, 0, 0, 0) // the size of the table of long names: its own
	}
	b := make([]byte, coff, int(o.headers)+len(body))
	copy(b, "MZ")
	b[peOffsetAt] = coff
	b = append(b, "PE\x00\x00"...)
	for _, part := range []any{file, optional, table} {
		b, _ = binary.Append(b, binary.LittleEndian, part) // fails for types only
	}
	return append(append(b, make([]byte, int(o.headers)-len(b))...), body...)
}

// sections are the section table, and what is behind the headers.
func (o stubOptions) sections(fileAlign int64) (table []pe.SectionHeader32, body []byte) {
	address := o.firstAddress
	for _, c := range stubContents {
		size := int64(len(c.data))
		padded := alignUp(size, fileAlign)
		s := pe.SectionHeader32{
			VirtualSize: uint32(size), VirtualAddress: address,
			SizeOfRawData: uint32(padded), PointerToRawData: o.headers + uint32(len(body)),
		}
		if o.short {
			s.SizeOfRawData = uint32(size)
		}
		copy(s.Name[:], c.name)
		table = append(table, s)
		body = append(append(body, c.data...), make([]byte, padded-size)...)
		address = uint32(alignUp(int64(address)+size, int64(o.sectionAlign)))
	}
	if last := table[len(table)-1]; o.short { // it may end the file, too
		body = body[:last.PointerToRawData+last.SizeOfRawData-o.headers]
	}
	return table, body
}

// openStub is this machine's systemd-stub.
func openStub(t testing.TB) *sparse.Image {
	t.Helper()
	b, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		testkit.Absent(t, "no systemd-stub on this machine: the package systemd-boot-efi has it")
	}
	return sparse.Bytes(b)
}

// twoProfiles are the sections of a small UKI that boots or wipes the disk.
func twoProfiles() []Section {
	return []Section{
		text(".osrel", "ID=talos\nVERSION_ID=1.14.0\n"),
		text(".cmdline", "console=tty0"),
		text(".uname", "6.18.2-talos"),
		{Name: ".linux", Content: noise(5000)},
		{Name: ".initrd", Content: noise(3 << 20)},
		text(".profile", "ID=main"),
		text(".pcrsig", "{}"),
		text(".profile", "ID=reset\nTITLE=Reset system disk"),
		text(".cmdline", "console=tty0 talos.experimental.wipe=system"),
		text(".pcrsig", "{ }"),
	}
}

func text(name, content string) Section {
	return Section{Name: name, Content: sparse.Bytes([]byte(content))}
}

// noise is content of so many bytes that look different everywhere, the same in
// each run.
func noise(size int) *sparse.Image {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return sparse.Bytes(b)
}

func mustBuild(t testing.TB, stub *sparse.Image, sections []Section) *sparse.Image {
	t.Helper()
	m, err := Build(stub, sections)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustRead(t testing.TB, m *sparse.Image) *Image {
	t.Helper()
	im, err := Read(m, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func allBytes(t testing.TB, m *sparse.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
