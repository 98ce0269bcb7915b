// Package graph draws which recipe needs which: as SVG, as a file for Graphviz
// (DOT) and as JSON. The same graph gives the same bytes, in whatever order its
// nodes and edges are listed, on every machine.
//
// The layout of the SVG is our own, in the way of Sugiyama, Tagawa and Toda: nodes
// get columns so that edges lead from left to right (rank.go), columns are sorted
// until few edges cross (order.go), and every node is drawn as near to its
// neighbours as the order allows (place.go). Edges of one dependency share their way
// until they part, so that a base that everything needs is one line through the
// drawing. Edges bend between columns only and so never cross a box.
//
// Why not Graphviz itself: as WebAssembly (go-graphviz 0.2.10) it adds 8 MB to the
// program and compiles itself when a program starts, whether or not it draws:
// 1.0 s the first time and 40 ms from then on, from machine code that it keeps
// under a fixed name in the directory for temporary files, where another
// user may have put it. It draws 116 packages in 0.1 s and 500 in 0.55 s. This
// package draws 500 packages with 900 edges in 10 ms and 3 MB, and unless it is used
// costs nothing.
//
// The limits: edges have no labels, boxes have one line. A label is shown with at
// most maxLabel characters, the whole of it is in the node's tooltip. What is
// beyond MaxNodes and MaxEdges is for Graphviz.
package graph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

const (
	// MaxNodes and MaxEdges bound what SVG draws: a tree of recipes has hundreds.
	MaxNodes = 20_000
	MaxEdges = 100_000
)

// Kind says how a node looks.
type Kind string

// The kinds of nodes. The zero Kind is a Package.
const (
	Package Kind = "package" // of the tree: a plain box
	Image   Kind = "image"   // of a registry: a yellow box
	Alpine  Kind = "alpine"  // Alpine Linux, or a package of it: a green-blue box
)

// Graph is a dependency diagram.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is something that is needed or needs something.
type Node struct {
	ID    string `json:"id"`
	Label string `json:"label"` // "" stands for the ID
	Kind  Kind   `json:"kind"`
}

// Edge leads from a dependency to its dependent. An end that has no node is drawn
// as a Package: a diagram shows what is missing, too.
type Edge struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Runtime bool   `json:"runtime"` // To's users need From as well: a bold green line
}

// canonical is the graph in the one order that is drawn: every node once, by ID,
// with its label and kind, and one edge between two nodes, which is of runtime if one
// of several is.
func (g *Graph) canonical() (*Graph, error) {
	c := &Graph{Nodes: slices.Clone(g.Nodes), Edges: slices.Clone(g.Edges)}
	known := make(map[string]bool, len(c.Nodes))
	for _, n := range c.Nodes {
		if known[n.ID] {
			return nil, fmt.Errorf("drawing the graph: two nodes with the ID %q", n.ID)
		}
		known[n.ID] = true
	}
	for _, e := range c.Edges {
		for _, id := range []string{e.From, e.To} {
			if !known[id] {
				known[id] = true
				c.Nodes = append(c.Nodes, Node{ID: id})
			}
		}
	}
	for i := range c.Nodes {
		c.Nodes[i].Label = cmp.Or(c.Nodes[i].Label, c.Nodes[i].ID)
		c.Nodes[i].Kind = cmp.Or(c.Nodes[i].Kind, Package)
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	c.Edges = merged(c.Edges)
	return c, nil
}

// merged sorts the edges and makes those between the same two nodes one.
func merged(edges []Edge) []Edge {
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	out := edges[:0]
	for _, e := range edges {
		if last := len(out) - 1; last >= 0 && out[last].From == e.From && out[last].To == e.To {
			out[last].Runtime = out[last].Runtime || e.Runtime
			continue
		}
		out = append(out, e)
	}
	return out
}

// JSON writes the graph as an object of "nodes" and "edges".
func (g *Graph) JSON(w io.Writer) error {
	c, err := g.canonical()
	if err != nil {
		return err
	}
	c.Nodes, c.Edges = append([]Node{}, c.Nodes...), append([]Edge{}, c.Edges...) // none is [], not null
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(c)
}
