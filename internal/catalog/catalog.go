// Package catalog knows which extensions exist for a version of Talos Linux: a
// catalog is an image, one tag per release, that lists other images with their
// digests. A name becomes a digest here, and nowhere else.
//
// The format is that of the field, so that every tool reads what [Write] makes
// and [Open] reads what others made:
//
//	image-digests        NAME:TAG@DIGEST, a line each; what has no @ is ignored
//	descriptions.yaml    author and description, by such a line
//	catalog.json         what graft adds: tier, platforms, services, … (details.go)
//	catalog-files.jsonl  the files of the images, for overlaps (listing.go)
//
// Only the first has to be there. All are read leniently: what cannot be
// understood is left out and told in [Catalog.Problems], and constants bound what
// a stranger's catalog may cost. What the last two say of an image is a claim of
// the catalog's author: an image is always taken by the digest in image-digests.
//
// Beyond the image there is what catalogs are for: several of them as one
// ([Merge]), names and renamed extensions ([Catalog.Resolve]), what changes
// between two ([Diff]), the tables of a README ([Table]), files that two
// extensions bring ([Overlaps]).
package catalog

import (
	"cmp"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// Default is the catalog of Talos' own extensions, without a tag.
const Default = "ghcr.io/siderolabs/extensions"

// Catalog is a list of images for one version of Talos Linux.
type Catalog struct {
	// Ref is what the catalog was opened as: NAME:TAG, a directory, a file.
	Ref string `json:"ref"`
	// Pinned is what was read, one for each catalog that is in this one: NAME@DIGEST of
	// a registry, oci:DIR@DIGEST of an OCI layout; the Ref for a directory and a
	// plain tar, which have no digest.
	Pinned []string `json:"pinned,omitempty"`
	// Talos is the version it is for, as "v1.12.0": by its own word or by the
	// catalog's tag; "" if neither says.
	Talos string `json:"talos,omitempty"`
	// Entries are in the order of image-digests.
	Entries []Entry `json:"entries"`
	// Problems are what was left out while it was read, and why, a line each.
	Problems []string `json:"problems,omitempty"`
}

// Entry is an image of a catalog.
type Entry struct {
	Image Image `json:"image"`
	// Author and Description are those of the image's manifest.
	Author      string `json:"author,omitempty"`
	Description string `json:"description,omitempty"`
	// Details are nil in catalogs that graft did not write.
	Details *Details `json:"details,omitempty"`
	// Catalog is the Ref of the catalog that the entry is from.
	Catalog string `json:"catalog,omitempty"`
	// Origin is the repository that the catalog names, if a mirror is in its place.
	Origin string `json:"origin,omitempty"`
}

// Line is the entry's line in image-digests, whatever mirror is in its place.
func (e Entry) Line() string {
	i := e.Image
	i.Repository = cmp.Or(e.Origin, i.Repository)
	return i.String()
}

// Name of the extension, which is the last element of its repository.
func (e Entry) Name() string { return e.Image.Name() }

// tierPrefix is how descriptions tell the tier, by convention of the recipes.
var tierPrefix = lazyregexp.New(`^\s*\[([a-z]+)\]`)

// Tier of the extension: core, extra, contrib or deprecated; "" if nobody says.
func (e Entry) Tier() string {
	if e.Details != nil && e.Details.Tier != "" {
		return e.Details.Tier
	}
	if m := tierPrefix.FindStringSubmatch(e.Description); m != nil {
		return m[1]
	}
	return ""
}

// Summary is the description on one line, without the tier.
func (e Entry) Summary() string {
	text := e.Description
	if prefix := tierPrefix.FindString(text); prefix != "" {
		text = text[len(prefix):]
	}
	return strings.Join(strings.Fields(text), " ")
}

// Merge makes one catalog of several. Where two have an image under the same
// path of their registries, that of the later one stays.
func Merge(catalogs ...*Catalog) *Catalog {
	if len(catalogs) == 1 {
		return catalogs[0]
	}
	all := &Catalog{}
	var refs []string
	for _, c := range catalogs {
		refs = append(refs, c.Ref)
		all.Pinned = append(all.Pinned, c.Pinned...)
		all.Talos = cmp.Or(all.Talos, c.Talos)
		all.Problems = append(all.Problems, c.Problems...)
		theirs := map[string]bool{}
		for _, e := range c.Entries {
			theirs[e.Image.Path()] = true
		}
		all.Entries = slices.DeleteFunc(all.Entries, func(e Entry) bool { return theirs[e.Image.Path()] })
		all.Entries = append(all.Entries, c.Entries...)
	}
	all.Ref = strings.Join(refs, ", ")
	return all
}

// Via gives the catalog with images of mirrors in the place of those that it
// names. Digests stay what they are.
func (c *Catalog) Via(m Mirrors) *Catalog {
	if len(m) == 0 {
		return c
	}
	mapped := *c
	mapped.Entries = slices.Clone(c.Entries)
	for i := range mapped.Entries {
		e := &mapped.Entries[i]
		if to := m.Map(e.Image.Repository); to != e.Image.Repository {
			e.Origin, e.Image.Repository = e.Image.Repository, to
		}
	}
	return &mapped
}
