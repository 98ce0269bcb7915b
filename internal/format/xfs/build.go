package xfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// What is written has these sizes, in bytes.
const (
	blockSize = 4 << 10
	blockLog  = 12
	inodeSize = 512
	inodeLog  = 9
)

const (
	minSize = 64 << 20

	// maxSize keeps even a file in pieces of all groups to 12 extents; 21 fit
	// into an inode.
	maxSize = 64 << 30

	// groupCount is how many allocation groups mkfs.xfs makes on one disk.
	groupCount = 4

	// logGroup is the one with the log, as mkfs.xfs has it.
	logGroup = groupCount / 2

	// bigLogSize is the size of a file system from which on mkfs.xfs makes the
	// log as large as bigLog. Below, half of it is still more than any kernel
	// demands.
	bigLogSize = 300 << 20
	bigLog     = 64 << 20 / blockSize // blocks
	smallLog   = 10 << 20 / blockSize

	// chunkInodes come into being together, and take this many blocks.
	chunkInodes = 64
	chunkBlocks = chunkInodes * inodeSize / blockSize

	// chunkAlign is the alignment of inode chunks in blocks.
	chunkAlign = 4

	// maxChunks is what a leaf of the inode tree holds.
	maxChunks = (blockSize - treeHeaderSize) / chunkRecordSize

	// ownInodes are those of the realtime device, which is not there: its bitmap
	// and summary, behind the root.
	ownInodes = 2
)

// MaxFiles is how many files and directories [Build] takes, without the root.
const MaxFiles = maxChunks*chunkInodes - ownInodes - 1

// Options describe a file system.
type Options struct {
	Size       int64     // of the partition in bytes, 64 MiB to 64 GiB
	SectorSize int       // of the disk in bytes, 512 (also for 0) or 4096
	Label      string    // up to 12 bytes
	UUID       [16]byte  // must not be zero: Linux refuses that
	Time       time.Time // of creation, and of what has no time of its own; zero: 1970
}

// File is a regular file or a directory. Both belong to root.
type File struct {
	Path    string        // as in [fs.ValidPath]; "." is the root
	Mode    fs.FileMode   // permissions, setuid, setgid, sticky
	Content *sparse.Image // nil: a directory
	ModTime time.Time     // 1901 to 2038, zero: Options.Time
}

// SizeError reports a file system that does not hold its files.
type SizeError struct {
	Size int64 // asked for, in bytes
	Need int64 // smallest that holds them, in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%d bytes are too few for its files, which need %d", e.Size, e.Need)
}

// Build lays out a file system. Directories that only occur in paths are made,
// with mode 0755. The order of the files does not matter. If they do not fit,
// the error is a *[SizeError].
//
// The holes of the image are part of the format, above all the empty log: where
// it is written over an old one, they have to be written as zeros.
func Build(o Options, files []File) (*sparse.Image, error) {
	img, err := build(o, files)
	if err != nil {
		return nil, fmt.Errorf("building the XFS file system %q: %w", o.Label, err)
	}
	return img, nil
}

