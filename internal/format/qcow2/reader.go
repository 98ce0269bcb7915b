package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// maxRuns bounds the memory for the map of an image, about 100 bytes for each
// run of clusters.
const maxRuns = 2 << 20

// NewReader maps an image of size bytes to its raw disk. Clusters that are not
// compressed are extents of r itself. It reads all L2 tables; what they point
// to is read with the disk, and damaged compressed clusters are found then.
func NewReader(r io.ReaderAt, size int64) (*sparse.Image, error) {
	rd := &reader{src: r, size: size}
	if err := rd.read(); err != nil {
		return nil, fmt.Errorf("reading a qcow2 image: %w", err)
	}
	return rd.disk, nil
}

// reader builds the map of an image.
type reader struct {
	src    io.ReaderAt
	size   int64
	header header
	bits   int
	decode *decoder

	disk *sparse.Image
	run  mapping // that may still grow
	runs int
}

// mapping says where a run of bytes of the disk is found.
type mapping struct {
	guest, host, size int64
	packed            []uint64 // L2 entries of compressed clusters; host is nothing then
}

func (r *reader) read() error {
	compression, err := r.readHeader()
	if err != nil {
		return err
	}
	if r.decode, err = newDecoder(r.src, r.size, r.bits, compression); err != nil {
		return err
	}
	r.disk = sparse.New(int64(r.header.Size))
	l1, err := r.readL1()
	if err != nil {
		return err
	}
	seen := map[int64]bool{}
	table := make([]byte, 1<<r.bits)
	for i := 0; i < len(l1); i += entrySize {
		offset := int64(binary.BigEndian.Uint64(l1[i:]) & entryOffset)
		if offset == 0 {
			continue
		}
		if seen[offset] { // else a small file could describe a very large map
			return fmt.Errorf("two entries of the L1 table point to the L2 table at %d", offset)
		}
		seen[offset] = true
		if err := r.readL2(table, offset, int64(i)/entrySize); err != nil {
			return err
		}
	}
	return r.flush()
}

// readHeader checks that this package can read the image, and returns the type
// of its compression.
func (r *reader) readHeader() (compression byte, err error) {
	b := make([]byte, headerSize3+1) // the byte behind it is the type of compression
	if err := r.readFull(b[:min(r.size, int64(len(b)))], 0); err != nil {
		return 0, err
	}
	if r.size < headerSize2 || string(b[:len(magic)]) != magic {
		return 0, errors.New("the file does not begin with a qcow2 header")
	}
	h := &r.header
	if _, err := binary.Decode(b, binary.BigEndian, h); err != nil {
		return 0, err
	}
	if h.Version == 2 {
		h.IncompatibleFeatures, h.HeaderLength = 0, headerSize2
	}
	if h.HeaderLength > headerSize3 {
		compression = b[headerSize3]
	}
	return compression, r.checkHeader()
}

func (r *reader) checkHeader() error {
	h := &r.header
	r.bits = int(h.ClusterBits)
	switch known := uint64(featureDirty | featureCompression); {
	case h.Version != 2 && h.Version != 3:
		return fmt.Errorf("version %d, want 2 or 3", h.Version)
	case h.ClusterBits < minClusterBits || h.ClusterBits > maxClusterBits:
		return fmt.Errorf("clusters of 1<<%d bytes, want 1<<%d to 1<<%d", h.ClusterBits, minClusterBits, maxClusterBits)
	case h.BackingFileOffset != 0:
		return errors.New("the image has a backing file, which is not supported: flatten it with qemu-img convert")
	case h.CryptMethod != 0:
		return errors.New("the image is encrypted, which is not supported")
	case h.IncompatibleFeatures&featureCorrupt != 0:
		return errors.New("the image is marked as corrupt: repair it with qemu-img check -r all")
	case h.IncompatibleFeatures&featureDataFile != 0:
		return errors.New("the image has an external data file, which is not supported")
	case h.IncompatibleFeatures&featureExtendedL2 != 0:
		return errors.New("the image has extended L2 entries, which are not supported")
	case h.IncompatibleFeatures&^known != 0:
		return fmt.Errorf("unknown incompatible features %#x", h.IncompatibleFeatures&^known)
	}
	return nil
}

