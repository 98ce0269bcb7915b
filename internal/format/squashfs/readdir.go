package squashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/graftlinux/graft/internal/format/readfs"
)

// A dirRef says where the listing of a directory is.
type dirRef struct {
	block  uint32 // position in the directory table
	offset uint16
	size   uint32 // with dirSizeBias
}

func (d dirRef) check() error {
	if d.size > maxListing {
		return fmt.Errorf("directory listing of %d bytes, at most %d are read", d.size, maxListing)
	}
	return nil
}

// A dirEntry is a name in a directory.
type dirEntry struct {
	name string
	typ  uint16 // basic type
	ref  inodeRef
}

// entries returns the names in a directory. They are sorted, each is possible
// in a path, and none comes twice; anything else is an error.
func (r *Reader) entries(dir *File) iter.Seq2[dirEntry, error] {
	return func(yield func(dirEntry, error) bool) {
		if err := r.readListing(dir, func(e dirEntry) bool { return yield(e, nil) }); err != nil {
			yield(dirEntry{}, fmt.Errorf("reading directory %q: %w", dir.Name, err))
		}
	}
}

func (r *Reader) readListing(dir *File, yield func(dirEntry) bool) error {
	d := dir.dir
	if dir.typ != typeDir {
		return readfs.ErrNotDir
	}
	if d.size <= dirSizeBias {
		return nil
	}
	ref := inodeRef(uint64(d.block)<<16 | uint64(d.offset))
	c, err := r.cursorAt(int64(r.sb.DirTable), r.end, ref)
	if err != nil {
		return err
	}
	last := ""
	for left := int64(d.size) - dirSizeBias; left > 0; {
		run := dirRunHeader{count: int64(c.u32()) + 1, block: c.u32()}
		c.u32() // first inode number
		left -= dirHeaderSize
		if c.err != nil {
			return c.err
		}
		if run.count > dirRunLen {
			return fmt.Errorf("run of %d entries, at most %d are possible", run.count, dirRunLen)
		}
		for range run.count {
			e, err := c.dirEntry(run)
			if err != nil {
				return err
			}
			if left -= int64(dirEntrySize + len(e.name)); left < 0 {
				return errors.New("last entry is longer than the listing")
			}
			if e.name <= last {
				return fmt.Errorf("name %q after %q: not sorted", e.name, last)
			}
			if last = e.name; !yield(e) {
				return nil
			}
		}
	}
	return nil
}

// A dirRunHeader is what the entries behind one header have in common.
type dirRunHeader struct {
	count int64
	block uint32 // of their inodes
}

func (c *cursor) dirEntry(run dirRunHeader) (dirEntry, error) {
	offset := c.u16()
	c.u16() // distance of the inode number from that in the header
	typ := c.u16()
	size := int(c.u16()) + 1
	switch {
	case c.err != nil:
		return dirEntry{}, c.err
	case size > maxNameLen:
		return dirEntry{}, fmt.Errorf("name of %d bytes, at most %d are possible", size, maxNameLen)
	case typ < typeDir || typ > typeSocket:
		return dirEntry{}, fmt.Errorf("entry of unknown type %d", typ)
	}
	name := string(c.bytes(size))
	if c.err != nil {
		return dirEntry{}, c.err
	}
	ref := inodeRef(uint64(run.block)<<16 | uint64(offset))
	return dirEntry{name, typ, ref}, checkElem(name, maxNameLen)
}

// child reads the inode of an entry of dir.
func (r *Reader) child(dir *File, e dirEntry) (*File, error) {
	name := e.name
	if dir.Name != "." {
		name = dir.Name + "/" + e.name
	}
	return r.file(name, e.ref, e.typ)
}

// findChild reads the inode of the entry with the given name.
func (r *Reader) findChild(dir *File, name string) (*File, error) {
	for e, err := range r.entries(dir) {
		switch {
		case err != nil:
			return nil, err
		case e.name == name:
			return r.child(dir, e)
		case e.name > name:
			return nil, fs.ErrNotExist
		}
	}
	return nil, fs.ErrNotExist
}
