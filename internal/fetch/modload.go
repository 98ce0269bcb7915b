package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/tree"
)

// maxParallel is how many downloads run at a time.
const maxParallel = 8

// maxGoSum bounds a go.sum file in bytes: the longest known have 1 MiB.
const maxGoSum = 16 << 20

// loader gets one module and finds out what it needs.
type loader struct {
	*call
	src  ModuleSource
	main *moduleZip
	req  requirements
	sums goSum

	mu    sync.Mutex
	zips  map[module.Version]*moduleZip // opened so far, by where they come from
	graph *graph                        // nil as long as the roots are enough
}

func newLoader(c *call, s ModuleSource) *loader {
	return &loader{call: c, src: s, zips: map[module.Version]*moduleZip{}}
}

// close closes what was opened, when the load failed.
func (l *loader) close() error {
	var errs []error
	for _, z := range l.zips {
		errs = append(errs, z.blob.Close())
	}
	return errors.Join(errs...)
}

// load makes the Module. What it needs is found out once and then kept in the
// cache, as a list with checksums.
func (l *loader) load(ctx context.Context) (*Module, error) {
	var err error
	if l.main, err = l.open(ctx, l.src.version(), l.src.Sum); err != nil {
		return nil, err
	}
	lock, err := l.locked(ctx)
	if err != nil {
		return nil, err
	}
	m := &Module{source: tree.New(), modCache: tree.New()}
	if err := l.main.unpack(m.source, "", forBuilding); err != nil {
		return nil, err
	}
	if err := l.fillModCache(ctx, m.modCache, lock); err != nil {
		return nil, err
	}
	for _, z := range l.zips {
		m.zips = append(m.zips, z)
	}
	return m, nil
}

// forBuilding leaves out what describes the developers' own directories: the
// other modules of the repository, vendored packages, which are in no zip.
func forBuilding(name string) bool {
	return name != "go.work" && name != "go.work.sum" && name != "vendor/modules.txt"
}

// open opens a zip once, as many as maxParallel at a time.
func (l *loader) open(ctx context.Context, m module.Version, sum string) (*moduleZip, error) {
	l.mu.Lock()
	z := l.zips[m]
	l.mu.Unlock()
	if z != nil {
		return z, nil
	}
	z, err := l.zip(ctx, m, sum)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.zips[m] = z
	l.mu.Unlock()
	return z, nil
}

// lock lists what a module needs to be built.
type lock struct {
	Modules []locked `json:"modules"`
}

// locked is one module of a lock.
type locked struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum,omitempty"` // of the zip; "" if only the go.mod is needed
	ModSum  string `json:"modSum"`        // of the go.mod
}

func (m locked) version() module.Version { return module.Version{Path: m.Path, Version: m.Version} }

// maxLock bounds a lock in bytes.
const maxLock = 64 << 20

