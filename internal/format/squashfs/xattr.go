package squashfs

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Limits of Linux for extended attributes (include/uapi/linux/limits.h).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrList  = 64 << 10 // all names of one inode, each with a final NUL
)

// xattrOutOfLine in the type of an attribute says that its value is a reference
// to that of another one. Readers must know it; the writer has no need of it,
// as inodes with the same attributes share all of them.
const xattrOutOfLine = 1 << 8

// An xattrTable holds the different sets of extended attributes of an image;
// inodes have indices.
type xattrTable struct {
	sets  []xattrSet
	index map[string]uint32 // by encoded set
}

// An xattrSet is the attributes of one or more inodes.
type xattrSet struct {
	encoded string
	count   int
	size    int // as mksquashfs counts: names with a final NUL, and values
}

// add returns the index of a set of attributes, or noXattr for an empty one.
func (t *xattrTable) add(attrs map[string]string) (uint32, error) {
	if len(attrs) == 0 {
		return noXattr, nil
	}
	set, err := encodeXattrs(attrs)
	if err != nil {
		return 0, err
	}
	if i, ok := t.index[set.encoded]; ok {
		return i, nil
	}
	if len(t.sets) == math.MaxUint32-1 {
		return 0, fmt.Errorf("too many different sets of extended attributes")
	}
	if t.index == nil {
		t.index = map[string]uint32{}
	}
	i := uint32(len(t.sets))
	t.sets = append(t.sets, set)
	t.index[set.encoded] = i
	return i, nil
}

func encodeXattrs(attrs map[string]string) (xattrSet, error) {
	var b []byte
	set, names := xattrSet{count: len(attrs)}, 0
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		value := attrs[name]
		prefix, rest, err := splitXattr(name)
		if err != nil {
			return set, err
		}
		names += len(name) + 1
		set.size += len(name) + 1 + len(value)
		if rest == "" || len(name) > maxXattrName || len(value) > maxXattrValue || names > maxXattrList {
			return set, fmt.Errorf("extended attribute %.64q: name of %d bytes (1 to %d possible), value of %d (at most %d), all names %d (at most %d)",
				name, len(rest), maxXattrName, len(value), maxXattrValue, names, maxXattrList)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(prefix))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(rest)))
		b = append(b, rest...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
		b = append(b, value...)
	}
	set.encoded = string(b)
	return set, nil
}

// encode returns the attributes as metadata blocks, and the entries of the
// table that leads to them.
func (t *xattrTable) encode(comp compressor) (attrs, entries []byte, err error) {
	m := metadataWriter{comp: comp}
	for _, s := range t.sets {
		entries = binary.LittleEndian.AppendUint64(entries, uint64(m.pos()))
		entries = binary.LittleEndian.AppendUint32(entries, uint32(s.count))
		entries = binary.LittleEndian.AppendUint32(entries, uint32(s.size))
		if err := m.write([]byte(s.encoded)); err != nil {
			return nil, nil, err
		}
	}
	attrs, err = m.finish()
	return attrs, entries, err
}

// header is struct squashfs_xattr_id_table, for attributes that begin at start.
func (t *xattrTable) header(start uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, start)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.sets)))
	return binary.LittleEndian.AppendUint32(b, 0) // unused
}
