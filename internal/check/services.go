package check

import (
	"path"

	"github.com/graftlinux/graft/internal/extension"
)

func serviceInvalid(s *subject, r reporter) {
	for _, f := range s.Facts.Services {
		if f.Error != "" && path.Ext(f.Path) == ".yaml" {
			r.report(f.Path, "%s", f.Error)
		}
	}
	for _, svc := range s.services {
		if svc.err != nil {
			r.report(svc.path, "%v", svc.err)
			continue
		}
		for _, p := range svc.spec.Problems() {
			r.report(svc.path, "%s", p)
		}
	}
}

func serviceIgnored(s *subject, r reporter) {
	for _, f := range s.Facts.Services {
		if ext := path.Ext(f.Path); ext == ".yml" || ext == ".json" {
			r.report(f.Path, "Talos does not read %q", path.Base(f.Path))
		}
	}
}

func serviceRootfs(s *subject, r reporter) {
	for _, svc := range s.services {
		name := svc.spec.Name
		if svc.err != nil || len(svc.spec.Problems()) > 0 {
			continue
		}
		dir := path.Join(extension.ContainerDir, name)
		root := s.root.Sub(dir)
		if root == nil {
			r.report(svc.path, "the service %q has no directory /%s", name, dir)
			continue
		}
		entry := svc.spec.Container.Entrypoint
		if _, _, err := root.Resolve(entry); err != nil && !mounted(svc.spec, entry) {
			r.report(svc.path, "the entrypoint %q is not in /%s, and no mount brings it", entry, dir)
		}
	}
}

// mounted says whether a mount of the container covers a path.
func mounted(s extension.Service, p string) bool {
	for _, m := range s.Container.Mounts {
		if below(path.Join("/", p), path.Clean(m.Destination)) {
			return true
		}
	}
	return false
}

func serviceDuplicate(all []*subject, r *run) {
	type owner struct {
		s    *subject
		path string
	}
	first := map[string]owner{}
	for _, s := range all {
		for _, svc := range s.services {
			if svc.err != nil || svc.spec.Name == "" {
				continue
			}
			if o, ok := first[svc.spec.Name]; ok {
				r.add(s, svc.path, "the service %q is also in %s (%s)", svc.spec.Name, o.s.Source, o.path)
				continue
			}
			first[svc.spec.Name] = owner{s, svc.path}
		}
	}
}
