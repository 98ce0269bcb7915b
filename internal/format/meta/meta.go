// Package meta reads and writes what Talos keeps in its META partition: a few
// values under numbers, which survive upgrades and resets.
//
// The partition begins with two equal blocks of 256 KiB, so that one is left if
// writing the other is cut short. A block, in big-endian order, is
//
//	0x00000  0x5a4b3c2d
//	0x00004  tag, size, value; again and again; tag 0 is the end
//	0x3ffdc  SHA-256 of the block in which these 32 bytes are zero
//	0x3fffc  0xa5b4c3d2
//
// The last KiB of the partition belongs to an older form, the auxiliary data
// vector of SYSLINUX, to which Talos turns for a tag that the blocks lack. It
// is empty as long as it is zero, so it is neither written nor read here.
//
// Before there is a disk, the values travel in an environment variable of the
// installer: see EncodeEnv.
package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Size of what Encode writes, in bytes: both blocks.
const Size = 2 * blockSize

const (
	blockSize  = 256 << 10
	firstMagic = 0x5a4b3c2d
	lastMagic  = 0xa5b4c3d2

	sumAt    = blockSize - 4 - sha256.Size
	maxInner = sumAt - 4 // bytes of tags, sizes and values
	header   = 8         // bytes before each value
)

// Tag is the number that a value has.
type Tag uint8

// The tags of Talos 1.14.
const (
	Upgrade Tag = iota + 6
	StagedUpgradeImageRef
	StagedUpgradeInstallOptions
	StateEncryptionConfig
	MetalNetworkPlatformConfig
	DownloadURLCode
	UserReserved1
	UserReserved2
	UserReserved3
	UUIDOverride
	UniqueMachineToken
	DiskImageBootloader
)

var tagNames = map[Tag]string{
	Upgrade:                     "Upgrade",
	StagedUpgradeImageRef:       "StagedUpgradeImageRef",
	StagedUpgradeInstallOptions: "StagedUpgradeInstallOptions",
	StateEncryptionConfig:       "StateEncryptionConfig",
	MetalNetworkPlatformConfig:  "MetalNetworkPlatformConfig",
	DownloadURLCode:             "DownloadURLCode",
	UserReserved1:               "UserReserved1",
	UserReserved2:               "UserReserved2",
	UserReserved3:               "UserReserved3",
	UUIDOverride:                "UUIDOverride",
	UniqueMachineToken:          "UniqueMachineToken",
	DiskImageBootloader:         "DiskImageBootloader",
}

// String is the tag's name in Talos, or its number as in 0x2a.
func (t Tag) String() string {
	if name, ok := tagNames[t]; ok {
		return name
	}
	return fmt.Sprintf("%#x", uint8(t))
}

// Value is one entry.
type Value struct {
	Key   Tag
	Value string
}

// String is the form "0xa=value".
func (v Value) String() string { return fmt.Sprintf("%#x=%s", uint8(v.Key), v.Value) }

// ParseValue reads "0xa=value", "10=value" or "MetalNetworkPlatformConfig=value".
func ParseValue(s string) (Value, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return Value{}, fmt.Errorf("parsing the META value %q: wanted is a form like 0xa=value", s)
	}
	tag, err := parseTag(key)
	if err != nil {
		return Value{}, fmt.Errorf("parsing the META value %q: %w", s, err)
	}
	return Value{tag, value}, nil
}

func parseTag(s string) (Tag, error) {
	for tag, name := range tagNames {
		if name == s {
			return tag, nil
		}
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("the key %q is no number from 1 to 255 and no name of one", s)
	}
	return Tag(n), nil
}

// Encode lays out the blocks, the beginning of a META partition. Of two values
// with one key the later counts; they are written in the order of their keys.
func Encode(values []Value) (*sparse.Image, error) {
	inner, err := encodeInner(unique(values))
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32(nil, firstMagic)
	head = append(head, inner...)
	block := make([]byte, blockSize)
	copy(block, head)
	binary.BigEndian.PutUint32(block[blockSize-4:], lastMagic)
	sum := sha256.Sum256(block)
	tail := binary.BigEndian.AppendUint32(sum[:], lastMagic)

	m := sparse.New(Size)
	for at := int64(0); at < Size; at += blockSize {
		m.Put(at, head)
		m.Put(at+sumAt, tail)
	}
	return m, nil
}

func encodeInner(values []Value) ([]byte, error) {
	var b []byte
	for _, v := range values {
		if v.Key == 0 {
			return nil, errors.New("writing META: the key 0 marks the end and can have no value")
		}
		if len(b)+header+len(v.Value) > maxInner {
			return nil, fmt.Errorf("writing META: the values are larger than a block, which holds %d bytes", maxInner)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(v.Key))
		b = binary.BigEndian.AppendUint32(b, uint32(len(v.Value)))
		b = append(b, v.Value...)
	}
	return b, nil
}

// unique sorts values by their keys and keeps the last one of each.
func unique(values []Value) []Value {
	var all []Value
	for i := len(values) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(all, func(v Value) bool { return v.Key == values[i].Key }) {
			all = append(all, values[i])
		}
	}
	slices.SortFunc(all, func(a, b Value) int { return int(a.Key) - int(b.Key) })
	return all
}

// Decode reads the blocks at the beginning of a META partition of so many
// bytes: the second one if the first is damaged. A partition of zeros is what
// an image without values has; it is an error here.
func Decode(r io.ReaderAt, size int64) ([]Value, error) {
	if size < Size {
		return nil, fmt.Errorf("reading META: %d bytes are too few for two blocks of %d", size, blockSize)
	}
	var errs []error
	for at := int64(0); at < Size; at += blockSize {
		block := make([]byte, blockSize)
		if _, err := r.ReadAt(block, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading META: %w", err)
		}
		values, err := decodeBlock(block)
		if err == nil {
			return values, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("reading META: the first block: %w; the second: %w", errs[0], errs[1])
}

func decodeBlock(block []byte) ([]Value, error) {
	if m := binary.BigEndian.Uint32(block); m != firstMagic {
		return nil, fmt.Errorf("it begins with %#08x and not with %#x", m, firstMagic)
	}
	if m := binary.BigEndian.Uint32(block[blockSize-4:]); m != lastMagic {
		return nil, fmt.Errorf("it ends with %#08x and not with %#x", m, lastMagic)
	}
	sum := bytes.Clone(block[sumAt : blockSize-4])
	clear(block[sumAt : blockSize-4])
	if sha256.Sum256(block) != [sha256.Size]byte(sum) {
		return nil, errors.New("its checksum does not fit")
	}
	return decodeInner(block[4:sumAt])
}

func decodeInner(b []byte) ([]Value, error) {
	var values []Value
	for len(b) >= header {
		tag, size := binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:]))
		b = b[header:]
		switch {
		case tag == 0:
			return unique(values), nil
		case tag > 0xff:
			return nil, fmt.Errorf("the tag %#x is larger than a byte", tag)
		case size > int64(len(b)):
			return nil, fmt.Errorf("the value of %v has %d bytes, more than are left", Tag(tag), size)
		}
		values = append(values, Value{Tag(tag), string(b[:size])})
		b = b[size:]
	}
	return unique(values), nil
}
