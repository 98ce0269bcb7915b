package zstd

import (
	"bytes"

	"github.com/klauspost/compress/huff0"
)

// maxBlock is the most that one block may decode to.
const maxBlock = 128 << 10

// The kinds of a block (RFC 8878, 3.1.1.2.2).
const (
	blockRaw = iota
	blockRLE
	blockCompressed
)

// A blockEncoder writes blocks, and knows what the decoder remembers from one
// block to the next.
type blockEncoder struct {
	recent   recent
	lits     codeTable
	offsets  codeTable
	matches  codeTable
	tree     *huff0.Scratch
	treeSent bool // the decoder has the tree that tree remembers

	coded []coded // scratch
}

func newBlockEncoder() *blockEncoder {
	return &blockEncoder{
		lits:    newCodeTable(predefinedLiterals, 9),
		offsets: newCodeTable(predefinedOffsets, 8),
		matches: newCodeTable(predefinedMatches, 9),
		tree:    &huff0.Scratch{},
	}
}

// reset begins with a decoder that has these recent offsets and no tables.
func (e *blockEncoder) reset(r recent) {
	e.recent = r
	e.forget()
}

func (e *blockEncoder) forget() {
	e.treeSent = false
	e.lits.forget()
	e.offsets.forget()
	e.matches.forget()
}

// append appends a block that decodes to src, which is what the sequences and
// literals say.
func (e *blockEncoder) append(dst, src []byte, seqs []sequence, lits []byte, last bool) []byte {
	if len(src) > 1 && uniform(src) {
		return append(appendBlockHeader(dst, blockRLE, len(src), last), src[0])
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0)
	var after recent
	e.coded, after = code(e.coded[:0], seqs, e.recent)
	dst = e.appendLiterals(dst, lits)
	dst = e.appendSequences(dst, e.coded)
	if size := len(dst) - at - blockHeader; size < len(src) {
		appendBlockHeader(dst[:at], blockCompressed, size, last)
		e.recent = after
		return dst
	}
	// The decoder will not see the tables that this try has made.
	e.forget()
	return append(appendBlockHeader(dst[:at], blockRaw, len(src), last), src...)
}

const blockHeader = 3 // bytes

func appendBlockHeader(dst []byte, kind, size int, last bool) []byte {
	h := kind<<1 | size<<3
	if last {
		h |= 1
	}
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// uniform says whether all bytes are the same.
func uniform(b []byte) bool {
	return len(b) == 0 || b[0] == b[len(b)-1] && bytes.Equal(b[1:], b[:len(b)-1])
}
