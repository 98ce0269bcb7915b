package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"

	"github.com/ulikunitz/xz/lzma"
)

// An xzDecompressor reads the container of xz itself and leaves only the LZMA2
// data to the library, as that would allocate the dictionary that the header
// asks for: up to 4 GiB for a block of a few bytes. Here the dictionary is as
// large as the result may be, as nothing can refer to what is before that.
//
// It reads what mksquashfs writes: blocks with no filter but LZMA2. The index
// at the end of the stream repeats what the blocks said and is not looked at.
type xzDecompressor struct{}

// Parts of the .xz file format (https://tukaani.org/xz/xz-file-format.txt).
const (
	xzMagic      = "\xfd7zXZ\x00"
	xzHeaderSize = 12
	xzLZMA2      = 0x21

	xzFilterCount = 0x03 // block flags: number of filters - 1
	xzPackedSize  = 0x40 // block flags: the compressed size is given
	xzPlainSize   = 0x80 // block flags: the uncompressed size is given

	xzCheckNone  = 0
	xzCheckCRC32 = 1
	xzCheckCRC64 = 4
)

var errXZ = errors.New("damaged xz stream")

var crc64Table = crc64.MakeTable(crc64.ECMA)

func (d xzDecompressor) decompress(dst, src []byte) ([]byte, error) {
	if len(src) < xzHeaderSize || string(src[:6]) != xzMagic || src[6] != 0 ||
		crc32.ChecksumIEEE(src[6:8]) != binary.LittleEndian.Uint32(src[8:]) {
		return nil, errXZ
	}
	check := src[7]
	src = src[xzHeaderSize:]
	dst = dst[:0]
	for {
		switch {
		case len(src) == 0:
			return nil, errXZ
		case src[0] == 0: // the index: no more blocks
			return dst, nil
		}
		var err error
		if dst, src, err = d.block(dst, src, check); err != nil {
			return nil, err
		}
	}
}

// block appends the content of one xz block to dst and returns what follows it.
func (d xzDecompressor) block(dst, src []byte, check byte) (out, rest []byte, err error) {
	n := (int(src[0]) + 1) * 4
	if len(src) < n {
		return nil, nil, errXZ
	}
	if err := checkXZBlockHeader(src[:n]); err != nil {
		return nil, nil, err
	}
	packed := bytes.NewReader(src[n:])
	r, err := lzma.Reader2Config{DictCap: max(cap(dst), lzma.MinDictCap)}.NewReader2(packed)
	if err != nil {
		return nil, nil, err
	}
	plain, err := readLimited(r, dst[len(dst):])
	if err != nil {
		return nil, nil, err
	}
	used := int(packed.Size()) - packed.Len()
	rest = src[n+used:]
	if pad := -used & 3; len(rest) >= pad {
		rest = rest[pad:]
	}
	rest, err = verifyXZ(check, plain, rest)
	return dst[:len(dst)+len(plain)], rest, err
}

// checkXZBlockHeader accepts a block header with LZMA2 as the only filter.
func checkXZBlockHeader(h []byte) error {
	body, sum := h[:len(h)-4], h[len(h)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errXZ
	}
	flags := body[1]
	fields := body[2:]
	for _, size := range []byte{xzPackedSize, xzPlainSize} {
		if flags&size != 0 {
			_, n := binary.Uvarint(fields)
			if n <= 0 {
				return errXZ
			}
			fields = fields[n:]
		}
	}
	if flags&xzFilterCount != 0 || len(fields) < 1 || fields[0] != xzLZMA2 {
		return errors.New("xz with a branch filter (mksquashfs -Xbcj) cannot be read")
	}
	return nil
}

// verifyXZ compares the check in front of src with the data of its block.
func verifyXZ(check byte, data, src []byte) (rest []byte, err error) {
	var h hash.Hash
	switch check {
	case xzCheckNone:
		return src, nil
	case xzCheckCRC32:
		h = crc32.NewIEEE()
	case xzCheckCRC64:
		h = crc64.New(crc64Table)
	default:
		return nil, fmt.Errorf("xz check type %d cannot be read", check)
	}
	h.Write(data)
	want := h.Sum(nil) // big-endian, but little-endian in the stream
	if len(src) < len(want) {
		return nil, errXZ
	}
	for i, c := range want {
		if src[len(want)-1-i] != c {
			return nil, fmt.Errorf("%w: checksum mismatch", errXZ)
		}
	}
	return src[len(want):], nil
}
