package zstd

import (
	"errors"

	"github.com/klauspost/compress/huff0"
)

// The kinds of a literals section (RFC 8878, 3.1.1.3.1.1).
const (
	literalsRaw = iota
	literalsRLE
	literalsCompressed
	literalsTreeless
)

const (
	// fewLiterals do not pay for a Huffman tree.
	fewLiterals = 24
	// Up to oneStream literals go into one stream, which is all that a
	// header of three bytes can say; more into four, which decode faster.
	oneStream = 1023
	// repeatOverFresh is how many bytes a fresh Huffman tree must save
	// beyond its own size; it is only an estimate that says so.
	repeatOverFresh = 2
)

// appendLiterals appends the literals section of a block.
func (e *blockEncoder) appendLiterals(dst, lits []byte) []byte {
	if len(lits) < fewLiterals {
		return appendRawLiterals(dst, lits)
	}
	out, repeated, err := e.huffman(lits)
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		return append(appendLiteralsSize(dst, literalsRLE, len(lits)), lits[0])
	case err != nil:
		return appendRawLiterals(dst, lits)
	}
	e.treeSent = true
	kind := literalsCompressed
	if repeated {
		kind = literalsTreeless
	}
	dst = appendLiteralsSizes(dst, kind, len(lits), len(out))
	return append(dst, out...)
}

// huffman encodes the literals with a fresh tree, or that of the block before
// where it is as good.
func (e *blockEncoder) huffman(lits []byte) (out []byte, repeated bool, err error) {
	e.tree.Reuse = huff0.ReusePolicyNone
	if e.treeSent {
		table, data, again, err := huff0.EstimateSizes(lits, e.tree)
		if err != nil {
			return nil, false, err
		}
		if again >= 0 && again <= table+data+repeatOverFresh {
			e.tree.Reuse = huff0.ReusePolicyMust
		}
	}
	if len(lits) <= oneStream {
		return huff0.Compress1X(lits, e.tree)
	}
	return huff0.Compress4X(lits, e.tree)
}

func appendRawLiterals(dst, lits []byte) []byte {
	return append(appendLiteralsSize(dst, literalsRaw, len(lits)), lits...)
}

// appendLiteralsSize appends the header of raw and RLE literals.
func appendLiteralsSize(dst []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(dst, byte(kind|n<<3))
	case n < 1<<12:
		return append(dst, byte(kind|1<<2|n<<4), byte(n>>4))
	}
	return append(dst, byte(kind|3<<2|n<<4), byte(n>>4), byte(n>>12))
}

// appendLiteralsSizes appends the header of compressed literals: their number,
// and that of their bytes with the tree.
func appendLiteralsSizes(dst []byte, kind, n, size int) []byte {
	format, width := 0, 10
	switch {
	case n <= oneStream:
	case n < 1<<14:
		format, width = 2, 14
	default:
		format, width = 3, 18
	}
	w := bitWriter{out: dst}
	w.add(uint64(kind), 2)
	w.add(uint64(format), 2)
	w.add(uint64(n), uint(width))
	w.add(uint64(size), uint(width))
	return w.close()
}
