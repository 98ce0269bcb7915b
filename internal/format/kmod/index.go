package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

const (
	// maxIndexFile bounds each file that LoadIndex reads, in bytes. Those of a
	// distribution's kernel with 4000 modules have less than 2 MiB.
	maxIndexFile = 64 << 20

	// maxIndexLine bounds a line, in bytes: a module with 500 dependencies.
	maxIndexLine = 64 << 10
)

// ErrNotFound reports a name that is neither that of a module nor an alias.
var ErrNotFound = errors.New("no such module or alias")

// Index answers which modules to load for a name or a device alias, as modprobe
// does without any configuration in modprobe.d. It does not change once loaded
// and may be used concurrently.
type Index struct {
	modules  map[string]indexModule
	builtin  map[string]bool
	aliases  aliasTable
	builtins aliasTable // aliases of what is part of the kernel
	softdeps map[string]softdep
}

type indexModule struct {
	path string
	deps []string // paths in the order of the file: a module before those it needs
}

type softdep struct{ pre, post []string }

// Load is one step of loading a module.
type Load struct {
	Name string // of the module
	Path string // of its file, relative to lib/modules/VERSION

	// Optional says that the others can be loaded even if this one fails.
	Optional bool
}

// LoadIndex reads the text files that depmod wrote to dir, lib/modules/VERSION.
// modules.dep must exist, the others may be missing.
func LoadIndex(dir fs.FS) (*Index, error) {
	x := &Index{
		modules:  map[string]indexModule{},
		builtin:  map[string]bool{},
		softdeps: map[string]softdep{},
	}
	for _, f := range []struct {
		name string
		line func(string) error
	}{
		{"modules.dep", x.addDependencies},
		{"modules.alias", x.addAlias},
		{"modules.softdep", x.addSoftdep},
		{"modules.builtin", x.addBuiltin},
	} {
		err := readLines(dir, f.name, f.line)
		if err != nil && (f.name == "modules.dep" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("reading the module index: %w", err)
		}
	}
	if err := x.addBuiltinAliases(dir); err != nil {
		return nil, fmt.Errorf("reading the module index: %w", err)
	}
	return x, nil
}

// readLines calls a function for every line, without comments and empty ones.
func readLines(dir fs.FS, name string, line func(string) error) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxIndexFile + 1}
	s := bufio.NewScanner(limited)
	s.Buffer(nil, maxIndexLine)
	for n := 1; s.Scan(); n++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		if err := line(text); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, n, err)
		}
	}
	if limited.N <= 0 {
		return fmt.Errorf("%s: more than %d bytes", name, maxIndexFile)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// addDependencies takes a line of modules.dep: "path: path path".
func (x *Index) addDependencies(line string) error {
	path, deps, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q: want a path, a colon and paths", line)
	}
	m := indexModule{path: path, deps: strings.Fields(deps)}
	for _, p := range append([]string{path}, m.deps...) {
		if !fs.ValidPath(p) || !IsModule(p) {
			return fmt.Errorf("%q: want the path of a module below lib/modules/VERSION", p)
		}
	}
	x.modules[ModuleName(path)] = m
	return nil
}

// addAlias takes a line of modules.alias: "alias pattern module".
func (x *Index) addAlias(line string) error {
	pattern, ok := strings.CutPrefix(line, "alias ")
	i := strings.LastIndexByte(pattern, ' ')
	if !ok || i < 0 {
		return fmt.Errorf("%q: want the word alias, a pattern and a module", line)
	}
	x.aliases.add(pattern[:i], normalizeName(pattern[i+1:]))
	return nil
}

// addSoftdep takes a line of modules.softdep: "softdep module pre: names post:
// names". Like modprobe it uses the first line of a module only, and no names
// before pre: or post:.
func (x *Index) addSoftdep(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "softdep" {
		return fmt.Errorf("%q: want the word softdep, a module and its soft dependencies", line)
	}
	name := normalizeName(words[1])
	if _, ok := x.softdeps[name]; ok {
		return nil
	}
	var s softdep
	var list *[]string
	for _, word := range words[2:] {
		switch {
		case word == "pre:":
			list = &s.pre
		case word == "post:":
			list = &s.post
		case list != nil:
			*list = append(*list, word)
		}
	}
	x.softdeps[name] = s
	return nil
}

func (x *Index) addBuiltin(line string) error {
	x.builtin[ModuleName(line)] = true
	return nil
}

func (x *Index) addBuiltinAliases(dir fs.FS) error {
	f, err := dir.Open("modules.builtin.modinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndexFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxIndexFile {
		return fmt.Errorf("modules.builtin.modinfo: more than %d bytes", maxIndexFile)
	}
	for module, alias := range builtinAliases(b) {
		x.builtins.add(alias, module)
	}
	return nil
}

// Lookup returns the names of the modules that a name or an alias stands for,
// in the order of modules.alias; several drivers may know one device. Modules
// that are part of the kernel are among them.
func (x *Index) Lookup(name string) []string {
	name, ok := normalizeAlias(name)
	if !ok {
		return nil
	}
	if _, ok := x.modules[name]; ok {
		return []string{name}
	}
	if names := x.aliases.match(name); len(names) > 0 {
		return names
	}
	if x.builtin[name] {
		return []string{name}
	}
	return x.builtins.match(name)
}

// Resolve returns the modules to load for a name or an alias, in order:
// dependencies and soft dependencies before and behind the modules that have
// them. What is part of the kernel is left out, so the result may be empty. An
// unknown name is an error that wraps ErrNotFound.
func (x *Index) Resolve(name string) ([]Load, error) {
	names := x.Lookup(name)
	if len(names) == 0 {
		return nil, fmt.Errorf("looking up %q: %w", name, ErrNotFound)
	}
	var all []Load
	for _, n := range names {
		r := resolver{index: x, visited: map[string]bool{}, required: x.required(n)}
		r.visit(n)
		all = merge(all, r.loads)
	}
	return all, nil
}

// merge appends what is not in the list yet. What any of them requires is
// required.
func merge(all, more []Load) []Load {
	for _, l := range more {
		i := slices.IndexFunc(all, func(o Load) bool { return o.Path == l.Path })
		if i < 0 {
			all = append(all, l)
		} else if !l.Optional {
			all[i].Optional = false
		}
	}
	return all
}

// required returns the names of a module and all that it cannot do without.
func (x *Index) required(name string) map[string]bool {
	required := map[string]bool{name: true}
	for _, dep := range x.modules[name].deps {
		required[ModuleName(dep)] = true
	}
	return required
}

// resolver walks like __kmod_module_get_probe_list in libkmod-module.c.
type resolver struct {
	index    *Index
	visited  map[string]bool
	required map[string]bool
	loads    []Load
}

// visit adds a module behind all that it needs.
func (r *resolver) visit(name string) {
	if r.visited[name] {
		return
	}
	r.visited[name] = true
	for _, dep := range slices.Backward(r.index.modules[name].deps) {
		r.addWithSoftdeps(ModuleName(dep))
	}
	r.addWithSoftdeps(name)
}

func (r *resolver) addWithSoftdeps(name string) {
	s := r.index.softdeps[name]
	r.visitAll(s.pre)
	if m, ok := r.index.modules[name]; ok {
		r.loads = merge(r.loads, []Load{{name, m.path, !r.required[name]}})
	}
	r.visitAll(s.post)
}

func (r *resolver) visitAll(names []string) {
	for _, name := range names {
		for _, module := range r.index.Lookup(name) {
			r.visit(module)
		}
	}
}
