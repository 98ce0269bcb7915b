package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
)

// arReader walks the members of an ar archive in the common form that
// deb(5) describes: names of at most 16 bytes, nothing else of the dialects.
type arReader struct {
	r    io.Reader
	left int64 // bytes of the current member not yet read
	pad  int64 // one newline follows a member of odd size
}

type arMember struct {
	name string
	size int64
}

func (a *arReader) readMagic() error {
	var magic [len(arMagic)]byte
	if _, err := io.ReadFull(a.r, magic[:]); err != nil {
		return fmt.Errorf("reading the ar signature: %w", noEOF(err))
	}
	if string(magic[:]) != arMagic {
		return errors.New("no ar signature at the start: this is no Debian package")
	}
	return nil
}

// next skips the rest of the current member and returns the one after it, or
// io.EOF.
func (a *arReader) next() (arMember, error) {
	if _, err := io.CopyN(io.Discard, a.r, a.left+a.pad); err != nil {
		return arMember{}, fmt.Errorf("reading an ar member: %w", noEOF(err))
	}
	a.left, a.pad = 0, 0
	var raw [arHeaderSize]byte
	if _, err := io.ReadFull(a.r, raw[:]); errors.Is(err, io.EOF) {
		return arMember{}, io.EOF
	} else if err != nil {
		return arMember{}, fmt.Errorf("reading an ar header: %w", err)
	}
	m, err := parseArHeader(string(raw[:]))
	if err != nil {
		return m, err
	}
	a.left, a.pad = m.size, m.size&1
	return m, nil
}

// parseArHeader takes a header apart: name 16, mtime 12, uid 6, gid 6, mode 8,
// size 10, end mark 2 bytes, all of it text.
func parseArHeader(raw string) (arMember, error) {
	if raw[58:] != arHeaderEnd {
		return arMember{}, fmt.Errorf("an ar header ends with %q, not %q: the archive is damaged", raw[58:], arHeaderEnd)
	}
	m := arMember{name: strings.TrimSuffix(strings.TrimRight(raw[:16], " "), "/")}
	size, err := strconv.ParseUint(strings.TrimSpace(raw[48:58]), 10, 40)
	if err != nil {
		return m, fmt.Errorf("the size of ar member %q: %w", m.name, err)
	}
	m.size = int64(size)
	return m, nil
}

// Read reads the current member.
func (a *arReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	if a.left > 0 {
		err = noEOF(err)
	}
	return n, err
}

// noEOF makes an end that comes too early an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
