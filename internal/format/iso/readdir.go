package iso

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// entry is a file or directory that was read.
type entry struct {
	name     string
	mode     fs.FileMode
	modTime  time.Time
	content  *sparse.Image // of a file
	children []*entry      // of a directory, by name
}

// parseRecord takes a directory record (9.1) apart. Its length is that in its
// first byte.
func parseRecord(b []byte) (r record, length int, err error) {
	length = int(b[0])
	if length < minRecord || length > len(b) {
		return r, 0, fmt.Errorf("a record of %d bytes", length)
	}
	b = b[:length]
	name := b[33:]
	if int(b[32]) > len(name) {
		return r, 0, fmt.Errorf("a record of %d bytes with a name of %d", length, b[32])
	}
	if b[26] != 0 || b[27] != 0 {
		return r, 0, errors.New("an interleaved file: not supported")
	}
	r = record{
		id:      string(name[:b[32]]),
		block:   int64(littleEndian.Uint32(b[2:])) + int64(b[1]), // behind extended attributes
		size:    int64(littleEndian.Uint32(b[10:])),
		modTime: parseShortTime(b[18:25]),
		flags:   b[25],
	}
	r.system = b[min(recordSize(r.id), length):]
	return r, length, nil
}

// treeReader reads all directories, with limits.
type treeReader struct {
	*Reader
	skip    int // bytes before the fields of system use, -1 without Rock Ridge
	seen    map[int64]bool
	budget  int64
	entries int
}

func (r *Reader) readTree(primary []byte) error {
	root, _, err := parseRecord(primary[156:190])
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	t := &treeReader{Reader: r, seen: map[int64]bool{}, budget: maxDirectoryData, entries: maxEntries}
	if t.skip, err = t.detectRockRidge(root); err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	r.Volume.RockRidge = t.skip >= 0
	r.root = &entry{name: ".", mode: fs.ModeDir | 0o555, modTime: root.modTime}
	return t.readDirectory(r.root, root, 0)
}

// detectRockRidge looks for the SP field (SUSP 5.3) in the first record.
func (t *treeReader) detectRockRidge(root record) (skip int, err error) {
	b, err := t.bytes(root.block*BlockSize, BlockSize)
	if err != nil {
		return -1, err
	}
	self, _, err := parseRecord(b)
	if err != nil {
		return -1, err
	}
	for _, at := range []int{0, 14} { // 14 bytes are before it on CD-ROM XA (SUSP 5.3)
		if s := self.system; len(s) >= at+7 && string(s[at:at+6]) == "SP\x07\x01\xbe\xef" {
			return int(s[at+6]), nil
		}
	}
	return -1, nil
}

// spend takes bytes of directories from the budget.
func (t *treeReader) spend(n int64) error {
	if t.budget -= n; t.budget < 0 {
		return fmt.Errorf("more than %d MiB of directories", maxDirectoryData>>20)
	}
	return nil
}

// readDirectory reads a directory and those in it.
func (t *treeReader) readDirectory(dir *entry, rec record, depth int) error {
	subs, err := t.readRecords(dir, rec)
	if err == nil && depth >= maxDepth && len(subs) > 0 {
		err = fmt.Errorf("more than %d directories above each other", maxDepth)
	}
	if err != nil {
		return fmt.Errorf("directory %q: %w", dir.name, err)
	}
	for _, s := range subs {
		if err := t.readDirectory(s.entry, s.rec, depth+1); err != nil {
			return err
		}
	}
	dir.sort()
	return nil
}

// sort orders the children. Of several with one name the first counts, which is
// the newest version (9.3).
func (e *entry) sort() {
	byName := func(a, b *entry) int { return cmp.Compare(a.name, b.name) }
	slices.SortStableFunc(e.children, byName)
	e.children = slices.CompactFunc(e.children, func(a, b *entry) bool { return a.name == b.name })
}

// subdirectory is a directory that is read later.
type subdirectory struct {
	entry *entry
	rec   record
}

