package vmdk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// decoder decompresses grains and keeps the last one, for readers that come in
// small steps.
type decoder struct {
	src  io.ReaderAt
	size int64

	mu     sync.Mutex
	cached place // of what is in grain, zero for nothing
	grain  []byte
	packed []byte
	zlib   io.ReadCloser // nil before the first grain
}

// place is where a grain lies in the file and in the disk.
type place struct {
	sector uint32
	guest  int64
}

func newDecoder(src io.ReaderAt, size, grain int64) *decoder {
	return &decoder{src: src, size: size, grain: make([]byte, grain)}
}

// read fills p with a part of a grain.
func (d *decoder) read(p []byte, at place, skip int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cached != at {
		d.cached = place{}
		if err := d.load(int64(at.sector)*sectorSize, at.guest); err != nil {
			return 0, fmt.Errorf("decompressing the grain at sector %d: %w", at.sector, err)
		}
		d.cached = at
	}
	return copy(p, d.grain[skip:]), nil
}

func (d *decoder) load(at, guest int64) error {
	var head [grainHeaderSize]byte
	if n, err := d.src.ReadAt(head[:], at); n < len(head) {
		return noEOF(err)
	}
	sector, size := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint32(head[8:])
	if sector != uint64(guest/sectorSize) {
		return fmt.Errorf("it says that it belongs to sector %d of the disk, not to %d", sector, guest/sectorSize)
	}
	if int64(size) > 2*int64(len(d.grain)) {
		return fmt.Errorf("it has %d bytes, more than twice those of a grain", size)
	}
	if d.packed == nil {
		d.packed = make([]byte, 2*len(d.grain))
	}
	packed := d.packed[:size]
	if n, err := d.src.ReadAt(packed, at+grainHeaderSize); n < len(packed) {
		return noEOF(err)
	}
	return d.inflate(bytes.NewReader(packed))
}

// inflate fills the grain and has the checksum behind the data compared. Less
// than a grain is fine: qemu-img ends the last one where the disk ends.
func (d *decoder) inflate(packed io.Reader) error {
	var err error
	if d.zlib == nil {
		d.zlib, err = zlib.NewReader(packed)
	} else {
		err = d.zlib.(zlib.Resetter).Reset(packed, nil)
	}
	if err != nil {
		return noEOF(err)
	}
	n, _ := io.ReadFull(d.zlib, d.grain)
	clear(d.grain[n:])
	var more [1]byte
	switch n, err := d.zlib.Read(more[:]); { // which has the error of before, too
	case n > 0:
		return fmt.Errorf("it has more than %d bytes", len(d.grain))
	case err != io.EOF:
		return err
	}
	return nil
}

// packedRun reads a run of compressed grains, from offset 0 on.
type packedRun struct {
	decoder *decoder
	guest   int64 // offset of the run in the disk
	sectors []uint32
}

func (c *packedRun) ReadAt(p []byte, off int64) (n int, err error) {
	grain := int64(len(c.decoder.grain))
	for n < len(p) {
		i := off / grain
		if i >= int64(len(c.sectors)) {
			return n, io.EOF
		}
		k, err := c.decoder.read(p[n:], place{c.sectors[i], c.guest + i*grain}, off%grain)
		if err != nil {
			return n, err
		}
		n, off = n+k, off+int64(k)
	}
	return n, nil
}
