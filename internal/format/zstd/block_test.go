package zstd

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// run does what a decoder does with the sequences and literals.
func run(history []byte, seqs []sequence, lits []byte) []byte {
	out := history
	for _, s := range seqs {
		out = append(out, lits[:s.lits]...)
		lits = lits[s.lits:]
		for range s.match {
			out = append(out, out[len(out)-int(s.offset)])
		}
	}
	return append(out, lits...)
}

// frameOf returns a frame of the blocks, of which the first is history.
func frameOf(e *blockEncoder, history []byte, blocks ...[]sequence) (frame, want []byte) {
	noise := random(maxBlock)
	var body []byte
	body = e.append(body, history, nil, history, false)
	want = history
	for i, seqs := range blocks {
		start := len(want)
		lits := uint32(0)
		for _, s := range seqs {
			lits += s.lits
		}
		// Literals that compress differently from block to block.
		own := bytes.Clone(noise[:lits])
		for j := range own {
			own[j] %= byte(1 + 40*(i%3))
		}
		want = run(want, seqs, own)
		body = e.append(body, want[start:], seqs, own, i == len(blocks)-1)
	}
	return append(appendSegmentHeader(nil, len(want)), body...), want
}

// repeat returns n sequences that f makes.
func repeat(n int, f func(i int) sequence) []sequence {
	seqs := make([]sequence, n)
	for i := range seqs {
		seqs[i] = f(i)
	}
	return seqs
}

// TestBlocks encodes sequences as no parser would choose them, to meet all
// ways to store them.
func TestBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	same := func(int) sequence { return sequence{lits: 1, match: 3, offset: 77} }
	wild := func(int) sequence {
		return sequence{
			lits:   rng.Uint32N(1 + rng.Uint32N(60)),
			match:  minMatch + rng.Uint32N(1+rng.Uint32N(80)),
			offset: 1 + rng.Uint32N(1+rng.Uint32N(70_000)),
		}
	}
	few := func(int) sequence {
		return sequence{lits: rng.Uint32N(2), match: 3, offset: 10 + 10*rng.Uint32N(4)}
	}
	near := func(i int) sequence {
		return sequence{lits: uint32(i % 2), match: 4, offset: []uint32{5, 6, 7, 6, 5, 4}[i%6]}
	}
	tests := map[string][][]sequence{
		"one sequence":                {repeat(1, wild)},
		"all the same":                {repeat(5, same), repeat(500, same), repeat(1, same)},
		"more than 127":               {repeat(128, wild), repeat(127, wild)},
		"more than 32511":             {repeat(32_511, same), repeat(32_512, same), repeat(32_513, same)},
		"many without literals":       {repeat(40_000, few)[:32_000]},
		"same statistics again":       {repeat(900, wild), repeat(900, wild), repeat(30, wild)},
		"alternating statistics":      {repeat(900, wild), repeat(900, few), repeat(9, same), repeat(900, wild)},
		"recent offsets, no literals": {repeat(3000, near), repeat(2000, near)},
		"no sequences between":        {repeat(900, wild), nil, repeat(900, wild)},
		"longest match":               {{{match: maxBlock, offset: 70_000}}, {{lits: 100_000, match: 31_072, offset: 70_000}}},
	}
	e := newBlockEncoder()
	for name, blocks := range tests {
		t.Run(name, func(t *testing.T) {
			e.reset(firstRecent)
			frame, want := frameOf(e, random(100_000), blocks...)
			wantSame(t, decode(t, frame), want)
		})
	}
}

func TestNormalize(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	var d distribution
	for range 2000 {
		count := make([]uint32, 2+rng.IntN(maxMatchCode))
		var total uint32
		for i := range count {
			if rng.IntN(3) > 0 {
				count[i] = rng.Uint32N(1 << rng.IntN(15))
			}
			total += count[i]
		}
		count[0]++
		count[len(count)-1]++
		d.normalize(count, total+2, maxStateLog)
		var sum uint32
		for s, share := range d.share {
			sum += states(share)
			if (share != 0) != (count[s] != 0) {
				t.Fatalf("symbol %d of %v has the share %d", s, count, share)
			}
		}
		if sum != 1<<d.log || d.log > maxStateLog {
			t.Fatalf("the shares %v of %v sum up to %d, want %d", d.share, count, sum, 1<<d.log)
		}
	}
}

// Every length must have the code in whose range it lies.
func TestLengthCodes(t *testing.T) {
	for n := range uint32(maxBlock) {
		c := literalCode(n)
		if first := literalBase[c]; n < first || n-first >= 1<<literalBits[c] {
			t.Fatalf("%d literals got the code %d, which begins at %d", n, c, first)
		}
		c = matchCode(n + minMatch)
		if first := matchBase[c]; n+minMatch < first || n+minMatch-first >= 1<<matchBits[c] {
			t.Fatalf("a match of %d got the code %d, which begins at %d", n+minMatch, c, first)
		}
	}
}

func TestLog2(t *testing.T) {
	for x, want := range map[uint32]uint32{1: 0, 2: 256, 3: 405, 4: 512, 7: 718, 1000: 2551, 1 << 31: 31 * 256} {
		if got := log2(x); got != want {
			t.Errorf("log2(%d): got %d, want %d", x, got, want)
		}
	}
}
