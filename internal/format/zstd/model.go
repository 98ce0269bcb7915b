package zstd

// A model prices what the parser may choose by what it chose before: the price
// of a symbol is the binary logarithm of its share. The statistics fade from
// block to block, and the prices follow them in steps.
type model struct {
	literalFreq [256]uint32
	litsFreq    [maxLiteralCode + 1]uint32
	matchFreq   [maxMatchCode + 1]uint32
	offsetFreq  [maxOffsetCode + 1]uint32

	literal [256]int32
	lits    [pricedLengths]int32 // by length, longer ones count as the longest
	match   [pricedLengths]int32
	offset  [maxOffsetCode + 1]int32 // by code
}

// pricedLengths is beyond where a length more or less changes the price much.
const pricedLengths = 512

// What a sequence adds to the statistics.
const (
	literalWeight = 2
	codeWeight    = 1
)

// begin starts with the statistics of a typical program, and the literals of
// what comes first.
func (m *model) begin(first []byte) {
	m.literalFreq = [256]uint32{}
	for i := range m.literalFreq {
		m.literalFreq[i] = 1
	}
	for _, c := range first {
		m.literalFreq[c]++
	}
	fade(m.literalFreq[:], 1<<11)
	for i := range m.litsFreq {
		m.litsFreq[i] = 4
	}
	m.litsFreq[0], m.litsFreq[1], m.litsFreq[2], m.litsFreq[3] = 256, 64, 32, 16
	for i := range m.matchFreq {
		m.matchFreq[i] = 2
		if i < 16 {
			m.matchFreq[i] = uint32(64 / (1 + i/2))
		}
	}
	for i := range m.offsetFreq {
		m.offsetFreq[i] = 2
		if i < 20 {
			m.offsetFreq[i] = 16
		}
	}
	m.offsetFreq[0], m.offsetFreq[1] = 64, 32
	m.refresh()
}

// next begins a block: what was seen so far shall count less.
func (m *model) next() {
	fade(m.literalFreq[:], 1<<13)
	fade(m.litsFreq[:], 1<<11)
	fade(m.matchFreq[:], 1<<11)
	fade(m.offsetFreq[:], 1<<11)
	m.refresh()
}

// fade scales the counts so that their sum is about total at most; none
// becomes zero.
func fade(freq []uint32, total uint32) {
	var sum uint32
	for _, n := range freq {
		sum += n
	}
	for shift := 0; ; shift++ {
		if sum>>shift <= total {
			for i := range freq {
				freq[i] = freq[i]>>shift + 1
			}
			return
		}
	}
}

// observe counts sequences and literals.
func (m *model) observe(seqs []sequence, lits []byte) {
	for _, c := range lits {
		m.literalFreq[c] += literalWeight
	}
	for i := range seqs {
		s := &seqs[i]
		m.litsFreq[literalCode(s.lits)] += codeWeight
		m.matchFreq[matchCode(s.match)] += codeWeight
		m.offsetFreq[offsetCode(s.value)&maxOffsetCode] += codeWeight
	}
}

// refresh computes the prices from the statistics.
func (m *model) refresh() {
	prices(m.literal[:], m.literalFreq[:])
	for i := range m.literal {
		m.literal[i] = max(m.literal[i], oneBit)
	}
	prices(m.offset[:], m.offsetFreq[:])
	for i := range m.offset {
		m.offset[i] += int32(i) << priceShift
	}
	var lits [maxLiteralCode + 1]int32
	var match [maxMatchCode + 1]int32
	prices(lits[:], m.litsFreq[:])
	prices(match[:], m.matchFreq[:])
	spread(m.lits[:], lits[:], literalBits[:], 0)
	spread(m.match[:], match[:], matchBits[:], minMatch)
}

func prices(price []int32, freq []uint32) {
	var sum uint32
	for _, n := range freq {
		sum += n
	}
	whole := int32(log2(sum))
	for i, n := range freq {
		price[i] = whole - int32(log2(n))
	}
}

// spread sets the price of each length from that of its code and extra bits.
func spread(price, code []int32, extra []uint8, first int) {
	for c := range code {
		p := code[c] + int32(extra[c])<<priceShift
		for range 1 << extra[c] {
			if first >= len(price) {
				return
			}
			price[first] = p
			first++
		}
	}
}
