package xfs

import (
	"encoding/binary"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	treeHeaderSize  = 56 // of a B+tree block within an allocation group
	treeSum         = 52
	chunkRecordSize = 16

	freeSum       = 216
	inodesSum     = 312
	freeListSum   = 32
	freeListStart = 36
)

// write makes the image of what was planned.
func (b *builder) write() *sparse.Image {
	img := sparse.New(b.o.Size)
	for _, g := range b.groups {
		img.Put(b.sb.offset(b.sb.block(g.index, 0)), b.groupHead(g))
	}
	img.Put(b.sb.offset(b.sb.LogStart), b.logRecord())
	img.Put(b.sb.offset(b.sb.block(0, b.inodeStart())), b.inodes())
	for _, n := range b.nodes {
		if n.mode.IsDir() {
			b.writeDir(img, n)
		} else {
			b.writeContent(img, n)
		}
	}
	return img
}

func (b *builder) writeDir(img *sparse.Image, n *node) {
	if n.shape.short() {
		return
	}
	var at []uint64
	for _, e := range n.extents {
		for i := range e.count {
			at = append(at, e.block+i)
		}
	}
	for i, data := range b.sb.dirBlocks(n.shape, n.entries(), at) {
		img.Put(b.sb.offset(at[i]), data)
	}
}

func (b *builder) writeContent(img *sparse.Image, n *node) {
	for _, e := range n.extents {
		start := int64(e.offset) * blockSize
		size := min(int64(e.count)*blockSize, n.content.Size()-start)
		img.Add(b.sb.offset(e.block), n.content.Section(start, size))
	}
}

// groupHead is the front of an allocation group: four headers, a sector each,
// and the roots of three trees, a block each.
func (b *builder) groupHead(g *group) []byte {
	header := int(b.headerBlocks())
	head := make([]byte, (header+treeBlocks)*blockSize)
	sector := func(i int) []byte { return head[i*b.o.SectorSize:][:b.o.SectorSize] }
	encode(sector(0), b.sb)
	seal(sector(0), superblockSum)
	b.freeHeader(sector(1), g)
	b.inodeHeader(sector(2), g)
	b.freeList(sector(3), g)

	block := func(i int) []byte { return head[(header+i)*blockSize:][:blockSize] }
	byBlock := g.free()
	byCount := byBlock
	if len(byCount) == 2 && byCount[0].count > byCount[1].count {
		byCount = []run{byBlock[1], byBlock[0]}
	}
	b.tree(block(0), g, 0, magicByBlock, runRecords(byBlock))
	b.tree(block(1), g, 1, magicByCount, runRecords(byCount))
	b.tree(block(2), g, 2, magicInodeTree, b.chunkRecords(g))
	return head
}

// freeHeader is struct xfs_agf: the free space of a group.
func (b *builder) freeHeader(sector []byte, g *group) {
	var longest uint32
	for _, r := range g.free() {
		longest = max(longest, r.count)
	}
	first := b.headerBlocks()
	encode(sector, &struct {
		Magic, Version, Index, Length        uint32
		ByBlock, ByCount, ReverseMap         uint32 // roots
		ByBlockLevels, ByCountLevels         uint32
		ReverseMapLevels                     uint32
		ListFirst, ListLast, ListCount       uint32
		FreeBlocks, LongestFree, ExtraBlocks uint32
		UUID                                 [16]byte
	}{
		Magic: magicFree, Version: 1, Index: g.index, Length: g.length,
		ByBlock: first, ByCount: first + 1,
		ByBlockLevels: 1, ByCountLevels: 1,
		ListFirst: 1, ListLast: spareBlocks, ListCount: spareBlocks,
		FreeBlocks: g.freeBlocks(), LongestFree: longest,
		UUID: b.sb.UUID,
	})
	seal(sector, freeSum)
}

// inodeHeader is struct xfs_agi: the inodes of a group. All are in the first.
func (b *builder) inodeHeader(sector []byte, g *group) {
	h := struct {
		Magic, Version, Index, Length  uint32
		Count, Root, Levels, FreeCount uint32
		Newest, Directory              uint32
		Unlinked                       [64]uint32
		UUID                           [16]byte
	}{
		Magic: magicInodes, Version: 1, Index: g.index, Length: g.length,
		Root: b.headerBlocks() + 2, Levels: 1,
		Newest: null, Directory: null,
		UUID: b.sb.UUID,
	}
	for i := range h.Unlinked {
		h.Unlinked[i] = null
	}
	if g.index == 0 {
		h.Count, h.FreeCount = uint32(b.sb.Inodes), uint32(b.sb.FreeInodes)
		h.Newest = uint32(b.sb.RootInode) + h.Count - chunkInodes
	}
	encode(sector, &h)
	seal(sector, inodesSum)
}

// freeList is struct xfs_agfl: blocks at hand for the trees of free space.
func (b *builder) freeList(sector []byte, g *group) {
	for i := freeListStart; i < len(sector); i += 4 {
		binary.BigEndian.PutUint32(sector[i:], null)
	}
	encode(sector, &struct {
		Magic, Index uint32
		UUID         [16]byte
		LSN          uint64
	}{Magic: magicFreeList, Index: g.index, UUID: b.sb.UUID})
	for i := range uint32(spareBlocks) { // the header says that they begin at 1
		binary.BigEndian.PutUint32(sector[freeListStart+4*(1+i):], g.spare+i)
	}
	seal(sector, freeListSum)
}