func build(o Options, files []File) (*sparse.Image, error) {
	if o.SectorSize == 0 {
		o.SectorSize = 512
	}
	if o.Time.IsZero() {
		o.Time = time.Unix(0, 0)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	root, err := newTree(files, o.Time)
	if err != nil {
		return nil, err
	}
	b := &builder{o: o, nodes: root.list()}
	if err := b.plan(); err != nil {
		return nil, err
	}
	return b.write(), nil
}

func (o *Options) check() error {
	switch {
	case o.Size < minSize || o.Size > maxSize:
		return fmt.Errorf("%d bytes are not between %d and %d", o.Size, int64(minSize), int64(maxSize))
	case o.SectorSize != 512 && o.SectorSize != 4096:
		return fmt.Errorf("sectors of %d bytes: want 512 or 4096", o.SectorSize)
	case len(o.Label) > 12 || strings.Contains(o.Label, "\x00"):
		return errors.New("the label has more than 12 bytes or a zero in it")
	case o.UUID == [16]byte{}:
		return errors.New("it needs a UUID")
	}
	return checkTime(o.Time)
}

// builder is a file system on its way to the disk.
type builder struct {
	o      Options
	sb     *superblock
	groups []*group
	nodes  []*node // root first; their inodes follow each other in this order
}

// plan gives everything its place.
func (b *builder) plan() error {
	if n := len(b.nodes) - 1; n > MaxFiles {
		return fmt.Errorf("%d files and directories are more than %d", n, MaxFiles)
	}
	need := uint64(b.chunks() * chunkBlocks)
	for _, n := range b.nodes {
		if err := n.plan(); err != nil {
			return fmt.Errorf("directory %q: %w", n.path, err)
		}
		need += n.blocks()
	}
	if room := b.capacity(uint64(b.o.Size / blockSize)); room < int64(need) {
		return &SizeError{Size: b.o.Size, Need: b.smallest(need)}
	}
	b.sb = newSuperblock(&b.o)
	b.makeGroups()
	b.number()
	b.place()
	return nil
}

func (n *node) plan() (err error) {
	if n.mode.IsDir() {
		n.shape, err = shapeDir(n.entries())
	}
	return err
}

// chunks is how many inode chunks there are.
func (b *builder) chunks() int {
	return (len(b.nodes) + ownInodes + chunkInodes - 1) / chunkInodes
}

// headerBlocks are those of the four headers of an allocation group: a sector each.
func (b *builder) headerBlocks() uint32 {
	return uint32(roundUp(4*b.o.SectorSize, blockSize) / blockSize)
}

// inodeStart is the block of the first inode chunk. xfs_repair computes it in
// the same way, to know the number of the root without its superblock.
func (b *builder) inodeStart() uint32 {
	return roundUp(b.headerBlocks()+treeBlocks+spareBlocks, chunkAlign)
}

// overhead is how many of the blocks are not for files and inodes.
func (b *builder) overhead(blocks uint64) int64 {
	group := b.headerBlocks() + treeBlocks + spareBlocks
	gap := b.inodeStart() - group
	return int64(groupCount*(group+reservedBlocks) + gap + logBlocks(blocks))
}

func (b *builder) capacity(blocks uint64) int64 { return int64(blocks) - b.overhead(blocks) }

// smallest is the size in bytes that has room for so many blocks.
func (b *builder) smallest(need uint64) int64 {
	size := max(minSize/blockSize, int64(need)+b.overhead(0))
	if b.capacity(uint64(size)) < int64(need) {
		size = max(bigLogSize/blockSize, int64(need)+b.overhead(bigLogSize/blockSize))
	}
	return size * blockSize
}

func logBlocks(blocks uint64) uint32 {
	if blocks >= bigLogSize/blockSize {
		return bigLog
	}
	return smallLog
}

// newSuperblock fixes the geometry.
func newSuperblock(o *Options) *superblock {
	blocks := uint64(o.Size / blockSize)
	groupBlocks := uint32((blocks + groupCount - 1) / groupCount)
	sb := &superblock{
		Magic:             magicSuper,
		BlockSize:         blockSize,
		Blocks:            blocks,
		UUID:              o.UUID,
		RTExtentSize:      1,
		AGBlocks:          groupBlocks,
		AGCount:           groupCount,
		LogBlocks:         logBlocks(blocks),
		Version:           version5 | versionLinks | versionAlign | versionLog2 | versionUnwritten | versionDir2 | versionMore,
		SectorSize:        uint16(o.SectorSize),
		InodeSize:         inodeSize,
		InodesPerBlock:    blockSize / inodeSize,
		BlockLog:          blockLog,
		SectorLog:         uint8(bits.TrailingZeros(uint(o.SectorSize))),
		InodeLog:          inodeLog,
		InodesPerBlockLog: blockLog - inodeLog,
		AGBlockLog:        uint8(bits.Len32(groupBlocks - 1)),
		MaxInodePercent:   25,
		InodeAlignment:    chunkAlign,
		Features2:         features2LazyCount | features2Attr2 | features2Project32 | features2CRC,
		Incompat:          incompatFileType,
	}
	sb.BadFeatures2 = sb.Features2
	copy(sb.Label[:], o.Label)
	if o.SectorSize > 512 { // the log is written in whole sectors
		sb.Version |= versionSector
		sb.LogSectorLog = sb.SectorLog
		sb.LogSectorSize = sb.SectorSize
		sb.LogStripeUnit = uint32(o.SectorSize)
	}
	return sb
}

// makeGroups hands out what is always there: headers, roots of trees, the log,
// spare blocks and inodes.
func (b *builder) makeGroups() {
	for i := range uint32(groupCount) {
		g := &group{index: i, length: b.sb.groupLength(i)}
		g.take(b.headerBlocks() + treeBlocks)
		if i == logGroup {
			b.sb.LogStart = b.sb.block(i, g.take(b.sb.LogBlocks))
		}
		g.spare = g.take(spareBlocks)
		b.groups = append(b.groups, g)
	}
	g := b.groups[0]
	g.gap = run{g.next, b.inodeStart() - g.next}
	g.take(g.gap.count)
	g.take(uint32(b.chunks()) * chunkBlocks)
}

// number gives each node its inode: the root the first, then the two of the
// realtime device, then all others.
func (b *builder) number() {
	first := uint64(b.inodeStart()) << b.sb.InodesPerBlockLog
	b.sb.RootInode, b.sb.BitmapInode, b.sb.SummaryInode = first, first+1, first+2
	for i, n := range b.nodes {
		n.ino = first + ownInodes + uint64(i)
	}
	b.nodes[0].ino = first
	b.sb.Inodes = uint64(b.chunks() * chunkInodes)
	b.sb.FreeInodes = b.sb.Inodes - uint64(len(b.nodes)+ownInodes)
}

// place finds room for directories first, so that they are close to the inodes,
// then for the content of files.
func (b *builder) place() {
	for _, n := range b.nodes {
		if n.mode.IsDir() {
			b.placeDir(n)
		}
	}
	for _, n := range b.nodes {
		if !n.mode.IsDir() {
			n.extents = b.take(n.blocks())
		}
	}
	for _, g := range b.groups {
		b.sb.FreeBlocks += uint64(g.freeBlocks()) + spareBlocks
	}
}

func (b *builder) placeDir(n *node) {
	n.extents = b.take(uint64(len(n.shape.data)))
	if n.shape.leaf {
		leaf := b.take(1)[0]
		leaf.offset = dirLeafStart / blockSize
		n.extents = append(n.extents, leaf)
	}
}
