package fat

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// maxFiles bounds the files of a file system, and so the memory of a Reader.
const maxFiles = 100_000

// file is a file or directory that was read.
type file struct {
	name     string
	slot     slot
	mode     fs.FileMode
	size     int64
	modTime  time.Time
	content  *sparse.Image
	children []*file // by name
	byName   map[string]*file
}

// treeReader reads all directories, each file's clusters once.
type treeReader struct {
	*Reader
	chains *chains
	files  int
}

// readTree makes the root and all below it.
func (r *Reader) readTree() error {
	t := &treeReader{Reader: r, chains: r.chains()}
	r.root = &file{name: ".", mode: fs.ModeDir | 0o755}
	if r.Kind == FAT32 {
		return t.readDir(r.root, r.rootCluster, 0)
	}
	size := r.g.rootSlots * slotSize
	return t.readSlots(r.root, sparse.From(r.r, r.g.rootAt(), size), 0)
}

// readDir reads the directory that begins in a cluster.
func (t *treeReader) readDir(dir *file, first uint32, depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("directories are more than %d deep", maxDepth)
	}
	runs, err := t.chains.follow(first, 0)
	if err != nil {
		return err
	}
	content := t.join(runs)
	if content.Size() > maxDirSize+t.g.cluster {
		return errors.New("the directory is larger than 2 MiB")
	}
	return t.readSlots(dir, content, depth)
}

// join is the content of runs of clusters.
func (t *treeReader) join(runs []run) *sparse.Image {
	parts := make([]*sparse.Image, len(runs))
	for i, c := range runs {
		parts[i] = sparse.From(t.r, t.g.clusterAt(c.first), int64(c.count)*t.g.cluster)
	}
	return sparse.Concat(1, parts...)
}

// readSlots reads the files of a directory, and what is below them.
func (t *treeReader) readSlots(dir *file, content *sparse.Image, depth int) error {
	if err := t.list(dir, content); err != nil {
		return err
	}
	for _, f := range dir.children {
		if err := t.readFile(f, depth); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// list makes the files of a directory, and finds the label in the root.
func (t *treeReader) list(dir *file, content *sparse.Image) error {
	b := make([]byte, content.Size())
	if err := readFull(content, b, 0); err != nil {
		return err
	}
	dir.byName = map[string]*file{}
	var long longName
	for ; len(b) >= slotSize && b[0] != 0; b = b[slotSize:] {
		var s slot
		if _, err := binary.Decode(b, binary.LittleEndian, &s); err != nil {
			return err
		}
		if s.Name[0] != deleted && s.Attributes&0x3f == attrLong {
			long.add(b[:slotSize])
			continue
		}
		switch {
		case s.Name[0] == deleted || s.Name == dotName || s.Name == dotDotName:
		case s.Attributes&attrLabel != 0:
			if dir == t.root {
				t.Label = decodeLabel(s.Name)
			}
		default:
			if err := t.add(dir, s, long.name(s.Name)); err != nil {
				return err
			}
		}
		long = longName{}
	}
	slices.SortFunc(dir.children, func(a, b *file) int { return cmp.Compare(a.name, b.name) })
	return nil
}

// add adds a file to a directory. It has its short name if the long one is empty.
func (t *treeReader) add(dir *file, s slot, name string) error {
	if name == "" {
		name = s.shown()
	}
	if t.files++; t.files > maxFiles {
		return fmt.Errorf("there are more than %d files", maxFiles)
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsFunc(name, isForbidden) {
		return fmt.Errorf("a file has the impossible name %q", name)
	}
	if dir.byName[fold(name)] != nil {
		return fmt.Errorf("the file %q is there twice", name)
	}
	f := &file{name: name, slot: s, modTime: s.Written.time(), mode: 0o644}
	dir.children, dir.byName[fold(name)] = append(dir.children, f), f
	return nil
}

// readFile finds the content of a file, or reads a directory.
func (t *treeReader) readFile(f *file, depth int) error {
	if f.slot.Attributes&attrReadOnly != 0 {
		f.mode &^= 0o222
	}
	if f.slot.Attributes&attrDir != 0 {
		f.mode |= fs.ModeDir | 0o111
		return t.readDir(f, t.firstCluster(f.slot), depth+1)
	}
	f.content, f.size = sparse.New(0), int64(f.slot.Size)
	if f.size == 0 {
		return nil
	}
	count := t.g.clustersFor(f.size)
	if count > t.g.clusters {
		return fmt.Errorf("its %d bytes are more than the file system has", f.size)
	}
	runs, err := t.chains.follow(t.firstCluster(f.slot), count)
	if err != nil {
		return err
	}
	f.content = t.join(runs).Section(0, f.size)
	return nil
}

func (t *treeReader) firstCluster(s slot) uint32 {
	if t.Kind != FAT32 {
		return uint32(s.ClusterLow) // others put something else into the upper half
	}
	return s.cluster()
}

const (
	deleted   = 0xe5
	escapedE5 = 0x05 // stands for 0xE5 as the first byte of a name

	lowerBase = 0x08
	lowerExt  = 0x10
)

// shown is the short name as Windows NT and Linux show it.
func (s *slot) shown() string {
	name := s.Name
	if name[0] == escapedE5 {
		name[0] = deleted
	}
	base, ext := decodeOEM(name[:8]), decodeOEM(name[8:])
	if s.Case&lowerBase != 0 {
		base = strings.ToLower(base)
	}
	if s.Case&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// longName collects the slots of a long name, which come last part first.
type longName struct {
	units    []uint16
	next     byte // the ordinal that is expected, 1 being the last
	checksum byte
}

// add takes the next slot. One that does not follow the one before is the end of
// the name: those of programs that do not know long names may be in between.
func (l *longName) add(b []byte) {
	ordinal := b[0] & longOrdinals
	if b[0]&longLast != 0 && ordinal > 0 {
		*l = longName{next: ordinal, checksum: b[13]}
	}
	if l.next == 0 || ordinal != l.next || b[13] != l.checksum {
		*l = longName{}
		return
	}
	part := make([]uint16, longUnits, longUnits+len(l.units))
	for i, at := range longUnitAt {
		part[i] = binary.LittleEndian.Uint16(b[at:])
	}
	l.units = append(part, l.units...)
	l.next--
	if l.next == 0 {
		l.next = complete
	}
}

// complete stands for a name of which no slot is missing.
const complete = 0xff

// name is the long name if it is one of the short name, or empty.
func (l *longName) name(short shortName) string {
	if l.next != complete || l.checksum != short.checksum() {
		return ""
	}
	units := l.units
	if i := slices.Index(units, 0); i >= 0 {
		units = units[:i]
	}
	return string(utf16.Decode(units))
}
