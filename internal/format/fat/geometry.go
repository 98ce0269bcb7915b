package fat

import (
	"errors"
	"fmt"
	"slices"
)

const (
	slotSize = 32 // bytes of an entry in a directory

	// minRootSlots is how many entries the root directory of a FAT12 or FAT16
	// file system has at least. It cannot grow.
	minRootSlots = 512
	maxRootSlots = 65520

	// maxDirSize is how large Linux lets a directory become, in bytes.
	maxDirSize = 65536 * slotSize

	// contentAlign is where clusters begin, in bytes: a page, so that a copy of
	// a file to or from the file system is one of whole pages.
	contentAlign = 4096

	// maxCluster16 is the largest cluster, in bytes, that FAT12 and FAT16 get
	// unless one is asked for. fatgen103 warns of larger ones.
	maxCluster16 = 32 << 10
)

// geometry says where the parts of a file system are. Sectors are its unit but
// for cluster and sector, which are bytes.
type geometry struct {
	kind      Kind
	sector    int64
	cluster   int64
	sectors   int64 // in all
	reserved  int64 // in front of the first FAT
	fats      int64
	fatSize   int64 // of one FAT
	rootSlots int64 // entries in the root directory of FAT12 and FAT16
	clusters  int64
}

func (g *geometry) fatAt(i int64) int64 { return (g.reserved + i*g.fatSize) * g.sector }
func (g *geometry) rootAt() int64       { return g.fatAt(g.fats) }
func (g *geometry) dataAt() int64 {
	return g.rootAt() + roundUp(g.rootSlots*slotSize, g.sector)
}

// clusterAt is the offset of a cluster in bytes. The first one is number 2.
func (g *geometry) clusterAt(c uint32) int64 { return g.dataAt() + int64(c-2)*g.cluster }

// clustersFor is how many clusters so many bytes take.
func (g *geometry) clustersFor(size int64) int64 { return (size + g.cluster - 1) / g.cluster }

// clusterCounts are how many clusters the kinds have, at least and at most.
// Drivers disagree by a few about the true bounds, 4085 and 65525, so fatgen103
// has writers keep 16 away from them.
var clusterCounts = map[Kind]struct{ min, max int64 }{
	FAT12: {1, 4084 - 16},
	FAT16: {4085 + 16, 65524 - 16},
	FAT32: {65525 + 16, 1<<28 - 16},
}

var (
	errFewClusters  = errors.New("there are too few clusters")
	errManyClusters = errors.New("there are too many clusters")
)

// newGeometry chooses kind and cluster size for a file system of size bytes
// whose root directory has so many entries. The error is errFewClusters if a
// larger file system may be possible.
func newGeometry(o Options, size, rootSlots int64) (*geometry, error) {
	if err := o.check(size); err != nil {
		return nil, err
	}
	err := errManyClusters
	for _, c := range o.choices(size) {
		g := layOut(c, o.sectorSize(), size, max(rootSlots, minRootSlots))
		switch limits := clusterCounts[c.kind]; {
		case g.clusters < limits.min:
			err = errFewClusters
		case g.clusters <= limits.max:
			return g, nil
		}
	}
	if o.Kind == 0 {
		return nil, fmt.Errorf("a file system of %d bytes is not possible: %w", size, err)
	}
	return nil, fmt.Errorf("%s of %d bytes is not possible: %w", o.Kind, size, err)
}

func (o Options) check(size int64) error {
	sector := o.sectorSize()
	switch {
	case !slices.Contains([]int64{512, 1024, 2048, 4096}, sector):
		return fmt.Errorf("sectors of %d bytes are not possible", sector)
	case o.Kind != 0 && clusterCounts[o.Kind].max == 0:
		return fmt.Errorf("%s does not exist", o.Kind)
	case size <= 0 || size%sector != 0:
		return fmt.Errorf("the size of %d bytes is not a multiple of the sector size %d", size, sector)
	case size/sector > 1<<32-1:
		return fmt.Errorf("the size of %d bytes is more than FAT can have", size)
	}
	if c := int64(o.ClusterSize); c != 0 && (c < sector || c > 128*sector || c > 64<<10 || c&(c-1) != 0) {
		return fmt.Errorf("clusters of %d bytes are not possible with sectors of %d", c, sector)
	}
	return nil
}

// choice is a kind with a cluster size in bytes.
type choice struct {
	kind    Kind
	cluster int64
}

// choices are what is tried for a size, best first.
func (o Options) choices(size int64) []choice {
	var small []choice
	for c := int64(2 << 10); c <= maxCluster16; c *= 2 {
		small = append(small, choice{FAT12, c}, choice{FAT16, c})
	}
	large := []choice{{FAT32, cluster32(size)}}
	all := slices.Concat(small, large)
	if size >= 512<<20 {
		all = slices.Concat(large, small)
	}
	for i, c := range all {
		all[i].cluster = max(c.cluster, o.sectorSize())
		if o.ClusterSize != 0 {
			all[i].cluster = int64(o.ClusterSize)
		}
	}
	return slices.DeleteFunc(all, func(c choice) bool { return o.Kind != 0 && c.kind != o.Kind })
}

// cluster32 is the cluster size of FAT32 by the size of the file system, as
// fatgen103 and mkfs.vfat have it. All are bytes.
func cluster32(size int64) int64 {
	switch {
	case size < 260<<20:
		return 512
	case size < 8<<30:
		return 4 << 10
	case size < 16<<30:
		return 8 << 10
	case size < 32<<30:
		return 16 << 10
	}
	return 32 << 10
}

// layOut fits as many clusters as possible into size bytes.
func layOut(c choice, sector, size, rootSlots int64) *geometry {
	g := &geometry{kind: c.kind, sector: sector, cluster: c.cluster, sectors: size / sector, fats: 2}
	if c.kind == FAT32 {
		g.reserved = 32
	} else {
		g.reserved = 1
		g.rootSlots = roundUp(rootSlots*slotSize, sector) / slotSize
	}
	// A cluster costs itself and one entry in each FAT. The first two entries
	// belong to no cluster.
	bits, room := int64(c.kind), size-g.dataAt()
	n := max(0, (8*room-2*2*bits)/(8*c.cluster+2*bits))
	g.fatSize = roundUp((n+2)*bits, 8*sector) / (8 * sector)
	g.reserved += (roundUp(g.dataAt(), max(c.cluster, contentAlign)) - g.dataAt()) / sector
	g.clusters = min(n, max(0, size-g.dataAt())/c.cluster)
	return g
}

func roundUp(n, align int64) int64 { return (n + align - 1) / align * align }
