package zstd

import (
	"encoding/binary"
	"slices"
)

// A bitWriter appends bits to out, the first bit the lowest of its byte. The
// caller adds at most 56 bits between two calls of flush.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

// add appends the low n bits of v, which has no bits above them.
func (w *bitWriter) add(v uint64, n uint) {
	w.bits |= v << (w.n & 63)
	w.n += n
}

// flush moves the whole bytes to out.
func (w *bitWriter) flush() {
	n := len(w.out)
	if cap(w.out)-n < 8 {
		w.out = slices.Grow(w.out, 4096)
	}
	binary.LittleEndian.PutUint64(w.out[n:n+8], w.bits)
	w.out = w.out[:n+int(w.n>>3)]
	w.bits >>= w.n &^ 7
	w.n &= 7
}

// close appends the bits that are left, filled up with zeros to a byte.
func (w *bitWriter) close() []byte {
	w.flush()
	if w.n > 0 {
		w.out = append(w.out, byte(w.bits))
	}
	return w.out
}
