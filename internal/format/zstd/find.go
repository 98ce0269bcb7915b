package zstd

// A candidate is a match, and the price of its offset.
type candidate struct {
	length, offset uint32
	price          int32
}

// find looks for matches at pos, where the decoder has these recent offsets
// after lits literals, and remembers the place. It sets the first n of found,
// each longer than the one before: those of recent offsets come first, as they
// cost least, then the nearest of each length.
func (p *parser) find(pos, end int, r recent, lits uint32) (n int) {
	if p.next < pos {
		p.insert(p.next, pos)
	}
	p.next = pos + 1
	src := p.src
	v := load64(src, pos)
	place := p.base + uint32(pos)
	reach := uint32(min(pos, p.window))

	// All tables are asked before the first branch that is hard to foresee.
	at, entry := p.slot(v<<40, mul3, p.shortShift, place)
	near := entry - p.short[at]
	p.short[at] = entry
	at, entry = p.slot(v<<8, mul7, p.longShift, place)
	far := entry - p.long[at]
	p.long[at] = entry
	at, entry = p.slot(v<<32, mul4, p.bucketShift, place)
	bucket := p.bucket[at*p.finder.pairs:][:p.finder.pairs]

	longest := uint32(minMatch - 1)
	r = r.choices(lits)
	if at := pos - int(r.a); r.a-1 < reach && same3(src, at, v) {
		longest = matchAt(src, v, at, pos, end)
		n = p.keep(n, longest, r.a, 0)
	}
	if at := pos - int(r.b); r.b-1 < reach && same3(src, at, v) {
		if l := matchAt(src, v, at, pos, end); l > longest {
			n, longest = p.keep(n, l, r.b, 1), l
		}
	}
	if at := pos - int(r.c); r.c-1 < reach && same3(src, at, v) {
		if l := matchAt(src, v, at, pos, end); l > longest {
			n, longest = p.keep(n, l, r.c, 1), l
		}
	}
	if longest < minMatch && near-1 < min(reach, p.shortReach) {
		if l := matchAt(src, v, pos-int(near), pos, end); l > longest {
			n, longest = p.keepNew(n, l, near), l
		}
	}
	carry := uint64(entry)
	for j, pair := range bucket {
		bucket[j] = pair<<32 | carry
		carry = pair >> 32
		if offset := entry - uint32(pair); offset-1 < reach {
			if l := matchAt(src, v, pos-int(offset), pos, end); l > longest {
				n, longest = p.keepNew(n, l, offset), l
			}
		}
		if offset := entry - uint32(carry); offset-1 < reach {
			if l := matchAt(src, v, pos-int(offset), pos, end); l > longest {
				n, longest = p.keepNew(n, l, offset), l
			}
		}
	}
	if far-1 < reach {
		if l := matchAt(src, v, pos-int(far), pos, end); l > longest {
			n = p.keepNew(n, l, far)
		}
	}
	return n
}

// same3 says whether the three bytes at a are the first of v.
func same3(src []byte, a int, v uint64) bool {
	return uint32(load64(src, a)^v)<<8 == 0
}

// keep adds a match with an offset of this code to the n that were found.
func (p *parser) keep(n int, length, offset uint32, code uint8) int {
	p.found[n&(maxFound-1)] = candidate{length, offset, p.model.offset[code&maxOffsetCode]}
	return n + 1
}

// keepNew adds a match with an offset that is not recent.
func (p *parser) keepNew(n int, length, offset uint32) int {
	return p.keep(n, length, offset, offsetCode(offset+recentOffsets))
}
