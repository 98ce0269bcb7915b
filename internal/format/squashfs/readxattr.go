package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxXattrBytes bounds the values of one inode. Linux limits the names only,
// but file systems that keep attributes in the inode or one block hold less.
const maxXattrBytes = 1 << 20

// xattrs reads the attributes with the given index in the xattr table.
func (r *Reader) xattrs(i uint32) (map[string]string, error) {
	if i == noXattr || r.sb.XattrTable == noTable {
		return nil, nil
	}
	attrs, err := r.readXattrs(i)
	if err != nil {
		return nil, fmt.Errorf("reading extended attributes: %w", err)
	}
	return attrs, nil
}

func (r *Reader) readXattrs(i uint32) (map[string]string, error) {
	var h [16]byte // struct squashfs_xattr_id_table
	if err := r.readAt(h[:], int64(r.sb.XattrTable)); err != nil {
		return nil, err
	}
	start, ids := binary.LittleEndian.Uint64(h[:]), le32(h[8:])
	if i >= ids || start > r.sb.XattrTable {
		return nil, fmt.Errorf("set %d of %d", i, ids)
	}
	var e [xattrEntrySize]byte
	if err := r.lookup(r.sb.XattrTable+uint64(len(h)), i, e[:]); err != nil {
		return nil, err
	}
	x := xattrReader{r: r, start: int64(start)}
	return x.set(inodeRef(binary.LittleEndian.Uint64(e[:])), le32(e[8:]))
}

// An xattrReader reads one set of attributes.
type xattrReader struct {
	r      *Reader
	start  int64 // of the attributes in the image
	names  int   // bytes so far
	values int   // bytes so far
}

func (x *xattrReader) cursor(ref inodeRef) (*cursor, error) {
	return x.r.cursorAt(x.start, int64(x.r.sb.XattrTable), ref)
}

func (x *xattrReader) set(ref inodeRef, count uint32) (map[string]string, error) {
	c, err := x.cursor(ref)
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	for range count {
		name, value, err := x.pair(c)
		if err != nil {
			return nil, err
		}
		if _, ok := attrs[name]; ok {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		attrs[name] = value
	}
	return attrs, nil
}

func (x *xattrReader) pair(c *cursor) (name, value string, err error) {
	typ, size := c.u16(), int(c.u16())
	prefix := int(typ &^ xattrOutOfLine)
	if c.err == nil && prefix >= len(xattrPrefixes) {
		return "", "", fmt.Errorf("attribute of unknown namespace %d", prefix)
	}
	if x.names += size + 1; x.names > maxXattrList {
		return "", "", fmt.Errorf("names with more than %d bytes", maxXattrList)
	}
	rest := string(c.bytes(size))
	if c.err != nil {
		return "", "", c.err
	}
	name = xattrPrefixes[prefix] + rest
	if typ&xattrOutOfLine == 0 {
		value, err = x.value(c)
		return name, value, err
	}
	value, err = x.distantValue(c)
	return name, value, err
}

func (x *xattrReader) value(c *cursor) (string, error) {
	size := c.u32()
	if c.err == nil && size > maxXattrValue {
		return "", fmt.Errorf("value of %d bytes, at most %d are possible", size, maxXattrValue)
	}
	if c.err != nil {
		return "", c.err
	}
	if x.values += int(size); x.values > maxXattrBytes {
		return "", fmt.Errorf("values with more than %d bytes", maxXattrBytes)
	}
	v := string(c.bytes(int(size)))
	return v, c.err
}

// distantValue reads the value of another attribute, to which this one refers.
func (x *xattrReader) distantValue(c *cursor) (string, error) {
	size, ref := c.u32(), inodeRef(c.u64())
	if c.err != nil {
		return "", c.err
	}
	if size != 8 {
		return "", errors.New("reference to a value has not 8 bytes")
	}
	d, err := x.cursor(ref)
	if err != nil {
		return "", err
	}
	return x.value(d)
}