// tree fills the only block of a B+tree, which is number i behind the headers.
func (b *builder) tree(block []byte, g *group, i uint32, magic uint32, records [][]byte) {
	encode(block, &struct {
		Magic        uint32
		Level, Count uint16
		Left, Right  uint32
		Block, LSN   uint64
		UUID         [16]byte
		Owner        uint32
	}{
		Magic: magic, Count: uint16(len(records)), Left: null, Right: null,
		Block: b.sb.daddr(b.sb.block(g.index, b.headerBlocks()+i)),
		UUID:  b.sb.UUID, Owner: g.index,
	})
	at := treeHeaderSize
	for _, r := range records {
		at += copy(block[at:], r)
	}
	seal(block, treeSum)
}

func runRecords(runs []run) (records [][]byte) {
	for _, r := range runs {
		rec := binary.BigEndian.AppendUint32(nil, r.start)
		records = append(records, binary.BigEndian.AppendUint32(rec, r.count))
	}
	return records
}

// chunkRecords tell for each inode chunk which of its inodes are free: the last
// ones of the last chunk.
func (b *builder) chunkRecords(g *group) (records [][]byte) {
	if g.index > 0 {
		return nil
	}
	used := len(b.nodes) + ownInodes
	for i := range b.chunks() {
		free := max(0, (i+1)*chunkInodes-used)
		rec := binary.BigEndian.AppendUint32(nil, uint32(b.sb.RootInode)+uint32(i*chunkInodes))
		rec = binary.BigEndian.AppendUint32(rec, uint32(free))
		records = append(records, binary.BigEndian.AppendUint64(rec, ^uint64(0)<<(chunkInodes-free)))
	}
	return records
}

// inodes are all inode chunks, one behind the other.
func (b *builder) inodes() []byte {
	chunks := make([]byte, b.chunks()*chunkInodes*inodeSize)
	place := func(ino uint64) []byte { return chunks[(ino-b.sb.RootInode)*inodeSize:][:inodeSize] }
	for i := range b.sb.FreeInodes {
		ino := b.sb.RootInode + b.sb.Inodes - 1 - i
		b.inode(place(ino), ino, inode{}, nil)
	}
	created := packTime(b.o.Time)
	device := inode{
		Mode: unixRegular, Format: formatExtents, AttrFormat: formatExtents, Links: 1,
		ModTime: created, ChangeTime: created, CreateTime: created, ChangeCount: 1,
	}
	b.inode(place(b.sb.SummaryInode), b.sb.SummaryInode, device, nil)
	device.Flags = flagNewBitmap
	b.inode(place(b.sb.BitmapInode), b.sb.BitmapInode, device, nil)
	for _, n := range b.nodes {
		core, fork := n.inode()
		core.ChangeTime, core.CreateTime = created, created
		b.inode(place(n.ino), n.ino, core, fork)
	}
	return chunks
}

// inode writes an inode; one without a mode is free.
func (b *builder) inode(place []byte, ino uint64, core inode, fork []byte) {
	core.Magic, core.Version, core.NextUnlinked = magicInode, 3, null
	core.Number, core.UUID = ino, b.sb.UUID
	encode(place, &core)
	copy(place[inodeCoreSize:], fork)
	seal(place, inodeSum)
}

// inode of a node, without what all have in common, and its data fork.
func (n *node) inode() (core inode, fork []byte) {
	core = inode{
		Mode: unixMode(n.mode), Format: formatExtents, AttrFormat: formatExtents, Links: n.links(),
		AccessTime: packTime(n.modTime), ModTime: packTime(n.modTime), ChangeCount: 1,
		Extents: uint32(len(n.extents)), Blocks: n.blocks(),
	}
	fork = make([]byte, len(n.extents)*extentSize)
	for i, e := range n.extents {
		e.put(fork[i*extentSize:])
	}
	switch {
	case !n.mode.IsDir():
		core.Size = uint64(n.content.Size())
	case n.shape.short():
		fork = shortDir(n.entries())
		core.Format, core.Size = formatLocal, uint64(len(fork))
	default:
		core.Size = uint64(len(n.shape.data)) * blockSize
	}
	return core, fork
}

// logRecord is what a clean log begins with: the record of an unmount. A log
// that ends there, with zeros behind, has nothing to replay. Its checksum is 0,
// which is none, as mkfs.xfs leaves it.
func (b *builder) logRecord() []byte {
	const (
		headerSize  = 512
		cycle       = 1
		transaction = 0xb0c0d0d0
		clientLog   = 0xaa
		unmount     = 0x20
		unmountType = 0x6e55 // "nU", by a little-endian machine
	)
	size := max(headerSize+512, int(b.sb.LogStripeUnit))
	record := make([]byte, size)
	encode(record, &struct {
		Magic, Cycle, Version, Length uint32
		LSN, Tail                     uint64
		CRC, Previous, Operations     uint32
		CycleData                     [64]uint32 // what the cycle took the place of
		Format                        uint32     // of the machine
		UUID                          [16]byte
		Size                          uint32 // of the log's buffers
	}{
		Magic: 0xfeedbabe, Cycle: cycle, Version: 2, Length: uint32(size - headerSize),
		LSN: cycle << 32, Tail: cycle << 32,
		Previous: null, Operations: 1,
		CycleData: [64]uint32{transaction},
		Format:    1,
		UUID:      b.sb.UUID,
		Size:      32 << 10,
	})
	encode(record[headerSize:], &struct {
		Cycle, Length uint32
		Client, Flags uint8
		_             uint16
		Type          uint16
	}{Cycle: cycle, Length: 8, Client: clientLog, Flags: unmount, Type: unmountType})
	for at := headerSize + 512; at < size; at += 512 { // each sector begins with the cycle
		binary.BigEndian.PutUint32(record[at:], cycle)
	}
	return record
}
