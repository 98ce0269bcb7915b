package fat

import (
	"fmt"
	"io"
)

// Reader is a file system that is there. It may be used by several goroutines.
type Reader struct {
	Kind        Kind
	Label       string
	VolumeID    uint32
	Size        int64 // bytes, as the file system says
	SectorSize  int   // bytes
	ClusterSize int   // bytes

	r           io.ReaderAt
	g           *geometry
	fat         int64  // offset of the allocation table in use
	rootCluster uint32 // of FAT32
	root        *file
}

// NewReader reads all directories and chains of a file system of at most size
// bytes. What is not FAT at all is an ErrNotFAT.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	fsys, err := newReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading a FAT file system: %w", err)
	}
	return fsys, nil
}

func newReader(r io.ReaderAt, size int64) (*Reader, error) {
	b := make([]byte, 512)
	if size < int64(len(b)) {
		return nil, ErrNotFAT
	}
	if err := readFull(r, b, 0); err != nil {
		return nil, err
	}
	fsys := &Reader{r: r}
	if err := fsys.decodeBootSector(b); err != nil {
		return nil, err
	}
	if fsys.Size > size {
		return nil, fmt.Errorf("it has %d bytes, of which only %d are there", fsys.Size, size)
	}
	return fsys, fsys.readTree()
}

// Free is the number of bytes that no file has. It reads the whole table.
func (r *Reader) Free() (int64, error) {
	w := r.window()
	var free int64
	for c := range uint32(r.g.clusters) {
		v, err := w.entry(c + 2)
		if err != nil {
			return 0, fmt.Errorf("reading a FAT file system: %w", err)
		}
		if v == 0 {
			free++
		}
	}
	return free * r.g.cluster, nil
}

func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at %d: %w", len(p), at, err)
}
