package fetch

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"
)

// maxModules bounds the modules of one graph: the largest known have three
// thousand.
const maxModules = 1 << 16

// prunedSince is the Go version from which a go.mod lists all that its module
// needs, so that what is below need not be read (https://go.dev/ref/mod#graph-pruning).
const prunedSince = "v1.17"

// pruned says whether a go.mod lists all modules that are needed to build its own.
func pruned(f *modfile.File) bool {
	return f.Go != nil && semver.Compare("v"+f.Go.Version, prunedSince) >= 0
}

// requirements is what the main module's go.mod says of others.
type requirements struct {
	roots    map[string]string // version by path
	replaced map[module.Version]module.Version
	excluded map[module.Version]bool
	pruned   bool
	go1      int // N of the Go version 1.N that the module asks for
}

func readRequirements(f *modfile.File) requirements {
	r := requirements{roots: map[string]string{}, replaced: map[module.Version]module.Version{}, excluded: map[module.Version]bool{}, pruned: pruned(f)}
	for _, e := range f.Exclude {
		r.excluded[e.Mod] = true
	}
	for _, q := range f.Require {
		if !r.excluded[q.Mod] && semver.Compare(q.Mod.Version, r.roots[q.Mod.Path]) > 0 {
			r.roots[q.Mod.Path] = q.Mod.Version
		}
	}
	for _, e := range f.Replace {
		r.replaced[e.Old] = e.New
	}
	if f.Go != nil {
		minor, _, _ := strings.Cut(strings.TrimPrefix(f.Go.Version, "1."), ".")
		r.go1, _ = strconv.Atoi(minor) // a Go version is 1.N; of one that is not nothing is known
	}
	return r
}

// actual is where the files of a module come from, after replacements.
func (r requirements) actual(m module.Version) (module.Version, error) {
	to, ok := r.replaced[m]
	if !ok {
		to, ok = r.replaced[module.Version{Path: m.Path}]
	}
	switch {
	case !ok:
		return m, nil
	case to.Version == "":
		return m, fmt.Errorf("%s is replaced by the directory %s, which is not in the module's zip (a zip holds one module): build it from an archive of the repository", m, to.Path)
	}
	return to, checkVersion(to)
}

// graph is what go.mod files say of each other, as far as the go command reads
// them: below a module whose go.mod is complete it does not look.
type graph struct {
	selected map[string]string // by path the highest version that anything requires
	mods     []locked          // the go.mod files that were read
}

// node is a module to be read; whole says that all below is read, too.
type node struct {
	module.Version
	whole bool
}

// loadGraph reads the graph level by level.
func (l *loader) loadGraph(ctx context.Context) (*graph, error) {
	g := &graph{selected: maps.Clone(l.req.roots)}
	seen := map[node]bool{}
	var level []node
	for p, v := range l.req.roots {
		level = append(level, node{module.Version{Path: p, Version: v}, !l.req.pruned})
	}
	read := map[module.Version]bool{}
	for len(level) > 0 {
		level = unseen(level, seen)
		if len(seen) > maxModules {
			return nil, fmt.Errorf("its requirements lead to more than %d modules", maxModules)
		}
		files, err := l.readLevel(ctx, level)
		if err != nil {
			return nil, err
		}
		var next []node
		for i, n := range level {
			f := files[i]
			if !read[n.Version] {
				read[n.Version] = true
				g.mods = append(g.mods, f.locked)
			}
			next = append(next, g.require(l.req, n, f.File)...)
		}
		level = next
	}
	return g, nil
}

func unseen(level []node, seen map[node]bool) []node {
	var out []node
	for _, n := range level {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// require counts what a go.mod requires, and returns what is to be read next.
func (g *graph) require(r requirements, n node, f *modfile.File) []node {
	var next []node
	for _, q := range f.Require {
		if r.excluded[q.Mod] {
			continue
		}
		if semver.Compare(q.Mod.Version, g.selected[q.Mod.Path]) > 0 {
			g.selected[q.Mod.Path] = q.Mod.Version
		}
		if n.whole || !pruned(f) {
			next = append(next, node{q.Mod, true})
		}
	}
	return next
}

// modFile is a go.mod that was read.
type modFile struct {
	*modfile.File
	locked locked
}

func (l *loader) readLevel(ctx context.Context, level []node) ([]modFile, error) {
	actual := make([]module.Version, len(level))
	for i, n := range level {
		var err error
		if actual[i], err = l.req.actual(n.Version); err != nil {
			return nil, err
		}
	}
	return l.readMods(ctx, actual)
}

func (l *loader) readMods(ctx context.Context, mods []module.Version) ([]modFile, error) {
	files := make([]modFile, len(mods))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for i, m := range mods {
		g.Go(func() (err error) {
			files[i], err = l.readMod(ctx, m)
			return err
		})
	}
	return files, g.Wait()
}

func (l *loader) readMod(ctx context.Context, m module.Version) (modFile, error) {
	sum := l.sums.mod(m)
	if sum == "" {
		return modFile{}, missingSum(m, "go.mod file")
	}
	data, err := l.modFile(ctx, m, sum)
	if err != nil {
		return modFile{}, err
	}
	f, err := parseMod(m, data)
	return modFile{f, locked{Path: m.Path, Version: m.Version, ModSum: sum}}, err
}

// modFile gets a go.mod out of the module's zip, if that is open, or by itself.
func (l *loader) modFile(ctx context.Context, m module.Version, sum string) ([]byte, error) {
	l.mu.Lock()
	z := l.zips[m]
	l.mu.Unlock()
	if z == nil {
		return l.goMod(ctx, m, sum)
	}
	return l.modOf(ctx, z, sum)
}

// complete says whether the go command takes the main module's requirements as
// they are. It reads the whole graph when a module that it needs requires more
// of another than the main module does, or the main module itself.
func (l *loader) complete(ctx context.Context, needed []module.Version) (bool, error) {
	files, err := l.readMods(ctx, needed)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		for _, q := range f.Require {
			root, ok := l.req.roots[q.Mod.Path]
			if q.Mod.Path == l.src.Path || ok && !l.req.excluded[q.Mod] && semver.Compare(root, q.Mod.Version) < 0 {
				return false, nil
			}
		}
	}
	return true, nil
}
