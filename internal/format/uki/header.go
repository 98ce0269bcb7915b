package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Machines whose programs are understood, as in COFF headers.
const (
	machineAMD64 = 0x8664
	machineARM64 = 0xaa64
)

// Offsets and sizes in the headers, in bytes. Those of the optional header
// count from its start and are those of PE32+.
const (
	dosHeaderSize    = 64
	peOffsetAt       = 60 // in the DOS header
	coffHeaderSize   = 24 // with the signature
	sectionSize      = 40
	sizeOfCodeAt     = 4
	sizeOfDataAt     = 8
	sectionAlignAt   = 32
	fileAlignAt      = 36
	sizeOfImageAt    = 56
	sizeOfHeadersAt  = 60
	checksumAt       = 64
	directoryCountAt = 108
	directoriesAt    = 112
	certificatesAt   = directoriesAt + 4*8
	debugAt          = directoriesAt + 6*8
)

// Limits of what is read.
const (
	maxHeaders  = 1 << 20 // bytes, from the start of the file to the end of the section table
	maxSections = 1024
)

// header is the start of a PE file: its bytes up to the end of the section
// table, and what is in them.
type header struct {
	raw           []byte
	coff          int // where the signature "PE\0\0" is
	optional      int // where the optional header is
	table         int // where the section table is
	machine       uint16
	sectionAlign  uint32
	fileAlign     uint32
	sizeOfHeaders uint32
	sections      []sectionHeader
}

// sectionHeader is an entry of the section table.
type sectionHeader struct {
	Name            [8]byte
	VirtualSize     uint32
	VirtualAddress  uint32
	RawSize         uint32
	RawOffset       uint32
	_               [12]byte // relocations and line numbers: objects have them, images do not
	Characteristics uint32
}

func (s sectionHeader) name() string {
	name, _, _ := strings.Cut(string(s.Name[:]), "\x00")
	return name
}

// fileEnd is the offset behind the section's content in the file.
func (s sectionHeader) fileEnd() int64 {
	if s.RawSize == 0 {
		return 0
	}
	return int64(s.RawOffset) + int64(s.RawSize)
}

// memoryEnd is the address behind the section once it is loaded.
func (s sectionHeader) memoryEnd() int64 {
	return int64(s.VirtualAddress) + int64(max(s.VirtualSize, s.RawSize))
}

// readHeader reads and checks the headers of a file of size bytes.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	h := &header{}
	var dos [dosHeaderSize]byte
	if err := readAt(r, dos[:], 0, size); err != nil {
		return nil, fmt.Errorf("the DOS header: %w", err)
	}
	if string(dos[:2]) != "MZ" {
		return nil, errors.New("it does not begin with MZ: no PE file")
	}
	h.coff = int(min(binary.LittleEndian.Uint32(dos[peOffsetAt:]), maxHeaders))
	h.optional = h.coff + coffHeaderSize
	if h.coff < 4 || h.optional > maxHeaders {
		return nil, fmt.Errorf("its PE header is said to be at %d: no PE file", h.coff)
	}
	coff := make([]byte, coffHeaderSize)
	if err := readAt(r, coff, int64(h.coff), size); err != nil {
		return nil, fmt.Errorf("the PE header: %w", err)
	}
	if err := h.parseCOFF(coff); err != nil {
		return nil, err
	}
	return h, h.readRest(r, size, int(binary.LittleEndian.Uint16(coff[6:])))
}

// parseCOFF learns the machine and where the section table is.
func (h *header) parseCOFF(coff []byte) error {
	if string(coff[:4]) != "PE\x00\x00" {
		return errors.New("it has no PE signature")
	}
	h.machine = binary.LittleEndian.Uint16(coff[4:])
	if machineName(h.machine) == "" {
		return fmt.Errorf("it is for the machine %#04x; only x86-64 and arm64 are understood", h.machine)
	}
	if n := binary.LittleEndian.Uint16(coff[6:]); n > maxSections {
		return fmt.Errorf("it has %d sections; %d at most are read", n, maxSections)
	}
	optionalSize := int(binary.LittleEndian.Uint16(coff[20:]))
	if optionalSize < directoriesAt {
		return fmt.Errorf("its optional header is of %d bytes; PE32+ has %d at least", optionalSize, directoriesAt)
	}
	h.table = h.optional + optionalSize
	return nil
}

