package squashfs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A contentStore puts the content of files into the pipeline: whole blocks for
// large files, a place in a shared fragment block for small ones, and nothing
// for content that it has seen before.
type contentStore struct {
	pipe      *pipeline
	blockSize int

	fragment  *block     // being filled, or nil
	flushed   uint32     // number of fragment blocks before it
	fragments []fragment // their places, filled in by the committer

	seen  map[[sha256.Size]byte]*fileData
	sizes map[int64]bool // of the files larger than a block in seen
}

// A fragment is the place of one fragment block.
type fragment struct {
	start int64
	size  uint32 // size word
}

func newContentStore(p *pipeline, blockSize int) *contentStore {
	return &contentStore{
		pipe:      p,
		blockSize: blockSize,
		seen:      map[[sha256.Size]byte]*fileData{},
		sizes:     map[int64]bool{},
	}
}

var emptyFile = &fileData{fragment: noFragment}

// add stores the content of a file of size bytes, or finds it.
func (s *contentStore) add(size int64, open func() (io.ReadCloser, error)) (*fileData, error) {
	if err := s.pipe.failed(); err != nil {
		return nil, err
	}
	switch {
	case size < 0:
		return nil, fmt.Errorf("negative size %d", size)
	case size == 0:
		return emptyFile, nil
	case open == nil:
		return nil, fmt.Errorf("no content for a file of %d bytes", size)
	case s.sizes[size]:
		d, err := s.find(size, open)
		if d != nil || err != nil {
			return d, err
		}
	}
	rc, err := open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size < int64(s.blockSize) {
		return s.addSmall(rc, int(size))
	}
	return s.addLarge(rc, size)
}

// find looks for a file with equal content, which takes one pass over it. It
// returns nil if there is none.
func (s *contentStore) find(size int64, open func() (io.ReadCloser, error)) (*fileData, error) {
	rc, err := open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	hash := sha256.New()
	if _, err := io.CopyN(hash, rc, size); err != nil {
		return nil, wrongSize(err, size)
	}
	return s.seen[[sha256.Size]byte(hash.Sum(nil))], atEnd(rc, size)
}

// addSmall reads a file shorter than a block into the open fragment block.
func (s *contentStore) addSmall(r io.Reader, size int) (*fileData, error) {
	if s.fragment != nil && len(s.fragment.raw)+size > s.blockSize {
		s.flush()
	}
	if s.fragment == nil {
		s.fragment = s.pipe.get()
	}
	raw := s.fragment.raw
	content := raw[len(raw) : len(raw)+size]
	if err := readAll(r, content, int64(size)); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	if d := s.seen[sum]; d != nil {
		return d, nil
	}
	d := &fileData{fragment: noFragment}
	s.seen[sum] = d
	if allZero(content) {
		d.blocks, d.sparse = []uint32{0}, int64(size)
		return d, nil
	}
	d.fragment, d.fragOffset = s.flushed, uint32(len(raw))
	s.fragment.raw = raw[:len(raw)+size]
	return d, nil
}

// flush hands the open fragment block, if any, to the pipeline.
func (s *contentStore) flush() {
	b := s.fragment
	if b == nil {
		return
	}
	s.fragment = nil
	if len(b.raw) == 0 {
		s.pipe.giveBack(b)
		return
	}
	b.placed = func(at int64, size uint32) {
		s.fragments = append(s.fragments, fragment{at, size})
	}
	s.flushed++
	s.pipe.put(b)
}

// addLarge cuts a file of at least one block into blocks.
func (s *contentStore) addLarge(r io.Reader, size int64) (*fileData, error) {
	d := &fileData{fragment: noFragment}
	hash := sha256.New()
	for left := size; left > 0; {
		n := min(left, int64(s.blockSize))
		b := s.pipe.get()
		b.raw = b.raw[:n]
		if _, err := io.ReadFull(r, b.raw); err != nil {
			s.pipe.giveBack(b)
			return nil, wrongSize(err, size)
		}
		hash.Write(b.raw)
		left -= n
		s.putBlock(d, b)
	}
	if err := atEnd(r, size); err != nil {
		return nil, err
	}
	s.seen[[sha256.Size]byte(hash.Sum(nil))] = d
	s.sizes[size] = true
	return d, nil
}

// putBlock hands the next block of a file to the pipeline.
func (s *contentStore) putBlock(d *fileData, b *block) {
	b.hole = true
	n := int64(len(b.raw))
	b.placed = func(at int64, size uint32) {
		if len(d.blocks) == 0 {
			d.start = at
		}
		if size == 0 {
			d.sparse += n
		}
		d.blocks = append(d.blocks, size)
	}
	s.pipe.put(b)
}

// readAll fills p with all of the content of r.
func readAll(r io.Reader, p []byte, size int64) error {
	if _, err := io.ReadFull(r, p); err != nil {
		return wrongSize(err, size)
	}
	return atEnd(r, size)
}

// wrongSize explains the error of a read that should have given size bytes.
func wrongSize(err error, size int64) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("content ends before the %d bytes of the header", size)
	}
	return err
}

// atEnd checks that r has no more to give.
func atEnd(r io.Reader, size int64) error {
	var probe [1]byte
	_, err := io.ReadFull(r, probe[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("content goes on after the %d bytes of the header", size)
}

func encodeFragments(fragments []fragment) []byte {
	var b []byte
	for _, f := range fragments {
		b = binary.LittleEndian.AppendUint64(b, uint64(f.start))
		b = binary.LittleEndian.AppendUint32(b, f.size)
		b = binary.LittleEndian.AppendUint32(b, 0) // unused
	}
	return b
}
