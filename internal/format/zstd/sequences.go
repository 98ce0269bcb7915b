package zstd

import "encoding/binary"

// A sequence copies lits literals, and then match bytes from offset bytes back.
type sequence struct {
	lits, match, offset uint32
	value               uint32 // the offset value that the parser expects
}

// A coded sequence is what the decoder reads.
type coded struct {
	lits, match, value              uint32 // value is the offset value
	litsCode, matchCode, offsetCode uint8
}

// code translates sequences for a decoder with these recent offsets, and
// returns those that it has afterwards.
func code(dst []coded, seqs []sequence, r recent) ([]coded, recent) {
	for _, s := range seqs {
		value := r.value(s.offset, s.lits)
		r = r.after(s.offset, s.lits)
		dst = append(dst, coded{
			lits: s.lits, match: s.match, value: value,
			litsCode: literalCode(s.lits), matchCode: matchCode(s.match), offsetCode: offsetCode(value),
		})
	}
	return dst, r
}

// The ways to tell the decoder the distribution of one kind of code.
const (
	modePredefined = iota
	modeRLE
	modeDescribed
	modeRepeat
)

// A codeTable encodes one kind of code. It remembers the distribution that the
// decoder has, for the next block to repeat.
type codeTable struct {
	predefined *distribution
	maxLog     uint8

	count [maxMatchCode + 1]uint32
	used  distribution // by the last block; no shares if it cannot be repeated
	fresh distribution // scratch
	table stateTable
	built []byte // scratch: the description of fresh
}

func newCodeTable(predefined *distribution, maxLog uint8) codeTable {
	return codeTable{predefined: predefined, maxLog: maxLog}
}

// forget makes the next block independent of those before.
func (t *codeTable) forget() { t.used.share = t.used.share[:0] }

// use chooses the cheapest distribution for the counts of total codes, appends
// its description to dst and returns its mode.
func (t *codeTable) use(dst []byte, total uint32) ([]byte, int) {
	count, only, distinct := trim(t.count[:])
	if distinct == 1 {
		if cost, ok := t.used.cost(count); ok && cost <= 8 {
			return dst, modeRepeat
		}
		if cost, ok := t.predefined.cost(count); !ok || cost > 8 {
			t.fresh.share, t.fresh.log = append(t.fresh.share[:0], make([]int16, only+1)...), 0
			t.fresh.share[only] = 1
			t.adopt(&t.fresh)
			return append(dst, byte(only)), modeRLE
		}
		t.adopt(t.predefined)
		return dst, modePredefined
	}
	mode, best := modeDescribed, 0
	t.fresh.normalize(count, total, t.maxLog)
	t.built = t.fresh.describe(t.built[:0])
	best, _ = t.fresh.cost(count)
	best += 8 * len(t.built)
	if cost, ok := t.predefined.cost(count); ok && cost <= best {
		mode, best = modePredefined, cost
	}
	if cost, ok := t.used.cost(count); ok && cost <= best {
		return dst, modeRepeat
	}
	if mode == modePredefined {
		t.adopt(t.predefined)
		return dst, mode
	}
	t.adopt(&t.fresh)
	return append(dst, t.built...), mode
}

// adopt makes d the distribution that the decoder has.
func (t *codeTable) adopt(d *distribution) {
	t.used.share = append(t.used.share[:0], d.share...)
	t.used.log = d.log
	t.table.build(&t.used)
}

// trim cuts the counts after the last that is not zero, and returns also that
// symbol and how many symbols occur.
func trim(count []uint32) (used []uint32, last, distinct int) {
	for s, n := range count {
		if n > 0 {
			last = s
			distinct++
		}
	}
	return count[:last+1], last, distinct
}

// appendSequences appends the sequences section of a block.
func (e *blockEncoder) appendSequences(dst []byte, seqs []coded) []byte {
	dst = appendCount(dst, len(seqs))
	if len(seqs) == 0 {
		return dst
	}
	e.count(seqs)
	modes := len(dst)
	dst = append(dst, 0)
	total := uint32(len(seqs))
	dst, lits := e.lits.use(dst, total)
	dst, offsets := e.offsets.use(dst, total)
	dst, matches := e.matches.use(dst, total)
	dst[modes] = byte(lits<<6 | offsets<<4 | matches<<2)
	return e.appendStream(dst, seqs)
}

// appendCount appends the number of sequences (RFC 8878, 3.1.1.3.2.1).
func appendCount(dst []byte, n int) []byte {
	switch {
	case n < 128:
		return append(dst, byte(n))
	case n < 0x7f00:
		return append(dst, byte(n>>8+128), byte(n))
	}
	return binary.LittleEndian.AppendUint16(append(dst, 255), uint16(n-0x7f00))
}

func (e *blockEncoder) count(seqs []coded) {
	clear(e.lits.count[:])
	clear(e.offsets.count[:])
	clear(e.matches.count[:])
	for i := range seqs {
		e.lits.count[seqs[i].litsCode]++
		e.offsets.count[seqs[i].offsetCode]++
		e.matches.count[seqs[i].matchCode]++
	}
}

// appendStream appends the codes and extra bits of all sequences. The decoder
// reads backwards from the end, so the last sequence comes first.
func (e *blockEncoder) appendStream(dst []byte, seqs []coded) []byte {
	w := bitWriter{out: dst}
	last := &seqs[len(seqs)-1]
	lits := e.lits.table.first(last.litsCode)
	matches := e.matches.table.first(last.matchCode)
	offsets := e.offsets.table.first(last.offsetCode)
	w.extra(last)
	for i := len(seqs) - 2; i >= 0; i-- {
		s := &seqs[i]
		offsets = w.step(&e.offsets.table, offsets, s.offsetCode)
		matches = w.step(&e.matches.table, matches, s.matchCode)
		lits = w.step(&e.lits.table, lits, s.litsCode)
		w.flush()
		w.extra(s)
	}
	w.state(matches, e.matches.table.log)
	w.state(offsets, e.offsets.table.log)
	w.state(lits, e.lits.table.log)
	w.add(1, 1)
	return w.close()
}

// step writes the way from one state of the table to one of symbol.
func (w *bitWriter) step(t *stateTable, state uint32, symbol uint8) uint32 {
	tr := t.symbol[symbol]
	n := (state + tr.bits) >> 16
	w.add(uint64(state&(1<<n-1)), uint(n))
	return uint32(t.next[int32(state>>n)+tr.first])
}

// state writes the state from which the decoder starts.
func (w *bitWriter) state(s uint32, log uint8) {
	w.add(uint64(s&(1<<log-1)), uint(log))
	w.flush()
}

// extra writes the extra bits of a sequence.
func (w *bitWriter) extra(s *coded) {
	w.add(uint64(s.lits-literalBase[s.litsCode]), uint(literalBits[s.litsCode]))
	w.add(uint64(s.match-matchBase[s.matchCode]), uint(matchBits[s.matchCode]))
	w.flush()
	w.add(uint64(s.value)&(1<<s.offsetCode-1), uint(s.offsetCode))
	w.flush()
}

// The distributions that a decoder knows without being told (RFC 8878,
// 3.1.1.3.2.2).
var (
	predefinedLiterals = &distribution{log: 6, share: []int16{
		4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1,
		2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
		-1, -1, -1, -1,
	}}
	predefinedMatches = &distribution{log: 6, share: []int16{
		1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1,
		-1, -1, -1, -1, -1,
	}}
	predefinedOffsets = &distribution{log: 5, share: []int16{
		1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
	}}
)