// readRecords reads the records of one directory.
func (t *treeReader) readRecords(dir *entry, rec record) (subs []subdirectory, err error) {
	if t.seen[rec.block] {
		return nil, errors.New("it is in itself or in two places")
	}
	t.seen[rec.block] = true
	if err := t.spend(rec.size); err != nil {
		return nil, err
	}
	b, err := t.bytes(rec.block*BlockSize, rec.size)
	if err != nil {
		return nil, err
	}
	c := children{t: t, dir: dir}
	for at := 0; at < len(b); {
		if b[at] == 0 { // the rest of a block is not used
			at = int(alignUp(int64(at)+1, BlockSize))
			continue
		}
		rec, n, err := parseRecord(b[at:])
		if err == nil {
			err = c.add(rec)
		}
		if err != nil {
			return nil, err
		}
		at += n
	}
	if c.open != nil {
		return nil, fmt.Errorf("file %q: its last extent is missing", c.open.name)
	}
	return c.subs, nil
}

// children collects the entries of a directory.
type children struct {
	t    *treeReader
	dir  *entry
	subs []subdirectory

	open    *entry // a file whose next record follows
	extents []*sparse.Image
}

func (c *children) add(rec record) error {
	if c.t.entries--; c.t.entries < 0 {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	rr, err := c.t.rockRidge(rec.system)
	if err != nil {
		return fmt.Errorf("record %q: %w", rec.id, err)
	}
	switch {
	case rec.id == "\x00":
		rr.apply(c.dir) // a directory knows best about itself
		return nil
	case rec.id == "\x01" || rr.relocated:
		return nil
	}
	e := c.newEntry(rec, rr)
	if !fs.ValidPath(e.name) || strings.ContainsAny(e.name, "/\x00") || e.name == "." {
		return fmt.Errorf("record %q: name %q is not possible", rec.id, e.name)
	}
	if rr.child != 0 {
		if rec, err = c.t.relocated(rr.child); err != nil {
			return fmt.Errorf("relocated directory %q: %w", e.name, err)
		}
		e.mode |= fs.ModeDir
	}
	if e.mode.IsDir() {
		c.dir.children = append(c.dir.children, e)
		c.subs = append(c.subs, subdirectory{e, rec})
		return nil
	}
	return c.addExtent(e, rec)
}

// newEntry is the entry of a record, with what Rock Ridge says about it. Whether
// it is a directory only ISO 9660 says.
func (c *children) newEntry(rec record, rr rockRidge) *entry {
	e := &entry{name: plainName(rec.id), mode: 0o444, modTime: rec.modTime}
	if rec.flags&flagDirectory != 0 {
		e.mode = fs.ModeDir | 0o555
	}
	if rr.name != "" {
		e.name = strings.ToValidUTF8(rr.name, "_")
	}
	rr.apply(e)
	return e
}

// plainName is the name without Rock Ridge: without version, and without a dot
// that nothing follows.
func plainName(id string) string {
	id, _, _ = strings.Cut(id, ";")
	return strings.ToValidUTF8(strings.TrimSuffix(id, "."), "_")
}

// addExtent adds a file, or an extent to the one before.
func (c *children) addExtent(e *entry, rec record) error {
	data, err := c.t.section(rec.block*BlockSize, rec.size)
	if rec.size == 0 { // its place means nothing
		data, err = sparse.New(0), nil
	}
	if err != nil {
		return fmt.Errorf("file %q: %w", e.name, err)
	}
	if c.open == nil {
		c.open = e
		c.dir.children = append(c.dir.children, e)
	}
	if e.name != c.open.name {
		return fmt.Errorf("file %q: its last extent is missing", c.open.name)
	}
	c.extents = append(c.extents, data)
	if rec.flags&flagMultiExtent == 0 {
		c.open.content = sparse.Concat(1, c.extents...)
		c.open, c.extents = nil, nil
	}
	return nil
}

// relocated reads the first record of a directory that another points to.
func (t *treeReader) relocated(block uint32) (record, error) {
	b, err := t.bytes(int64(block)*BlockSize, BlockSize)
	if err != nil {
		return record{}, err
	}
	rec, _, err := parseRecord(b)
	rec.block = int64(block)
	return rec, err
}
