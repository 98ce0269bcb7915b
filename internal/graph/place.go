package graph

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/rivo/uniseg"
)

// Sizes, in the SVG's user units, which are pixels. A character of a monospaced font
// is 0.6 of its size wide.
const (
	fontSize   = 12
	charWidth  = 7.25
	boxHeight  = 24
	padding    = 8  // beside the label
	nodeGap    = 8  // above and below a box
	bendGap    = 6  // between two lines that pass a column
	margin     = 16 // around the drawing
	minGap     = 48 // between columns
	maxGap     = 240
	loopWidth  = 12 // less than margin
	maxLabel   = 64 // characters
	placeSteps = 12
)

// point is a place in the drawing.
type point struct{ x, y int }

// box is a node of the drawing.
type box struct {
	x, y, width int // y is the middle of its height, which is boxHeight
	label       string
}

func (b box) right() int { return b.x + b.width }

// drawing is a graph with coordinates.
type drawing struct {
	width, height int
	boxes         []box     // by node
	lines         [][]point // by edge, from its beginning to its end
}

// draw lays a canonical graph out.
func draw(ctx context.Context, g *Graph) (*drawing, error) {
	l, err := newLayout(g)
	if err != nil {
		return nil, err
	}
	if err := l.order(ctx); err != nil {
		return nil, err
	}
	if err := l.place(ctx); err != nil {
		return nil, err
	}
	return l.finish(), nil
}

// place finds the heights: back and forth, every column moves towards its
// neighbours on one side; then towards those on both.
func (l *layout) place(ctx context.Context) error {
	l.y = make([]float64, len(l.rank))
	for _, c := range l.columns {
		l.settle(c)
	}
	for step := range placeSteps {
		if err := ctx.Err(); err != nil {
			return err
		}
		both := step >= placeSteps-2
		for i := range l.columns {
			l.pull(l.columns[i], true, both)
		}
		for i := range l.columns {
			l.pull(l.columns[len(l.columns)-1-i], both, true)
		}
	}
	return nil
}

// pull moves the vertices of a column to the mean height of their neighbours.
func (l *layout) pull(column []int, left, right bool) {
	for i, v := range column {
		if i > 0 && len(l.left[v])+len(l.right[v]) == 0 { // it belongs nowhere: below what is above it
			l.y[v] = l.y[column[i-1]] + l.distance(column[i-1], v)
			continue
		}
		l.y[v] = l.wanted(v, left, right)
	}
	l.settle(column)
}

// wanted is the mean height of a vertex' neighbours, its own if it has none.
func (l *layout) wanted(v int, left, right bool) float64 {
	var sum, weight float64
	add := func(arcs []arc) {
		for _, a := range arcs {
			sum += float64(a.weight * l.y[a.to]) // a conversion forbids to fuse, which only some machines do
			weight += a.weight
		}
	}
	if left {
		add(l.left[v])
	}
	if right {
		add(l.right[v])
	}
	if weight == 0 {
		return l.y[v]
	}
	return sum / weight
}

// settle moves the vertices of a column as little as possible (least squares) so that
// they keep their order and distances. With the distances taken off, this is isotonic
// regression, which pooling adjacent violators solves in one pass.
func (l *layout) settle(column []int) {
	type pool struct {
		sum   float64
		count int
	}
	offsets := make([]float64, len(column))
	var pools []pool
	for i, v := range column {
		if i > 0 {
			offsets[i] = offsets[i-1] + l.distance(column[i-1], v)
		}
		p := pool{l.y[v] - offsets[i], 1}
		for len(pools) > 0 {
			last := pools[len(pools)-1]
			if last.sum/float64(last.count) < p.sum/float64(p.count) {
				break
			}
			p = pool{p.sum + last.sum, p.count + last.count}
			pools = pools[:len(pools)-1]
		}
		pools = append(pools, p)
	}
	i := 0
	for _, p := range pools {
		for range p.count {
			l.y[column[i]] = p.sum/float64(p.count) + offsets[i]
			i++
		}
	}
}

// distance is what the middles of two vertices, one above the other, are apart at least.
func (l *layout) distance(a, b int) float64 {
	half := func(v int) float64 {
		if l.isBend(v) {
			return bendGap / 2.0
		}
		return (boxHeight + nodeGap) / 2.0
	}
	return half(a) + half(b)
}

// finish makes the drawing: whole numbers, the first of them at the margin.
func (l *layout) finish() *drawing {
	d := &drawing{boxes: make([]box, len(l.g.Nodes)), lines: make([][]point, len(l.g.Edges))}
	heights := l.heights(d)
	for n := range d.boxes {
		label := shown(l.g.Nodes[n].Label)
		width := int(math.Ceil(float64(uniseg.StringWidth(label))*charWidth)) + 2*padding
		d.boxes[n] = box{y: heights[n], width: width, label: label}
	}
	spans := l.spread(d)
	for _, k := range l.links {
		d.lines[k.edge] = l.line(k, d, heights, spans)
	}
	for i, line := range d.lines {
		if line == nil {
			n, _ := slices.BinarySearchFunc(l.g.Nodes, l.g.Edges[i].From, func(n Node, id string) int { return cmp.Compare(n.ID, id) })
			d.lines[i] = d.boxes[n].loop()
		}
	}
	return d
}

// loop is the line of a node that needs itself.
func (b box) loop() []point {
	x, out := b.right(), b.right()+loopWidth
	return []point{{x, b.y - boxHeight/4}, {out, b.y - boxHeight/4}, {out, b.y + boxHeight/4}, {x, b.y + boxHeight/4}}
}

// heights rounds the vertices' heights and shifts them to the top.
func (l *layout) heights(d *drawing) []int {
	top := math.Inf(1)
	for _, y := range l.y {
		top = min(top, y)
	}
	heights := make([]int, len(l.y))
	for v, y := range l.y {
		heights[v] = int(math.Round(y-top)) + margin + boxHeight/2
		d.height = max(d.height, heights[v]+boxHeight/2+margin)
	}
	return heights
}

// span is the left and the right edge of a column.
type span struct{ left, right int }

// spread puts the columns beside each other, as wide as their widest box, with more
// room between those that more lines run between.
func (l *layout) spread(d *drawing) []span {
	spans := make([]span, len(l.columns))
	x := margin
	for i, c := range l.columns {
		width, lines := 0, 0
		for _, v := range c {
			lines += len(l.right[v])
			if !l.isBend(v) {
				d.boxes[v].x = x
				width = max(width, d.boxes[v].width)
			}
		}
		spans[i] = span{x, x + width}
		d.width = x + width + margin
		x += width + min(minGap+lines, maxGap)
	}
	return spans
}

// line is the way of a link: across columns it is level, between them it may bend.
func (l *layout) line(k link, d *drawing, heights []int, spans []span) []point {
	from, to := d.boxes[k.from], d.boxes[k.to]
	points := []point{{from.right(), from.y}, {spans[l.rank[k.from]].right, from.y}}
	for r := l.rank[k.from] + 1; r < l.rank[k.to]; r++ {
		y := heights[l.bends[k.from][r-l.rank[k.from]-1]]
		points = append(points, point{spans[r].left, y}, point{spans[r].right, y})
	}
	points = append(points, point{to.x, to.y})
	if k.reversed {
		slices.Reverse(points)
	}
	return points
}
