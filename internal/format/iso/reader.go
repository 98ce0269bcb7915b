package iso

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	maxDescriptors   = 64       // more than any image has
	maxDirectoryData = 64 << 20 // bytes of all directories and continuation areas
	maxEntries       = 1 << 20
)

// Reader is an image that was read: a file system (fs.FS) whose open files are
// io.ReaderAt and io.Seeker too, and what firmware sees of it. Any number of
// goroutines may use it.
type Reader struct {
	Volume     Volume
	Boot       []BootEntry // in the order of the boot catalog
	Partitions []Partition // of the MBR, then of the GPT
	BootCode   []byte      // of the MBR, which a BIOS starts from a stick: 440 bytes, or nil

	r    io.ReaderAt
	size int64
	root *entry
}

// Volume is what the primary volume descriptor says.
type Volume struct {
	ID          string
	System      string
	Publisher   string
	Preparer    string
	Application string
	Created     time.Time // zero if it is not said
	Modified    time.Time
	Size        int64 // in bytes
	RockRidge   bool  // whether there are names, modes and times of Unix
}

// NewReader reads everything but the contents of files. The image is size
// bytes of r.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	rd := &Reader{r: r, size: size}
	if err := rd.read(); err != nil {
		return nil, fmt.Errorf("reading ISO 9660 image: %w", err)
	}
	return rd, nil
}

func (r *Reader) read() error {
	primary, catalog, err := r.readDescriptors()
	if err != nil {
		return err
	}
	r.Volume, err = parseVolume(primary)
	if err != nil {
		return err
	}
	if r.Partitions, err = r.readPartitions(); err != nil {
		return fmt.Errorf("partition tables: %w", err)
	}
	if catalog != 0 {
		if r.Boot, err = r.readCatalog(catalog); err != nil {
			return fmt.Errorf("boot catalog: %w", err)
		}
	}
	return r.readTree(primary)
}

// readDescriptors returns the primary volume descriptor and the block of the
// boot catalog, 0 if there is none.
func (r *Reader) readDescriptors() (primary []byte, catalog uint32, err error) {
	for i := range int64(maxDescriptors) {
		b, err := r.bytes((systemBlocks+i)*BlockSize, BlockSize)
		if err != nil {
			return nil, 0, fmt.Errorf("volume descriptor %d: %w", i, err)
		}
		if string(b[1:6]) != standardID {
			return nil, 0, fmt.Errorf("volume descriptor %d: no signature %s", i, standardID)
		}
		switch {
		case b[0] == typePrimary && primary == nil:
			primary = b
		case b[0] == typeBoot && strings.HasPrefix(string(b[7:39]), elToritoID):
			catalog = littleEndian.Uint32(b[71:])
		case b[0] == typeTerminator && primary == nil:
			return nil, 0, errors.New("no primary volume descriptor")
		case b[0] == typeTerminator:
			return primary, catalog, nil
		}
	}
	return nil, 0, fmt.Errorf("more than %d volume descriptors", maxDescriptors)
}

func parseVolume(b []byte) (Volume, error) {
	if n := littleEndian.Uint16(b[128:]); n != BlockSize {
		return Volume{}, fmt.Errorf("blocks of %d bytes: only %d are supported", n, BlockSize)
	}
	return Volume{
		ID:          text(b[40:72]),
		System:      text(b[8:40]),
		Publisher:   text(b[318:446]),
		Preparer:    text(b[446:574]),
		Application: text(b[574:702]),
		Created:     parseLongTime(b[813:830]),
		Modified:    parseLongTime(b[830:847]),
		Size:        int64(littleEndian.Uint32(b[80:])) * BlockSize,
	}, nil
}

// text is a field without the spaces, or the zeros of some writers, behind it.
func text(field []byte) string { return strings.TrimRight(string(field), " \x00") }

// bytes reads a part of the image.
func (r *Reader) bytes(offset, size int64) ([]byte, error) {
	if err := r.within(offset, size); err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := r.r.ReadAt(b, offset); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// section is a part of the image that is read later.
func (r *Reader) section(offset, size int64) (*sparse.Image, error) {
	if err := r.within(offset, size); err != nil {
		return nil, err
	}
	return sparse.From(r.r, offset, size), nil
}

func (r *Reader) within(offset, size int64) error {
	if offset < 0 || size < 0 || offset > r.size || size > r.size-offset {
		return fmt.Errorf("%d bytes at %d are not in an image of %d", size, offset, r.size)
	}
	return nil
}
