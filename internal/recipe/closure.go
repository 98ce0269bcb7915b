package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Package finds a package by name; nil if there is none.
func (s *Set) Package(name string) *Package {
	for _, p := range s.Packages {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (s *Set) index() map[string]*Package {
	all := make(map[string]*Package, len(s.Packages))
	for _, p := range s.Packages {
		all[p.Name] = p
	}
	return all
}

// UnknownError says that a package is needed which there is not.
type UnknownError struct {
	Name string
	// Chain are the packages that need it, from the one that was asked for to
	// the one that names it.
	Chain []string
	Near  []string // what may be meant
}

// Error implements error.
func (e *UnknownError) Error() string {
	if len(e.Chain) == 0 {
		return fmt.Sprintf("there is no package %q%s", e.Name, hint(e.Near))
	}
	return fmt.Sprintf("there is no package %q, needed along %s%s", e.Name, strings.Join(append(slices.Clone(e.Chain), e.Name), " → "), hint(e.Near))
}

// CycleError says that packages need each other.
type CycleError struct {
	Path []string // the first is the last, too
}

// Error implements error.
func (e *CycleError) Error() string {
	return "packages depend on each other: " + strings.Join(e.Path, " → ")
}

// Closure gives the packages of these names and all that they depend on, each
// after those that it needs. The error is an *UnknownError or a *CycleError.
func (s *Set) Closure(names ...string) ([]*Package, error) {
	c := closure{set: s, index: s.index(), done: map[string]bool{}, open: map[string]bool{}}
	for _, name := range names {
		if err := c.visit(name); err != nil {
			return nil, err
		}
	}
	return c.order, nil
}

type closure struct {
	set   *Set
	index map[string]*Package
	order []*Package
	done  map[string]bool
	open  map[string]bool // those of path
	path  []string
}

func (c *closure) visit(name string) error {
	if c.done[name] {
		return nil
	}
	p := c.index[name]
	if p == nil {
		return &UnknownError{Name: name, Chain: slices.Clone(c.path), Near: c.set.Near(name)}
	}
	if c.open[name] {
		start := slices.Index(c.path, name)
		return &CycleError{Path: append(slices.Clone(c.path[start:]), name)}
	}
	c.open[name] = true
	c.path = append(c.path, name)
	for _, d := range p.Dependencies {
		if d.Stage == "" {
			continue
		}
		if err := c.visit(d.Stage); err != nil {
			return err
		}
	}
	c.path = c.path[:len(c.path)-1]
	c.done[name] = true
	c.order = append(c.order, p)
	return nil
}

// Input is a dependency that a package starts with, its own or one that a
// stage brings along.
type Input struct {
	Dependency
	// Via is the stage whose runtime dependency it is, "" if it is the
	// package's own.
	Via string
}

// Inputs lists what a package's file system starts with, the lowest first: each
// of its dependencies and then what that has in the way of runtime
// dependencies, and so on.
//
// Repeats are left out, the first stays. Unlike bldr, which looks at image,
// stage and "to" only, this takes two that differ in "from" or "platform" for
// different; the problems are warnings about those.
func (s *Set) Inputs(p *Package) ([]Input, []Problem, error) {
	c := inputs{set: s, index: s.index(), owner: p, seen: map[Dependency]bool{}, bldr: map[Dependency]Dependency{}}
	if err := c.collect(p, false, []string{p.Name}); err != nil {
		return nil, nil, err
	}
	return c.list, c.warnings, nil
}

type inputs struct {
	set      *Set
	index    map[string]*Package
	owner    *Package
	list     []Input
	warnings []Problem
	seen     map[Dependency]bool       // with defaults filled in
	bldr     map[Dependency]Dependency // with what bldr looks at; the first one
}

// collect adds the dependencies of a package, of those of a stage only the
// runtime ones. The path is of the packages that led there.
func (c *inputs) collect(p *Package, runtimeOnly bool, path []string) error {
	for i, d := range p.Dependencies {
		if runtimeOnly && !d.Runtime {
			continue
		}
		c.add(p, i, path)
		if d.Stage == "" {
			continue
		}
		if at := slices.Index(path, d.Stage); at >= 0 {
			return &CycleError{Path: append(slices.Clone(path[at:]), d.Stage)}
		}
		stage := c.index[d.Stage]
		if stage == nil {
			return &UnknownError{Name: d.Stage, Chain: path, Near: c.set.Near(d.Stage)}
		}
		if err := c.collect(stage, true, append(slices.Clip(path), d.Stage)); err != nil {
			return err
		}
	}
	return nil
}

// add puts a dependency on the list if it is not there yet.
func (c *inputs) add(p *Package, i int, path []string) {
	d := p.Dependencies[i]
	same := d
	same.Runtime = false // says nothing about the files
	if same.From == "" {
		same.From = "/"
	}
	if same.Platform == "" && c.owner.BuildPlatform == "" { // which counts only for whoever is built for itself
		same.Platform = c.set.build
	}
	if c.seen[same] {
		return
	}
	c.seen[same] = true
	in := Input{Dependency: d}
	if len(path) > 1 {
		in.Via = p.Name
	}
	c.list = append(c.list, in)

	key := Dependency{Image: d.Image, Stage: d.Stage, To: d.To}
	first, taken := c.bldr[key]
	if !taken {
		c.bldr[key] = same
		return
	}
	c.warnings = append(c.warnings, c.dropped(p, i, first, same))
}

// dropped is the warning about a dependency that bldr leaves out.
func (c *inputs) dropped(p *Package, i int, first, second Dependency) Problem {
	w := Problem{File: p.FileName}
	if lines := c.set.lines[p.Name]; i < len(lines) {
		w.Line = lines[i]
	}
	w.Message = fmt.Sprintf("package %s takes %s twice, %s and %s: both are kept; bldr drops the second without a word",
		c.owner.Name, first.Image+first.Stage, differences(first, second), differences(second, first))
	return w
}

// differences tells what of a dependency is not as in the other one.
func differences(d, other Dependency) string {
	var all []string
	if d.From != other.From {
		all = append(all, "from "+d.From)
	}
	if d.Platform != other.Platform {
		all = append(all, "for "+cmp.Or(d.Platform, "the platform of the build"))
	}
	return strings.Join(all, " ")
}