// readL1 reads as much of the L1 table as the disk needs.
func (r *reader) readL1() ([]byte, error) {
	if r.header.Size > maxL1Size/entrySize<<(2*r.bits-3) {
		return nil, fmt.Errorf("a disk of %d bytes is too large for clusters of %d bytes", r.header.Size, 1<<r.bits)
	}
	need := ceilDiv(r.disk.Size(), 1<<(2*r.bits-3))
	if int64(r.header.L1Size) < need {
		return nil, fmt.Errorf("the L1 table has %d entries, the disk of %d bytes needs %d", r.header.L1Size, r.disk.Size(), need)
	}
	size := need * entrySize
	if !r.holds(r.header.L1TableOffset, size) {
		return nil, fmt.Errorf("the L1 table of %d bytes at %d lies outside the file", size, r.header.L1TableOffset)
	}
	l1 := make([]byte, size)
	return l1, r.readFull(l1, int64(r.header.L1TableOffset))
}

// readL2 maps the clusters of one L2 table, with a buffer for it.
func (r *reader) readL2(table []byte, offset, index int64) error {
	if offset%int64(len(table)) != 0 || !r.holds(uint64(offset), int64(len(table))) {
		return fmt.Errorf("the L2 table at %d is not a cluster of the file", offset)
	}
	if err := r.readFull(table, offset); err != nil {
		return err
	}
	guest := index << (2*r.bits - 3)
	for i := 0; i < len(table) && guest < r.disk.Size(); i += entrySize {
		if err := r.mapCluster(guest, binary.BigEndian.Uint64(table[i:])); err != nil {
			return err
		}
		guest += 1 << r.bits
	}
	return nil
}

// mapCluster adds what an L2 entry says about the cluster at an offset of the
// disk.
func (r *reader) mapCluster(guest int64, entry uint64) error {
	host := int64(entry & entryOffset)
	switch {
	case entry&entryCompressed != 0:
		return r.mapPacked(guest, entry)
	case host == 0, entry&entryZero != 0 && r.header.Version > 2:
		return nil
	case host&(1<<r.bits-1) != 0, host >= r.size:
		return fmt.Errorf("the cluster for offset %d of the disk is at %d, which is not a cluster of the file", guest, host)
	}
	if m := &r.run; m.packed == nil && m.size > 0 && m.guest+m.size == guest && m.host+m.size == host {
		m.size += 1 << r.bits
		return nil
	}
	return r.begin(mapping{guest: guest, host: host, size: 1 << r.bits})
}

// mapPacked adds a compressed cluster. Such clusters are found by their number
// in the run, wherever they lie.
func (r *reader) mapPacked(guest int64, entry uint64) error {
	if m := &r.run; m.packed != nil && m.guest+m.size == guest {
		m.packed = append(m.packed, entry)
		m.size += 1 << r.bits
		return nil
	}
	return r.begin(mapping{guest: guest, size: 1 << r.bits, packed: []uint64{entry}})
}

// begin ends the current run and begins another.
func (r *reader) begin(m mapping) error {
	if r.runs++; r.runs > maxRuns {
		return fmt.Errorf("the disk is scattered over more than %d places", maxRuns)
	}
	err := r.flush()
	r.run = m
	return err
}

// flush adds the current run to the disk. The last cluster may end before its
// size does: that of the disk at its end, that of the file with zeros.
func (r *reader) flush() error {
	m := r.run
	n := min(m.size, r.disk.Size()-m.guest)
	if m.packed != nil {
		r.disk.Add(m.guest, sparse.From(&packedRun{r.decode, m.packed}, 0, n))
		return nil
	}
	r.disk.Add(m.guest, sparse.From(r.src, m.host, min(n, r.size-m.host)))
	return nil
}

// holds says whether size bytes at an offset are in the file.
func (r *reader) holds(offset uint64, size int64) bool {
	return offset <= uint64(r.size) && size <= r.size-int64(offset)
}

func (r *reader) readFull(p []byte, at int64) error {
	if n, err := r.src.ReadAt(p, at); n < len(p) {
		return noEOF(err)
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