func (l *loader) locked(ctx context.Context) (lock, error) {
	var out lock
	b, err := l.Cache.Make(ctx, l.src.Key()+"\nlock", "dependencies of "+l.src.String(), func(dst *os.File) error {
		found, err := l.resolve(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(dst).Encode(found)
	})
	if err != nil {
		return out, err
	}
	defer b.Close()
	data, err := readBlob(b, maxLock)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(data, &out)
}

// resolve finds out what the module needs.
func (l *loader) resolve(ctx context.Context) (lock, error) {
	ok, err := l.readMain()
	if err != nil || !ok {
		return lock{}, err
	}
	if !l.req.pruned { // as the go command, which then reads all of it
		if l.graph, err = l.loadGraph(ctx); err != nil {
			return lock{}, err
		}
	}
	var needed []module.Version
	if len(l.src.Packages) == 0 {
		needed = l.everything()
	} else if needed, err = l.follow(ctx); err != nil {
		return lock{}, err
	}
	if err := l.addGraph(ctx, needed); err != nil {
		return lock{}, err
	}
	return l.lock(needed)
}

// addGraph reads the graph if the go command will, though the roots were enough
// to find all packages.
func (l *loader) addGraph(ctx context.Context, needed []module.Version) error {
	if l.graph != nil {
		return nil
	}
	ok, err := l.complete(ctx, needed)
	if err == nil && !ok {
		l.graph, err = l.loadGraph(ctx)
	}
	return err
}

// readMain reads what the module itself says. It is false for one that needs
// nothing.
func (l *loader) readMain() (bool, error) {
	data, err := l.main.read("go.mod")
	if errors.Is(err, os.ErrNotExist) || l.src.Path == toolchainModule {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return false, fmt.Errorf("reading its go.mod: %w", err)
	}
	l.req = readRequirements(f)
	sum := l.main.files["go.sum"]
	if sum == nil {
		l.sums = goSum{}
		return true, nil
	}
	if sum.UncompressedSize64 > maxGoSum {
		return false, fmt.Errorf("its go.sum has %d bytes, more than the %d that are allowed", sum.UncompressedSize64, maxGoSum)
	}
	if data, err = inflate(sum); err != nil {
		return false, err
	}
	l.sums, err = parseGoSum(data)
	return true, err
}

// selected is the version of a module that the build uses.
func (l *loader) selected(path string) (module.Version, bool) {
	versions := l.req.roots
	if l.graph != nil {
		versions = l.graph.selected
	}
	v, ok := versions[path]
	return module.Version{Path: path, Version: v}, ok
}

// everything is all modules that go.sum has a zip's checksum for.
func (l *loader) everything() []module.Version {
	versions := l.req.roots
	if l.graph != nil {
		versions = l.graph.selected
	}
	var needed []module.Version
	for p, v := range versions {
		m, err := l.req.actual(module.Version{Path: p, Version: v})
		if err == nil && l.sums.zip(m) != "" {
			needed = append(needed, m)
		}
	}
	return needed
}

// lock writes down the needed modules, and the go.mod files that were read to
// find them.
func (l *loader) lock(needed []module.Version) (lock, error) {
	all := map[module.Version]locked{}
	if l.graph != nil {
		for _, m := range l.graph.mods {
			all[m.version()] = m
		}
	}
	for _, m := range needed {
		e := locked{m.Path, m.Version, l.sums.zip(m), l.sums.mod(m)}
		if e.ModSum == "" {
			return lock{}, missingSum(m, "go.mod file")
		}
		all[m] = e
	}
	out := lock{Modules: make([]locked, 0, len(all))}
	for _, m := range all {
		out.Modules = append(out.Modules, m)
	}
	slices.SortFunc(out.Modules, func(a, b locked) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	return out, nil
}

// fillModCache makes what the go command's module cache would be after
// downloading the modules of a lock, without the zips, which it does not need
// as long as their unpacked files and their sums are there.
func (l *loader) fillModCache(ctx context.Context, t *tree.Tree, needed lock) error {
	mods := make([][]byte, len(needed.Modules))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for i, m := range needed.Modules {
		g.Go(func() (err error) {
			mods[i], err = l.fetchLocked(gctx, m)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, m := range needed.Modules {
		if err := l.placeModule(t, m, mods[i]); err != nil {
			return err
		}
	}
	return nil
}

// fetchLocked gets the zip, if it is needed, and returns the go.mod.
func (l *loader) fetchLocked(ctx context.Context, m locked) ([]byte, error) {
	if m.Sum != "" {
		if _, err := l.open(ctx, m.version(), m.Sum); err != nil {
			return nil, err
		}
	}
	return l.modFile(ctx, m.version(), m.ModSum)
}

func (l *loader) placeModule(t *tree.Tree, m locked, mod []byte) error {
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return err
	}
	download := path.Join("cache/download", escaped, "@v", version)
	if err := t.Put(download+".mod", tree.File(0o644, mod)); err != nil || m.Sum == "" {
		return err
	}
	if err := t.Put(download+".ziphash", tree.File(0o644, []byte(m.Sum))); err != nil {
		return err
	}
	dir := escaped + "@" + version
	if err := t.Put(dir, tree.Dir(0o755)); err != nil {
		return err
	}
	return l.zips[m.version()].unpack(t, dir, func(string) bool { return true })
}
