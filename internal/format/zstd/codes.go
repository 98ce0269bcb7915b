package zstd

import "math/bits"

// The three numbers of a sequence are each cut in a code, which is entropy
// coded, and extra bits, which follow as they are (RFC 8878, 3.1.1.3.2.1.1).
const (
	maxLiteralCode = 35
	maxMatchCode   = 52
	maxOffsetCode  = 31

	// minMatch is the shortest match that the format can say.
	minMatch = 3
)

// literalBits and matchBits are the numbers of extra bits of each code. The
// first value of a code follows the last of the code before it.
var (
	literalBits = [maxLiteralCode + 1]uint8{
		16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	}
	matchBits = [maxMatchCode + 1]uint8{
		32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	}

	literalBase = firstValues(literalBits[:], 0)
	matchBase   = firstValues(matchBits[:], minMatch)

	// Short lengths find their code in a table, long ones have one code per
	// power of two.
	shortLiteralCodes = [64]uint8(codesOf(literalBits[:], 64))
	shortMatchCodes   = [128]uint8(codesOf(matchBits[:], 128))
)

func firstValues(extra []uint8, first uint32) []uint32 {
	base := make([]uint32, len(extra))
	for i, n := range extra {
		base[i] = first
		first += 1 << n
	}
	return base
}

func codesOf(extra []uint8, n int) []uint8 {
	codes := make([]uint8, 0, n)
	for code, bits := range extra {
		for i := 0; i < 1<<bits && len(codes) < n; i++ {
			codes = append(codes, uint8(code))
		}
	}
	return codes
}

// literalCode is the code of a literals length.
func literalCode(n uint32) uint8 {
	if n < uint32(len(shortLiteralCodes)) {
		return shortLiteralCodes[n]
	}
	return uint8(bits.Len32(n) + 18)
}

// matchCode is the code of a match length of at least minMatch.
func matchCode(n uint32) uint8 {
	n -= minMatch
	if n < uint32(len(shortMatchCodes)) {
		return shortMatchCodes[n]
	}
	return uint8(bits.Len32(n) + 35)
}

// offsetCode is the code of an offset value, which is also the number of its
// extra bits.
func offsetCode(value uint32) uint8 {
	return uint8(bits.Len32(value) - 1)
}

// Offset values up to 3 stand for a recent offset; a new offset is stored with
// that many added.
const recentOffsets = 3

// recent holds the last three offsets, the latest first. Zero is an offset
// that is not known, which never matches.
type recent struct{ a, b, c uint32 }

// A frame begins with these offsets.
var firstRecent = recent{1, 4, 8}

// choices are the offsets that the values 1 to 3 stand for. After no literals
// the latest offset would only continue the match before, and the values move
// by one (RFC 8878, 3.1.1.5).
func (r recent) choices(lits uint32) recent {
	if lits == 0 {
		return recent{r.b, r.c, r.a - 1}
	}
	return r
}

// value says how the decoder, with these recent offsets, is told an offset
// after lits literals.
func (r recent) value(offset, lits uint32) uint32 {
	c := r.choices(lits)
	switch offset {
	case c.a:
		return 1
	case c.b:
		return 2
	case c.c:
		return 3
	}
	return offset + recentOffsets
}

// after returns the recent offsets once the decoder has seen offset after lits
// literals.
func (r recent) after(offset, lits uint32) recent {
	if offset == r.a && lits != 0 {
		return r
	}
	if offset == r.b {
		return recent{offset, r.a, r.c}
	}
	return recent{offset, r.a, r.b}
}
