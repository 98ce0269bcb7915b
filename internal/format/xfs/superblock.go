package xfs

import (
	"errors"
	"fmt"
)

// Bits of the version number and of the features in a superblock.
const (
	versionMask      = 0xf
	version5         = 5
	versionLinks     = 0x20 // link counts of 32 bits
	versionAlign     = 0x80 // aligned inode chunks
	versionLog2      = 0x400
	versionSector    = 0x800 // sectors of more than 512 bytes
	versionUnwritten = 0x1000
	versionDir2      = 0x2000
	versionMore      = 0x8000 // Features2 counts

	features2LazyCount = 0x2
	features2Attr2     = 0x8
	features2Project32 = 0x80
	features2CRC       = 0x100

	incompatFileType    = 0x1 // types in directory entries
	incompatSparse      = 0x2 // inode chunks with holes
	incompatMetaUUID    = 0x4 // MetaUUID is in the metadata, UUID only a name
	incompatBigTime     = 0x8
	incompatNeedsRepair = 0x10
	incompatExtents64   = 0x20
	incompatExchange    = 0x40
	incompatParent      = 0x80 // parents in attributes

	// incompatRead are those that do not keep the Reader from reading.
	incompatRead = incompatFileType | incompatSparse | incompatMetaUUID | incompatBigTime |
		incompatExtents64 | incompatExchange | incompatParent
)

// superblock is struct xfs_dsb; there is one in every allocation group, and the
// first counts.
type superblock struct {
	Magic                                                            uint32
	BlockSize                                                        uint32 // bytes
	Blocks                                                           uint64
	RTBlocks, RTExtents                                              uint64
	UUID                                                             [16]byte
	LogStart                                                         uint64 // block
	RootInode, BitmapInode, SummaryInode                             uint64
	RTExtentSize, AGBlocks, AGCount, BitmapBlocks, LogBlocks         uint32
	Version, SectorSize, InodeSize, InodesPerBlock                   uint16
	Label                                                            [12]byte
	BlockLog, SectorLog, InodeLog, InodesPerBlockLog                 uint8
	AGBlockLog, RTExtentLog, InProgress, MaxInodePercent             uint8
	Inodes, FreeInodes, FreeBlocks, FreeRTExtents                    uint64
	UserQuotaInode, GroupQuotaInode                                  uint64
	QuotaFlags                                                       uint16
	Flags, SharedVersion                                             uint8
	InodeAlignment, StripeUnit, StripeWidth                          uint32 // blocks
	DirBlockLog, LogSectorLog                                        uint8
	LogSectorSize                                                    uint16
	LogStripeUnit                                                    uint32 // bytes
	Features2, BadFeatures2, Compat, ROCompat, Incompat, LogIncompat uint32
	CRC, SparseAlignment                                             uint32
	ProjectQuotaInode, LSN                                           uint64
	MetaUUID                                                         [16]byte
}

const (
	superblockSize = 264
	superblockSum  = 224 // offset of the checksum
)

// A block number of the whole file system is that of an allocation group and
// one within the group, side by side; an inode number has its place in the block
// behind these.

func (sb *superblock) block(group, block uint32) uint64 {
	return uint64(group)<<sb.AGBlockLog | uint64(block)
}

func (sb *superblock) split(block uint64) (group, inGroup uint64) {
	return block >> sb.AGBlockLog, block & (1<<sb.AGBlockLog - 1)
}

// offset of a block in bytes.
func (sb *superblock) offset(block uint64) int64 {
	group, b := sb.split(block)
	return int64(group*uint64(sb.AGBlocks)+b) << sb.BlockLog
}

// daddr is the number of a block as it is in the headers of metadata.
func (sb *superblock) daddr(block uint64) uint64 { return uint64(sb.offset(block)) / daddrSize }

// groupLength is the number of blocks of an allocation group: the last may have less.
func (sb *superblock) groupLength(group uint32) uint32 {
	return uint32(min(uint64(sb.AGBlocks), sb.Blocks-uint64(group)*uint64(sb.AGBlocks)))
}

// contains tells if so many blocks from a number on are in one allocation group.
func (sb *superblock) contains(block, count uint64) bool {
	group, b := sb.split(block)
	return group < uint64(sb.AGCount) && b+count <= uint64(sb.groupLength(uint32(group)))
}

// inodeOffset of an inode in bytes.
func (sb *superblock) inodeOffset(ino uint64) (int64, error) {
	block := ino >> sb.InodesPerBlockLog
	if !sb.contains(block, 1) {
		return 0, fmt.Errorf("inode %d is beyond the file system", ino)
	}
	index := ino & (1<<sb.InodesPerBlockLog - 1)
	return sb.offset(block) + int64(index)<<sb.InodeLog, nil
}

// metaUUID is the UUID that all metadata carries.
func (sb *superblock) metaUUID() [16]byte {
	if sb.Incompat&incompatMetaUUID != 0 {
		return sb.MetaUUID
	}
	return sb.UUID
}

// check finds what a Reader cannot read, in a file system of size bytes.
func (sb *superblock) check(size int64) error {
	switch {
	case sb.Incompat&incompatNeedsRepair != 0:
		return errors.New("it is marked as in need of repair")
	case sb.Incompat&^incompatRead != 0:
		return fmt.Errorf("features unknown to this reader (incompatible ones %#x)", sb.Incompat&^incompatRead)
	case sb.Incompat&incompatFileType == 0:
		return errors.New("it has no file types in directories")
	case sb.RTBlocks != 0:
		return errors.New("it has a realtime device, which this reader does not know")
	case sb.InProgress != 0:
		return errors.New("mkfs did not come to its end")
	}
	return sb.checkGeometry(size)
}

// checkGeometry makes sure that all calculations stay in range.
func (sb *superblock) checkGeometry(size int64) error {
	if sb.BlockLog < 9 || sb.BlockLog > 16 || sb.BlockSize != 1<<sb.BlockLog ||
		sb.InodeLog < 9 || sb.InodeLog > 11 || sb.InodeLog > sb.BlockLog || sb.InodeSize != 1<<sb.InodeLog ||
		sb.InodesPerBlockLog != sb.BlockLog-sb.InodeLog ||
		sb.DirBlockLog > 16-sb.BlockLog {
		return fmt.Errorf("blocks of %d and inodes of %d bytes are not possible", sb.BlockSize, sb.InodeSize)
	}
	if sb.Blocks == 0 || sb.Blocks > uint64(size)>>sb.BlockLog {
		return fmt.Errorf("it has %d blocks of %d bytes, but the image ends after %d bytes", sb.Blocks, sb.BlockSize, size)
	}
	blocks := uint64(sb.AGCount) * uint64(sb.AGBlocks)
	if sb.AGBlockLog > 31 || sb.AGBlocks > 1<<sb.AGBlockLog ||
		sb.Blocks > blocks || blocks-sb.Blocks >= uint64(sb.AGBlocks) {
		return fmt.Errorf("%d allocation groups of %d blocks are not possible for %d blocks", sb.AGCount, sb.AGBlocks, sb.Blocks)
	}
	return nil
}
