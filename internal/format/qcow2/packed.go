package qcow2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Types of compression.
const (
	compressionZlib = 0 // deflate without a header, in fact
	compressionZstd = 1
)

// maxWindow bounds what the zstd decoder keeps, in bytes: four times the
// largest cluster.
const maxWindow = 8 << 20

// decoder decompresses clusters and keeps the last one, for readers that come
// in small steps.
type decoder struct {
	src    io.ReaderAt
	size   int64
	bits   int
	expand func(cluster []byte, packed io.Reader) error

	mu      sync.Mutex
	entry   uint64 // of what is in cluster, 0 for nothing
	cluster []byte
	packed  []byte
}

func newDecoder(src io.ReaderAt, size int64, bits int, compression byte) (*decoder, error) {
	d := &decoder{src: src, size: size, bits: bits}
	switch compression {
	case compressionZlib:
		d.expand = inflater()
	case compressionZstd:
		expand, err := unzstd()
		if err != nil {
			return nil, err
		}
		d.expand = expand
	default:
		return nil, fmt.Errorf("unknown type of compression %d", compression)
	}
	return d, nil
}

// inflater returns a function that fills a cluster from a deflate stream.
func inflater() func([]byte, io.Reader) error {
	r := flate.NewReader(nil)
	return func(cluster []byte, packed io.Reader) error {
		if err := r.(flate.Resetter).Reset(packed, nil); err != nil {
			return err
		}
		_, err := io.ReadFull(r, cluster)
		return noEOF(err)
	}
}

// unzstd returns a function that fills a cluster from a zstd frame, whatever
// is behind that.
func unzstd() (func([]byte, io.Reader) error, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return func(cluster []byte, packed io.Reader) error {
		if err := r.Reset(packed); err != nil {
			return err
		}
		_, err := io.ReadFull(r, cluster)
		return noEOF(err)
	}, nil
}

// read fills p with a part of the cluster of an L2 entry.
func (d *decoder) read(p []byte, entry uint64, skip int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entry != entry {
		d.entry = 0
		if err := d.load(entry); err != nil {
			return 0, err
		}
		d.entry = entry
	}
	return copy(p, d.cluster[skip:]), nil
}

// load decompresses a cluster. Its entry has the offset of the data, which need
// not be aligned, and in the bits above the number of 512-byte sectors that it
// reaches into beyond the first.
func (d *decoder) load(entry uint64) error {
	offsetBits := 62 - (d.bits - 8)
	offset := int64(entry & (1<<offsetBits - 1))
	sectors := int64(entry & (entryCompressed - 1) >> offsetBits)
	size := min((sectors+1)*512-offset%512, d.size-offset)
	if size <= 0 {
		return fmt.Errorf("the compressed cluster at %d lies outside the file", offset)
	}
	if d.cluster == nil {
		d.cluster = make([]byte, 1<<d.bits)
		d.packed = make([]byte, 512+2<<d.bits) // the most that an entry can say
	}
	packed := d.packed[:size]
	if n, err := d.src.ReadAt(packed, offset); n < len(packed) {
		return fmt.Errorf("reading the compressed cluster at %d: %w", offset, noEOF(err))
	}
	if err := d.expand(d.cluster, bytes.NewReader(packed)); err != nil {
		return fmt.Errorf("decompressing the cluster at %d: %w", offset, err)
	}
	return nil
}

// packedRun reads a run of compressed clusters, from offset 0 on.
type packedRun struct {
	decoder *decoder
	entries []uint64
}

func (c *packedRun) ReadAt(p []byte, off int64) (n int, err error) {
	bits := c.decoder.bits
	for n < len(p) {
		i := off >> bits
		if i >= int64(len(c.entries)) {
			return n, io.EOF
		}
		k, err := c.decoder.read(p[n:], c.entries[i], off&(1<<bits-1))
		if err != nil {
			return n, err
		}
		n, off = n+k, off+int64(k)
	}
	return n, nil
}
