package uki

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// certificateAlign is what offsets and lengths of certificates are a multiple
// of, in bytes.
const certificateAlign = 8

// Signed are the parts of the file that an Authenticode signature covers, in
// the order in which they are hashed: the headers without the checksum and the
// place of the certificates, the sections, and what follows them up to the
// certificates. A file whose sections do not follow the headers and each other
// without gap or overlap is refused: programs disagree on what its digest is.
func (m *Image) Signed() ([]sparse.Extent, error) {
	if err := m.h.gapless(); err != nil {
		return nil, err
	}
	checksum, directory := int64(m.h.optional+checksumAt), int64(m.h.optional+certificatesAt)
	behind := m.contentSize() - directory - 8
	return []sparse.Extent{
		{Offset: 0, Size: checksum},
		{Offset: checksum + 4, Size: directory - checksum - 4},
		{Offset: directory + 8, Size: behind},
	}, nil
}

// contentSize is the size of the file without its certificates.
func (m *Image) contentSize() int64 { return m.size - m.certificates.Size }

// gapless looks whether the sections follow the headers and each other.
func (h *header) gapless() error {
	if !h.hasDirectory(certificatesAt) {
		return errors.New("the program has no place for certificates in its headers")
	}
	end := int64(h.sizeOfHeaders)
	for _, s := range h.byOffset() {
		if int64(s.RawOffset) != end {
			return fmt.Errorf("section %s begins at %d of the file, what should be right before it ends at %d", s.name(), s.RawOffset, end)
		}
		end = s.fileEnd()
	}
	return nil
}

// Padded returns a program with so many zeros at its end that certificates can
// follow. They belong to what is signed.
func Padded(program *sparse.Image) *sparse.Image {
	return sparse.Concat(certificateAlign, program, sparse.New(0))
}

// WithCertificate returns the program, of which m was read and which has the
// size that [Padded] gives, with one more entry in its table of certificates.
func (m *Image) WithCertificate(program *sparse.Image, c Certificate) (*sparse.Image, error) {
	table := appendCertificates(nil, append(m.Certificates[:len(m.Certificates):len(m.Certificates)], c))
	end := m.contentSize()
	if program.Size() != m.size || end%certificateAlign != 0 {
		return nil, fmt.Errorf("certificates cannot follow %d bytes: a multiple of %d is wanted", end, certificateAlign)
	}
	if len(table) > maxCertificates || end+int64(len(table)) >= 1<<32 {
		return nil, fmt.Errorf("%d bytes of certificates are too many for a program of %d bytes", len(table), end)
	}
	signed := sparse.New(end + int64(len(table)))
	signed.Put(0, m.h.withCertificates(uint32(end), uint32(len(table))))
	behind := int64(len(m.h.raw))
	signed.Add(behind, program.Section(behind, end-behind))
	signed.Put(end, table)
	return signed, nil
}

// withCertificates are the headers with a new place of the certificates. The
// checksum, which would be wrong now, is zero.
func (h *header) withCertificates(at, size uint32) []byte {
	c := *h
	c.raw = append([]byte(nil), h.raw...)
	c.setField(checksumAt, 0)
	c.setField(certificatesAt, at)
	c.setField(certificatesAt+4, size)
	return c.raw
}

func appendCertificates(b []byte, all []Certificate) []byte {
	for _, c := range all {
		b = binary.LittleEndian.AppendUint32(b, uint32(8+len(c.Data)))
		b = binary.LittleEndian.AppendUint16(b, c.Revision)
		b = binary.LittleEndian.AppendUint16(b, c.Type)
		b = append(b, c.Data...)
		b = append(b, make([]byte, alignUp(int64(len(b)), certificateAlign)-int64(len(b)))...)
	}
	return b
}
