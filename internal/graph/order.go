package graph

import (
	"cmp"
	"context"
	"slices"
)

const (
	maxSweeps = 24
	patience  = 6 // sweeps without fewer crossings before the sorting ends
)

// order sorts the columns so that few lines cross.
func (l *layout) order(ctx context.Context) error {
	l.fillColumns()
	best, fewest := l.columns, l.crossings()
	l.columns = copied(best)
	for sweep, idle := 0, 0; sweep < maxSweeps && idle < patience && fewest > 0; sweep++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.sweep(sweep%2 == 0)
		idle++
		if n := l.crossings(); n < fewest {
			best, fewest, idle = copied(l.columns), n, 0
		}
	}
	l.columns = best
	l.number()
	return nil
}

func copied(columns [][]int) [][]int {
	out := make([][]int, len(columns))
	for i, c := range columns {
		out[i] = slices.Clone(c)
	}
	return out
}

// fillColumns puts the vertices into their columns in the order in which a walk
// along the arcs meets them: what belongs together begins together.
func (l *layout) fillColumns() {
	if len(l.rank) > 0 {
		l.columns = make([][]int, slices.Max(l.rank)+1)
	}
	l.pos = make([]int, len(l.rank))
	met := make([]bool, len(l.rank))
	for _, start := range l.starts() {
		stack := []int{start}
		for len(stack) > 0 {
			v := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if met[v] {
				continue
			}
			met[v] = true
			l.columns[l.rank[v]] = append(l.columns[l.rank[v]], v)
			for _, arcs := range [][]arc{l.left[v], l.right[v]} {
				for _, a := range slices.Backward(arcs) {
					stack = append(stack, a.to)
				}
			}
		}
	}
	l.number()
}

// number notes for every vertex where in its column it is.
func (l *layout) number() {
	for _, c := range l.columns {
		for i, v := range c {
			l.pos[v] = i
		}
	}
}

// sweep sorts one column after the other by where its vertices' neighbours are in
// the column before it, or after it.
func (l *layout) sweep(rightwards bool) {
	arcs := l.left
	if !rightwards {
		arcs = l.right
	}
	middle := make([]float64, len(l.rank))
	for i := range l.columns {
		c := l.columns[i]
		if !rightwards {
			c = l.columns[len(l.columns)-1-i]
		}
		for _, v := range c {
			middle[v] = l.middle(v, arcs[v])
		}
		slices.SortStableFunc(c, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
		for i, v := range c {
			l.pos[v] = i
		}
	}
}

// middle is the mean position of neighbours: integers are summed, so that no machine
// rounds otherwise than another.
func (l *layout) middle(v int, arcs []arc) float64 {
	if len(arcs) == 0 {
		return float64(l.pos[v])
	}
	sum := 0
	for _, a := range arcs {
		sum += l.pos[a.to]
	}
	return float64(sum) / float64(len(arcs))
}

// crossings counts the pairs of arcs that cross.
func (l *layout) crossings() int {
	total := 0
	var ends []int
	for i := 0; i+1 < len(l.columns); i++ {
		ends = ends[:0]
		for _, v := range l.columns[i] {
			from := len(ends)
			for _, a := range l.right[v] {
				ends = append(ends, l.pos[a.to])
			}
			slices.Sort(ends[from:])
		}
		total += inversions(ends, len(l.columns[i+1]))
	}
	return total
}

// inversions counts the pairs of which the first is greater, of numbers below n
// (with a Fenwick tree: Barth, Jünger, Mutzel, Simple and Efficient Bilayer Cross
// Counting).
func inversions(list []int, n int) int {
	tree := make([]int, n+1)
	total := 0
	for seen, x := range list {
		notGreater := 0
		for i := x + 1; i > 0; i -= i & -i {
			notGreater += tree[i]
		}
		total += seen - notGreater
		for i := x + 1; i <= n; i += i & -i {
			tree[i]++
		}
	}
	return total
}
