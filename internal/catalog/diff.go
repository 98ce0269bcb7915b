package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// Kinds of changes between catalogs.
const (
	Added         = "added"
	Removed       = "removed"
	Renamed       = "renamed"       // Old and New are names
	NewVersion    = "version"       // Old and New are versions
	Rebuilt       = "rebuilt"       // another digest of the same version, but for that of Talos in it
	Compatibility = "compatibility" // Old and New are constraints
	Tier          = "tier"
)

// Change is a difference between two catalogs.
type Change struct {
	Kind string `json:"kind" yaml:"kind"`
	Name string `json:"name" yaml:"name"` // of the extension, in the newer catalog if it is there
	Old  string `json:"old,omitempty" yaml:"old,omitempty"`
	New  string `json:"new,omitempty" yaml:"new,omitempty"`

	// Digests of the images where these came, went, or were replaced.
	OldDigest string `json:"oldDigest,omitempty" yaml:"oldDigest,omitempty"`
	NewDigest string `json:"newDigest,omitempty" yaml:"newDigest,omitempty"`
}

// Diff says what changes from one catalog to another, by name.
func Diff(older, newer *Catalog) []Change {
	before, after := byPath(older), byPath(newer)
	var changes []Change
	for p, e := range before {
		if _, ok := after[p]; ok {
			continue
		}
		if other := renamedPath(p); other != "" {
			if e2, ok := after[other]; ok && before[other].Image.Digest == "" {
				changes = append(changes, Change{Kind: Renamed, Name: e2.Name(), Old: e.Name(), New: e2.Name()})
				changes = append(changes, changed(e, e2, older.Talos, newer.Talos)...)
				delete(after, other)
				continue
			}
		}
		changes = append(changes, Change{Kind: Removed, Name: e.Name(), Old: e.Image.Tag, OldDigest: e.Image.Digest})
	}
	for p, e := range after {
		if old, ok := before[p]; ok {
			changes = append(changes, changed(old, e, older.Talos, newer.Talos)...)
		} else {
			changes = append(changes, Change{Kind: Added, Name: e.Name(), New: e.Image.Tag, NewDigest: e.Image.Digest})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Old, b.Old), cmp.Compare(a.New, b.New))
	})
	return changes
}

// byPath are the entries by the path of their repository, which a mirror may
// have under another host.
func byPath(c *Catalog) map[string]Entry {
	all := map[string]Entry{}
	for _, e := range c.Entries {
		all[e.Image.Path()] = e
	}
	return all
}

func renamedPath(p string) string {
	dir, base := splitName(p)
	if other := otherName(base); other != "" {
		return dir + other
	}
	return ""
}

// changed are the changes of an extension that both catalogs have.
func changed(a, b Entry, talosA, talosB string) []Change {
	var changes []Change
	switch {
	case unbound(a.Image.Tag, talosA) != unbound(b.Image.Tag, talosB):
		changes = append(changes, Change{NewVersion, b.Name(), a.Image.Tag, b.Image.Tag, a.Image.Digest, b.Image.Digest})
	case a.Image.Digest != b.Image.Digest:
		changes = append(changes, Change{Rebuilt, b.Name(), a.Image.Tag, b.Image.Tag, a.Image.Digest, b.Image.Digest})
	}
	if a.Details != nil && b.Details != nil && a.Details.Compatibility != b.Details.Compatibility {
		changes = append(changes, Change{Kind: Compatibility, Name: b.Name(), Old: a.Details.Compatibility, New: b.Details.Compatibility})
	}
	if a.Tier() != b.Tier() && a.Tier() != "" && b.Tier() != "" {
		changes = append(changes, Change{Kind: Tier, Name: b.Name(), Old: a.Tier(), New: b.Tier()})
	}
	return changes
}

// unbound is a version without that of Talos, which those of kernel modules have.
func unbound(version, talos string) string {
	if talos == "" {
		return version
	}
	return strings.ReplaceAll(version, talos, "VERSION")
}
