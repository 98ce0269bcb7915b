package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// added are the sections that are added to a stub. All others are its own.
var added = []string{
	".linux", ".initrd", ".osrel", ".cmdline", ".uname", ".splash", ".dtb", ".dtbauto", ".hwids", ".efifw", ".ucode",
	".sbat", ".pcrpkey", ".pcrsig", ".profile",
}

// maxStub bounds what is read of a stub, in bytes: systemd's have 100 kB.
const maxStub = 16 << 20

// KnownSections tells which sections the stub of an image looks for, by the
// names that are in it: it measures these and no others. Stubs of systemd 252
// know neither .uname nor .sbat, those before 257 no .profile. A stub that has
// not even the name .linux is not systemd's, and is taken for one that knows all.
func KnownSections(sections []Section) (known func(name string) bool, err error) {
	var code []byte
	for _, s := range sections {
		if slices.Contains(added, s.Name) {
			continue
		}
		if s.Content.Size() > maxStub-int64(len(code)) {
			return nil, fmt.Errorf("reading the UKI's stub: it has more than %d bytes", maxStub)
		}
		part, err := io.ReadAll(s.Content.Reader())
		if err != nil {
			return nil, fmt.Errorf("reading the UKI's stub: section %s: %w", s.Name, err)
		}
		code = append(code, part...)
	}
	known = func(name string) bool { return bytes.Contains(code, []byte(name+"\x00")) }
	if !known(".linux") {
		known = func(string) bool { return true }
	}
	return known, nil
}

// KernelArch is the architecture that a kernel is for, in the words of GOARCH:
// amd64 (bzImage), arm64 (Image, or an EFI program that unpacks itself); "" if
// it is none of these.
func KernelArch(kernel io.ReaderAt) string {
	var head [0x206]byte
	n, _ := kernel.ReadAt(head[:], 0) // what is short is no kernel
	switch b := head[:n]; {
	case len(b) < len(head):
		return ""
	case string(b[0x202:0x206]) == "HdrS":
		return "amd64"
	case string(b[0x38:0x3c]) == "ARM\x64", string(b[:2]) == "MZ" && string(b[4:8]) == "zimg":
		return "arm64"
	}
	return ""
}

// KernelRelease is what a kernel says that "uname -r" will print, for the
// section .uname. It is "" if its format does not tell: only that of x86 does
// (Documentation/arch/x86/boot.rst).
func KernelRelease(kernel io.ReaderAt) string {
	const (
		magicAt   = 0x202 // "HdrS"
		pointerAt = 0x20e // of the version, less 0x200
		longest   = 1024
	)
	var head [pointerAt + 2]byte
	if n, _ := kernel.ReadAt(head[:], 0); n < len(head) || string(head[magicAt:magicAt+4]) != "HdrS" {
		return ""
	}
	at := int64(binary.LittleEndian.Uint16(head[pointerAt:]))
	if at == 0 {
		return ""
	}
	text := make([]byte, longest)
	n, _ := kernel.ReadAt(text, at+0x200) // the file may end before
	text, _, ended := bytes.Cut(text[:n], []byte{0})
	if !ended {
		return ""
	}
	release, _, _ := strings.Cut(string(text), " ") // then who built it, and when
	return release
}
