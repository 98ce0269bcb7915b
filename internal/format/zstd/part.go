package zstd

import "bytes"

// AppendPart appends to dst the blocks of src[start:], for a frame that the
// caller puts together: none of them is the last, and all that they need of
// the decoder is that it has src[:start], which precedes them in the frame, and
// a window of that many bytes. A part is at most three bytes for each 128 KiB
// larger than what it decodes to.
//
// Unlike Append, it does not try what will hardly become smaller: blocks that
// are Dense and repeat nothing of what precedes them are stored, at a tenth of
// the cost or less.
func (e *Encoder) AppendPart(dst, src []byte, start, window int) []byte {
	p := &e.parser
	p.open(src, window, &p.settings)
	for at := 0; at < start; at += maxBlock {
		p.learn(at, min(at+maxBlock, start))
	}
	p.model.begin(src[start:min(start+maxBlock, len(src))])
	p.recent = recent{}
	e.block.reset(recent{})
	for at := start; at < len(src); at += maxBlock {
		dst = e.appendBlock(dst, at, min(at+maxBlock, len(src)))
	}
	return dst
}

// appendBlock appends one block of a part.
func (e *Encoder) appendBlock(dst []byte, start, end int) []byte {
	p := &e.parser
	b := p.src[start:end]
	switch {
	case uniform(b):
		p.next = end
		return append(appendBlockHeader(dst, blockRLE, len(b), false), b[0])
	case Dense(b) && !p.sample(start, end):
		p.next = end
		return append(appendBlockHeader(dst, blockRaw, len(b), false), b...)
	}
	p.parse(start, end)
	return e.block.append(dst, b, p.seqs, p.lits, false)
}

// learn remembers a block of what precedes a part.
func (p *parser) learn(start, end int) {
	switch b := p.src[start:end]; {
	case uniform(b):
	case Dense(b):
		p.sample(start, end)
	default:
		p.insert(start, min(end, len(p.src)-hashRead))
	}
	p.next = end
}

// sampled is the byte at which a place of a dense block is a sample: one of 256
// are.
const sampled = 0xa7

// sample remembers some places of a dense block, and says whether one of them
// repeats an earlier one, which it leaves for the parser to find. The bytes
// themselves choose the places: so whatever occurs again has its samples at
// the same bytes, and is found if it is longer than a few hundred.
func (p *parser) sample(start, end int) (repeats bool) {
	end = min(end, len(p.src)-hashRead)
	for pos := start; pos < end; pos++ {
		next := bytes.IndexByte(p.src[pos:end], sampled)
		if next < 0 {
			break
		}
		pos += next
		v := load64(p.src, pos)
		at, entry := p.slot(v<<8, mul7, p.longShift, p.base+uint32(pos))
		offset := entry - p.long[at]
		if offset-1 < uint32(min(pos, p.window)) && load64(p.src, pos-int(offset)) == v {
			repeats = true
			continue
		}
		p.long[at] = entry
	}
	return repeats
}

// minDense is the fewest bytes of which the histogram says something.
const minDense = 4 << 10

// Dense says whether all values are about as frequent among some bytes, 4 KiB
// or more, as they are after compression or encryption: codes for single bytes
// would save less than 0.2 %. Up to 16 MiB are looked at in one go.
func Dense(b []byte) bool {
	if len(b) < minDense {
		return false
	}
	var count [4][256]uint32 // in four, so that equal neighbours do not wait for each other
	i := 0
	for ; i+4 <= len(b); i += 4 {
		count[0][b[i]]++
		count[1][b[i+1]]++
		count[2][b[i+2]]++
		count[3][b[i+3]]++
	}
	for ; i < len(b); i++ {
		count[0][b[i]]++
	}
	var squares uint64
	for v := range 256 {
		n := uint64(count[0][v] + count[1][v] + count[2][v] + count[3][v])
		squares += n * n
	}
	// 256 times the sum of the squares of the shares is 1 if all are the same,
	// and otherwise more by about 2 ln 2 times the bits that a code saves for
	// each byte.
	n := uint64(len(b))
	return 256*squares/n <= n+n>>6
}
