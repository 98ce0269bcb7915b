package iso

import (
	"io/fs"
	"time"
)

const (
	minRecord    = 34  // bytes, with a name of one
	maxRecord    = 254 // bytes: the length is one byte and even
	continueSize = 28  // of a CE field
	maxNamePart  = 250 // of a name in one NM field
	maxExtent    = 1<<32 - BlockSize
)

// File types of Unix in the mode of a PX field.
const (
	unixDirectory = 0o040000
	unixRegular   = 0o100000
	unixSymlink   = 0o120000
	unixType      = 0o170000
)

// directoryWriter encodes directories, and what did not fit into their records.
type directoryWriter struct {
	continuedAt int64 // block of the continuation areas
	continued   []byte
}

// directory encodes the records of a directory, a multiple of blocks.
func (w *directoryWriter) directory(d *node) (b []byte) {
	self := [][]byte{posix(d), modified(d.modTime)}
	if d.parent == d {
		self = append([][]byte{sharing()}, append(self, extension())...)
	}
	b = w.add(b, d, "\x00", self)
	b = w.add(b, d.parent, "\x01", [][]byte{posix(d.parent), modified(d.parent.modTime)})
	for _, c := range d.children {
		fields := append([][]byte{posix(c), modified(c.modTime)}, nameFields(c.name)...)
		b = w.add(b, c, c.identifier(), fields)
	}
	return append(b, make([]byte, alignUp(int64(len(b)), BlockSize)-int64(len(b)))...)
}

// add appends the record of a node; of a large file several, one for each
// extent.
func (w *directoryWriter) add(b []byte, n *node, id string, fields [][]byte) []byte {
	r := record{id: id, block: n.block, modTime: n.modTime}
	if n.isDir() {
		r.flags = flagDirectory
	}
	for left := n.size; ; left -= r.size {
		r.size = min(left, maxExtent)
		if r.flags &^= flagMultiExtent; r.size < left {
			r.flags |= flagMultiExtent
		}
		r.system = w.fit(fields, maxRecord-recordSize(id))
		b = appendInBlock(b, appendRecord(nil, r))
		if r.size == left {
			return b
		}
		r.block += blocks(r.size)
	}
}

// appendInBlock appends what must not lie in two blocks.
func appendInBlock(b, item []byte) []byte {
	if used := len(b) % BlockSize; used+len(item) > BlockSize {
		b = append(b, make([]byte, BlockSize-used)...)
	}
	return append(b, item...)
}

// fit joins the fields of system use, if they have room. Otherwise those that
// have none go to a continuation area, which a last field points to.
func (w *directoryWriter) fit(fields [][]byte, room int) (b []byte) {
	total := 0
	for _, f := range fields {
		total += len(f)
	}
	if total > room {
		room -= continueSize
	}
	for len(fields) > 0 && len(b)+len(fields[0]) <= room {
		b, fields = append(b, fields[0]...), fields[1:]
	}
	if len(fields) == 0 {
		return b
	}
	var rest []byte
	for _, f := range fields {
		rest = append(rest, f...)
	}
	return append(b, w.continuation(rest)...)
}

// continuation places bytes in a continuation area and returns a CE field (SUSP
// 5.1). Linux does not read areas that lie in two blocks.
func (w *directoryWriter) continuation(rest []byte) []byte {
	w.continued = appendInBlock(w.continued, rest)
	at := int64(len(w.continued) - len(rest))
	f := field("CE", continueSize)
	putBoth32(f[4:], uint32(w.continuedAt+at/BlockSize))
	putBoth32(f[12:], uint32(at%BlockSize))
	putBoth32(f[20:], uint32(len(rest)))
	return f
}

// field is an empty field of version 1.
func field(signature string, size int) []byte {
	f := make([]byte, size)
	copy(f, signature)
	f[2], f[3] = byte(size), 1
	return f
}

// sharing is the SP field (SUSP 5.3), which says that there are others.
func sharing() []byte {
	f := field("SP", 7)
	f[4], f[5] = 0xbe, 0xef
	return f
}

// extension is the ER field (SUSP 5.5) with the texts that RRIP 4.3 prescribes.
func extension() []byte {
	const (
		id          = "RRIP_1991A"
		description = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		source      = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	f := field("ER", 8+len(id)+len(description)+len(source))
	f[4], f[5], f[6], f[7] = byte(len(id)), byte(len(description)), byte(len(source)), 1
	copy(f[8:], id+description+source)
	return f
}

// posix is the PX field (RRIP 4.1.1): mode, links, and owner and group 0.
func posix(n *node) []byte {
	mode, links := unixRegular|uint32(n.mode.Perm()), uint32(1)
	if n.isDir() {
		mode, links = unixDirectory|uint32(n.mode.Perm()), 2
		for _, c := range n.children {
			if c.isDir() {
				links++
			}
		}
	}
	f := field("PX", 36)
	putBoth32(f[4:], mode)
	putBoth32(f[12:], links)
	return f
}

// modified is a TF field (RRIP 4.1.6) with the time of modification only.
func modified(t time.Time) []byte {
	f := field("TF", 12)
	f[4] = timeModified
	copy(f[5:], shortTime(t))
	return f
}

// Flags of a TF field: which times follow, and how long they are.
const (
	timeCreated  = 0x01
	timeModified = 0x02
	timeLong     = 0x80
)

// nameFields are the NM fields (RRIP 4.1.4) of a name.
func nameFields(name string) (fields [][]byte) {
	for {
		part := cut(name, maxNamePart)
		name = name[len(part):]
		f := field("NM", 5+len(part))
		copy(f[5:], part)
		fields = append(fields, f)
		if name == "" {
			return fields
		}
		f[4] = nameContinues
	}
}

// Flags of an NM field.
const (
	nameContinues = 0x01
	nameCurrent   = 0x02
	nameParent    = 0x04
)

// fileMode translates the mode of a PX field.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unixType {
	case unixDirectory:
		m |= fs.ModeDir
	case unixSymlink:
		m |= fs.ModeSymlink
	case unixRegular:
	default:
		m |= fs.ModeIrregular
	}
	return m
}
