package squashfs

import (
	"fmt"
	"time"
)

// file reads the inode at ref; typ is the basic type that the directory claims.
func (r *Reader) file(name string, ref inodeRef, typ uint16) (*File, error) {
	f, err := r.readInode(name, ref, typ)
	if err != nil {
		return nil, fmt.Errorf("reading inode of %q: %w", name, err)
	}
	return f, nil
}

func (r *Reader) readInode(name string, ref inodeRef, typ uint16) (*File, error) {
	c, err := r.cursorAt(int64(r.sb.InodeTable), int64(r.sb.DirTable), ref)
	if err != nil {
		return nil, err
	}
	f := &File{r: r, ref: ref, typ: typ, nlink: 1, Header: Header{Name: name}}
	diskType, perm, uid, gid, mtime := c.u16(), c.u16(), c.u16(), c.u16(), c.u32()
	c.u32() // inode number
	if c.err != nil {
		return nil, c.err
	}
	extended := diskType > typeExtended
	if diskType != typ && diskType != typ+typeExtended {
		return nil, fmt.Errorf("inode has type %d, its directory says %d", diskType, typ)
	}
	f.Mode, f.ModTime = fileMode(typ, perm), time.Unix(int64(mtime), 0).UTC()
	if f.UID, err = r.id(uid); err != nil {
		return nil, err
	}
	if f.GID, err = r.id(gid); err != nil {
		return nil, err
	}
	xattr, err := f.readBody(c, extended)
	if err != nil {
		return nil, err
	}
	f.Xattrs, err = r.xattrs(xattr)
	return f, err
}

// readBody reads what follows the common part of an inode, and returns the
// index of its attributes.
func (f *File) readBody(c *cursor, extended bool) (xattr uint32, err error) {
	xattr = noXattr
	switch f.typ {
	case typeDir:
		xattr = f.readDir(c, extended)
		err = f.dir.check()
	case typeFile:
		xattr, err = f.readFile(c, extended)
	case typeSymlink:
		f.nlink = c.u32()
		n := c.u32()
		if n == 0 || n > maxSymlinkLen {
			return 0, fmt.Errorf("symbolic link target of %d bytes, want 1 to %d", n, maxSymlinkLen)
		}
		f.Linkname = string(c.bytes(int(n)))
	case typeBlockDev, typeCharDev:
		f.nlink = c.u32()
		f.Major, f.Minor = decodeDev(c.u32())
	default: // fifo, socket
		f.nlink = c.u32()
	}
	if extended && f.typ != typeDir && f.typ != typeFile {
		xattr = c.u32()
	}
	if err != nil {
		return 0, err
	}
	return xattr, c.err
}

func (f *File) readDir(c *cursor, extended bool) (xattr uint32) {
	d := &f.dir
	if !extended {
		d.block, f.nlink = c.u32(), c.u32()
		d.size, d.offset = uint32(c.u16()), c.u16()
		c.u32() // parent
		return noXattr
	}
	f.nlink, d.size, d.block = c.u32(), c.u32(), c.u32()
	c.u32() // parent
	c.u16() // length of the index, which is not used
	d.offset = c.u16()
	return c.u32()
}

func (f *File) readFile(c *cursor, extended bool) (xattr uint32, err error) {
	d := &f.data
	xattr = noXattr
	var size uint64
	if extended {
		d.start, size = c.u64(), c.u64()
		c.u64() // sparse bytes
		f.nlink, d.fragment, d.fragOffset, xattr = c.u32(), c.u32(), c.u32(), c.u32()
	} else {
		d.start, d.fragment, d.fragOffset, size = uint64(c.u32()), c.u32(), c.u32(), uint64(c.u32())
	}
	f.Size = int64(size)
	if f.Size < 0 {
		return 0, fmt.Errorf("file of %d bytes", size)
	}
	d.sizes = *c
	return xattr, nil
}

// readIDs reads the table of user and group ids, at most 256 KiB.
func (r *Reader) readIDs() ([]uint32, error) {
	var ids []uint32
	for i := range uint32(r.sb.IDs) {
		var b [idEntrySize]byte
		if err := r.lookup(r.sb.IDTable, i, b[:]); err != nil {
			return nil, fmt.Errorf("reading owner ids: %w", err)
		}
		ids = append(ids, le32(b[:]))
	}
	return ids, nil
}

func (r *Reader) id(i uint16) (int, error) {
	if int(i) >= len(r.ids) {
		return 0, fmt.Errorf("owner %d of a table of %d", i, len(r.ids))
	}
	return int(r.ids[i]), nil
}
