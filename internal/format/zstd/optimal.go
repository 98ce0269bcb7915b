package zstd

// The parser looks for the cheapest way through a stretch of input: from each
// place a literal leads to the next one, and a match to all that it reaches.
// Where no match leads further, all ways meet, and the stretch ends.

const (
	// maxStretch bounds the places of a stretch.
	maxStretch = 2048
	// maxSufficient is the largest setting of sufficient.
	maxSufficient = 256
	// boredom is the logarithm of how many literals in a row, in which no
	// match began, let the parser leave out another one in its search.
	boredom = 8
	// maxFound is more than the matches that are found at one place.
	maxFound = 16
	// farAway is more than any way costs.
	farAway = 1 << 30
	// refreshAfter is how many sequences the prices stay the same.
	refreshAfter = 512
)

// A node is the cheapest known way to one place of the stretch.
type node struct {
	price  int32
	lits   uint32 // literals since the last match
	match  uint32 // length of the match that ends here, if lits is zero
	offset uint32
	recent recent // after all matches on the way
}

// A parser cuts a block in sequences and literals.
type parser struct {
	settings
	finder
	model  model
	recent recent

	seqs   []sequence
	lits   []byte
	anchor int // where the literals begin that no sequence has yet

	// How many of them the model has counted.
	observedSeqs, observedLits int

	nodes [maxStretch + maxSufficient + 1]node
	ends  [maxStretch + maxSufficient + 1]int32 // scratch: of the matches on a way
	found [maxFound]candidate                   // scratch: by find
}

// begin prepares for a part.
func (p *parser) begin(t part) {
	p.open(t.src, t.window, &p.settings)
	p.next = max(0, min(t.start, len(t.src)-hashRead))
	p.insert(0, p.next)
	p.model.begin(t.src[t.start:min(t.start+maxBlock, len(t.src))])
	p.recent = t.recent
}

// parse sets seqs and lits to those of src[start:end].
func (p *parser) parse(start, end int) {
	p.seqs, p.lits = p.seqs[:0], p.lits[:0]
	p.observedSeqs, p.observedLits = 0, 0
	p.anchor = start
	limit := end - hashRead
	for pos := start; pos < limit; {
		n := &p.nodes[0]
		n.price, n.lits, n.recent = 0, uint32(pos-p.anchor), p.recent
		found := p.find(pos, end, n.recent, n.lits)
		if found == 0 {
			pos += 1 + (pos-p.anchor)>>boredom
			continue
		}
		pos = p.stretch(pos, limit, end, found)
	}
	p.recordLiterals(end)
	p.observe()
	p.model.next()
}

// stretch records the cheapest sequences from pos, where found begins, to
// where no match leads further, and returns that place.
func (p *parser) stretch(pos, limit, end, found int) int {
	last := 0
	for i := 0; ; {
		if found > 0 {
			if best := &p.found[found-1]; best.length >= p.sufficient || i >= maxStretch {
				p.recordWay(pos, i)
				p.record(pos+i, best.length, best.offset)
				return p.anchor
			}
			last = p.reach(i, last, p.found[:found])
		}
		p.literalStep(i, pos)
		i++
		p.arrive(i)
		if i == last {
			p.recordWay(pos, i)
			return pos + i
		}
		found = 0
		n := &p.nodes[i]
		if pos+i < limit && n.price+p.worth < p.nodes[i+1].price {
			found = p.find(pos+i, end, p.nodes[max(0, i-int(n.lits))].recent, n.lits)
		}
	}
}

// arrive completes the cheapest way to place i once it is known.
func (p *parser) arrive(i int) {
	n := &p.nodes[i]
	if n.lits > 0 {
		return
	}
	at := i - int(n.match)
	lits := p.nodes[at].lits
	n.recent = p.nodes[max(0, at-int(lits))].recent.after(n.offset, lits)
}

// literalStep goes from place i to the next.
func (p *parser) literalStep(i, pos int) {
	n, next := &p.nodes[i], &p.nodes[i+1]
	lits := min(n.lits, pricedLengths-2)
	price := n.price + p.model.literal[p.src[pos+i]] + p.model.lits[lits+1] - p.model.lits[lits]
	if price <= next.price {
		next.price, next.lits = price, n.lits+1
	}
}

// reach goes from place i to all that the matches reach, of which last was the
// furthest so far.
func (p *parser) reach(i, last int, found []candidate) int {
	for far := i + int(found[len(found)-1].length); last < far; {
		last++
		p.nodes[last].price = farAway
	}
	base := p.nodes[i].price + p.model.lits[0]
	length := uint32(minMatch)
	for k := range found {
		c := &found[k]
		price := base + c.price
		to := p.nodes[i+int(length) : i+int(c.length)+1]
		by := p.model.match[length : c.length+1]
		by = by[:len(to)]
		for j := range to {
			if total := price + by[j]; total < to[j].price {
				n := &to[j]
				n.price, n.lits, n.match, n.offset = total, 0, length+uint32(j), c.offset
			}
		}
		length = c.length + 1
	}
	return last
}

// recordWay records the sequences on the cheapest way to place i.
func (p *parser) recordWay(pos, i int) {
	n := 0
	for {
		i -= int(p.nodes[i].lits)
		if i <= 0 {
			break
		}
		p.ends[n] = int32(i)
		n++
		i -= int(p.nodes[i].match)
	}
	for n--; n >= 0; n-- {
		m := &p.nodes[p.ends[n]]
		p.record(pos+int(p.ends[n])-int(m.match), m.match, m.offset)
	}
}

// record adds a sequence with a match at pos.
func (p *parser) record(pos int, length, offset uint32) {
	lits := uint32(pos - p.anchor)
	value := p.recent.value(offset, lits)
	p.recent = p.recent.after(offset, lits)
	p.recordLiterals(pos)
	p.seqs = append(p.seqs, sequence{lits: lits, match: length, offset: offset, value: value})
	p.anchor += int(length)
	if len(p.seqs)-p.observedSeqs >= refreshAfter {
		p.observe()
		p.model.refresh()
	}
}

// observe tells the model what was recorded since the last time.
func (p *parser) observe() {
	p.model.observe(p.seqs[p.observedSeqs:], p.lits[p.observedLits:])
	p.observedSeqs, p.observedLits = len(p.seqs), len(p.lits)
}

// recordLiterals adds what lies between anchor and pos.
func (p *parser) recordLiterals(pos int) {
	p.lits = append(p.lits, p.src[p.anchor:pos]...)
	p.anchor = pos
}