// readRest reads the optional header and n entries of the section table.
func (h *header) readRest(r io.ReaderAt, size int64, n int) error {
	end := h.table + n*sectionSize
	if end > maxHeaders {
		return fmt.Errorf("its headers are of %d bytes; %d at most are read", end, maxHeaders)
	}
	h.raw = make([]byte, end)
	if err := readAt(r, h.raw, 0, size); err != nil {
		return fmt.Errorf("the headers: %w", err)
	}
	if magic := h.field16(0); magic != 0x20b {
		return fmt.Errorf("its optional header is %#x; only PE32+ (0x20b) is understood", magic)
	}
	if dirs := int64(h.field(directoryCountAt)); dirs > 16 || int64(h.table-h.optional) < directoriesAt+dirs*8 {
		return fmt.Errorf("its %d data directories do not fit into its optional header", dirs)
	}
	h.sectionAlign, h.fileAlign, h.sizeOfHeaders = h.field(sectionAlignAt), h.field(fileAlignAt), h.field(sizeOfHeadersAt)
	h.sections = make([]sectionHeader, n)
	if _, err := binary.Decode(h.raw[h.table:], binary.LittleEndian, h.sections); err != nil {
		return err
	}
	return h.check(size)
}

// check looks whether what the headers tell of is within the file.
func (h *header) check(size int64) error {
	if int64(h.sizeOfHeaders) > size || int(h.sizeOfHeaders) < len(h.raw) {
		return fmt.Errorf("its headers are said to be of %d bytes; the file has %d, the section table ends at %d", h.sizeOfHeaders, size, len(h.raw))
	}
	for _, s := range h.sections {
		if s.fileEnd() > size {
			return fmt.Errorf("its section %q ends at %d of %d bytes: the file is cut off", s.name(), s.fileEnd(), size)
		}
		if s.RawSize > 0 && s.RawOffset < h.sizeOfHeaders {
			return fmt.Errorf("its section %q begins at %d, within the headers", s.name(), s.RawOffset)
		}
		if s.memoryEnd() >= 1<<32 {
			return fmt.Errorf("its section %q ends above 4 GiB", s.name())
		}
	}
	return nil
}

// field is a field of 4 bytes of the optional header.
func (h *header) field(at int) uint32   { return binary.LittleEndian.Uint32(h.raw[h.optional+at:]) }
func (h *header) field16(at int) uint16 { return binary.LittleEndian.Uint16(h.raw[h.optional+at:]) }

func (h *header) setField(at int, v uint32) {
	binary.LittleEndian.PutUint32(h.raw[h.optional+at:], v)
}

// hasDirectory says whether the header has that entry of the data directories.
func (h *header) hasDirectory(at int) bool {
	return h.field(directoryCountAt) > uint32(at-directoriesAt)/8
}

// directory is an entry of the data directories: two fields, zero if absent.
func (h *header) directory(at int) (address, size uint32) {
	if !h.hasDirectory(at) {
		return 0, 0
	}
	return h.field(at), h.field(at + 4)
}

// byOffset are the sections that have bytes in the file, in its order.
func (h *header) byOffset() []sectionHeader {
	sorted := slices.DeleteFunc(slices.Clone(h.sections), func(s sectionHeader) bool { return s.RawSize == 0 })
	slices.SortStableFunc(sorted, func(a, b sectionHeader) int { return int(int64(a.RawOffset) - int64(b.RawOffset)) })
	return sorted
}

// contentEnd is the offset behind all sections.
func (h *header) contentEnd() int64 {
	end := int64(h.sizeOfHeaders)
	for _, s := range h.sections {
		end = max(end, s.fileEnd())
	}
	return end
}

// machineName is GOARCH's word for a machine, "" for one that is not
// understood.
func machineName(m uint16) string {
	switch m {
	case machineAMD64:
		return "amd64"
	case machineARM64:
		return "arm64"
	}
	return ""
}

// readAt fills p from offset on, in a file of size bytes.
func readAt(r io.ReaderAt, p []byte, off, size int64) error {
	if off+int64(len(p)) > size {
		return fmt.Errorf("%d bytes at %d are beyond the end of the file at %d", len(p), off, size)
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

// content is what a section has once it is loaded: VirtualSize bytes, with
// zeros for those that are not in the file.
func (s sectionHeader) content(r io.ReaderAt) *sparse.Image {
	m := sparse.From(r, int64(s.RawOffset), int64(min(s.RawSize, s.VirtualSize)))
	m.Resize(int64(s.VirtualSize))
	return m
}
