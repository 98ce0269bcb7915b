package cpio

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"time"
)

const (
	// MaxFileSize is the size in bytes of the largest file that a newc archive
	// can hold: the size field has eight hexadecimal digits.
	MaxFileSize = math.MaxUint32

	// PathMax bounds a stored name and a link target, in bytes, each with a
	// final NUL: the kernel's PATH_MAX. The kernel skips entries beyond it.
	PathMax = 4096

	headerSize  = 110
	magicNewc   = "070701"
	magicCRC    = "070702"
	trailerName = "TRAILER!!!"
	alignment   = 4
)

// Errors for callers that must decide.
var (
	// ErrTooLarge reports a file of more than MaxFileSize bytes.
	ErrTooLarge = errors.New("a cpio archive holds files of at most 4294967295 bytes")

	// ErrNoParent reports an entry whose directory was not written before it.
	ErrNoParent = errors.New("the kernel drops an entry whose directory is not in the archive before it")

	// ErrUnsafeName reports a name that leads out of the directory it is unpacked in.
	ErrUnsafeName = errors.New("the name leads out of the archive")
)

// Header describes one entry of an archive.
type Header struct {
	// Name is a slash-separated path. Writer wants it relative and clean, as
	// fs.ValidPath defines it; Reader reports what the archive says.
	Name string

	// Mode holds the type and the permissions, set-user-ID, set-group-ID and
	// sticky bits included. fs.ModeIrregular stands for a type that newc does
	// not know; Writer refuses it.
	Mode fs.FileMode

	// UID and GID are the owner, from 0 to 4294967295.
	UID, GID int

	// ModTime has a resolution of one second, from 1970 to 2106. Writer stores
	// the zero time as 1970.
	ModTime time.Time

	// Size is the number of bytes that follow, for regular files. Reader also
	// reports it for a hard link that brings the content (see Hardlink).
	Size int64

	// Linkname is the target of a symbolic link.
	Linkname string

	// Hardlink is the name of the earlier entry of which this one is another
	// name, or empty. In archives of GNU cpio the earlier ones are empty and
	// the last brings the content: if Size is not zero, the bytes that follow
	// become the content under all names.
	Hardlink string

	// Nlink is the number of names of the file. Writer takes 0 as 1; the first
	// name of a file with hard links needs at least 2, or the kernel would not
	// link the others to it.
	Nlink int

	// Major and Minor are the numbers of a device node.
	Major, Minor uint32
}

// LocalName returns the name of an entry as a clean relative path, "." for the
// root directory. It accepts the leading "./" that find and cpio leave, and
// returns ErrUnsafeName for absolute names and for those with a ".." element.
func LocalName(name string) (string, error) {
	if name == "" || path.IsAbs(name) {
		return "", fmt.Errorf("checking the entry name %q: %w", name, ErrUnsafeName)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return "", fmt.Errorf("checking the entry name %q: %w", name, ErrUnsafeName)
		}
	}
	return path.Clean(name), nil
}

// PaddingTo4 returns how many zero bytes bring an initramfs of size bytes to
// the next boundary of four, where the kernel wants a plain archive to begin.
func PaddingTo4(size int64) int64 { return -size & (alignment - 1) }

// The file types of st_mode, octal as in stat(2).
const (
	typeMask    = 0o170000
	typeSocket  = 0o140000
	typeSymlink = 0o120000
	typeRegular = 0o100000
	typeBlock   = 0o060000
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeFIFO    = 0o010000

	bitSetuid = 0o4000
	bitSetgid = 0o2000
	bitSticky = 0o1000
)

var typeBits = map[fs.FileMode]uint32{
	0:                                 typeRegular,
	fs.ModeDir:                        typeDir,
	fs.ModeSymlink:                    typeSymlink,
	fs.ModeNamedPipe:                  typeFIFO,
	fs.ModeSocket:                     typeSocket,
	fs.ModeDevice:                     typeBlock,
	fs.ModeDevice | fs.ModeCharDevice: typeChar,
}

var specialBits = []struct {
	mode fs.FileMode
	bit  uint32
}{
	{fs.ModeSetuid, bitSetuid},
	{fs.ModeSetgid, bitSetgid},
	{fs.ModeSticky, bitSticky},
}

// unixMode returns the st_mode for m; ok is false for a type that newc lacks.
func unixMode(m fs.FileMode) (bits uint32, ok bool) {
	bits, ok = typeBits[m.Type()]
	bits |= uint32(m.Perm())
	for _, s := range specialBits {
		if m&s.mode != 0 {
			bits |= s.bit
		}
	}
	return bits, ok
}

// fileMode is the inverse of unixMode.
func fileMode(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits) & fs.ModePerm
	for _, s := range specialBits {
		if bits&s.bit != 0 {
			mode |= s.mode
		}
	}
	for typ, b := range typeBits {
		if bits&typeMask == b {
			return mode | typ
		}
	}
	return mode | fs.ModeIrregular
}

// rawHeader holds the thirteen numbers of a newc header in their order.
type rawHeader struct {
	ino, mode, uid, gid, nlink, mtime, size           uint32
	devMajor, devMinor, rdevMajor, rdevMinor, nameLen uint32
	sum                                               uint32
}

func (h *rawHeader) fields() [13]*uint32 {
	return [13]*uint32{
		&h.ino, &h.mode, &h.uid, &h.gid, &h.nlink, &h.mtime, &h.size,
		&h.devMajor, &h.devMinor, &h.rdevMajor, &h.rdevMinor, &h.nameLen, &h.sum,
	}
}

// append adds the 110 bytes of the header to b.
func (h *rawHeader) append(b []byte) []byte {
	b = append(b, magicNewc...)
	for _, f := range h.fields() {
		b = fmt.Appendf(b, "%08X", *f)
	}
	return b
}

// parse reads the thirteen numbers behind the magic.
func (h *rawHeader) parse(b []byte) error {
	for i, f := range h.fields() {
		digits := b[len(magicNewc)+8*i:][:8]
		for _, c := range digits {
			v, ok := hexDigit(c)
			if !ok {
				return fmt.Errorf("header field %d is %q, want eight hexadecimal digits", i+1, digits)
			}
			*f = *f<<4 | v
		}
	}
	return nil
}

func hexDigit(c byte) (uint32, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint32(c - '0'), true
	case 'a' <= c && c <= 'f':
		return uint32(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return uint32(c-'A') + 10, true
	}
	return 0, false
}
