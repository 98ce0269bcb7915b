package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// ErrFormat reports what is not an XFS file system of version 5.
var ErrFormat = errors.New("not an XFS file system of version 5")

// Reader reads a file system. It is an [fs.FS], in which symbolic links are
// listed but not followed, and may be used by several goroutines at once.
type Reader struct {
	r    io.ReaderAt
	sb   superblock
	uuid [16]byte
}

// Info is what the superblock says.
type Info struct {
	Label      string
	UUID       [16]byte
	Size       int64 // bytes
	BlockSize  int   // bytes
	SectorSize int   // bytes
	FreeBlocks uint64
	Inodes     uint64 // for which there is room in inode chunks
	FreeInodes uint64 // of these
}

// NewReader reads the superblock and the root of a file system in the first
// size bytes. What is none at all is an [ErrFormat].
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	rd, err := newReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading the XFS file system: %w", err)
	}
	return rd, nil
}

func newReader(r io.ReaderAt, size int64) (*Reader, error) {
	rd := &Reader{r: r}
	if err := rd.readSuperblock(size); err != nil {
		return nil, err
	}
	rd.uuid = rd.sb.metaUUID()
	root, err := rd.inode(rd.sb.RootInode)
	if err != nil {
		return nil, fmt.Errorf("the root: %w", err)
	}
	if !root.mode().IsDir() {
		return nil, errors.New("the root is not a directory")
	}
	return rd, nil
}

func (r *Reader) readSuperblock(size int64) error {
	head := make([]byte, superblockSize)
	if _, err := r.readAt(head, 0, size); err != nil {
		return err
	}
	decode(head, &r.sb)
	if r.sb.Magic != magicSuper || r.sb.Version&versionMask != version5 {
		return ErrFormat
	}
	if r.sb.SectorLog < 9 || r.sb.SectorLog > 15 || r.sb.SectorSize != 1<<r.sb.SectorLog {
		return fmt.Errorf("sectors of %d bytes are not possible", r.sb.SectorSize)
	}
	sector := make([]byte, r.sb.SectorSize)
	if _, err := r.readAt(sector, 0, size); err != nil {
		return err
	}
	if err := verify(sector, superblockSum); err != nil {
		return fmt.Errorf("the superblock: %w", err)
	}
	return r.sb.check(size)
}

// readAt fills p from the first size bytes.
func (r *Reader) readAt(p []byte, off, size int64) (int, error) {
	if int64(len(p)) > size-off {
		return 0, fmt.Errorf("%w: only %d bytes", ErrFormat, size)
	}
	n, err := r.r.ReadAt(p, off)
	if n == len(p) {
		err = nil
	}
	return n, err
}

// Info returns facts from the superblock.
func (r *Reader) Info() Info {
	label, _, _ := bytes.Cut(r.sb.Label[:], []byte{0})
	return Info{
		Label:      string(label),
		UUID:       r.sb.UUID,
		Size:       int64(r.sb.Blocks) << r.sb.BlockLog,
		BlockSize:  int(r.sb.BlockSize),
		SectorSize: int(r.sb.SectorSize),
		FreeBlocks: r.sb.FreeBlocks,
		Inodes:     r.sb.Inodes,
		FreeInodes: r.sb.FreeInodes,
	}
}

// file is an inode that is in use, and its data fork.
type file struct {
	inode
	fork    []byte
	listing *listing // of a directory, once it was read
}

func (f *file) mode() fs.FileMode  { return fileMode(f.Mode) }
func (f *file) modTime() time.Time { return f.time(f.ModTime) }

// inode reads and checks an inode.
func (r *Reader) inode(ino uint64) (*file, error) {
	off, err := r.sb.inodeOffset(ino)
	if err != nil {
		return nil, err
	}
	b := make([]byte, r.sb.InodeSize)
	if n, err := r.r.ReadAt(b, off); n < len(b) {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	f := &file{}
	decode(b, &f.inode)
	if err := r.checkInode(f, b, ino); err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	f.fork = b[inodeCoreSize:]
	if n := int(f.ForkOffset) * 8; n > 0 && n <= len(f.fork) {
		f.fork = f.fork[:n]
	} else if n > 0 {
		return nil, fmt.Errorf("inode %d: its attributes begin beyond its end", ino)
	}
	return f, nil
}

func (r *Reader) checkInode(f *file, b []byte, ino uint64) error {
	if f.inode.Magic != magicInode || f.Version != 3 {
		return errors.New("there is none")
	}
	if err := verify(b, inodeSum); err != nil {
		return err
	}
	switch {
	case f.Number != ino || f.UUID != r.uuid:
		return errors.New("it is that of another place or file system")
	case f.Mode == 0:
		return errors.New("it is not in use")
	case f.Flags&flagRealtime != 0:
		return errors.New("its content is on a realtime device")
	case f.Size > maxFileSize:
		return fmt.Errorf("a size of %d bytes is not possible", f.Size)
	}
	return nil
}
