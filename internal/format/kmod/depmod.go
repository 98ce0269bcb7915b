package kmod

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
)

// Options are what depmod takes from its configuration and from
// lib/modules/VERSION, besides the modules.
type Options struct {
	// Search lists directories below lib/modules/VERSION in falling priority,
	// for modules of the same name; "built-in" stands for all others. Empty
	// means updates before all others, depmod's default.
	Search []string

	// Order, Builtin and BuiltinModinfo are the contents of modules.order,
	// modules.builtin and modules.builtin.modinfo, nil if there is no such file.
	Order, Builtin, BuiltinModinfo []byte
}

// File is one of the files that depmod writes to lib/modules/VERSION.
type File struct {
	Name string
	Data []byte
}

// WarningKind says what a Warning is about.
type WarningKind string

// The kinds of warnings. Those marked with * depmod does not print.
const (
	WarnDuplicateModule WarningKind = "duplicate-module" // * of two modules with one name, one is left out
	WarnDuplicateSymbol WarningKind = "duplicate-symbol" // * two modules export one symbol, the latter is taken
	WarnMissingModule   WarningKind = "missing-module"   // * the module says that it needs one that is not there
	WarnSymbolVersion   WarningKind = "symbol-version"   // with -e -E only: modules from different builds
	WarnAlias           WarningKind = "bad-alias"        // an alias that the binary index cannot hold
	WarnDevname         WarningKind = "bad-devname"      // a device name without device numbers
	WarnOrder           WarningKind = "bad-order"        // modules.order is not used
	WarnBuiltin         WarningKind = "bad-builtin"      // a line in modules.builtin that names no module
)

// Warning is something about the modules that a person should know.
type Warning struct {
	Kind    WarningKind
	Module  string // name, or empty if it is not about one module
	Message string
}

// CycleError reports modules that need each other, so that none can be loaded.
type CycleError struct {
	// Modules are the names on the cycle, each needs the next and the last the first.
	Modules []string
}

func (e *CycleError) Error() string {
	cycle := append(slices.Clone(e.Modules), e.Modules[0])
	return "computing module dependencies: the modules need each other: " + strings.Join(cycle, " -> ")
}

// Depmod computes the files that "depmod -a" writes, in the order in which it
// writes them. It is a function of its arguments alone; the order of modules
// does not matter. For modules in a cycle it returns a *CycleError.
func Depmod(modules []Module, opts Options) ([]File, []Warning, error) {
	d := &database{
		opts:     opts,
		byName:   map[string]*mod{},
		builtins: builtinNames(opts.Builtin),
		symbols:  map[string]export{},
	}
	if err := d.addModules(modules); err != nil {
		return nil, nil, err
	}
	d.sortModules()
	d.collectSymbols()
	d.resolve()
	if err := d.sortTopologically(); err != nil {
		return nil, nil, err
	}
	files := d.files()
	return files, d.warnings, nil
}

// database is what depmod knows while it works.
type database struct {
	opts     Options
	modules  []*mod // in output order
	byName   map[string]*mod
	builtins map[string]bool
	symbols  map[string]export
	warnings []Warning
}

// mod is a module in the database.
type mod struct {
	*Module
	name  string
	index int    // in output order
	deps  []*mod // that it needs directly
	users int    // number of modules that need it directly
	rank  int    // in topological order, users first
}

type export struct {
	owner *mod
	crc   uint32
}

func (d *database) warn(kind WarningKind, module, format string, args ...any) {
	d.warnings = append(d.warnings, Warning{kind, module, fmt.Sprintf(format, args...)})
}

// addModules chooses one module of each name, in the order of their paths.
func (d *database) addModules(modules []Module) error {
	search := searchPath(d.opts.Search)
	if len(search) == 0 {
		search = searchPath{"updates"}
	}
	sorted := make([]*Module, len(modules))
	for i := range modules {
		sorted[i] = &modules[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Module) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range sorted {
		if err := checkPath(m.Path); err != nil {
			return err
		}
		d.addModule(m, search)
	}
	if len(d.byName) >= math.MaxUint16 {
		return fmt.Errorf("computing module dependencies: %d modules, depmod's files hold fewer than %d", len(d.byName), math.MaxUint16)
	}
	return nil
}

func (d *database) addModule(m *Module, search searchPath) {
	name := ModuleName(m.Path)
	if old, ok := d.byName[name]; ok {
		taken, left := old.Path, m.Path
		if search.replaces(m.Path, old.Path) {
			taken, left = left, taken
			d.byName[name] = &mod{Module: m, name: name}
		}
		d.warn(WarnDuplicateModule, name, "%s is left out in favour of %s", left, taken)
		return
	}
	d.byName[name] = &mod{Module: m, name: name}
}

// checkPath refuses paths that would break the text files.
func checkPath(p string) error {
	if !IsModule(p) || !fs.ValidPath(p) || strings.ContainsAny(p, " \t\n:") || !trieKey(p) {
		return fmt.Errorf("computing module dependencies: module path %q: want a clean relative ASCII path to a .ko file without spaces and colons", p)
	}
	return nil
}

// sortModules puts those that modules.order lists first.
func (d *database) sortModules() {
	names := make([]string, 0, len(d.byName))
	for name := range d.byName {
		names = append(names, name)
	}
	hashOrder(names, moduleBuckets)
	lines := d.order()
	line := func(m *mod) int {
		if n, ok := lines[m.orderPath()]; ok {
			return n
		}
		return math.MaxInt
	}
	for _, name := range names {
		d.modules = append(d.modules, d.byName[name])
	}
	slices.SortStableFunc(d.modules, func(a, b *mod) int { return cmp.Compare(line(a), line(b)) })
	for i, m := range d.modules {
		m.index = i
	}
}

func (d *database) order() map[string]int {
	if d.opts.Order == nil {
		d.warn(WarnOrder, "", "there is no modules.order")
		return nil
	}
	lines, ok := parseOrder(d.opts.Order)
	if !ok {
		d.warn(WarnOrder, "", "modules.order has a line that is too long or does not end")
	}
	return lines
}

// orderPath is the path as in modules.order: without a compression's extension.
func (m *mod) orderPath() string {
	dir, _ := path.Split(m.Path)
	n := len(dir) + len(m.name) + len(".ko")
	return m.Path[:min(n, len(m.Path))]
}
