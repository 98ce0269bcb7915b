package xfs

// Blocks of an allocation group that are always in use, besides the headers:
// the roots of three B+trees, and spare ones for the two trees of free space.
const (
	treeBlocks  = 3
	spareBlocks = 4
)

// reservedBlocks stay free in each allocation group: the kernel sets them aside
// for its own needs and does not count them as available.
const reservedBlocks = 8

// run is a number of neighbouring blocks in an allocation group.
type run struct{ start, count uint32 }

// group is the space of an allocation group while it is handed out, from the
// front to the back.
type group struct {
	index  uint32
	length uint32 // blocks
	next   uint32 // first block of the free rest
	gap    run    // free blocks before aligned inodes
	spare  uint32 // first of the spare blocks
}

// available is how many blocks can still be handed out.
func (g *group) available() uint64 {
	return uint64(max(0, int64(g.length)-int64(g.next)-reservedBlocks))
}

func (g *group) take(count uint32) (start uint32) {
	start = g.next
	g.next += count
	return start
}

// free are the free extents by position.
func (g *group) free() (runs []run) {
	for _, r := range []run{g.gap, {g.next, g.length - g.next}} {
		if r.count > 0 {
			runs = append(runs, r)
		}
	}
	return runs
}

// freeBlocks counts what is free in the group.
func (g *group) freeBlocks() (sum uint32) {
	for _, r := range g.free() {
		sum += r.count
	}
	return sum
}

// take finds room for blocks: in the first group that has it, so that they are
// neighbours; else in pieces. The room must be there.
func (b *builder) take(count uint64) (extents []extent) {
	for _, g := range b.groups {
		if g.available() >= count {
			return b.takeFrom(nil, g, count)
		}
	}
	for count > 0 {
		g := b.roomiest()
		n := min(count, g.available())
		extents = b.takeFrom(extents, g, n)
		count -= n
	}
	return extents
}

// takeFrom appends blocks of one group, in as many extents as they need.
func (b *builder) takeFrom(extents []extent, g *group, count uint64) []extent {
	var offset uint64
	if n := len(extents); n > 0 {
		offset = extents[n-1].end()
	}
	for count > 0 {
		n := min(count, maxExtentBlocks)
		extents = append(extents, extent{offset: offset, block: b.sb.block(g.index, g.take(uint32(n))), count: n})
		offset += n
		count -= n
	}
	return extents
}

func (b *builder) roomiest() *group {
	best := b.groups[0]
	for _, g := range b.groups {
		if g.available() > best.available() {
			best = g
		}
	}
	return best
}
