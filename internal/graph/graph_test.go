package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// synthetic is a tree like the public one: few packages that everything needs, many
// that need a few others, images that one or two packages need.
func synthetic(packages int) *Graph {
	r := rand.New(rand.NewSource(1))
	g := &Graph{}
	images := packages / 4
	for i := range images {
		ref := fmt.Sprintf("registry.example/image-%d:v1.2.3", i)
		g.Nodes = append(g.Nodes, Node{ID: ref + "@sha256:0123", Label: ref, Kind: Image})
	}
	for i := range packages {
		id := fmt.Sprintf("package-%d", i)
		g.Nodes = append(g.Nodes, Node{ID: id})
		if i > 0 {
			g.Edges = append(g.Edges, Edge{From: fmt.Sprintf("package-%d", r.Intn(min(i, 10))), To: id})
		}
		if i > 10 && i%10 < 5 {
			g.Edges = append(g.Edges, Edge{From: fmt.Sprintf("package-%d", r.Intn(i)), To: id, Runtime: i%20 == 1})
		}
		if i%10 < 3 {
			g.Edges = append(g.Edges, Edge{From: g.Nodes[r.Intn(images)].ID, To: id})
		}
	}
	return g
}

// edges makes a graph of "a b" (a is needed by b) and "a b!" (at run time).
func edges(list ...string) *Graph {
	g := &Graph{}
	for _, e := range list {
		from, to, _ := strings.Cut(e, " ")
		to, runtime := strings.CutSuffix(to, "!")
		g.Edges = append(g.Edges, Edge{From: from, To: to, Runtime: runtime})
	}
	return g
}

// example has one of everything.
func example() *Graph {
	g := edges("base nebula", "tools nebula", "registry.example/go:1@sha256:01 tools", "alpine fhs", "Alpine:_bash fhs", "fhs nebula!", "fhs nebula", "missing nebula")
	g.Nodes = []Node{
		{ID: "nebula"}, {ID: "tools", Kind: Package}, {ID: "base"}, {ID: "fhs"},
		{ID: "registry.example/go:1@sha256:01", Label: "registry.example/go:1", Kind: Image},
		{ID: "alpine", Kind: Alpine}, {ID: "Alpine:_bash", Label: "Alpine: bash", Kind: Alpine},
	}
	return g
}

func dot(t *testing.T, g *Graph) string {
	t.Helper()
	var b bytes.Buffer
	if err := g.DOT(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func svg(t testing.TB, g *Graph) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := g.SVG(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDOT(t *testing.T) {
	want := `digraph {
	rankdir="LR"
	node [shape="box"]
	"Alpine:_bash" [label="Alpine: bash" style="filled" fillcolor="aquamarine"]
	"alpine" [label="alpine" style="filled" fillcolor="aquamarine"]
	"base" [label="base"]
	"fhs" [label="fhs"]
	"missing" [label="missing"]
	"nebula" [label="nebula"]
	"registry.example/go:1@sha256:01" [label="registry.example/go:1" style="filled" fillcolor="lemonchiffon"]
	"tools" [label="tools"]
	"Alpine:_bash" -> "fhs"
	"alpine" -> "fhs"
	"base" -> "nebula"
	"fhs" -> "nebula" [color="forestgreen" style="bold"]
	"missing" -> "nebula"
	"registry.example/go:1@sha256:01" -> "tools"
	"tools" -> "nebula"
}
`
	if d := cmp.Diff(want, dot(t, example())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestJSON(t *testing.T) {
	for want, g := range map[string]*Graph{
		`{"nodes":[],"edges":[]}`: {},
		`{"nodes":[{"id":"a&b","label":"a&b","kind":"package"},{"id":"i","label":"image","kind":"image"}],"edges":[{"from":"i","to":"a&b","runtime":true}]}`: {
			Nodes: []Node{{ID: "i", Label: "image", Kind: Image}},
			Edges: []Edge{{From: "i", To: "a&b", Runtime: true}},
		},
	} {
		var b bytes.Buffer
		if err := g.JSON(&b); err != nil {
			t.Fatal(err)
		}
		got := strings.NewReplacer("\n", "", "  ", "", `": `, `":`).Replace(b.String())
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

// TestOrder: the graph decides what is written, not the order in which it is listed.
func TestOrder(t *testing.T) {
	t.Parallel()
	all := func(g *Graph) string {
		var b bytes.Buffer
		if err := errors.Join(g.DOT(&b), g.JSON(&b), g.SVG(context.Background(), &b)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	g := synthetic(116)
	want := all(g)
	before := Graph{slices.Clone(g.Nodes), slices.Clone(g.Edges)}
	for seed := range int64(5) {
		r := rand.New(rand.NewSource(seed))
		s := Graph{slices.Clone(g.Nodes), slices.Clone(g.Edges)}
		r.Shuffle(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
		r.Shuffle(len(s.Edges), func(i, j int) { s.Edges[i], s.Edges[j] = s.Edges[j], s.Edges[i] })
		if all(&s) != want {
			t.Fatalf("shuffled with seed %d: the output differs", seed)
		}
	}
	if d := cmp.Diff(before, *g); d != "" {
		t.Errorf("drawing changed the graph:\n%s", d)
	}
}

func TestRefuses(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	chain := &Graph{} // with one dependency of everything: bends are shared
	for i := range MaxNodes - 1 {
		chain.Edges = append(chain.Edges, Edge{From: fmt.Sprint(i), To: fmt.Sprint(i + 1)})
	}
	ladder := &Graph{Edges: slices.Clone(chain.Edges)}
	for i := range 100 {
		ladder.Edges = append(ladder.Edges, Edge{From: fmt.Sprint(i), To: fmt.Sprint(MaxNodes - 1)})
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		g    *Graph
		want string
	}{
		"twice":    {context.Background(), &Graph{Nodes: []Node{{ID: "a"}, {ID: "a", Kind: Image}}}, `two nodes with the ID "a"`},
		"canceled": {canceled, synthetic(20), context.Canceled.Error()},
		"nodes":    {context.Background(), &Graph{Edges: append(chain.Edges, Edge{From: "x", To: "y"})}, "choose a target"},
		"bends":    {context.Background(), ladder, "choose a target"},
	} {
		err := c.g.SVG(c.ctx, new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestBudget holds a tree of 500 packages to far less than the second that
// loading and drawing it may take together.
func TestBudget(t *testing.T) {
	g := synthetic(500)
	start := time.Now()
	svg(t, g)
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("drawing 500 packages took %v", d)
	}
}

func BenchmarkSVG(b *testing.B) {
	for _, n := range []int{116, 500} {
		g := synthetic(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				svg(b, g)
			}
		})
	}
}
