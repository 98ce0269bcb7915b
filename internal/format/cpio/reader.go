package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// maxLinkNames bounds the memory for the names of files with hard links, in
// bytes: a million links with ordinary names.
const maxLinkNames = 64 << 20

// Reader reads the entries of one archive, or of one compressed segment of an
// initramfs, where several may follow each other. Its methods must not be
// called concurrently.
type Reader struct {
	src       *source
	segment   bool  // go on behind a trailer, to the end of the input
	between   bool  // at the start of a segment or behind a trailer
	archives  int   // trailers seen
	body      int64 // unread bytes of the current entry
	sum       checksum
	name      string // of the current entry, for messages
	links     map[inode]string
	linkNames int
	err       error
}

// inode identifies a file within an archive; the kernel compares the same.
type inode struct{ major, minor, ino, typ uint32 }

func newReader(src *source) *Reader { return &Reader{src: src} }

// newSegmentReader returns a Reader for all archives in src.
func newSegmentReader(src *source) *Reader {
	return &Reader{src: src, segment: true, between: true}
}

// Offset returns the position in bytes in the (decompressed) archive.
func (r *Reader) Offset() int64 { return r.src.off }

// Next goes to the next entry, passing over what is unread of the current one.
// It returns io.EOF after the trailer. An input that ends before the trailer
// gives an error that wraps io.ErrUnexpectedEOF and names the offset.
func (r *Reader) Next() (*Header, error) {
	if r.err != nil {
		return nil, r.err
	}
	h, err := r.next()
	if err != nil {
		r.err = err
		return nil, err
	}
	return h, nil
}

// Read reads from the content of the current entry. It returns io.EOF at its end.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.body == 0 {
		return 0, io.EOF
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.body)])
	r.body -= int64(n)
	r.sum.add(p[:n])
	if err != nil {
		r.err = fmt.Errorf("reading cpio entry %q at offset %d: %w", r.name, r.src.off, noEOF(err))
		return n, r.err
	}
	if r.body == 0 {
		r.err = r.checkSum()
	}
	return n, r.err
}

func (r *Reader) next() (*Header, error) {
	if err := r.finishEntry(); err != nil {
		return nil, fmt.Errorf("reading cpio entry %q at offset %d: %w", r.name, r.src.off, err)
	}
	for {
		at := r.src.off
		h, err := r.readEntry()
		if err == io.EOF {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("reading cpio entry at offset %d: %w", at, err)
		}
		if h != nil {
			return h, nil
		}
	}
}

// finishEntry passes over the rest of the current entry and its padding.
func (r *Reader) finishEntry() error {
	if err := r.src.skip(r.body); err != nil {
		return err
	}
	r.body, r.sum = 0, checksum{}
	return r.src.skip(PaddingTo4(r.src.off))
}

// readEntry reads a header, its name and a link target. It returns nil for a
// trailer behind which another archive may follow.
func (r *Reader) readEntry() (*Header, error) {
	if err := r.skipPadding(); err != nil {
		return nil, err
	}
	raw, err := r.readHeader()
	if err != nil {
		return nil, err
	}
	name, err := r.readName(raw)
	if err != nil {
		return nil, err
	}
	r.name = name
	if name == trailerName {
		return nil, r.endArchive(raw)
	}
	h := decode(raw, name)
	if h.Mode.Type() == fs.ModeSymlink {
		h.Linkname, err = r.readTarget(raw)
		h.Size = 0
		return h, err
	}
	if h.Size > 0 && !h.Mode.IsRegular() {
		return nil, fmt.Errorf("%q has the mode %v and %d bytes of content: the kernel skips such an entry", name, h.Mode, h.Size)
	}
	r.body = h.Size
	return h, r.resolveLink(raw, h)
}

// skipPadding passes over the zero bytes before an archive in a segment. It
// returns io.EOF at the end of the segment.
func (r *Reader) skipPadding() error {
	if !r.between {
		return nil
	}
	r.between = false
	if _, err := r.src.skipZeros(); err != nil {
		return err
	}
	return checkAligned(r.src.off)
}

func checkAligned(off int64) error {
	if PaddingTo4(off) != 0 {
		return fmt.Errorf("the next archive begins at offset %d, the kernel wants a multiple of four: pad with zero bytes", off)
	}
	return nil
}

