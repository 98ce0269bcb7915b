package recipe

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// Node is a package in a dump.
type Node struct {
	Pkg  *Package
	Name string
	// Dependencies are resolved only for a target; otherwise nil.
	Dependencies []NodeDependency
}

// NodeDependency is a dependency, and the package that it is.
type NodeDependency struct {
	Node *Node // nil for an image
	Dependency
}

// maxDumped bounds a dump of nested nodes: a package that many need is in it
// many times.
const maxDumped = 1_000_000

// Dump writes all packages, or a target with all that it depends on, as JSON:
// an array, sorted by name, in the form of bldr's dump.
func (s *Set) Dump(w io.Writer, target string) error {
	nodes, err := s.nodes(target)
	if err != nil {
		return err
	}
	if n := dumped(nodes); n > maxDumped {
		return fmt.Errorf("dumping %s: with its dependencies inside of each other these are more than %d packages; without a target each is there once", target, maxDumped)
	}
	if err := json.NewEncoder(w).Encode(nodes); err != nil {
		return fmt.Errorf("dumping packages: %w", err)
	}
	return nil
}

// DumpTemplate renders a template with the array that Dump writes. The
// functions are those of recipes and mustFromYAML. The name is for messages.
func (s *Set) DumpTemplate(w io.Writer, target, name, text string) error {
	nodes, err := s.nodes(target)
	if err != nil {
		return err
	}
	t, err := newTemplate(name, text, template.FuncMap{"mustFromYAML": mustFromYAML})
	if err != nil {
		return fmt.Errorf("parsing the template %s: %w", name, err)
	}
	if err := t.Execute(w, nodes); err != nil {
		return fmt.Errorf("rendering the template %s: %w", name, err)
	}
	return nil
}

func mustFromYAML(text string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	return v, nil
}

func (s *Set) nodes(target string) ([]*Node, error) {
	if target == "" {
		all := make([]*Node, 0, len(s.Packages))
		for _, p := range s.Packages {
			all = append(all, &Node{Pkg: p, Name: p.Name})
		}
		return all, nil
	}
	packages, err := s.Closure(target)
	if err != nil {
		return nil, fmt.Errorf("dumping %s: %w", target, err)
	}
	byName := make(map[string]*Node, len(packages))
	all := make([]*Node, 0, len(packages))
	for _, p := range packages {
		n := &Node{Pkg: p, Name: p.Name}
		for _, d := range p.Dependencies {
			n.Dependencies = append(n.Dependencies, NodeDependency{Node: byName[d.Stage], Dependency: d})
		}
		byName[p.Name] = n
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// dumped counts the nodes of a dump, as far as it matters.
func dumped(nodes []*Node) int {
	sizes := map[*Node]int{}
	var size func(*Node) int
	size = func(n *Node) int {
		if sizes[n] > 0 {
			return sizes[n]
		}
		sum := 1
		for _, d := range n.Dependencies {
			if d.Node != nil {
				sum = min(sum+size(d.Node), maxDumped+1)
			}
		}
		sizes[n] = sum
		return sum
	}
	total := 0
	for _, n := range nodes {
		total = min(total+size(n), maxDumped+1)
	}
	return total
}
