package xfs

import (
	"io/fs"
	"time"
)

// Formats of the data fork of an inode.
const (
	formatDevice = iota
	formatLocal
	formatExtents
	formatTree
)

const (
	inodeCoreSize = 176
	inodeSum      = 100 // offset of the checksum

	flagRealtime  = 0x1
	flagNewBitmap = 0x4 // the access time of the bitmap is a counter

	flag2BigTime   = 0x8
	flag2Extents64 = 0x10
)

// inode is struct xfs_dinode, version 3, without its forks.
type inode struct {
	Magic, Mode              uint16
	Version, Format          uint8
	OldLinks                 uint16
	UID, GID, Links          uint32
	ProjectLow, ProjectHigh  uint16
	BigExtents               uint64 // with flag2Extents64
	AccessTime               uint64
	ModTime                  uint64
	ChangeTime               uint64
	Size, Blocks             uint64
	ExtentSize, Extents      uint32
	AttrExtents              uint16
	ForkOffset, AttrFormat   uint8 // offset of the attribute fork in units of 8 bytes
	EventMask                uint32
	EventState, Flags        uint16
	Generation, NextUnlinked uint32
	CRC                      uint32
	ChangeCount, LSN, Flags2 uint64
	CopyOnWriteSize          uint32
	_                        [12]byte
	CreateTime, Number       uint64
	UUID                     [16]byte
}

// Types in the mode of Unix.
const (
	unixType    = 0o170000
	unixFIFO    = 0o010000
	unixChar    = 0o020000
	unixDir     = 0o040000
	unixBlock   = 0o060000
	unixRegular = 0o100000
	unixSymlink = 0o120000
	unixSocket  = 0o140000

	unixSetuid = 0o4000
	unixSetgid = 0o2000
	unixSticky = 0o1000
)

var modeBits = []struct {
	unix uint16
	mode fs.FileMode
}{
	{unixSetuid, fs.ModeSetuid},
	{unixSetgid, fs.ModeSetgid},
	{unixSticky, fs.ModeSticky},
}

// unixMode is a mode as it is in an inode.
func unixMode(mode fs.FileMode) uint16 {
	m := unixRegular | uint16(mode.Perm())
	if mode.IsDir() {
		m = unixDir | uint16(mode.Perm())
	}
	for _, bit := range modeBits {
		if mode&bit.mode != 0 {
			m |= bit.unix
		}
	}
	return m
}

var fileTypes = map[uint16]fs.FileMode{
	unixFIFO:    fs.ModeNamedPipe,
	unixChar:    fs.ModeDevice | fs.ModeCharDevice,
	unixDir:     fs.ModeDir,
	unixBlock:   fs.ModeDevice,
	unixRegular: 0,
	unixSymlink: fs.ModeSymlink,
	unixSocket:  fs.ModeSocket,
}

// fileMode is the opposite of unixMode, for all types. An unknown type, such as
// that of a free inode, is irregular.
func fileMode(m uint16) fs.FileMode {
	typ, ok := fileTypes[m&unixType]
	if !ok {
		typ = fs.ModeIrregular
	}
	mode := typ | fs.FileMode(m)&fs.ModePerm
	for _, bit := range modeBits {
		if m&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	return mode
}

// entryTypes are the types in directory entries.
var entryTypes = []fs.FileMode{
	fs.ModeIrregular,
	0,
	fs.ModeDir,
	fs.ModeDevice | fs.ModeCharDevice,
	fs.ModeDevice,
	fs.ModeNamedPipe,
	fs.ModeSocket,
	fs.ModeSymlink,
}

const (
	entryRegular   = 1
	entryDirectory = 2
)

// packTime has seconds since 1970 in 32 bits, then nanoseconds.
func packTime(t time.Time) uint64 {
	return uint64(uint32(t.Unix()))<<32 | uint64(t.Nanosecond())
}

// bigTimeEpoch is the first second, and before 1970.
const bigTimeEpoch = -1 << 31

func (i *inode) time(v uint64) time.Time {
	if i.Flags2&flag2BigTime != 0 {
		return time.Unix(int64(v/1e9)+bigTimeEpoch, int64(v%1e9)).UTC()
	}
	return time.Unix(int64(int32(v>>32)), int64(uint32(v))).UTC()
}

// extentCount of the data fork.
func (i *inode) extentCount() uint64 {
	if i.Flags2&flag2Extents64 != 0 {
		return i.BigExtents
	}
	return uint64(i.Extents)
}