// endArchive handles a trailer: hard links do not reach beyond it.
func (r *Reader) endArchive(raw *rawHeader) error {
	if err := r.src.skip(int64(raw.size)); err != nil {
		return err
	}
	if err := r.src.skip(PaddingTo4(r.src.off)); err != nil {
		return err
	}
	r.archives++
	r.links, r.linkNames = nil, 0
	r.between = r.segment
	if !r.segment {
		return io.EOF
	}
	return nil
}

func (r *Reader) readHeader() (*rawHeader, error) {
	var b [headerSize]byte
	if err := r.src.readFull(b[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("the archive is cut off before its trailer: %w", err)
		}
		return nil, err
	}
	raw := new(rawHeader)
	switch magic := string(b[:len(magicNewc)]); magic {
	case magicNewc:
	case magicCRC:
		r.sum.wanted = true
	case "070707":
		return nil, errors.New("this is the portable ASCII format, the kernel takes newc only (cpio -H newc)")
	default:
		return nil, fmt.Errorf("no cpio magic: got %q, want %q", magic, magicNewc)
	}
	err := raw.parse(b[:])
	r.sum.want = raw.sum
	return raw, err
}

// readName reads the name and its padding. Programs that align contents to
// blocks put more than one NUL behind the name.
func (r *Reader) readName(raw *rawHeader) (string, error) {
	if raw.nameLen == 0 || raw.nameLen > PathMax {
		return "", fmt.Errorf("the name has %d bytes with its final NUL, want 1 to %d", raw.nameLen, PathMax)
	}
	b := make([]byte, raw.nameLen)
	if err := r.src.readFull(b); err != nil {
		return "", fmt.Errorf("reading the name: %w", err)
	}
	name := strings.TrimRight(string(b), "\x00")
	switch {
	case b[len(b)-1] != 0:
		return "", fmt.Errorf("the name %q does not end with NUL", name)
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("the name %q contains NUL", name)
	}
	return name, r.src.skip(PaddingTo4(r.src.off))
}

func (r *Reader) readTarget(raw *rawHeader) (string, error) {
	if raw.size == 0 || raw.size > PathMax {
		return "", fmt.Errorf("the target of the link %q has %d bytes, want 1 to %d", r.name, raw.size, PathMax)
	}
	b := make([]byte, raw.size)
	if err := r.src.readFull(b); err != nil {
		return "", fmt.Errorf("reading the target of the link %q: %w", r.name, err)
	}
	target := strings.TrimRight(string(b), "\x00")
	if target == "" || strings.ContainsRune(target, 0) {
		return "", fmt.Errorf("the target of the link %q is %q, want a path without NUL", r.name, b)
	}
	return target, nil
}

// resolveLink fills in Hardlink, by the rules of the kernel: same inode,
// device and type, and more than one link; directories are never linked.
func (r *Reader) resolveLink(raw *rawHeader, h *Header) error {
	if raw.nlink < 2 || h.Mode.IsDir() {
		return nil
	}
	id := inode{raw.devMajor, raw.devMinor, raw.ino, raw.mode & typeMask}
	if first, ok := r.links[id]; ok {
		h.Hardlink = first
		return nil
	}
	r.linkNames += len(h.Name)
	if r.linkNames > maxLinkNames {
		return fmt.Errorf("the names of files with hard links exceed %d bytes", maxLinkNames)
	}
	if r.links == nil {
		r.links = map[inode]string{}
	}
	r.links[id] = h.Name
	return nil
}

func decode(raw *rawHeader, name string) *Header {
	return &Header{
		Name:    name,
		Mode:    fileMode(raw.mode),
		UID:     int(raw.uid),
		GID:     int(raw.gid),
		ModTime: time.Unix(int64(raw.mtime), 0).UTC(),
		Size:    int64(raw.size),
		Nlink:   int(raw.nlink),
		Major:   raw.rdevMajor,
		Minor:   raw.rdevMinor,
	}
}

// checksum is the plain sum of all bytes that the "crc" variant of newc
// (magic 070702) has for regular files.
type checksum struct {
	wanted    bool
	want, got uint32
}

func (c *checksum) add(p []byte) {
	if !c.wanted {
		return
	}
	for _, b := range p {
		c.got += uint32(b)
	}
}

func (r *Reader) checkSum() error {
	if r.sum.wanted && r.sum.got != r.sum.want {
		return fmt.Errorf("reading cpio entry %q before offset %d: the checksum is %08x, want %08x", r.name, r.src.off, r.sum.got, r.sum.want)
	}
	return nil
}
