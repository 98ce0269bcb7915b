package squashfs

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A treeEncoder writes the inode table and the directory table side by side.
// The structures are those of fs/squashfs/squashfs_fs.h; the short ("basic")
// form is used whenever it can hold the inode.
type treeEncoder struct {
	inodes, dirs metadataWriter
	buf          []byte
}

// encode writes an inode, and before it, for a directory, its listing.
func (e *treeEncoder) encode(n *inode) error {
	e.buf = e.buf[:0]
	switch n.typ {
	case typeDir:
		l, err := e.encodeListing(n)
		if err != nil {
			return err
		}
		e.dir(n, l)
	case typeFile:
		e.file(n)
	case typeSymlink:
		e.header(n, n.xattr != noXattr)
		e.u32(n.nlink, uint32(len(n.target)))
		e.buf = append(e.buf, n.target...)
		e.optionalXattr(n)
	case typeBlockDev, typeCharDev:
		e.header(n, n.xattr != noXattr)
		e.u32(n.nlink, n.dev)
		e.optionalXattr(n)
	default: // fifo, socket
		e.header(n, n.xattr != noXattr)
		e.u32(n.nlink)
		e.optionalXattr(n)
	}
	return e.inodes.write(e.buf)
}

func (e *treeEncoder) u16(v ...uint16) {
	for _, v := range v {
		e.buf = binary.LittleEndian.AppendUint16(e.buf, v)
	}
}

func (e *treeEncoder) u32(v ...uint32) {
	for _, v := range v {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
	}
}

func (e *treeEncoder) u64(v ...uint64) {
	for _, v := range v {
		e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
	}
}

// header is the part that all inodes have in common.
func (e *treeEncoder) header(n *inode, extended bool) {
	typ := n.typ
	if extended {
		typ += typeExtended
	}
	e.u16(typ, n.perm, n.uid, n.gid)
	e.u32(n.mtime, n.number)
}

func (e *treeEncoder) optionalXattr(n *inode) {
	if n.xattr != noXattr {
		e.u32(n.xattr)
	}
}

func (e *treeEncoder) file(n *inode) {
	d := n.data
	if d.start > math.MaxUint32 || n.size > math.MaxUint32 || d.sparse > 0 || n.nlink > 1 || n.xattr != noXattr {
		e.header(n, true)
		e.u64(uint64(d.start), uint64(n.size), uint64(sparseBytes(d, n.size)))
		e.u32(n.nlink, d.fragment, d.fragOffset, n.xattr)
	} else {
		e.header(n, false)
		e.u32(uint32(d.start), d.fragment, d.fragOffset, uint32(n.size))
	}
	e.u32(d.blocks...)
}

// sparseBytes returns what the kernel subtracts from the size to get the disk
// usage of a file. One byte must remain: programs take a file without disk
// usage as empty (mksquashfs does the same).
func sparseBytes(d *fileData, size int64) int64 {
	return max(0, min(d.sparse, size-1))
}

func (e *treeEncoder) dir(n *inode, l *listing) {
	parent := n.number + 1 // the root has no parent: one more than all inodes
	if n.parent != nil {
		parent = n.parent.number
	}
	size := l.size + dirSizeBias
	if size <= math.MaxUint16 && len(l.index) == 0 && n.xattr == noXattr {
		e.header(n, false)
		e.u32(uint32(l.start.block()), n.nlink)
		e.u16(uint16(size), uint16(l.start.offset()))
		e.u32(parent)
		return
	}
	e.header(n, true)
	e.u32(n.nlink, uint32(size), uint32(l.start.block()), parent)
	e.u16(uint16(len(l.index)), uint16(l.start.offset()))
	e.u32(n.xattr)
	for _, i := range l.index {
		e.u32(uint32(i.at), uint32(i.block), uint32(len(i.name)-1))
		e.buf = append(e.buf, i.name...)
	}
}

// A listing is a directory as it stands in the directory table: runs of entries
// behind a header with what the entries of the run have in common.
type listing struct {
	start inodeRef
	size  int
	index []indexEntry
}

// An indexEntry allows the kernel to begin the search for a name at the first
// header of a metadata block instead of at the start of the listing.
type indexEntry struct {
	at    int   // bytes from the start of the listing
	block int64 // position of the metadata block in the directory table
	name  string
}

// The counts of a directory inode have 16 and 32 bits.
const (
	maxDirIndex    = math.MaxUint16
	maxListingSize = math.MaxUint32 - dirSizeBias
)

func (e *treeEncoder) encodeListing(dir *inode) (*listing, error) {
	names := dir.names()
	l := &listing{start: e.dirs.pos()}
	for len(names) > 0 {
		at := e.dirs.pos()
		if at.block() != l.lastBlock() {
			l.index = append(l.index, indexEntry{l.size, at.block(), names[0]})
		}
		run, size := dirRun(dir, names, at.offset())
		if err := e.writeRun(dir, run); err != nil {
			return nil, err
		}
		names = names[len(run):]
		l.size += size
	}
	if len(l.index) > maxDirIndex || l.size > maxListingSize {
		return nil, fmt.Errorf("directory with %d entries is too large", len(dir.children))
	}
	return l, nil
}

// lastBlock returns the metadata block that the index points to last.
func (l *listing) lastBlock() int64 {
	if len(l.index) == 0 {
		return l.start.block()
	}
	return l.index[len(l.index)-1].block
}

// dirRun returns how many of the names can follow one header that is written at
// the given offset of a metadata block, and the size of all that. A run ends
// where the common inode block or the distance of inode numbers does not fit
// any more, and with the metadata block, so that the index can point to the
// next one.
func dirRun(dir *inode, names []string, offset int) (run []string, size int) {
	first := dir.children[names[0]]
	size = dirHeaderSize
	for i, name := range names {
		n := dir.children[name]
		delta := int64(n.number) - int64(first.number)
		if i == dirRunLen || n.ref.block() != first.ref.block() ||
			delta < math.MinInt16 || delta > math.MaxInt16 ||
			i > 0 && offset+size >= metadataSize {
			return names[:i], size
		}
		size += dirEntrySize + len(name)
	}
	return names, size
}

func (e *treeEncoder) writeRun(dir *inode, run []string) error {
	first := dir.children[run[0]]
	e.buf = e.buf[:0]
	e.u32(uint32(len(run)-1), uint32(first.ref.block()), first.number)
	for _, name := range run {
		n := dir.children[name]
		e.u16(uint16(n.ref.offset()), uint16(n.number-first.number), n.typ, uint16(len(name)-1))
		e.buf = append(e.buf, name...)
	}
	err := e.dirs.write(e.buf)
	e.buf = e.buf[:0]
	return err
}
