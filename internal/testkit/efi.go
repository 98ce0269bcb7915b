package testkit

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
)

// machines are the numbers of architectures in PE files.
var machines = map[string]uint16{"amd64": 0x8664, "arm64": 0xaa64}

// peHeaders is how much of a test program is headers, in bytes.
const peHeaders = 1024

// EFIProgram is the smallest EFI program that can be signed and that sections
// can be added to. Contents are names and bytes in turn.
func EFIProgram(arch string, contents ...string) []byte {
	const coff, optional, table = 0x40, 0x58, 0x58 + 240
	b := make([]byte, peHeaders)
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	copy(b, "MZ")
	put(60, coff)
	copy(b[coff:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[coff+4:], machines[arch])
	binary.LittleEndian.PutUint16(b[coff+6:], uint16(len(contents)/2))
	binary.LittleEndian.PutUint16(b[coff+20:], 240)
	binary.LittleEndian.PutUint16(b[coff+22:], 0x206) // an executable
	binary.LittleEndian.PutUint16(b[optional:], 0x20b)
	put(optional+16, 4096) // entry
	put(optional+32, 4096)
	put(optional+36, 512)
	put(optional+60, peHeaders)
	b[optional+68] = 10 // EFI application
	put(optional+108, 16)
	address := uint32(4096)
	for i := 0; i < len(contents); i += 2 {
		name, data := contents[i], []byte(contents[i+1])
		at := table + 20*i
		copy(b[at:], name)
		put(at+8, uint32(len(data)))
		put(at+12, address)
		padded := append(data, make([]byte, -len(data)&511)...)
		put(at+16, uint32(len(padded)))
		put(at+20, uint32(len(b)))
		put(at+36, 0x60000020)
		address += (uint32(len(padded)) + 4095) &^ 4095
		b = append(b, padded...)
	}
	put(optional+56, address)
	return b
}

// sectionNames are the sections that systemd-stub of a version has the names of.
var sectionNames = map[int]string{
	252: ".linux .osrel .cmdline .initrd .splash .dtb .pcrsig .pcrpkey",
	254: ".linux .osrel .cmdline .initrd .splash .dtb .uname .sbat .pcrsig .pcrpkey",
	257: ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrsig .pcrpkey .profile .dtbauto .hwids",
}

// Stub is a program that looks like systemd-stub of a version.
func Stub(arch string, version int) []byte {
	names := strings.ReplaceAll(sectionNames[version], " ", "\x00") + "\x00"
	return EFIProgram(arch, ".text", "the code of the stub", ".rodata", names, ".sbat", "sbat,1,SBAT Version,sbat,1,https://x\n")
}

// Kernel is a kernel for amd64 as far as its header goes, for arm64 an EFI
// program.
func Kernel(arch, release string) []byte {
	b := EFIProgram(arch, ".text", string(Noise(200<<10)))
	if arch == "amd64" {
		copy(b[0x202:], "HdrS")
		binary.LittleEndian.PutUint16(b[0x20e:], 0x100)
		copy(b[0x300:], release+" (builder@host) #1\x00")
	}
	return b
}

// Noise is content that nothing can compress, the same in each run.
func Noise(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
