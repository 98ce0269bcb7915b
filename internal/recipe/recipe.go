// Package recipe reads trees of recipes: Pkgfile, vars.yaml, pkg.yaml and
// *.tmpl, the format v1alpha2 of siderolabs/bldr, for one platform at a time.
//
// What bldr reads means the same here. Where it hides an error or drops
// something without a word, it is mended and there is a warning. [Load] never
// stops at the first problem: it gives all problems of all files, each with
// its line and the text around it.
//
// A package's variables come from the built-in ones, build arguments, Pkgfile
// and every vars.yaml from the root down to the package's directory; later
// ones win. Files are rendered with them as Go templates, with the functions
// of Sprig that always give the same result, and then parsed as YAML.
//
// Beyond reading there is what needs nothing but recipes: the order of
// packages ([Set.Closure]), what a package starts with ([Set.Inputs]), the
// diagram ([Set.Graph]), bldr's dump ([Set.Dump]), and the texts of files with
// new checksums ([Update]).
//
// Limits: files are read inside of the root only, whatever symlinks say, and
// up to [MaxFileSize]. Templates are programs of whoever wrote the tree; they
// cannot touch the machine, but they can take long.
package recipe

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Format is the only format of recipes there is, named in Pkgfile.
const Format = "v1alpha2"

// Names of the files that a tree is read from.
const (
	PkgfileName  = "Pkgfile"
	VarsName     = "vars.yaml"
	PackageName  = "pkg.yaml"
	TemplateExt  = ".tmpl"
	outputFolder = "_out" // at the root: results of builds, never read
)

// Options say what a tree is read for. The zero Options are for this machine.
type Options struct {
	// Target and Build are the platforms that packages are for and that their
	// commands run on: "linux/amd64" or "linux/arm64". Build "" is Target; Target
	// "" is this machine's platform, or linux/amd64 if recipes do not know that.
	Target, Build string
	// BuildArgs are seen by templates as BUILD_ARG_NAME.
	BuildArgs map[string]string
}

// Pkgfile is the file at the root of a tree.
type Pkgfile struct {
	Format string            // "" if there is no Pkgfile
	Vars   Variables         // for all templates
	Labels map[string]string // of every image made
}

// Set is a tree of recipes that has been read.
type Set struct {
	Pkgfile  Pkgfile
	Packages []*Package // sorted by name
	// Problems are errors, by file and line. Packages with problems are in
	// Packages all the same, as far as they could be read.
	Problems []Problem
	Warnings []Problem

	build string // platform
	lines map[string][]int
}

// Load reads the tree below a directory. The error is about what makes reading
// impossible; what is wrong with the recipes is in the Set's Problems.
func Load(ctx context.Context, root string, o Options) (*Set, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	f, err := readFiles(ctx, root)
	if err != nil {
		return nil, err
	}
	return l.load(ctx, f)
}

// loader makes a Set of the files of a tree.
type loader struct {
	files     *files
	builtins  Variables
	buildArgs map[string]string
	override  map[Variable]string // values to take instead of those in the files
	defined   map[Variable]string

	set    *Set
	report findings
	scopes map[string]Variables // of directories
	origin map[string]*Package  // by directory; nil if it cannot be read
	byName map[string]*Package
}

func newLoader(o Options) (*loader, error) {
	build, target, err := o.platforms()
	if err != nil {
		return nil, err
	}
	builtins, err := Builtins(build, target)
	if err != nil {
		return nil, err
	}
	return &loader{
		builtins:  builtins,
		buildArgs: o.BuildArgs,
		set:       &Set{build: build, lines: map[string][]int{}},
		defined:   map[Variable]string{},
		scopes:    map[string]Variables{},
		origin:    map[string]*Package{},
		byName:    map[string]*Package{},
	}, nil
}

func (l *loader) load(ctx context.Context, f *files) (*Set, error) {
	l.files = f
	l.report.warnings = slices.Clone(f.warnings)
	l.report.problems = slices.Clone(f.problems)
	l.pkgfile()
	for _, group := range []struct {
		names []string
		read  func(string)
	}{{f.vars, l.vars}, {f.packages, l.pkg}, {f.templates, l.template}} {
		for _, name := range group.names {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("reading recipes: %w", err)
			}
			group.read(name)
		}
	}
	l.finish()
	return l.set, nil
}

// pkgfile reads the file at the root. It is no template.
func (l *loader) pkgfile() {
	text, ok := l.files.texts[PkgfileName]
	if !ok {
		l.report.warn(Problem{File: PkgfileName, Message: "there is none: a tree that is to be built has one at its root, with \"format: " + Format + "\""})
		return
	}
	d := l.document(PkgfileName, text)
	l.set.Pkgfile = d.pkgfile()
	l.define(PkgfileName, l.set.Pkgfile.Vars)
}

