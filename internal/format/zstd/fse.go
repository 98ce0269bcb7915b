package zstd

import "math/bits"

// Finite state entropy (RFC 8878, 4.1): a distribution gives every symbol a
// share of 1<<log states, and a symbol costs about log2 of its inverse share.
// A share of lowShare is the smallest one: a single state, which leads anywhere.
const lowShare = -1

// maxStateLog bounds the tables of the three kinds of code.
const maxStateLog = 9

// A distribution is the shares of the symbols, of which the sum is 1<<log.
type distribution struct {
	share []int16
	log   uint8
}

func states(share int16) uint32 {
	if share == lowShare {
		return 1
	}
	return uint32(share)
}

// cost is the size of symbols of these counts in bits, or false if the
// distribution lacks one of them.
func (d *distribution) cost(count []uint32) (int, bool) {
	var total int
	for s, n := range count {
		if n == 0 {
			continue
		}
		if s >= len(d.share) || d.share[s] == 0 {
			return 0, false
		}
		total += int(n) * (int(d.log)<<priceShift - int(log2(states(d.share[s]))))
	}
	return total >> priceShift, true
}

// normalize sets the shares to fit the counts of total symbols, of which at
// least two are different. It rounds down first, and then gives and takes
// single states where that gains most or costs least.
func (d *distribution) normalize(count []uint32, total uint32, maxLog uint8) {
	d.log = stateLog(count, total, maxLog)
	d.share = d.share[:0]
	left := int32(1) << d.log
	for _, n := range count {
		share := int16(uint64(n) << d.log / uint64(total))
		if n > 0 && share == 0 {
			share = lowShare
		}
		d.share = append(d.share, share)
		left -= int32(states(share))
	}
	for ; left > 0; left-- {
		d.share[d.bestGain(count)]++
	}
	for ; left < 0; left++ {
		d.share[d.leastLoss(count)]--
	}
}

// bestGain is the symbol that gains most from one more state.
func (d *distribution) bestGain(count []uint32) int {
	best, gain := 0, int64(-1)
	for s, share := range d.share {
		if share <= 0 {
			continue
		}
		if g := int64(count[s]) * int64(log2(uint32(share)+1)-log2(uint32(share))); g > gain {
			best, gain = s, g
		}
	}
	return best
}

// leastLoss is the symbol that suffers least from one state less.
func (d *distribution) leastLoss(count []uint32) int {
	best, loss := -1, int64(0)
	for s, share := range d.share {
		if share < 2 {
			continue
		}
		l := int64(count[s]) * int64(log2(uint32(share))-log2(uint32(share)-1))
		if best < 0 || l < loss {
			best, loss = s, l
		}
	}
	return best
}

// stateLog chooses the size of a table: one that is much finer than the counts
// only makes its description longer.
func stateLog(count []uint32, total uint32, maxLog uint8) uint8 {
	least := max(5, uint8(bits.Len(uint(len(count)-1)))+1)
	return max(min(uint8(max(bits.Len32(total-1), 3)-3), maxLog), least)
}

// describe appends the distribution in the form of RFC 8878, 4.1.1.
func (d *distribution) describe(dst []byte) []byte {
	w := bitWriter{out: dst}
	w.add(uint64(d.log-5), 4)
	left := int32(1)<<d.log + 1
	threshold, width := int32(1)<<d.log, uint(d.log)+1
	for s := 0; left > 1; s++ {
		share := int32(d.share[s])
		left -= int32(states(d.share[s]))
		// Values below short fit in one bit less, as no more states are left.
		short := 2*threshold - 1 - (left + int32(states(d.share[s])))
		v := share + 1
		switch {
		case v >= threshold:
			w.add(uint64(v+short), width)
		case v < short:
			w.add(uint64(v), width-1)
		default:
			w.add(uint64(v), width)
		}
		if share == 0 {
			s += w.zeros(d.share[s+1:])
		}
		for left < threshold {
			threshold >>= 1
			width--
		}
		w.flush()
	}
	return w.close()
}

// zeros appends how many zero shares follow the first, in digits of two bits
// where 3 says that another digit follows, and returns the number.
func (w *bitWriter) zeros(share []int16) int {
	var n int
	for share[n] == 0 {
		n++
	}
	for i := n; ; i -= 3 {
		w.add(uint64(min(i, 3)), 2)
		w.flush()
		if i < 3 {
			return n
		}
	}
}

// A stateTable encodes symbols of one distribution.
type stateTable struct {
	log    uint8
	next   [1 << maxStateLog]uint16
	symbol [maxMatchCode + 1]transition
}

// A transition moves from state s by writing its low (s+bits)>>16 bits, and on
// to next[s>>thatMany + first].
type transition struct {
	bits  uint32
	first int32
}

// build spreads the states over the symbols as the decoder does.
func (t *stateTable) build(d *distribution) {
	size := uint32(1) << d.log
	var spread [1 << maxStateLog]uint8
	var start [maxMatchCode + 2]uint32
	high := size
	for s, share := range d.share {
		start[s+1] = start[s] + states(share)
		if share == lowShare {
			high--
			spread[high] = uint8(s)
		}
	}
	step, at := size>>1+size>>3+3, uint32(0)
	for s, share := range d.share {
		for range max(share, 0) {
			spread[at] = uint8(s)
			at = (at + step) & (size - 1)
			for at >= high {
				at = (at + step) & (size - 1)
			}
		}
	}
	t.log = d.log
	fill := start
	for i := range size {
		s := spread[i]
		t.next[fill[s]] = uint16(size + i)
		fill[s]++
	}
	t.transitions(d, start[:])
}

func (t *stateTable) transitions(d *distribution, start []uint32) {
	for s, share := range d.share {
		n := states(share)
		if n == 0 {
			continue
		}
		out := uint32(d.log)
		if n > 1 {
			out -= uint32(bits.Len32(n-1)) - 1
		}
		t.symbol[s] = transition{bits: out<<16 - n<<out, first: int32(start[s]) - int32(n)}
	}
}

// first is a state that decodes to symbol s with as few bits as possible.
func (t *stateTable) first(s uint8) uint32 {
	tr := t.symbol[s]
	n := (tr.bits + 1<<15) >> 16
	return uint32(t.next[int32((n<<16-tr.bits)>>n)+tr.first])
}
