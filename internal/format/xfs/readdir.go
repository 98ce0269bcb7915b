package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxDirectory bounds the blocks that are read for one directory, in bytes:
// half a million names.
const maxDirectory = 16 << 20

// listing is what a directory holds.
type listing struct {
	parent  uint64
	entries []dirEntry // by name, without "." and ".."
}

// list reads a directory.
func (r *Reader) list(f *file) (*listing, error) {
	if f.listing != nil {
		return f.listing, nil
	}
	l := &listing{}
	var err error
	if f.Format == formatLocal {
		err = l.readShort(f.fork[:min(uint64(len(f.fork)), f.Size)])
	} else {
		err = r.readBlocks(l, f)
	}
	if err == nil {
		err = r.checkListing(l, f)
	}
	if err != nil {
		return nil, fmt.Errorf("directory %d: %w", f.Number, err)
	}
	return l, nil
}

// checkListing makes sure that directories are a tree: each is in one place, of
// which it knows.
func (r *Reader) checkListing(l *listing, f *file) error {
	slices.SortFunc(l.entries, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	dirs := map[uint64]bool{f.Number: true, r.sb.RootInode: true}
	for i, e := range l.entries {
		switch {
		case i > 0 && l.entries[i-1].name == e.name:
			return fmt.Errorf("%q is in it twice", e.name)
		case int(e.typ) >= len(entryTypes):
			return fmt.Errorf("%q has the unknown type %d", e.name, e.typ)
		case e.typ == entryDirectory && dirs[e.ino]:
			return fmt.Errorf("the directory %q is in two places", e.name)
		}
		if e.typ == entryDirectory {
			dirs[e.ino] = true
		}
	}
	return nil
}

// add takes an entry.
func (l *listing) add(e dirEntry) error {
	switch {
	case e.name == ".":
		return nil
	case e.name == "..":
		l.parent = e.ino
		return nil
	case e.name == "" || strings.ContainsAny(e.name, "/\x00"):
		return fmt.Errorf("%q is not a name", e.name)
	}
	l.entries = append(l.entries, e)
	return nil
}

var errShort = errors.New("its entries do not fit into its inode")

// readShort takes a directory that is in its inode.
func (l *listing) readShort(b []byte) error {
	if len(b) < shortHeaderSize {
		return errShort
	}
	count, wide := int(b[0]), 4
	if b[1] > 0 { // at least one number needs them
		wide = 8
	}
	b = b[2:]
	if len(b) < wide {
		return errShort
	}
	l.parent, b = inodeNumber(b[:wide]), b[wide:]
	for range count {
		if len(b) < 1 || len(b) < 3+int(b[0])+1+wide {
			return errShort
		}
		n := 3 + int(b[0])
		e := dirEntry{name: string(b[3:n]), typ: b[n], ino: inodeNumber(b[n+1:][:wide])}
		if err := l.add(e); err != nil {
			return err
		}
		b = b[n+1+wide:]
	}
	return nil
}

// inodeNumber has 4 or 8 bytes.
func inodeNumber(b []byte) uint64 {
	if len(b) == 4 {
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

// readBlocks takes all blocks with entries. Those with hashes are not needed.
func (r *Reader) readBlocks(l *listing, f *file) error {
	extents, err := r.extents(f)
	if err != nil {
		return err
	}
	c := &content{r: r, extents: extents, size: dirLeafStart}
	size := int64(r.sb.BlockSize) << r.sb.DirBlockLog
	b := make([]byte, size)
	next, sum := int64(0), int64(0)
	for _, e := range extents {
		next = max(next, roundUp(int64(e.offset)<<r.sb.BlockLog, size))
		for end := min(int64(e.end())<<r.sb.BlockLog, dirLeafStart); next < end; next += size {
			if sum += size; sum > maxDirectory {
				return fmt.Errorf("it has more than %d bytes", maxDirectory)
			}
			if _, err := c.ReadAt(b, next); err != nil {
				return err
			}
			if err := r.readDirBlock(l, f, b); err != nil {
				return fmt.Errorf("at %d: %w", next, err)
			}
		}
	}
	return nil
}

// readDirBlock takes the entries of a block.
func (r *Reader) readDirBlock(l *listing, f *file, b []byte) error {
	end := len(b)
	switch binary.BigEndian.Uint32(b) {
	case magicDirBlock:
		hashes := int64(binary.BigEndian.Uint32(b[end-dirTailSize:]))
		if hashes*dirHashSize > int64(end-dirTailSize-dirHeaderSize) {
			return fmt.Errorf("%d hashes are more than fit", hashes)
		}
		end -= dirTailSize + int(hashes)*dirHashSize
	case magicDirData:
	default:
		return errors.New("there are no entries")
	}
	if err := verify(b, dirSum); err != nil {
		return err
	}
	if [16]byte(b[24:]) != r.uuid || binary.BigEndian.Uint64(b[40:]) != f.Number {
		return errors.New("the entries are those of another directory or file system")
	}
	return l.addEntries(b, end)
}

// addEntries takes entries from behind the header to an end, without free space.
func (l *listing) addEntries(b []byte, end int) error {
	for at := dirHeaderSize; at < end; {
		if end-at < 2*dirUnit && binary.BigEndian.Uint16(b[at:]) != dirFreeTag {
			return fmt.Errorf("the entry at %d is cut off", at)
		}
		if binary.BigEndian.Uint16(b[at:]) == dirFreeTag {
			n := int(binary.BigEndian.Uint16(b[at+2:]))
			if n == 0 || n%dirUnit != 0 || n > end-at {
				return fmt.Errorf("free space at %d of %d bytes is not possible", at, n)
			}
			at += n
			continue
		}
		n := int(b[at+8])
		e := dirEntry{ino: binary.BigEndian.Uint64(b[at:])}
		if at+9+n+1 > end {
			return fmt.Errorf("the entry at %d is cut off", at)
		}
		e.name, e.typ = string(b[at+9:at+9+n]), b[at+9+n]
		if err := l.add(e); err != nil {
			return err
		}
		at += e.size()
	}
	return nil
}
