package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Constants of the on-disk format, from fs/squashfs/squashfs_fs.h.
const (
	magic          = 0x73717368 // "hsqs"
	superblockSize = 96
	metadataSize   = 8192 // uncompressed size of a metadata block

	metadataStored = 1 << 15 // in a metadata block's header: not compressed
	blockStored    = 1 << 24 // in the size word of a data block: not compressed
	blockSizeMask  = blockStored - 1

	minBlockSize = 4 << 10
	maxBlockSize = 1 << 20

	maxNameLen    = 256  // SQUASHFS_NAME_LEN
	maxSymlinkLen = 4096 // fs/squashfs/inode.c refuses more than a page
	dirHeaderSize = 12
	dirEntrySize  = 8   // without the name
	dirRunLen     = 256 // SQUASHFS_DIR_COUNT: entries below one header
	dirSizeBias   = 3   // the size of a directory counts "." and ".." as 3 bytes

	noFragment = math.MaxUint32
	noXattr    = math.MaxUint32
	noTable    = math.MaxUint64

	fragmentEntrySize = 16
	exportEntrySize   = 8
	idEntrySize       = 4
	xattrEntrySize    = 16
)

// Superblock flags.
const (
	flagDuplicates = 0x040
	flagExport     = 0x080
	flagNoXattrs   = 0x200
	flagOptions    = 0x400 // a metadata block with compressor options follows
)

// Inode types. An extended type is its basic type plus typeExtended.
const (
	typeDir = 1 + iota
	typeFile
	typeSymlink
	typeBlockDev
	typeCharDev
	typeFifo
	typeSocket

	typeExtended = 7
)

// ErrFormat says that the input is no squashfs 4.0 image.
var ErrFormat = errors.New("not a squashfs 4.0 image")

// superblock is struct squashfs_super_block: the first 96 bytes of an image.
type superblock struct {
	Magic         uint32
	Inodes        uint32
	ModTime       uint32
	BlockSize     uint32
	Fragments     uint32
	Compression   Compression
	BlockLog      uint16
	Flags         uint16
	IDs           uint16
	Major, Minor  uint16
	RootInode     inodeRef
	BytesUsed     uint64
	IDTable       uint64
	XattrTable    uint64
	InodeTable    uint64
	DirTable      uint64
	FragmentTable uint64
	ExportTable   uint64
}

// inodeRef says where a piece of metadata begins: the position of its metadata
// block relative to the start of the table, shifted left by 16 bits, plus the
// offset in the uncompressed block.
type inodeRef uint64

func (r inodeRef) block() int64 { return int64(r >> 16) }
func (r inodeRef) offset() int  { return int(r & 0xffff) }

func (s *superblock) encode() []byte {
	b, err := binary.Append(make([]byte, 0, superblockSize), binary.LittleEndian, s)
	if err != nil {
		panic(err) // a struct of fixed-size fields cannot fail
	}
	return b
}

// decodeSuperblock reads and checks the superblock of an image of size bytes.
func decodeSuperblock(b []byte, size int64) (*superblock, error) {
	s := new(superblock)
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, s); err != nil {
		return nil, err
	}
	if s.Magic != magic {
		return nil, fmt.Errorf("%w: magic number %#08x, want %#08x", ErrFormat, s.Magic, magic)
	}
	if s.Major != 4 || s.Minor != 0 {
		return nil, fmt.Errorf("%w: version %d.%d", ErrFormat, s.Major, s.Minor)
	}
	return s, s.check(size)
}

func (s *superblock) check(size int64) error {
	switch {
	case s.BlockLog > 20 || s.BlockSize != 1<<s.BlockLog || s.BlockSize < minBlockSize:
		return fmt.Errorf("block size %d with logarithm %d: want a power of two from %d to %d",
			s.BlockSize, s.BlockLog, minBlockSize, maxBlockSize)
	case s.BytesUsed < superblockSize || s.BytesUsed > uint64(max(size, 0)):
		return fmt.Errorf("image says it uses %d bytes but has %d (cut off?)", s.BytesUsed, size)
	case s.InodeTable < superblockSize || s.InodeTable >= s.DirTable || s.DirTable > s.BytesUsed:
		return fmt.Errorf("inode table at %d, directory table at %d, image ends at %d",
			s.InodeTable, s.DirTable, s.BytesUsed)
	}
	for _, t := range []struct {
		name  string
		start uint64
	}{{"id", s.IDTable}, {"xattr", s.XattrTable}, {"fragment", s.FragmentTable}} {
		if t.start != noTable && (t.start < s.DirTable || t.start > s.BytesUsed) {
			return fmt.Errorf("%s table at %d, outside of %d to %d", t.name, t.start, s.DirTable, s.BytesUsed)
		}
	}
	return nil
}