// define notes what a file defines, and puts in the values that the loader was
// told to take instead.
func (l *loader) define(file string, vars Variables) {
	for name, value := range vars {
		v := Variable{file, name}
		l.defined[v] = value
		if other, ok := l.override[v]; ok {
			vars[name] = other
		}
	}
}

// vars reads the vars.yaml of a directory, and those above it.
func (l *loader) vars(name string) { l.scope(path.Dir(name)) }

// scope is what templates in a directory see.
func (l *loader) scope(dir string) Variables {
	if vars, ok := l.scopes[dir]; ok {
		return vars
	}
	var vars Variables
	if dir == "." {
		vars = l.global()
	} else {
		vars = l.scope(path.Dir(dir))
	}
	name := path.Join(dir, VarsName)
	if text, ok := l.files.texts[name]; ok {
		vars = merge(vars, l.readVars(name, text, vars))
	}
	l.scopes[dir] = vars
	return vars
}

// global is what every template sees.
func (l *loader) global() Variables {
	args := make(Variables, len(l.buildArgs))
	for name, value := range l.buildArgs {
		args["BUILD_ARG_"+name] = value
	}
	return merge(l.builtins, args, l.set.Pkgfile.Vars)
}

// readVars renders a vars.yaml with what is known above it.
func (l *loader) readVars(name string, text []byte, above Variables) Variables {
	rendered, ok := l.render(name, text, above)
	if !ok {
		return nil
	}
	vars := l.document(name, rendered).varsFile()
	l.define(name, vars)
	return vars
}

func merge(levels ...Variables) Variables {
	all := Variables{}
	for _, vars := range levels {
		maps.Copy(all, vars)
	}
	return all
}

// pkg reads a pkg.yaml.
func (l *loader) pkg(name string) {
	dir := path.Dir(name)
	l.origin[dir] = nil
	vars := l.scope(dir)
	rendered, ok := l.render(name, l.files.texts[name], vars)
	if !ok {
		return
	}
	p, lines := l.document(name, rendered).packageFile()
	if p == nil {
		return
	}
	p.Context, p.BaseDir, p.FileName = maps.Clone(vars), dir, name
	l.origin[dir] = p
	l.add(p, lines)
}

// add puts a package into the set, unless its name is taken or missing.
func (l *loader) add(p *Package, dependencyLines []int) {
	if p.Name == "" {
		return
	}
	if other := l.byName[p.Name]; other != nil {
		l.report.add(Problem{File: p.FileName, Message: fmt.Sprintf("two packages are named %q: this one in %s and one in %s", p.Name, p.BaseDir, other.BaseDir)})
		return
	}
	l.byName[p.Name] = p
	l.set.lines[p.Name] = dependencyLines
	l.set.Packages = append(l.set.Packages, p)
}

// template renders a *.tmpl for the nearest package at or above it.
func (l *loader) template(name string) {
	dir := path.Dir(name)
	for {
		if _, ok := l.origin[dir]; ok {
			break
		}
		if dir == "." {
			l.report.add(Problem{File: name, Message: "a template belongs to a package, and there is no " + PackageName + " in its directory or above"})
			return
		}
		dir = path.Dir(dir)
	}
	rendered, ok := l.render(name, l.files.texts[name], l.scope(dir))
	if p := l.origin[dir]; ok && p != nil {
		rel := strings.TrimSuffix(strings.TrimPrefix(name, dir+"/"), TemplateExt)
		p.TemplatedFiles = append(p.TemplatedFiles, TemplatedFile{Path: rel, Content: rendered})
	}
}

// finish checks what can be seen only with all packages known, and sorts.
func (l *loader) finish() {
	for _, p := range l.set.Packages {
		for i, d := range p.Dependencies {
			if d.Stage != "" && l.byName[d.Stage] == nil {
				l.report.warn(Problem{File: p.FileName, Line: l.set.lines[p.Name][i], Message: fmt.Sprintf("package %s depends on %q, and there is no such package%s", p.Name, d.Stage, hint(l.set.Near(d.Stage)))})
			}
		}
	}
	slices.SortFunc(l.set.Packages, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	l.set.Problems, l.set.Warnings = sorted(l.report.problems), sorted(l.report.warnings)
}

func (l *loader) document(file string, text []byte) *document {
	return &document{file: file, text: text, budget: maxValues, report: &l.report}
}
