package squashfs

import (
	"encoding/binary"
)

// A metadataWriter makes a chain of metadata blocks: pieces of 8 KiB, each
// compressed if that makes it smaller, behind a two-byte header.
type metadataWriter struct {
	comp    compressor
	pending []byte // not compressed yet, shorter than a block
	packed  []byte // scratch
	out     []byte // finished blocks
}

// pos returns the place of the next byte written, relative to the start of the chain.
func (m *metadataWriter) pos() inodeRef {
	return inodeRef(len(m.out)<<16 | len(m.pending))
}

func (m *metadataWriter) write(p []byte) error {
	m.pending = append(m.pending, p...)
	for len(m.pending) >= metadataSize {
		if err := m.flushBlock(m.pending[:metadataSize]); err != nil {
			return err
		}
		m.pending = append(m.pending[:0], m.pending[metadataSize:]...)
	}
	return nil
}

func (m *metadataWriter) flushBlock(b []byte) (err error) {
	if m.packed, err = m.comp.compress(m.packed, b); err != nil {
		return err
	}
	header := uint16(len(m.packed))
	data := m.packed
	if len(m.packed) >= len(b) {
		header, data = uint16(len(b))|metadataStored, b
	}
	m.out = binary.LittleEndian.AppendUint16(m.out, header)
	m.out = append(m.out, data...)
	return nil
}

// finish ends the chain and returns all of it.
func (m *metadataWriter) finish() ([]byte, error) {
	if len(m.pending) > 0 {
		if err := m.flushBlock(m.pending); err != nil {
			return nil, err
		}
		m.pending = nil
	}
	return m.out, nil
}

// lookupTable packs entries as metadata blocks followed by the absolute
// position of each block, and returns also where these positions begin, which
// is what the superblock calls the start of the table. The head, which may be
// empty, stands between the blocks and their positions.
func lookupTable(comp compressor, entries []byte, at int64, head []byte) (table []byte, start int64, err error) {
	m := metadataWriter{comp: comp}
	var index []byte
	for len(entries) > 0 {
		n := min(len(entries), metadataSize)
		index = binary.LittleEndian.AppendUint64(index, uint64(at)+uint64(len(m.out)))
		if err := m.flushBlock(entries[:n]); err != nil {
			return nil, 0, err
		}
		entries = entries[n:]
	}
	start = at + int64(len(m.out))
	return append(append(m.out, head...), index...), start, nil
}
