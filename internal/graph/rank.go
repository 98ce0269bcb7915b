package graph

import (
	"fmt"
	"slices"
)

// maxVertices bounds nodes and bends together, and with it the memory: about
// 200 bytes each.
const maxVertices = 400_000

// layout is a drawing in the making. A vertex is a node of the graph, or a bend
// where edges pass a column. Nodes come first, in the graph's order.
type layout struct {
	g       *Graph
	links   []link  // the edges that are drawn through columns: all but loops
	out     [][]int // by node: its links to the right
	in      [][]int // by node: its links from the left
	rank    []int   // by vertex: its column
	bends   [][]int // by node: the bends of its links, column by column
	columns [][]int // the vertices of each column, the topmost first
	pos     []int   // by vertex: where it is in its column
	left    [][]arc // by vertex: what it is tied to in the column before
	right   [][]arc // by vertex: and in the next
	y       []float64
}

// link is an edge from left to right.
type link struct {
	edge     int // of the graph
	from, to int // nodes
	reversed bool
}

// arc ties two vertices of neighbouring columns.
type arc struct {
	to     int
	weight float64 // how much it matters that the two are on one height
}

// newLayout gives every node a column, and its links bends.
func newLayout(g *Graph) (*layout, error) {
	if len(g.Nodes) > MaxNodes || len(g.Edges) > MaxEdges {
		return nil, fmt.Errorf("drawing %d nodes and %d edges: at most %d and %d are drawn (choose a target, or write DOT for Graphviz)",
			len(g.Nodes), len(g.Edges), MaxNodes, MaxEdges)
	}
	l := &layout{g: g}
	l.orient()
	l.assignRanks()
	if err := l.addBends(); err != nil {
		return nil, err
	}
	return l, nil
}

// orient makes links of the edges and turns those that close a cycle around:
// there are none in a tree that can be built, but a diagram may be what a cycle
// is looked for with.
func (l *layout) orient() {
	index := make(map[string]int, len(l.g.Nodes))
	for i, n := range l.g.Nodes {
		index[n.ID] = i
	}
	for i, e := range l.g.Edges {
		if e.From != e.To {
			l.links = append(l.links, link{edge: i, from: index[e.From], to: index[e.To]})
		}
	}
	l.connect()
	for _, i := range l.backLinks() {
		k := &l.links[i]
		k.from, k.to, k.reversed = k.to, k.from, true
	}
	l.connect()
}

// connect lists the links of every node.
func (l *layout) connect() {
	l.out, l.in = make([][]int, len(l.g.Nodes)), make([][]int, len(l.g.Nodes))
	for i, k := range l.links {
		l.out[k.from] = append(l.out[k.from], i)
		l.in[k.to] = append(l.in[k.to], i)
	}
}

// backLinks finds links that lead back to where a walk came from. Walks begin at
// nodes that need nothing, so that a cycle is entered where people enter it.
func (l *layout) backLinks() []int {
	const open, done = 1, 2
	state := make([]byte, len(l.g.Nodes))
	next := make([]int, len(l.g.Nodes)) // links of a node that were walked
	var back []int
	for _, start := range l.starts() {
		path := []int{start}
		for len(path) > 0 {
			at := path[len(path)-1]
			if state[at] == done || next[at] == len(l.out[at]) {
				state[at] = done
				path = path[:len(path)-1]
				continue
			}
			state[at] = open
			i := l.out[at][next[at]]
			next[at]++
			switch to := l.links[i].to; state[to] {
			case open:
				back = append(back, i)
			case 0:
				path = append(path, to)
			}
		}
	}
	return back
}

// starts lists all nodes, those that need nothing first.
func (l *layout) starts() []int {
	starts := make([]int, len(l.g.Nodes))
	for i := range starts {
		starts[i] = i
	}
	slices.SortStableFunc(starts, func(a, b int) int { return min(len(l.in[a]), 1) - min(len(l.in[b]), 1) })
	return starts
}

// assignRanks gives every node the column after the last one of its dependencies. A
// node with more dependents than dependencies then goes as far to the right as
// they let it: the images that one package needs stand next to it.
func (l *layout) assignRanks() {
	l.rank = make([]int, len(l.g.Nodes))
	order := l.topological()
	for _, n := range order {
		for _, i := range l.out[n] {
			to := l.links[i].to
			l.rank[to] = max(l.rank[to], l.rank[n]+1)
		}
	}
	for _, n := range slices.Backward(order) {
		if len(l.out[n]) <= len(l.in[n]) {
			continue
		}
		nearest := len(l.g.Nodes)
		for _, i := range l.out[n] {
			nearest = min(nearest, l.rank[l.links[i].to])
		}
		l.rank[n] = nearest - 1
	}
}

func (l *layout) topological() []int {
	missing := make([]int, len(l.g.Nodes))
	order := make([]int, 0, len(l.g.Nodes))
	for n, in := range l.in {
		if missing[n] = len(in); len(in) == 0 {
			order = append(order, n)
		}
	}
	for done := 0; done < len(order); done++ {
		for _, i := range l.out[order[done]] {
			to := l.links[i].to
			if missing[to]--; missing[to] == 0 {
				order = append(order, to)
			}
		}
	}
	return order
}

// addBends gives each node with far dependents one bend in every column between.
func (l *layout) addBends() error {
	l.bends = make([][]int, len(l.g.Nodes))
	for n, out := range l.out {
		last := l.rank[n]
		for _, i := range out {
			last = max(last, l.rank[l.links[i].to]-1)
		}
		for r := l.rank[n] + 1; r <= last; r++ {
			if len(l.rank) == maxVertices {
				return fmt.Errorf("drawing %d nodes: their edges pass too many columns (choose a target, or write DOT for Graphviz)", len(l.g.Nodes))
			}
			l.bends[n] = append(l.bends[n], len(l.rank))
			l.rank = append(l.rank, r)
		}
	}
	l.tie()
	return nil
}

// tie makes the arcs. Long straight lines are worth most, as in dot (Gansner
// and others, A Technique for Drawing Directed Graphs, 4.2).
func (l *layout) tie() {
	l.left, l.right = make([][]arc, len(l.rank)), make([][]arc, len(l.rank))
	for n, bends := range l.bends {
		before := n
		for _, b := range bends {
			l.join(before, b)
			before = b
		}
		for _, i := range l.out[n] {
			l.join(l.before(l.links[i]), l.links[i].to)
		}
	}
}

// before is the vertex in the column before a link's end.
func (l *layout) before(k link) int {
	if d := l.rank[k.to] - l.rank[k.from]; d > 1 {
		return l.bends[k.from][d-2]
	}
	return k.from
}

func (l *layout) join(a, b int) {
	weight := 1.0
	switch {
	case l.isBend(a) && l.isBend(b):
		weight = 8
	case l.isBend(a) || l.isBend(b):
		weight = 2
	}
	l.right[a] = append(l.right[a], arc{b, weight})
	l.left[b] = append(l.left[b], arc{a, weight})
}

func (l *layout) isBend(v int) bool { return v >= len(l.g.Nodes) }
