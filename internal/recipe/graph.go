package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// NodeKind says what a node of a graph stands for.
type NodeKind string

// The kinds of nodes.
const (
	NodePackage  NodeKind = "package"
	NodeInternal NodeKind = "internal" // a package that is not published
	NodeUnknown  NodeKind = "unknown"  // a stage that there is not
	NodeImage    NodeKind = "image"    // of a registry
	NodeAlpine   NodeKind = "alpine"   // Alpine Linux, or a package of it
)

// GraphNode is a box of the diagram.
type GraphNode struct {
	ID    string // unique in the graph, and the same in every run
	Label string
	Kind  NodeKind
}

// GraphEdge leads from what is needed to who needs it.
type GraphEdge struct {
	From, To string // IDs
	Runtime  bool
}

// Graph is the diagram of dependencies. Packages come first, by name, then
// what they need, by label.
type Graph struct {
	Nodes []GraphNode
	Edges []GraphEdge
}

// Graph draws all packages, or a target with all that it depends on. Packages
// with GRAPH_IGNORE are left out; a target that depends on one is refused.
func (s *Set) Graph(target string) (*Graph, error) {
	shown := &Set{Packages: slices.DeleteFunc(slices.Clone(s.Packages), func(p *Package) bool { return p.Flag(FlagGraphIgnore) })}
	packages := shown.Packages
	if target != "" {
		var err error
		if packages, err = shown.Closure(target); err != nil {
			return nil, s.graphError(target, err)
		}
		packages = slices.Clone(packages)
		slices.SortFunc(packages, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	}
	d := drawing{nodes: map[string]bool{}, edges: map[GraphEdge]bool{}}
	for _, p := range packages {
		d.node(packageNode(p))
	}
	for _, p := range packages {
		d.needs(p)
	}
	return d.finish(len(packages)), nil
}

// graphError explains why a package is missing that the tree has.
func (s *Set) graphError(target string, err error) error {
	if unknown, ok := err.(*UnknownError); ok && s.Package(unknown.Name) != nil {
		return fmt.Errorf("drawing the graph of %s: package %s is left out of graphs by its variable %s: %w", target, unknown.Name, FlagGraphIgnore, err)
	}
	return fmt.Errorf("drawing the graph of %s: %w", target, err)
}

type drawing struct {
	graph Graph
	nodes map[string]bool
	edges map[GraphEdge]bool
}

func packageNode(p *Package) GraphNode {
	n := GraphNode{ID: stageID(p.Name), Label: p.Name, Kind: NodePackage}
	if p.Flag(FlagInternal) {
		n.Kind = NodeInternal
	}
	return n
}

func stageID(name string) string { return "stage:" + name }

func (d *drawing) node(n GraphNode) {
	if !d.nodes[n.ID] {
		d.nodes[n.ID] = true
		d.graph.Nodes = append(d.graph.Nodes, n)
	}
}

func (d *drawing) edge(from, to string, runtime bool) {
	e := GraphEdge{From: from, To: to, Runtime: runtime}
	if !d.edges[e] {
		d.edges[e] = true
		d.graph.Edges = append(d.graph.Edges, e)
	}
}

// needs draws what a package is made from.
func (d *drawing) needs(p *Package) {
	id := stageID(p.Name)
	if p.Variant == Alpine {
		d.node(GraphNode{ID: "alpine", Label: "alpine", Kind: NodeAlpine})
		d.edge("alpine", id, false)
	}
	for _, dep := range p.Dependencies {
		n := dependencyNode(dep)
		d.node(n)
		d.edge(n.ID, id, dep.Runtime)
	}
	for _, name := range p.Install {
		n := GraphNode{ID: "alpine:" + name, Label: "Alpine: " + name, Kind: NodeAlpine}
		d.node(n)
		d.edge(n.ID, id, false)
	}
}

func dependencyNode(dep Dependency) GraphNode {
	if dep.Stage != "" {
		return GraphNode{ID: stageID(dep.Stage), Label: dep.Stage, Kind: NodeUnknown}
	}
	label, _, _ := strings.Cut(dep.Image, "@")
	return GraphNode{ID: "image:" + dep.Image, Label: label, Kind: NodeImage}
}

// finish orders what comes after the packages.
func (d *drawing) finish(packages int) *Graph {
	slices.SortFunc(d.graph.Nodes[packages:], func(a, b GraphNode) int {
		if c := strings.Compare(a.Label, b.Label); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return &d.graph
}
