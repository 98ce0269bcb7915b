package zstd

import (
	"encoding/binary"
	"math/bits"
)

// A finder remembers where strings occurred: the latest place for each hash of
// three bytes, of which only near ones pay, a few for each hash of four, and
// one for each hash of seven, which finds the far and long.
//
// An entry of a table is a place, and above it a tag, which is some more bits
// of the hash. So the difference of two entries of the same string is the
// offset between them, and that of different strings nearly always more than
// any offset: most of what a match is not is found without looking at it.
//
// Places grow from frame to frame. What an earlier frame left in the tables
// lies before the current one, and is so refused as too far; the tables are
// cleared only when the places are used up.
type finder struct {
	src    []byte
	next   int    // the first place that is not remembered
	window int    // the largest offset
	base   uint32 // the place of src[0]
	size   uint32 // how many places from base on are in use

	pairs  uint32
	bucket []uint64 // pairs of entries each, the latest in the low half of the first
	short  []uint32
	long   []uint32

	bucketShift, shortShift, longShift, placeBits uint8
}

const (
	// hashRead is how many bytes are read to hash a place.
	hashRead = 8
	// leastPlaceBits leaves enough places for many blocks of 1 MiB.
	leastPlaceBits = 24
	tagBits        = 32 - leastPlaceBits
	// leastTableLog is the size of tables below which nothing is gained.
	leastTableLog = 10
	// largeLog is from where the table of far strings grows with the input.
	largeLog = 21
	// strideInMatch is the distance of the places within a match at which
	// strings of more than three bytes are remembered: most of them are known
	// from before.
	strideInMatch = 4
)

// The multipliers of the hashes spread bits upwards.
const (
	mul3 = 506832829
	mul4 = 2654435761
	mul7 = 0xcf1bbcdcb7a56463
)

// open prepares for the places of src, and forgets all others. The tables are
// not much larger than what they will hold, so that little input is cheap.
func (f *finder) open(src []byte, window int, s *settings) {
	f.src, f.next, f.window = src, 0, window
	n := uint8(max(bits.Len(uint(len(src))), leastTableLog))
	f.pairs = s.pairs
	f.bucket, f.bucketShift = table(f.bucket, min(n, s.bucketLog), int(s.pairs))
	f.short, f.shortShift = table(f.short, min(n, s.shortLog), 1)
	f.long, f.longShift = table(f.long, min(n, s.longLog+max(n, largeLog)-largeLog), 1)
	f.reserve(len(src))
}

// table returns t with 1<<log times n entries, and the shift that leaves log
// bits of a hash.
func table[T uint32 | uint64](t []T, log uint8, n int) ([]T, uint8) {
	size := n << log
	if cap(t) < size {
		t = make([]T, size)
	}
	return t[:size], 64 - log
}

// reserve takes n places that were not in use since the tables were cleared.
func (f *finder) reserve(n int) {
	placeBits := uint8(max(bits.Len(uint(n)), leastPlaceBits))
	f.base += f.size
	f.size = uint32(n)
	if f.base == 0 || placeBits != f.placeBits || uint64(f.base)+uint64(n) > 1<<placeBits {
		clear(f.bucket[:cap(f.bucket)])
		clear(f.short[:cap(f.short)])
		clear(f.long[:cap(f.long)])
		f.base, f.placeBits = 1, placeBits
	}
}

// slot returns where in a table the entry of a string belongs, and the entry.
func (f *finder) slot(v, mul uint64, shift uint8, place uint32) (at, entry uint32) {
	h := v * mul
	return uint32(h >> (shift & 63)), uint32(h>>((shift-tagBits)&63))<<(f.placeBits&31) + place
}

// insert remembers the places from up to to, which lie within matches and
// leave room for hashes.
func (f *finder) insert(from, to int) {
	for i := from; i < to; i++ {
		v := load64(f.src, i)
		place := f.base + uint32(i)
		at, entry := f.slot(v<<40, mul3, f.shortShift, place)
		f.short[at] = entry
		if i%strideInMatch != 0 {
			continue
		}
		at, entry = f.slot(v<<8, mul7, f.longShift, place)
		f.long[at] = entry
		at, entry = f.slot(v<<32, mul4, f.bucketShift, place)
		carry := uint64(entry)
		bucket := f.bucket[at*f.pairs:][:f.pairs]
		for j, pair := range bucket {
			bucket[j] = pair<<32 | carry
			carry = pair >> 32
		}
	}
}

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

// matchAt counts the equal bytes at a and b, a < b, of which b ends at end; v
// are the eight bytes at b.
func matchAt(src []byte, v uint64, a, b, end int) uint32 {
	if x := load64(src, a) ^ v; x != 0 {
		return uint32(bits.TrailingZeros64(x) >> 3)
	}
	return 8 + longMatch(src, a+8, b+8, end)
}

// longMatch is apart from matchAt as few matches are long.
//
//go:noinline
func longMatch(src []byte, a, b, end int) uint32 {
	start := b
	for b+8 <= end {
		if x := load64(src, a) ^ load64(src, b); x != 0 {
			return uint32(b - start + bits.TrailingZeros64(x)>>3)
		}
		a += 8
		b += 8
	}
	for b < end && src[a] == src[b] {
		a++
		b++
	}
	return uint32(b - start)
}
