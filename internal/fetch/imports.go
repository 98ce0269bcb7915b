package fetch

import (
	"context"
	"errors"
	"fmt"
	"go/build"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"
)

// truth is what is known about a build constraint. Which tags a build sets, and
// whether it uses cgo, is known to its script only.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

// tags knows the tags of one platform.
type tags struct {
	ctxt build.Context
	go1  int // N of the go1.N that the module asks for

	mu   sync.Mutex
	memo map[string]truth
}

func newTags(goos, goarch string, go1 int) *tags {
	t := &tags{go1: go1, memo: map[string]truth{}}
	t.ctxt = build.Context{GOOS: goos, GOARCH: goarch, Compiler: "gc"}
	return t
}

// match evaluates a file name and content as the go command would.
func (t *tags) match(name, content string) bool {
	c := t.ctxt
	c.OpenFile = func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	ok, err := c.MatchFile(".", name)
	return ok && err == nil
}

// file says whether the name of a file allows the platform.
func (t *tags) file(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && t.match(name, "package x\n")
}

func (t *tags) tag(tag string) truth {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.memo[tag]
	if !ok {
		v = t.decide(tag)
		t.memo[tag] = v
	}
	return v
}

// decide asks go/build: what holds for the platform is true, the name of
// another one is false (a file name may end in it), so are the conventional
// words of files that are never built. The rest a build may set.
func (t *tags) decide(tag string) truth {
	if n, ok := strings.CutPrefix(tag, "go1."); ok {
		minor, err := strconv.Atoi(n)
		if err == nil && minor <= t.go1 {
			return yes
		}
		return maybe
	}
	switch {
	case t.match("x.go", "//go:build "+tag+"\n\npackage x\n"):
		return yes
	case tag == "ignore", tag == "gccgo", tag == "unix", !t.match("x_"+tag+".go", "package x\n"):
		return no
	}
	return maybe
}

func (t *tags) eval(x constraint.Expr) truth {
	switch x := x.(type) {
	case *constraint.NotExpr:
		return t.eval(x.X).not()
	case *constraint.AndExpr:
		return min(t.eval(x.X), t.eval(x.Y))
	case *constraint.OrExpr:
		return max(t.eval(x.X), t.eval(x.Y))
	case *constraint.TagExpr:
		return t.tag(x.Tag)
	}
	return maybe
}

// imports reads the imports of a Go file, and whether a build has the file.
// What cannot be read to the end gives what could be: the compiler will say more.
func (t *tags) imports(src []byte) ([]string, truth) {
	f, _ := parser.ParseFile(token.NewFileSet(), "", src, parser.ImportsOnly|parser.ParseComments|parser.SkipObjectResolution)
	if f == nil {
		return nil, no
	}
	verdict, old := yes, yes
	found := false
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Pos() > f.Package {
				continue
			}
			x, err := constraint.Parse(c.Text)
			switch {
			case err != nil:
			case constraint.IsGoBuild(c.Text):
				verdict, found = t.eval(x), true
			default: // "+build": all lines hold, if there is no "go:build"
				old = min(old, t.eval(x))
			}
		}
	}
	if !found {
		verdict = old
	}
	var paths []string
	for _, spec := range f.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths, verdict
}

// pkg is a package of a module that is here.
type pkg struct {
	zip *moduleZip
	dir string
}

// follower walks from the wanted packages to all that they import.
type follower struct {
	l    *loader
	tags *tags
	// pkgs that were scanned: yes if a build surely has them.
	pkgs map[pkg]truth
	// done are import paths that led somewhere, or need not.
	done map[string]truth
	used map[module.Version]bool
}

// follow returns the modules that the wanted packages import from.
func (l *loader) follow(ctx context.Context) ([]module.Version, error) {
	f := &follower{l: l, tags: newTags(l.src.GOOS, l.src.GOARCH, l.req.go1), pkgs: map[pkg]truth{}, done: map[string]truth{}, used: map[module.Version]bool{}}
	level, err := f.wanted()
	if err != nil {
		return nil, err
	}
	for len(level) > 0 {
		imports, err := f.scan(level)
		if err != nil {
			return nil, err
		}
		if level, err = f.resolve(ctx, imports); err != nil {
			return nil, err
		}
	}
	return slices.Collect(maps.Keys(f.used)), nil
}

// wanted finds the packages that the source names.
func (f *follower) wanted() (map[pkg]truth, error) {
	level := map[pkg]truth{}
	var missing []error
	for _, pattern := range f.l.src.Packages {
		dirs := f.l.main.match(pattern)
		if len(dirs) == 0 {
			missing = append(missing, fmt.Errorf("it has no package ./%s", strings.TrimPrefix(pattern, "./")))
		}
		for _, dir := range dirs {
			level[pkg{f.l.main, dir}] = yes
		}
	}
	return level, errors.Join(missing...)
}

