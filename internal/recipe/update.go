package recipe

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Variable is a variable where a tree defines it.
type Variable struct {
	File string // Pkgfile or a vars.yaml, relative to the root, with slashes
	Name string
}

// Update finds the sources that belong to changed variables, on all platforms,
// and gives the texts of files with new checksums. It neither downloads nor
// writes anything.
type Update struct {
	// Problems of the tree on any platform. Missing checksums are among them.
	Problems []Problem

	files   *files
	options Options
	prefix  string // of the root's files in the output of git diff
	sets    []*Set // one for each of platforms
	defined map[Variable]string
}

// NewUpdate reads a tree for all platforms. The options' platforms are not
// looked at.
func NewUpdate(ctx context.Context, root string, o Options) (*Update, error) {
	f, err := readFiles(ctx, root)
	if err != nil {
		return nil, err
	}
	u := &Update{files: f, options: o, prefix: gitPrefix(root), defined: map[Variable]string{}}
	for _, name := range PlatformNames() {
		l, err := u.load(ctx, f, name, nil)
		if err != nil {
			return nil, err
		}
		u.sets = append(u.sets, l.set)
		u.Problems = append(u.Problems, l.set.Problems...)
		maps.Copy(u.defined, l.defined)
	}
	u.Problems = sorted(u.Problems)
	return u, nil
}

// load reads files for a platform, with other values for some variables.
func (u *Update) load(ctx context.Context, f *files, platform string, override map[Variable]string) (*loader, error) {
	o := u.options
	o.Build, o.Target = "", platform
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	l.override = override
	_, err = l.load(ctx, f)
	return l, err
}

// gitPrefix is the path of a directory within its Git work tree.
func gitPrefix(root string) string {
	dir, err := filepath.Abs(root)
	if err != nil {
		return ""
	}
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			rel, err := filepath.Rel(top, dir)
			if err != nil || rel == "." {
				return ""
			}
			return filepath.ToSlash(rel)
		}
		if top == filepath.Dir(top) {
			return ""
		}
	}
}

// Variable finds a variable by the file that defines it, whose path is
// relative to the root.
func (u *Update) Variable(file, name string) (Variable, error) {
	v := Variable{File: path.Clean(filepath.ToSlash(file)), Name: name}
	if kind := kindOf(v.File); kind != PkgfileName && kind != VarsName {
		return v, fmt.Errorf("finding the variable %s: %s is neither a %s nor a %s", name, file, PkgfileName, VarsName)
	}
	if _, ok := u.files.texts[v.File]; !ok {
		return v, fmt.Errorf("finding the variable %s: the tree has no %s", name, v.File)
	}
	if _, ok := u.defined[v]; !ok {
		var names []string
		for _, other := range sortedVariables(u.defined) {
			if other.File == v.File {
				names = append(names, other.Name)
			}
		}
		return v, fmt.Errorf("finding the variable %s: %s does not define it%s", name, v.File, hint(nearest(name, names)))
	}
	return v, nil
}

func sortedVariables(m map[Variable]string) []Variable {
	return slices.SortedFunc(maps.Keys(m), func(a, b Variable) int {
		return strings.Compare(a.File+"\x00"+a.Name, b.File+"\x00"+b.Name)
	})
}

// Changed reads the output of git diff and gives the variables that it changes
// or adds. Files that are not of the tree are skipped. Paths are relative to
// the Git work tree, or to the root as git diff --relative has them.
func (u *Update) Changed(diff io.Reader) ([]Variable, error) {
	changed, err := parseDiff(diff)
	if err != nil {
		return nil, err
	}
	var all []Variable
	for _, v := range changed {
		if rest, ok := strings.CutPrefix(v.File, u.prefix+"/"); ok && u.prefix != "" {
			v.File = rest
		}
		if _, ok := u.defined[v]; ok && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all, nil
}

// Use is a source of a package.
type Use struct {
	Package     string
	Step, Index int // of the source in the package
	Source      Source
	Platforms   []string // that it is the same for
}

// String says where the source is: "nebula: steps[0].sources[1]".
func (u Use) String() string {
	return fmt.Sprintf("%s: steps[%d].sources[%d]", u.Package, u.Step, u.Index)
}

// place is a source on a platform.
type place struct {
	platform    int
	pkg         string
	step, index int
}

// SourcesUsing gives the sources whose url, module or deb depends on any of the
// variables, by package. It reads the tree with other values for them and
// looks what changes, so it does not matter how a template uses them.
func (u *Update) SourcesUsing(ctx context.Context, vars ...Variable) ([]Use, error) {
	changed := map[place]bool{}
	for i, name := range PlatformNames() {
		for _, other := range otherValues {
			override := map[Variable]string{}
			for _, v := range vars {
				override[v] = other(u.defined[v])
			}
			l, err := u.load(ctx, u.files, name, override)
			if err != nil {
				return nil, err
			}
			u.compare(i, l.set, changed)
		}
	}
	return u.uses(changed), nil
}

// otherValues make another value of a variable: templates may look at one end
// of a version only, or compare numbers.
var otherValues = []func(string) string{
	func(s string) string { return s + "0" },
	func(s string) string { return "x" + s },
	func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0' + (r-'0'+1)%10
			}
			return r
		}, s)
	},
}

// compare notes the sources of a platform that are not what they are in
// another set.
func (u *Update) compare(platform int, other *Set, changed map[place]bool) {
	index := other.index()
	for _, p := range u.sets[platform].Packages {
		for i, step := range p.Steps {
			for j, src := range step.Sources {
				now, ok := sourceAt(index[p.Name], i, j)
				if !ok || now.URL != src.URL || now.Module != src.Module || now.Deb != src.Deb {
					changed[place{platform, p.Name, i, j}] = true
				}
			}
		}
	}
}

func sourceAt(p *Package, step, index int) (Source, bool) {
	if p == nil || step >= len(p.Steps) || index >= len(p.Steps[step].Sources) {
		return Source{}, false
	}
	return p.Steps[step].Sources[index], true
}

// uses lists places in the order of packages; one that is the same on several
// platforms is there once.
func (u *Update) uses(places map[place]bool) []Use {
	var all []Use
	for platform, set := range u.sets {
		for _, p := range set.Packages {
			for i, step := range p.Steps {
				for j, src := range step.Sources {
					if places[place{platform, p.Name, i, j}] {
						all = addUse(all, Use{p.Name, i, j, src, []string{PlatformNames()[platform]}})
					}
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Use) int { return strings.Compare(a.Package, b.Package) })
	return all
}

// perPlatform says whether a source is another file on every platform, though the
// recipe says the same of it: a Debian package without an architecture.
func perPlatform(s Source) bool {
	name, _, _ := strings.Cut(s.Deb, "=")
	return s.Deb != "" && !strings.Contains(name, ":")
}

func addUse(all []Use, use Use) []Use {
	for i, other := range all {
		if perPlatform(use.Source) {
			break
		}
		if other.Package == use.Package && other.Step == use.Step && other.Index == use.Index && reflect.DeepEqual(other.Source, use.Source) {
			all[i].Platforms = append(other.Platforms, use.Platforms...)
			return all
		}
	}
	return append(all, use)
}
