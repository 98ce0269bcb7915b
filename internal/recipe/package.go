package recipe

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ShellOrDefault is the program that runs the package's scripts.
func (p *Package) ShellOrDefault() string {
	if p.Shell == "" {
		return "/bin/sh"
	}
	return p.Shell
}

// Flag says whether one of the package's variables is "true". Trees use
// GRAPH_IGNORE for what does not belong in a diagram, and INTERNAL_PACKAGE for
// what is not published.
func (p *Package) Flag(name string) bool { return p.Context[name] == "true" }

// Names of variables that mean something to tools.
const (
	FlagGraphIgnore = "GRAPH_IGNORE"
	FlagInternal    = "INTERNAL_PACKAGE"
)

var variants = map[string]Variant{"alpine": Alpine, "scratch": Scratch}

var networks = map[string]Network{"none": NetworkNone, "default": NetworkDefault, "host": NetworkHost}

// String is the word for the variant in pkg.yaml.
func (v Variant) String() string { return word(variants, v) }

// String is the word for the network in pkg.yaml.
func (n Network) String() string { return word(networks, n) }

func word[T comparable](words map[string]T, value T) string {
	for w, v := range words {
		if v == value {
			return w
		}
	}
	return ""
}

// oneOf reads a word of a closed list.
func oneOf[T any](d *document, into *T, words map[string]T) read {
	return func(n *yaml.Node, what string) {
		s, ok := d.scalar(n, what)
		value, known := words[s]
		switch {
		case known:
			*into = value
		case ok && !isNull(target(n)):
			d.fail(n.Line, "%s is %q; known are %s", what, s, strings.Join(slices.Sorted(maps.Keys(words)), ", "))
		}
	}
}

// packageFile reads a pkg.yaml that has been rendered, with the lines of its
// dependencies.
func (d *document) packageFile() (*Package, []int) {
	root, empty := d.parse()
	if empty {
		d.fail(0, "it is empty")
	}
	if root == nil {
		return nil, nil
	}
	p := &Package{}
	var lines []int
	at := d.object(root, "", map[string]read{
		"name":          d.string(&p.Name),
		"variant":       oneOf(d, &p.Variant, variants),
		"shell":         d.string(&p.Shell),
		"install":       d.texts(&p.Install),
		"buildPlatform": d.string(&p.BuildPlatform),
		"dependencies": list(d, &p.Dependencies, func(n *yaml.Node, what string) Dependency {
			lines = append(lines, n.Line)
			return d.dependency(n, what)
		}),
		"steps":    list(d, &p.Steps, d.step),
		"finalize": list(d, &p.Finalize, d.finalize),
	})
	if d.budget > 0 {
		d.checkPackage(p, at)
	}
	return p, lines
}

func (d *document) dependency(n *yaml.Node, what string) Dependency {
	var dep Dependency
	at := d.object(n, what, map[string]read{
		"image":    d.string(&dep.Image),
		"stage":    d.string(&dep.Stage),
		"from":     d.string(&dep.From),
		"to":       d.string(&dep.To),
		"platform": d.string(&dep.Platform),
		"runtime":  d.bool(&dep.Runtime),
	})
	d.checkDependency(dep, what, at)
	return dep
}

func (d *document) step(n *yaml.Node, what string) Step {
	var s Step
	at := d.object(n, what, map[string]read{
		"env":        d.dict(&s.Env),
		"cachePaths": d.texts(&s.CachePaths),
		"sources":    list(d, &s.Sources, d.source),
		"prepare":    d.texts(&s.Prepare),
		"build":      d.texts(&s.Build),
		"install":    d.texts(&s.Install),
		"test":       d.texts(&s.Test),
		"sbom":       func(n *yaml.Node, what string) { s.SBOM = d.sbom(n, what) },
		"network":    oneOf(d, &s.Network, networks),
	})
	d.checkStep(s, what, at)
	return s
}

func (d *document) source(n *yaml.Node, what string) Source {
	var s Source
	at := d.object(n, what, map[string]read{
		"url":         d.string(&s.URL),
		"destination": d.string(&s.Destination),
		"sha256":      d.string(&s.SHA256),
		"sha512":      d.string(&s.SHA512),
		"module":      d.string(&s.Module),
		"sum":         d.string(&s.Sum),
		"packages":    d.texts(&s.Packages),
		"deb":         d.string(&s.Deb),
		"suite":       d.string(&s.Suite),
		"extract":     d.string(&s.Extract),
	})
	d.checkSource(s, what, at)
	return s
}

func (d *document) sbom(n *yaml.Node, what string) SBOM {
	var s SBOM
	at := d.object(n, what, map[string]read{
		"outputPath": d.string(&s.OutputPath),
		"name":       d.string(&s.Name),
		"version":    d.string(&s.Version),
		"cpes":       d.texts(&s.CPEs),
		"purl":       d.string(&s.PURL),
		"licenses":   d.texts(&s.Licenses),
	})
	d.checkSBOM(s, what, at)
	return s
}

func (d *document) finalize(n *yaml.Node, what string) Finalize {
	var f Finalize
	at := d.object(n, what, map[string]read{
		"from": d.string(&f.From),
		"to":   d.string(&f.To),
	})
	d.checkFinalize(f, what, at)
	return f
}
