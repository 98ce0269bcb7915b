package fat

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Build lays out a file system with all the files. The order of the files makes
// no difference. A file system without room for them is a *TooSmallError.
func Build(o Options, files []File) (*sparse.Image, error) {
	m, err := build(o, files)
	if err != nil {
		return nil, fmt.Errorf("making a FAT file system: %w", err)
	}
	return m, nil
}

// sizeStep is what fitted file systems are a multiple of, in bytes.
const sizeStep = 1 << 20

// Size is a number of whole MiB that is enough for these files, and hardly more
// than they need. The size in the options does not matter.
func Size(o Options, files []File) (int64, error) {
	root, err := newTree(files, o.Label != "")
	if err != nil {
		return 0, fmt.Errorf("fitting a FAT file system: %w", err)
	}
	size, err := fit(o, root, 0)
	if err != nil {
		return 0, fmt.Errorf("fitting a FAT file system: %w", err)
	}
	return size, nil
}

// fit tries sizes from a lowest one on.
func fit(o Options, root *node, size int64) (int64, error) {
	var sum int64
	root.walk(func(n *node) { sum += n.size })
	for size = roundUp(max(1, sum, size), sizeStep); ; size += sizeStep {
		g, err := newGeometry(o, size, root.size/slotSize)
		if errors.Is(err, errFewClusters) {
			continue
		}
		if err != nil {
			return 0, err
		}
		missing := (g.needed(root) - g.clusters) * g.cluster
		if missing <= 0 {
			return size, nil
		}
		size += roundUp(missing, sizeStep) - sizeStep
	}
}

// needed is the number of clusters that a tree takes.
func (g *geometry) needed(root *node) (sum int64) {
	root.walk(func(n *node) { sum += g.clustersOf(n) })
	return sum
}

// clustersOf is the number of clusters of a node. The root directory of FAT12
// and FAT16 has a place of its own, that of FAT32 is never without a cluster.
func (g *geometry) clustersOf(n *node) int64 {
	switch {
	case n.parent != nil:
		return g.clustersFor(n.size)
	case g.kind == FAT32:
		return max(1, g.clustersFor(n.size))
	}
	return 0
}

func build(o Options, files []File) (*sparse.Image, error) {
	label, err := checkLabel(o.Label)
	if err != nil {
		return nil, err
	}
	root, err := newTree(files, o.Label != "")
	if err != nil {
		return nil, err
	}
	g, err := newGeometry(o, o.Size, root.size/slotSize)
	if errors.Is(err, errFewClusters) || err == nil && g.needed(root) > g.clusters {
		return nil, tooSmall(o, root)
	}
	if err != nil {
		return nil, err
	}
	return g.image(o, label, root), nil
}

func (g *geometry) image(o Options, label shortName, root *node) *sparse.Image {
	m := sparse.New(o.Size)
	used := g.putTables(m, root)
	g.putBootSectors(m, o, label, used)
	root.walk(func(n *node) { g.putContent(m, n, n.content(o, label)) })
	return m
}

func tooSmall(o Options, root *node) error {
	needed, err := fit(o, root, o.Size)
	if err != nil {
		return err
	}
	return &TooSmallError{o.Size, needed}
}

// putTables gives each node its clusters, and places both tables up to the last
// cluster in use. It returns the number of those.
func (g *geometry) putTables(m *sparse.Image, root *node) (used uint32) {
	t := newTable(g.kind, g.needed(root))
	root.walk(func(n *node) {
		if count := uint32(g.clustersOf(n)); count > 0 {
			n.first = used + 2
			t.chain(n.first, count)
			used += count
		}
	})
	for i := range g.fats {
		m.Put(g.fatAt(i), t.data)
	}
	return used
}

func (g *geometry) putBootSectors(m *sparse.Image, o Options, label shortName, used uint32) {
	boot := g.encodeBootSector(o, label)
	m.Put(0, boot)
	if g.kind != FAT32 {
		return
	}
	free, next := uint32(g.clusters)-used, used+2
	if free == 0 {
		next = unknownCluster
	}
	info := encodeInfo(free, next)
	m.Put(infoSector*g.sector, info)
	m.Put(backupSector*g.sector, boot)
	m.Put((backupSector+infoSector)*g.sector, info)
}

func (g *geometry) putContent(m *sparse.Image, n *node, content *sparse.Image) {
	switch {
	case n.first != 0:
		m.Add(g.clusterAt(n.first), content)
	case n.dir:
		m.Add(g.rootAt(), content)
	}
}

// table is the front part of an allocation table.
type table struct {
	kind Kind
	data []byte
}

// newTable has entries for so many clusters, and the two in front of them.
func newTable(kind Kind, clusters int64) *table {
	t := &table{kind, make([]byte, ((clusters+2)*int64(kind)+7)/8)}
	t.set(0, t.end()&^0xff|mediaFixed)
	t.set(1, t.end())
	return t
}

// end is the entry of the last cluster of a chain.
func (t *table) end() uint32 { return 1<<min(t.kind, 28) - 1 }

// chain links count clusters, one behind the other.
func (t *table) chain(first, count uint32) {
	last := first + count - 1
	for c := first; c < last; c++ {
		t.set(c, c+1)
	}
	t.set(last, t.end())
}

// set changes an entry that was 0.
func (t *table) set(c, v uint32) {
	switch t.kind {
	case FAT32:
		binary.LittleEndian.PutUint32(t.data[4*c:], v)
	case FAT16:
		binary.LittleEndian.PutUint16(t.data[2*c:], uint16(v))
	default:
		v <<= c % 2 * 4 // an odd entry begins in the middle of a byte
		t.data[c*3/2] |= byte(v)
		t.data[c*3/2+1] |= byte(v >> 8)
	}
}
