package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"time"
)

// Writer writes one archive. Its methods must not be called concurrently.
type Writer struct {
	w       io.Writer
	written int64
	body    int64  // bytes that the current entry still lacks
	name    string // of the current entry, for messages
	nextIno uint32 // from 0, as cpio --reproducible
	dirs    map[string]bool
	linked  map[string]rawHeader // files that may get hard links, by name
	err     error
}

var zeros [alignment]byte

// NewWriter returns a Writer to w. In an initramfs, w must stand at a multiple
// of four bytes of the whole file: see PaddingTo4.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, dirs: map[string]bool{".": true}, linked: map[string]rawHeader{}}
}

// WriteHeader begins the entry h. Exactly h.Size bytes must follow by Write
// before the next entry.
func (w *Writer) WriteHeader(h *Header) error {
	if err := w.finishEntry(); err != nil {
		return err
	}
	raw, body, err := w.encode(h)
	if err != nil {
		return fmt.Errorf("writing cpio entry %q: %w", h.Name, err)
	}
	w.name, w.body = h.Name, int64(raw.size)
	if err := w.writeEntry(raw, h.Name); err != nil {
		return err
	}
	if h.Mode.IsDir() {
		w.dirs[h.Name] = true
	}
	if raw.nlink > 1 && h.Hardlink == "" {
		w.linked[h.Name] = *raw
	}
	_, err = io.WriteString(w, body)
	return err
}

// MkdirAll writes the directory name and those above it that the archive lacks.
// Owner, permissions and time come from like.
func (w *Writer) MkdirAll(name string, like Header) error {
	if w.dirs[name] {
		return nil
	}
	if !fs.ValidPath(name) {
		return fmt.Errorf("writing cpio directory %q: %w", name, errBadName)
	}
	if err := w.MkdirAll(path.Dir(name), like); err != nil {
		return err
	}
	return w.WriteHeader(&Header{
		Name: name, Mode: fs.ModeDir | like.Mode&^fs.ModeType,
		UID: like.UID, GID: like.GID, ModTime: like.ModTime, Nlink: 2,
	})
}

// Write adds to the content of the current entry. It fails when the entry gets
// more than its header announced.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.body {
		return 0, w.fail(fmt.Errorf("writing cpio entry %q: %d bytes more than its header announced", w.name, int64(len(p))-w.body))
	}
	n, err := w.w.Write(p)
	w.written += int64(n)
	w.body -= int64(n)
	if err != nil {
		return n, w.fail(fmt.Errorf("writing cpio entry %q: %w", w.name, err))
	}
	return n, nil
}

// ReadFrom adds all of r to the content of the current entry, like Write. From
// file to file, the kernel copies without the detour through this process.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := io.Copy(w.w, io.LimitReader(r, w.body))
	w.written += n
	w.body -= n
	if err != nil {
		return n, w.fail(fmt.Errorf("writing cpio entry %q: %w", w.name, err))
	}
	// The entry is full, or r at its end: what is left is too much. The struct
	// hides this method from Copy.
	more, err := io.Copy(struct{ io.Writer }{w}, r)
	return n + more, err
}

// Close writes the trailer. The size of the archive is a multiple of four, so
// the next one can follow at once. Close does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.finishEntry(); err != nil {
		return err
	}
	if err := w.writeEntry(&rawHeader{nlink: 1}, trailerName); err != nil {
		return err
	}
	w.err = errors.New("writing cpio entry: the archive is closed")
	return nil
}

// Size returns the number of bytes written so far.
func (w *Writer) Size() int64 { return w.written }

// finishEntry checks that the current entry is complete and pads it.
func (w *Writer) finishEntry() error {
	if w.err != nil {
		return w.err
	}
	if w.body > 0 {
		return w.fail(fmt.Errorf("writing cpio entry %q: %d bytes less than its header announced", w.name, w.body))
	}
	return w.writeRaw(zeros[:PaddingTo4(w.written)])
}

func (w *Writer) writeEntry(raw *rawHeader, name string) error {
	raw.nameLen = uint32(len(name) + 1)
	b := raw.append(make([]byte, 0, headerSize+len(name)+1+alignment))
	b = append(b, name...)
	b = append(b, 0)
	b = append(b, zeros[:PaddingTo4(int64(len(b)))]...)
	return w.writeRaw(b)
}

