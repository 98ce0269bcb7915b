package check

import (
	"io/fs"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

func collectNames(b *Base, names map[string]bool) {
	_ = b.Files.Walk(func(e tree.Entry) error { // the function returns no error
		if !e.Mode.IsDir() {
			names[path.Base(e.Path)] = true
		}
		return nil
	})
}

func duplicateName(all []*subject, r *run) {
	first := map[string]*subject{}
	for _, s := range all {
		name := s.manifest.Metadata.Name
		if name == "" {
			continue
		}
		if other, ok := first[name]; ok {
			r.add(s, extension.ManifestName, "the extension %q is there twice: also as %s", name, other.Source)
			continue
		}
		first[name] = s
	}
}

// pathConflict compares what extensions bring at one path: kind, content, mode
// and link target. Directories merge; the indexes of depmod are made anew.
func pathConflict(all []*subject, r *run) {
	type owner struct {
		s *subject
		e survey.Entry
	}
	first := map[string]owner{}
	for _, s := range all {
		s.node(func(p string, e survey.Entry) {
			o, taken := first[p]
			if !taken {
				first[p] = owner{s, e}
				return
			}
			if o.s != s && differ(o.e, e) && !moduleIndex(p) {
				r.add(s, e.Path, "%q is also in %s, %s", p, o.s.name(), difference(o.e, e))
			}
		})
	}
}

func differ(a, b survey.Entry) bool {
	if a.Mode.IsDir() && b.Mode.IsDir() {
		return false
	}
	return a.Mode != b.Mode || a.Sum != b.Sum || a.Target != b.Target || a.Label != b.Label
}

func difference(a, b survey.Entry) string {
	switch {
	case a.Mode.Type() != b.Mode.Type():
		return "where it is " + article(a.Mode) + " and not " + article(b.Mode)
	case a.Sum != b.Sum:
		return "with another content"
	case a.Target != b.Target:
		return "with another target"
	case a.Label != b.Label:
		return "with another SELinux label"
	}
	return "with another mode"
}

func article(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symlink"
	}
	return "a file"
}

// moduleIndex is true for the modules.* files of a kernel release.
func moduleIndex(p string) bool {
	return strings.HasPrefix(path.Base(p), "modules.") && path.Base(path.Dir(path.Dir(p))) == "modules"
}

func moduleDamaged(s *subject, r reporter) {
	for _, m := range s.Facts.Modules {
		if m.Error != "" {
			r.report(m.Path, "%s", m.Error)
		}
	}
}

func moduleRelease(s *subject, r reporter) {
	if r.opts.Base == nil || r.opts.Base.Release == "" {
		return
	}
	want := r.opts.Base.Release
	said := map[string]bool{}
	for _, m := range s.Facts.Modules {
		switch {
		case m.Release != want:
			if dir := path.Join(strings.SplitAfter(m.Path, "/modules/")[0], m.Release); !said[dir] {
				said[dir] = true
				r.report(dir, "modules for the kernel %s, the base has %s", m.Release, want)
			}
		case m.Error == "" && m.Info.KernelRelease() != "" && m.Info.KernelRelease() != want:
			r.report(m.Path, "built for the kernel %s, the base has %s", m.Info.KernelRelease(), want)
		}
	}
}

func moduleUnsigned(s *subject, r reporter) {
	if !r.opts.Talos.Known() || !r.opts.Talos.AtLeast(1, 12) {
		return
	}
	for _, m := range s.Facts.Modules {
		if m.Error == "" && !m.Info.Signed {
			r.report(m.Path, "the module has no signature")
		}
	}
}