// match finds the directories of a pattern, as `go help packages` has it.
func (z *moduleZip) match(pattern string) []string {
	base, all := strings.CutSuffix(pattern, "...")
	if !all {
		if _, ok := z.dirs[pattern]; ok {
			return []string{pattern}
		}
		return nil
	}
	base = strings.TrimSuffix(base, "/")
	var dirs []string
	for dir := range z.dirs {
		if (base == "" || base == "." || dir == base || strings.HasPrefix(dir, base+"/")) && !hidden(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// hidden says which directories a "..." leaves out.
func hidden(dir string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		if part != "." && strings.HasPrefix(part, ".") || strings.HasPrefix(part, "_") || part == "testdata" || part == "vendor" {
			return true
		}
	}
	return false
}

// scan reads the imports of packages.
func (f *follower) scan(level map[pkg]truth) (map[string]truth, error) {
	found := map[string]truth{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for p, certain := range level {
		f.pkgs[p] = certain
		g.Go(func() error {
			imports, err := f.tags.scanPackage(p)
			mu.Lock()
			defer mu.Unlock()
			for imp, t := range imports {
				found[imp] = max(found[imp], min(t, certain))
			}
			return err
		})
	}
	return found, g.Wait()
}

func (t *tags) scanPackage(p pkg) (map[string]truth, error) {
	found := map[string]truth{}
	for _, file := range p.zip.dirs[p.dir] {
		if !t.file(path.Base(file.Name)) {
			continue
		}
		src, err := inflate(file)
		if err != nil {
			return nil, err
		}
		imports, verdict := t.imports(src)
		for _, imp := range imports {
			found[imp] = max(found[imp], verdict)
		}
	}
	return found, nil
}

// resolve finds the packages of import paths, and downloads the modules that
// may have them.
func (f *follower) resolve(ctx context.Context, imports map[string]truth) (map[pkg]truth, error) {
	for imp, certain := range imports {
		if certain <= f.done[imp] || imp == "C" {
			delete(imports, imp)
			continue
		}
		f.done[imp] = certain
	}
	next := map[pkg]truth{}
	missing, err := f.provide(ctx, imports, next)
	if err != nil || len(missing) == 0 {
		return next, err
	}
	if f.l.graph == nil {
		if f.l.graph, err = f.l.loadGraph(ctx); err != nil {
			return nil, err
		}
		if missing, err = f.provide(ctx, missing, next); err != nil {
			return nil, err
		}
	}
	return next, f.unresolved(missing)
}

func (f *follower) unresolved(missing map[string]truth) error {
	var errs []error
	for _, imp := range slices.Sorted(maps.Keys(missing)) {
		errs = append(errs, fmt.Errorf("no module that its go.mod requires has the package %s, which it imports", imp))
	}
	return errors.Join(errs...)
}

// provide opens the modules that may have the packages, adds the packages to
// next, and returns the certain imports that none has.
func (f *follower) provide(ctx context.Context, imports map[string]truth, next map[pkg]truth) (map[string]truth, error) {
	zips, err := f.openAll(ctx, imports)
	if err != nil {
		return nil, err
	}
	missing := map[string]truth{}
	for imp, certain := range imports {
		found := false
		for prefix := range prefixes(imp) {
			z := zips[prefix]
			if z == nil {
				continue
			}
			p := pkg{z, relative(prefix, imp)}
			if _, ok := z.dirs[p.dir]; ok {
				found = true
				if f.pkgs[p] < certain {
					next[p] = max(next[p], certain)
				}
			}
		}
		if !found && certain == yes && !standard(imp) {
			missing[imp] = certain
		}
	}
	return missing, nil
}

// prefixes are the paths that a module with the package may have, the longest
// first.
func prefixes(imp string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for p := imp; p != "." && p != "/" && yield(p); p = path.Dir(p) {
		}
	}
}

func relative(prefix, imp string) string {
	return path.Clean("./" + strings.TrimPrefix(imp[len(prefix):], "/"))
}

// standard says whether a path can only be one of the standard library: its
// first element is no host.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// openAll opens every module whose path begins an import's: the go command
// wants all of them, to be sure that no two have the package.
func (f *follower) openAll(ctx context.Context, imports map[string]truth) (map[string]*moduleZip, error) {
	zips := map[string]*moduleZip{f.l.src.Path: f.l.main}
	wanted := map[string]truth{}
	for imp, certain := range imports {
		for prefix := range prefixes(imp) {
			if _, ok := f.l.selected(prefix); ok && prefix != f.l.src.Path {
				wanted[prefix] = max(wanted[prefix], certain)
			}
		}
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for prefix, certain := range wanted {
		g.Go(func() error {
			z, err := f.openSelected(ctx, prefix, certain)
			if z == nil || err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			zips[prefix] = z
			f.used[z.Version] = true
			return nil
		})
	}
	return zips, g.Wait()
}

// openSelected opens a module. One that is perhaps not needed, and cannot be
// had, is nil.
func (f *follower) openSelected(ctx context.Context, modPath string, certain truth) (*moduleZip, error) {
	m, _ := f.l.selected(modPath)
	actual, err := f.l.req.actual(m)
	if err == nil && f.l.sums.zip(actual) == "" {
		err = missingSum(actual, "zip")
	}
	if err != nil {
		if certain == yes {
			return nil, err
		}
		return nil, nil
	}
	return f.l.open(ctx, actual, f.l.sums.zip(actual))
}
