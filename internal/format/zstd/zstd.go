// Package zstd compresses to the Zstandard format (RFC 8878) with programs in
// mind: it finds the cheapest sequence of literals and matches, not just long
// ones, among few candidates.
//
// Machine code is full of matches of three and four bytes, and of offsets that
// return. Whether one of them is worth its bits depends on the price of the
// alternative, so a deep search for long matches gains less there than a
// shallow one with an account of the prices. The work is in three steps:
//
//   - a finder remembers where strings of three, four and seven bytes occurred
//     (finder.go, find.go);
//   - a parser goes through the input in stretches, finds the cheapest way
//     through each, and learns the prices from what it chose (optimal.go,
//     model.go);
//   - a block encoder writes what it chose as blocks: literals in Huffman
//     codes, numbers in those of finite state entropy (block.go, literals.go,
//     sequences.go, fse.go).
//
// The same input gives the same bytes on every machine, whatever the encoder
// did before. There is no dictionary, checksum or decoder. A frame of Encoder
// is one segment, whose matches reach its whole input; one of Writer has a
// window, and is compressed in parts at the same time.
package zstd

// Level is how much work the encoder spends for a smaller result.
type Level int

const (
	// Default needs about a seventh of the time of the reference
	// implementation at its level 18, for a size about that in blocks of 1 MiB
	// instead of 128 KiB.
	Default Level = iota
	// Best needs about twice the time of Default, and saves 5 %.
	Best
	// Deep is for input of many MiB: it needs another half more time than
	// Best, and saves another percent or two.
	Deep
)

// settings are what a level is made of. The logs are binary logarithms of the
// numbers of entries of the tables.
type settings struct {
	pairs      uint32 // pairs of candidates for each hash of four bytes
	bucketLog  uint8
	shortLog   uint8
	longLog    uint8
	shortReach uint32 // how far matches of three bytes are looked for
	sufficient uint32 // a match of this length is taken without a look at others
	// worth is by how much a place must be cheaper than the next one, as
	// matches that began earlier reach it, for matches to be looked for there.
	worth int32
}

// The levels were tuned with stripped Go programs, kernel modules and firmware.
var levels = [...]settings{
	Default: {
		pairs: 1, bucketLog: 15, shortLog: 14, longLog: 16,
		shortReach: 1 << 16, sufficient: 12, worth: 12 * oneBit,
	},
	Best: {
		pairs: 2, bucketLog: 16, shortLog: 16, longLog: 17,
		shortReach: 1 << 18, sufficient: 96, worth: oneBit,
	},
	Deep: {
		pairs: 4, bucketLog: 18, shortLog: 16, longLog: 17,
		shortReach: 1 << 18, sufficient: 200, worth: 0,
	},
}

// An Encoder makes frames, one at a time. It keeps its memory for the next:
// about 2 MiB, and for input above 1 MiB as much again as the input.
type Encoder struct {
	parser parser
	block  *blockEncoder
}

// NewEncoder returns an encoder of a level.
func NewEncoder(level Level) *Encoder {
	return &Encoder{parser: parser{settings: levels[level]}, block: newBlockEncoder()}
}

// Append appends to dst one frame that decodes to src, which is less than
// 2 GiB. The frame is at most three bytes for each 128 KiB larger than src,
// and 16 bytes for itself.
func (e *Encoder) Append(dst, src []byte) []byte {
	dst = appendSegmentHeader(dst, len(src))
	return e.appendPart(dst, part{src: src, window: len(src), recent: firstRecent, last: true})
}

// A part is a piece of a frame that is compressed independently of others.
type part struct {
	src    []byte // what precedes it in reach of the window, and its own bytes
	start  int    // where its own begin
	window int    // the largest offset
	recent recent // offsets that the decoder has at start
	last   bool   // it ends the frame
}

// appendPart appends the blocks of a part.
func (e *Encoder) appendPart(dst []byte, p part) []byte {
	e.block.reset(p.recent)
	e.parser.begin(p)
	size := max(min(maxBlock, p.window), 1)
	for start := p.start; ; start += size {
		end := min(start+size, len(p.src))
		e.parser.parse(start, end)
		last := end == len(p.src)
		dst = e.block.append(dst, p.src[start:end], e.parser.seqs, e.parser.lits, last && p.last)
		if last {
			return dst
		}
	}
}
