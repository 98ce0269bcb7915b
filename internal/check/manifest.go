package check

import (
	"errors"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/tree"
)

func (s *subject) hasManifest() bool { return s.image.Get(extension.ManifestName) != nil }

// readable is true if the manifest's values mean something.
func (s *subject) readable() bool { return s.hasManifest() && s.bad == nil }

func manifestMissing(s *subject, r reporter) {
	if !s.hasManifest() {
		r.report("", "extension manifest is missing")
	}
}

func manifestYAML(s *subject, r reporter) {
	n := s.image.Get(extension.ManifestName)
	switch {
	case n != nil && !n.Mode.IsRegular():
		r.report(extension.ManifestName, "it is %s, not a file", article(n.Mode))
	case s.Facts.ManifestError != "":
		r.report(extension.ManifestName, "%s", s.Facts.ManifestError)
	case s.hasManifest() && s.bad != nil:
		r.report(extension.ManifestName, "%v", s.bad)
	}
}

func manifestVersion(s *subject, r reporter) {
	if s.readable() && s.manifest.Version != extension.ManifestVersion {
		r.report(extension.ManifestName, "unsupported manifest version: %q", s.manifest.Version)
	}
}

func manifestName(s *subject, r reporter) {
	name := s.manifest.Metadata.Name
	switch {
	case !s.readable():
	case name == "":
		r.report(extension.ManifestName, "metadata.name is missing")
	case !extension.ValidName(name):
		r.report(extension.ManifestName, "metadata.name %q is not a name for an image", name)
	}
}

func manifestConstraint(s *subject, r reporter) {
	if err := s.manifest.Metadata.Compatibility.Talos.Check(); s.readable() && err != nil {
		r.report(extension.ManifestName, "metadata.compatibility.talos.version: %v", err)
	}
}

func compatibility(s *subject, r reporter) {
	if !s.readable() || !r.opts.Talos.Known() {
		return
	}
	c := s.manifest.Metadata.Compatibility.Talos
	if errors.Is(c.Allows(r.opts.Talos.String()), extension.ErrIncompatible) {
		r.report(extension.ManifestName, "version constraint %s can't be satisfied with Talos version %s", c.Version, r.opts.Talos)
	}
}

func manifestUnknownKey(s *subject, r reporter) {
	for _, key := range s.unknown {
		r.report(extension.ManifestName, "unknown key %s", key)
	}
}

func manifestIncomplete(s *subject, r reporter) {
	if !s.readable() {
		return
	}
	m := s.manifest.Metadata
	for _, f := range []struct{ key, value string }{
		{"version", m.Version}, {"author", m.Author}, {"description", m.Description},
	} {
		if strings.TrimSpace(f.value) == "" {
			r.report(extension.ManifestName, "metadata.%s is empty", f.key)
		}
	}
}

func nameMismatch(s *subject, r reporter) {
	image := repository(s.Ref)
	if name := s.manifest.Metadata.Name; s.readable() && name != "" && image != "" && image != name {
		r.report(extension.ManifestName, "the manifest says %q, the image is named %q", name, image)
	}
}

// repository is the last path component of an image reference, without tag and digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	base := path.Base(ref)
	if ref == "" {
		return ""
	}
	base, _, _ = strings.Cut(base, ":")
	return base
}

func rootfsMissing(s *subject, r reporter) {
	n := s.image.Get(extension.RootfsName)
	switch {
	case n == nil:
		r.report("", "extension rootfs is missing")
	case !n.Mode.IsDir():
		r.report(extension.RootfsName, "rootfs is not a directory")
	}
}

func rootfsEmpty(s *subject, r reporter) {
	if n := s.image.Get(extension.RootfsName); n != nil && n.Mode.IsDir() && s.root.Len() == 0 {
		r.report(extension.RootfsName, "the rootfs has no files")
	}
}

func unexpectedEntry(s *subject, r reporter) {
	for _, name := range s.image.Names("") {
		if name != extension.ManifestName && name != extension.RootfsName {
			r.report(name, "unexpected file %q", name)
		}
	}
}

func pathTraversal(s *subject, r reporter) {
	r.problems(tree.Traversal, tree.BelowLink)
}

func badEntry(s *subject, r reporter) {
	r.problems(tree.BadName, tree.BadLink, tree.SparseFile)
}

func droppedXattr(s *subject, r reporter) { r.problems(tree.DroppedAttr) }

// problems reports what the tree could not hold.
func (r reporter) problems(kinds ...tree.ProblemKind) {
	for _, p := range r.s.Facts.Problems {
		for _, k := range kinds {
			if p.Kind == k {
				r.report(p.Path, "%s", p.Detail)
			}
		}
	}
}
