package check

import (
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/survey"
)

// anyArch are machines whose ELF files are not run by this CPU's user space.
var anyArch = []string{"bpf"}

func architecture(s *subject, r reporter) {
	if s.Arch == "" {
		return
	}
	for _, b := range s.Facts.Binaries {
		if b.Error == "" && b.Arch != s.Arch && !slices.Contains(anyArch, b.Arch) {
			r.report(b.Path, "a binary for %s in an image for %s", b.Arch, s.Arch)
		}
	}
	for _, m := range s.Facts.Modules {
		if m.Error == "" && m.Info.Machine != s.Arch {
			r.report(m.Path, "a kernel module for %s in an image for %s", m.Info.Machine, s.Arch)
		}
	}
}

func elfDamaged(s *subject, r reporter) {
	for _, b := range s.Facts.Binaries {
		if b.Error != "" {
			r.report(b.Path, "%s", b.Error)
		}
	}
}

// musl is what every Talos brings: its own C library, and loader.
func musl(p string) bool {
	base := path.Base(p)
	return strings.HasPrefix(base, "ld-musl-") || strings.HasPrefix(base, "libc.musl-") || base == "libc.so"
}

func elfInterpreter(all []*subject, r *run) {
	for _, s := range all {
		for _, b := range s.Facts.Binaries {
			if b.Interp != "" && !r.hasInterpreter(s, b) {
				r.add(s, b.Path, "its interpreter %s is in neither the extension nor the base", b.Interp)
			}
		}
	}
}

func (r *run) hasInterpreter(s *subject, b survey.Binary) bool {
	p, ok := survey.OnNode(b.Path)
	if !ok {
		return true
	}
	if root, _ := s.containerRoot(p); root != s.root {
		if _, _, err := root.Resolve(b.Interp); err == nil {
			return true
		}
	}
	if r.opts.Base == nil && musl(b.Interp) {
		return true
	}
	// Talos' /lib, /lib64 and /bin are links into /usr.
	return r.anyHas(b.Interp) || r.anyHas("/usr"+b.Interp) || r.anyHas("/usr/lib/"+path.Base(b.Interp))
}

// elfLibrary takes a library for found if any extension or the base has a file
// of that name: where the loader looks is decided by too much (run paths,
// ld.so.conf, the environment, mounts) to promise more.
func elfLibrary(all []*subject, r *run) {
	has := r.fileNames()
	for _, s := range all {
		for _, b := range s.Facts.Binaries {
			for _, lib := range b.Needed {
				known := has[path.Base(lib)] || r.opts.Base == nil && musl(lib)
				if _, onNode := survey.OnNode(b.Path); onNode && !known {
					r.add(s, b.Path, "its shared library %s is in neither the extension nor the base", lib)
				}
			}
		}
	}
}

// fileNames are the base names of all files and links there are.
func (r *run) fileNames() map[string]bool {
	names := map[string]bool{}
	for _, s := range r.subjects {
		for _, e := range s.Facts.Entries {
			if !e.Mode.IsDir() {
				names[path.Base(e.Path)] = true
			}
		}
	}
	if r.opts.Base != nil {
		collectNames(r.opts.Base, names)
	}
	return names
}
