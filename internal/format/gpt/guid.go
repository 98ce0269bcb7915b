package gpt

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a globally unique identifier as it is on a disk: the first three
// fields of its text form have the least significant byte first.
type GUID [16]byte

// Types of partitions.
var (
	EFISystem = mustParse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	BIOSBoot  = mustParse("21686148-6449-6E6F-744E-656564454649")
	LinuxData = mustParse("0FC63DAF-8483-4772-8E79-3D69D8477DE4")
)

func mustParse(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// ParseGUID reads the text form, like C12A7328-F81F-11D2-BA4B-00A0C93EC93B, in
// upper or lower case.
func ParseGUID(s string) (GUID, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 || !strings.EqualFold(textForm(b), s) {
		return GUID{}, fmt.Errorf("parsing GUID %q: it does not look like 01234567-89AB-CDEF-0123-456789ABCDEF", s)
	}
	return swap([16]byte(b)), nil
}

func textForm(b []byte) string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// String is the text form in upper case.
func (g GUID) String() string {
	b := swap(g)
	return textForm(b[:])
}

// IsZero says whether the GUID is that of nothing.
func (g GUID) IsZero() bool { return g == GUID{} }

// swap turns the order of bytes of the text form into that of a disk, and back.
func swap(b [16]byte) (g [16]byte) {
	g = b
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(b[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(b[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(b[6:]))
	return g
}

// namespace of the names of disks and partitions. It was drawn at random once
// and says nothing; another one would change every deterministic GUID.
var namespace = mustParse("5B0D3A5E-97C4-4E0B-9C55-6C1B9B7C7D21")

// DeterministicGUID is the same GUID for the same name: version 5 of RFC 9562,
// a SHA-1 digest of a name in a namespace that is this package's own.
func DeterministicGUID(name string) GUID { return version5(namespace, name) }

func version5(space GUID, name string) GUID {
	b := swap(space)
	sum := sha1.Sum(append(b[:], name...))
	copy(b[:], sum[:])
	b[6] = b[6]&0x0f | 5<<4 // version
	b[8] = b[8]&0x3f | 2<<6 // variant
	return swap(b)
}
