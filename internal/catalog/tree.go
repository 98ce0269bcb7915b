package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/graftlinux/graft/internal/tree"
)

// Write makes the files of a catalog image. Entries keep their order; listings
// are sorted, and may be nil. talos is the version that the catalog is for, as
// "v1.12.0". The same arguments give the same tree.
func Write(talos string, entries []Entry, listings []Listing) (*tree.Tree, error) {
	if err := checkEntries(entries); err != nil {
		return nil, fmt.Errorf("writing a catalog: %w", err)
	}
	descriptions, err := formatDescriptions(entries)
	details, derr := formatDetails(entries, talos)
	sorted := slices.SortedFunc(slices.Values(listings), compareListings)
	files, lerr := formatListings(sorted)
	if err := errors.Join(err, derr, lerr); err != nil {
		return nil, err
	}
	t := tree.New()
	for _, f := range []struct {
		name  string
		data  []byte
		limit int
	}{
		{DigestsName, formatDigests(entries), maxDigests}, {DescriptionsName, descriptions, maxDescriptions},
		{DetailsName, details, maxDetails}, {ListingName, files, maxListings},
	} {
		if f.name == ListingName && len(listings) == 0 {
			continue
		}
		if len(f.data) > f.limit {
			return nil, fmt.Errorf("writing a catalog: %s would have %d bytes; readers take %d", f.name, len(f.data), f.limit)
		}
		if err := t.Put(f.name, tree.File(0o644, f.data)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// checkEntries wants images that every reader understands, each repository once.
func checkEntries(entries []Entry) error {
	if len(entries) > MaxEntries {
		return fmt.Errorf("%d images, %d are allowed", len(entries), MaxEntries)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if _, err := ParseImage(e.Image.String()); err != nil {
			return fmt.Errorf("%q: %w", e.Image, err)
		}
		if e.Image.Tag == "" {
			return fmt.Errorf("%q has no tag", e.Image)
		}
		if seen[e.Image.Repository] {
			return fmt.Errorf("%s is there twice", e.Image.Repository)
		}
		seen[e.Image.Repository] = true
	}
	return nil
}

// ErrNoCatalog says that an image has no image-digests.
var ErrNoCatalog = errors.New("it is no catalog: it has no file " + DigestsName)

// Read reads the files of a catalog image.
func Read(t *tree.Tree) (*Catalog, error) {
	text, err := t.ReadFile(DigestsName, maxDigests)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoCatalog
	case err != nil:
		return nil, err
	}
	c := &Catalog{}
	var p problems
	images, err := parseDigests(string(text), &p)
	if err != nil {
		return nil, err
	}
	c.Problems = p.list(DigestsName)
	descriptions := optional(c, t, DescriptionsName, maxDescriptions, parseDescriptions)
	details := optional(c, t, DetailsName, maxDetails, func(data []byte, p *problems) map[string]*Details {
		all, talos := parseDetails(data, p)
		c.Talos = talos
		return all
	})
	for _, img := range images {
		line := img.String()
		said := descriptions[line]
		c.Entries = append(c.Entries, Entry{Image: img, Author: said.Author, Description: said.Description, Details: details[line]})
	}
	return c, nil
}

// optional reads a file that a catalog may lack.
func optional[T any](c *Catalog, t *tree.Tree, name string, limit int64, parse func([]byte, *problems) map[string]T) map[string]T {
	if t.Get(name) == nil {
		return nil
	}
	data, err := t.ReadFile(name, limit)
	if err != nil {
		c.Problems = append(c.Problems, err.Error())
		return nil
	}
	var p problems
	all := parse(data, &p)
	c.Problems = append(c.Problems, p.list(name)...)
	return all
}

// byName is the order for people.
func byName(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Image.String(), b.Image.String()))
}

// Sorted gives the entries by name.
func (c *Catalog) Sorted() []Entry { return slices.SortedFunc(slices.Values(c.Entries), byName) }
