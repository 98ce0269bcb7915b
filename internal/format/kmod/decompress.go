package kmod

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

const (
	// maxModule bounds a decompressed module, in bytes. The largest real ones,
	// graphics drivers, have about 100 MiB.
	maxModule = 256 << 20

	// maxWindow bounds what a decompressor keeps of its output, in bytes:
	// xz -9 and zstd --long=26.
	maxWindow = 64 << 20
)

// ReadInfo reads the facts of a module that is plain or compressed with gzip,
// xz or zstd, by its first bytes. It holds the whole module in memory.
func ReadInfo(r io.Reader) (*Info, error) {
	br := bufio.NewReader(r)
	magic, err := br.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	r = br
	if open := decompressor(magic); open != nil {
		rc, err := open(br)
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		defer rc.Close()
		r = rc
	}
	b, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if len(b) > maxModule {
		return nil, fmt.Errorf("the module has more than %d bytes", maxModule)
	}
	return parseELF(bytes.NewReader(b), int64(len(b)))
}

// decompressor returns the function for a compressed module, nil for others.
func decompressor(magic []byte) func(*bufio.Reader) (io.ReadCloser, error) {
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		return func(r *bufio.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		return newZstdReader
	case bytes.HasPrefix(magic, []byte(xzMagic)):
		return newXZReader
	}
	return nil
}

func newZstdReader(r *bufio.Reader) (io.ReadCloser, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return zr.IOReadCloser(), nil
}

// The xz format ("The .xz File Format" 1.2) is read here, with the LZMA2
// decoder of ulikunitz/xz, because that library takes as much memory as the
// header of any block asks for.
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFilterLZMA2 = 0x21
)

// xzReader reads one xz stream, block after block.
type xzReader struct {
	r       *bufio.Reader
	newHash func() hash.Hash
	check   hash.Hash
	counted *countingReader
	block   io.Reader // nil between blocks
}

// xzChecks are the integrity checks of blocks by their number. The CRCs are
// stored with the least significant byte first.
var xzChecks = map[byte]func() hash.Hash{
	0:  nil,
	1:  func() hash.Hash { return crc32.NewIEEE() },
	4:  func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) },
	10: sha256.New,
}

func newXZReader(r *bufio.Reader) (io.ReadCloser, error) {
	var header [12]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, noEOF(err)
	}
	newHash, ok := xzChecks[header[7]]
	if !ok {
		return nil, fmt.Errorf("the xz stream has an unknown integrity check %d", header[7])
	}
	return io.NopCloser(&xzReader{r: r, newHash: newHash}), nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.nextBlock(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(p)
		if x.check != nil {
			x.check.Write(p[:n])
		}
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// nextBlock reads a block header, io.EOF at the index behind the last block.
func (x *xzReader) nextBlock() error {
	words, err := x.r.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if words == 0 {
		return io.EOF
	}
	header := make([]byte, (int(words)+1)*4)
	header[0] = words
	if _, err := io.ReadFull(x.r, header[1:]); err != nil {
		return noEOF(err)
	}
	window, err := xzWindow(header)
	if err != nil {
		return err
	}
	x.counted = &countingReader{r: x.r}
	x.check = nil
	if x.newHash != nil {
		x.check = x.newHash()
	}
	x.block, err = lzma.Reader2Config{DictCap: max(window, lzma.MinDictCap)}.NewReader2(x.counted)
	return err
}

// xzWindow returns the size of the dictionary in bytes that a block needs.
func xzWindow(header []byte) (int, error) {
	body, sum := header[:len(header)-4], header[len(header)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return 0, errors.New("the header of an xz block is damaged")
	}
	flags, rest := body[1], body[2:]
	for _, present := range []bool{flags&0x40 != 0, flags&0x80 != 0} { // sizes
		if present {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return 0, errors.New("the header of an xz block is damaged")
			}
			rest = rest[n:]
		}
	}
	if flags&3 != 0 || len(rest) < 3 || rest[0] != xzFilterLZMA2 || rest[1] != 1 {
		return 0, errors.New("the xz stream has filters other than LZMA2, which is not supported")
	}
	window, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return 0, err
	}
	if window > maxWindow {
		return 0, fmt.Errorf("the xz stream needs a dictionary of %d bytes, the limit is %d", window, maxWindow)
	}
	return int(window), nil
}

// endBlock reads the padding of a block and compares its checksum.
func (x *xzReader) endBlock() error {
	x.block = nil
	padding := -x.counted.n & 3
	var want []byte
	if x.check != nil {
		want = x.check.Sum(nil)
		if x.check.Size() <= 8 { // the CRCs of Go are big-endian
			slices.Reverse(want)
		}
	}
	got := make([]byte, int(padding)+len(want))
	if _, err := io.ReadFull(x.r, got); err != nil {
		return noEOF(err)
	}
	if !bytes.Equal(got[padding:], want) {
		return errors.New("the content of an xz block does not match its checksum")
	}
	return nil
}

// countingReader counts the compressed bytes of a block.
type countingReader struct {
	r *bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