func (w *Writer) writeRaw(b []byte) error {
	n, err := w.w.Write(b)
	w.written += int64(n)
	if err != nil {
		return w.fail(fmt.Errorf("writing cpio archive: %w", err))
	}
	return nil
}

// fail keeps the first error: what follows a broken entry is no archive.
func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

var errBadName = errors.New(`want a clean relative path without ".." elements and NUL bytes`)

// encode returns the header of h and the content that the entry itself brings,
// the target of a symbolic link.
func (w *Writer) encode(h *Header) (*rawHeader, string, error) {
	if err := w.checkName(h.Name); err != nil {
		return nil, "", err
	}
	if h.Hardlink != "" {
		raw, err := w.encodeHardlink(h)
		return raw, "", err
	}
	raw, err := encodeNumbers(h)
	if err != nil {
		return nil, "", err
	}
	switch {
	case h.Mode.Type() == fs.ModeSymlink:
		if err := checkLinkname(h.Linkname); err != nil {
			return nil, "", err
		}
		raw.size = uint32(len(h.Linkname))
	case h.Linkname != "":
		return nil, "", fmt.Errorf("link target %q for something that is not a symbolic link", h.Linkname)
	case h.Mode&fs.ModeDevice != 0:
		raw.rdevMajor, raw.rdevMinor = h.Major, h.Minor
	}
	raw.ino = w.nextIno
	w.nextIno++
	return raw, h.Linkname, nil
}

func (w *Writer) checkName(name string) error {
	switch {
	case !fs.ValidPath(name) || strings.ContainsRune(name, 0):
		return errBadName
	case len(name) >= PathMax:
		return fmt.Errorf("the name has %d bytes, the kernel takes at most %d", len(name), PathMax-1)
	case name == trailerName:
		return errors.New("this name marks the end of an archive")
	case !w.dirs[path.Dir(name)]:
		return fmt.Errorf("no directory %q: %w", path.Dir(name), ErrNoParent)
	}
	return nil
}

func checkLinkname(target string) error {
	switch {
	case target == "" || strings.ContainsRune(target, 0):
		return fmt.Errorf("link target %q: want a path without NUL bytes", target)
	case len(target) >= PathMax:
		return fmt.Errorf("the link target has %d bytes, the kernel takes at most %d", len(target), PathMax-1)
	}
	return nil
}

// encodeHardlink repeats the header of the first name, without its content.
func (w *Writer) encodeHardlink(h *Header) (*rawHeader, error) {
	first, ok := w.linked[h.Hardlink]
	switch {
	case !ok:
		return nil, fmt.Errorf("hard link to %q: no such file before it, or its Nlink is less than 2", h.Hardlink)
	case h.Size != 0:
		return nil, fmt.Errorf("hard link to %q: its content belongs to the first name, want size 0, got %d", h.Hardlink, h.Size)
	}
	first.size = 0
	return &first, nil
}

func encodeNumbers(h *Header) (*rawHeader, error) {
	mode, ok := unixMode(h.Mode)
	if !ok {
		return nil, fmt.Errorf("a newc archive has no entries of the type %v", h.Mode.Type())
	}
	if err := checkSize(h); err != nil {
		return nil, err
	}
	raw := &rawHeader{mode: mode, size: uint32(h.Size)}
	for _, n := range []struct {
		field string
		value int64
		to    *uint32
	}{
		{"owner", int64(h.UID), &raw.uid},
		{"group", int64(h.GID), &raw.gid},
		{"modification time", unixSeconds(h.ModTime), &raw.mtime},
		{"number of links", max(int64(h.Nlink), 1), &raw.nlink},
	} {
		if n.value < 0 || n.value > math.MaxUint32 {
			return nil, fmt.Errorf("%s %d: want a number from 0 to %d", n.field, n.value, uint32(math.MaxUint32))
		}
		*n.to = uint32(n.value)
	}
	return raw, nil
}

func checkSize(h *Header) error {
	switch {
	case h.Size > MaxFileSize:
		return fmt.Errorf("%w, this one has %d", ErrTooLarge, h.Size)
	case h.Size < 0 || h.Size > 0 && !h.Mode.IsRegular():
		return fmt.Errorf("size %d for an entry of mode %v", h.Size, h.Mode)
	}
	return nil
}

func unixSeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
