package compress

import (
	"encoding/binary"
	"math/bits"
)

// xxh64 is the checksum of zstd: XXH64 with seed zero (doc/xxhash_spec.md of
// its reference implementation). Unlike a CRC it cannot be combined, so all
// bytes pass through it in order; zeros do so three times as fast.
type xxh64 struct {
	lanes [4]uint64
	rest  [32]byte // the first total%32 bytes are not in lanes yet
	total uint64
}

const (
	xxhStripe = 32

	xxhPrime1 uint64 = 0x9e3779b185ebca87
	xxhPrime2 uint64 = 0xc2b2ae3d27d4eb4f
	xxhPrime3 uint64 = 0x165667b19e3779f9
	xxhPrime4 uint64 = 0x85ebca77c2b2ae63
	xxhPrime5 uint64 = 0x27d4eb2f165667c5
)

func newXXH64() xxh64 {
	p1, p2 := xxhPrime1, xxhPrime2
	return xxh64{lanes: [4]uint64{p1 + p2, p2, 0, -p1}}
}

func xxhRound(lane, v uint64) uint64 {
	return bits.RotateLeft64(lane+v*xxhPrime2, 31) * xxhPrime1
}

func (x *xxh64) write(b []byte) {
	have := int(x.total % xxhStripe)
	x.total += uint64(len(b))
	if have > 0 {
		n := copy(x.rest[have:], b)
		b = b[n:]
		if have+n < xxhStripe {
			return
		}
		x.stripes(x.rest[:])
	}
	n := len(b) / xxhStripe * xxhStripe
	x.stripes(b[:n])
	copy(x.rest[:], b[n:])
}

func (x *xxh64) stripes(b []byte) {
	v1, v2, v3, v4 := x.lanes[0], x.lanes[1], x.lanes[2], x.lanes[3]
	for ; len(b) >= xxhStripe; b = b[xxhStripe:] {
		v1 = xxhRound(v1, binary.LittleEndian.Uint64(b))
		v2 = xxhRound(v2, binary.LittleEndian.Uint64(b[8:]))
		v3 = xxhRound(v3, binary.LittleEndian.Uint64(b[16:]))
		v4 = xxhRound(v4, binary.LittleEndian.Uint64(b[24:]))
	}
	x.lanes = [4]uint64{v1, v2, v3, v4}
}

// zeros is write of n zeros, where n and what was written before are multiples
// of a stripe.
func (x *xxh64) zeros(n int) {
	x.total += uint64(n)
	v1, v2, v3, v4 := x.lanes[0], x.lanes[1], x.lanes[2], x.lanes[3]
	for range n / xxhStripe {
		v1 = bits.RotateLeft64(v1, 31) * xxhPrime1
		v2 = bits.RotateLeft64(v2, 31) * xxhPrime1
		v3 = bits.RotateLeft64(v3, 31) * xxhPrime1
		v4 = bits.RotateLeft64(v4, 31) * xxhPrime1
	}
	x.lanes = [4]uint64{v1, v2, v3, v4}
}

func (x *xxh64) sum() uint64 {
	h := x.lanes[2] + xxhPrime5 // short input: the seed is what this lane began with
	if x.total >= xxhStripe {
		h = 0
		for i, v := range x.lanes {
			h += bits.RotateLeft64(v, [...]int{1, 7, 12, 18}[i])
		}
		for _, v := range x.lanes {
			h = (h^xxhRound(0, v))*xxhPrime1 + xxhPrime4
		}
	}
	h += x.total
	b := x.rest[:x.total%xxhStripe]
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^xxhRound(0, binary.LittleEndian.Uint64(b)), 27)*xxhPrime1 + xxhPrime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*xxhPrime1, 23)*xxhPrime2 + xxhPrime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*xxhPrime5, 11) * xxhPrime1
	}
	h = (h ^ h>>33) * xxhPrime2
	h = (h ^ h>>29) * xxhPrime3
	return h ^ h>>32
}
