package uki

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Section is a named part of a unified kernel image.
type Section struct {
	// Name as in the file, ".linux". Eight bytes at most.
	Name string
	// Content without the padding of the file.
	Content *sparse.Image
	// Address in memory, from the start of the program on. Read tells it, Build
	// chooses it.
	Address uint32
}

// maxText is how long a section can be that is taken for text, in bytes.
const maxText = 1 << 20

// Text is the content of a section such as .cmdline or .osrel, without the
// zeros and line ends that may follow it.
func (s Section) Text() (string, error) {
	if s.Content.Size() > maxText {
		return "", fmt.Errorf("reading section %s: %d bytes are too many for a text", s.Name, s.Content.Size())
	}
	b, err := io.ReadAll(s.Content.Reader())
	if err != nil {
		return "", fmt.Errorf("reading section %s: %w", s.Name, err)
	}
	return strings.TrimRight(string(b), "\x00\n"), nil
}

// Find returns the first section of a name: the one that systemd-stub uses.
func Find(sections []Section, name string) (Section, bool) {
	for _, s := range sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Profiles returns the sections that each profile has: its own, and those
// before the first profile that it does not have itself. The first is the one
// that boots if none is chosen. An image without profiles has one of all its
// sections.
func Profiles(sections []Section) [][]Section {
	const begin = ".profile"
	parts := [][]Section{nil}
	for _, s := range sections {
		if s.Name == begin {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], s)
	}
	base := parts[0]
	if len(parts) == 1 {
		return [][]Section{base}
	}
	for i, own := range parts[1:] {
		parts[i+1] = override(base, own)
	}
	return parts[1:]
}

// override is base without what own has, and own.
func override(base, own []Section) []Section {
	var all []Section
	for _, s := range base {
		if _, has := Find(own, s.Name); !has {
			all = append(all, s)
		}
	}
	return append(all, own...)
}

// Certificate is an entry of the table of certificates of a PE file
// (WIN_CERTIFICATE).
type Certificate struct {
	Revision uint16 // 0x0200
	Type     uint16 // 2 for PKCS#7 SignedData, which is all that EFI uses
	Data     []byte
}

// CertificatePKCS is the type of a certificate entry that is an Authenticode
// signature.
const CertificatePKCS = 2

// CertificateRevision is that of all entries written today.
const CertificateRevision = 0x0200

// maxCertificates is how long the table of certificates can be, in bytes.
const maxCertificates = 4 << 20

// Image is a PE file that was read: a unified kernel image or any other EFI
// program.
type Image struct {
	// Machine in the words of GOARCH: amd64 or arm64.
	Machine string
	// Sections in the order of the section table, the stub's own included.
	Sections []Section
	// Certificates that follow the sections.
	Certificates []Certificate

	h    *header
	size int64
	// certificates is where the table of certificates is.
	certificates sparse.Extent
}

// Read reads the headers and the certificates of an EFI program of size bytes.
// The contents of the sections stay where they are.
func Read(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the EFI program: %w", err)
	}
	m := &Image{Machine: machineName(h.machine), h: h, size: size}
	for _, s := range h.sections {
		m.Sections = append(m.Sections, Section{s.name(), s.content(r), s.VirtualAddress})
	}
	if err := m.readCertificates(r); err != nil {
		return nil, fmt.Errorf("reading the certificates of the EFI program: %w", err)
	}
	return m, nil
}

// readCertificates reads the table that ends the file.
func (m *Image) readCertificates(r io.ReaderAt) error {
	// The first field is an offset in the file here, and no address.
	at, size := m.h.directory(certificatesAt)
	if at == 0 || size == 0 {
		return nil
	}
	m.certificates = sparse.Extent{Offset: int64(at), Size: int64(size)}
	if m.certificates.End() != m.size || at < uint32(min(m.h.contentEnd(), 1<<32-1)) {
		return fmt.Errorf("their table is at %d to %d; it should follow the sections, which end at %d, and end the file at %d",
			at, m.certificates.End(), m.h.contentEnd(), m.size)
	}
	if size > maxCertificates {
		return fmt.Errorf("their table is of %d bytes; %d at most are read", size, maxCertificates)
	}
	table := make([]byte, size)
	if err := readAt(r, table, int64(at), m.size); err != nil {
		return err
	}
	for len(table) > 0 {
		c, n, err := parseCertificate(table)
		if err != nil {
			return fmt.Errorf("entry %d: %w", len(m.Certificates), err)
		}
		m.Certificates = append(m.Certificates, c)
		table = table[min(n, len(table)):]
	}
	return nil
}

// parseCertificate reads the first entry of a table, and tells where the next
// one is.
func parseCertificate(table []byte) (Certificate, int, error) {
	if len(table) < 8 {
		return Certificate{}, 0, fmt.Errorf("%d bytes are too few", len(table))
	}
	length := binary.LittleEndian.Uint32(table)
	if length < 8 || int64(length) > int64(len(table)) {
		return Certificate{}, 0, fmt.Errorf("it is said to be of %d bytes; there are %d", length, len(table))
	}
	return Certificate{
		Revision: binary.LittleEndian.Uint16(table[4:]),
		Type:     binary.LittleEndian.Uint16(table[6:]),
		Data:     table[8:length],
	}, int(alignUp(int64(length), 8)), nil
}
