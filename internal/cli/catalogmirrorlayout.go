package cli

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
)

// mirroredLayout is an OCI layout that is mirrored: a directory or a file.
type mirroredLayout struct {
	src      string // as it was given
	base     string // what stands before @DIGEST in it
	home     string // the path that the catalogs are in, "" without one
	images   []oci.NamedImage
	chosen   []oci.NamedImage // those of them that were asked for
	catalogs []oci.NamedImage // those of these, older versions first
}

// layout takes the catalogs of an OCI layout, each after all images that it
// lists. Several may list different images under one name, so they are taken by
// their digests. If no version is chosen, the other images come along.
func (m *mirroring) layout(ctx context.Context, src string) error {
	l, err := m.catalogs.openLayout(ctx, src)
	if err != nil {
		return err
	}
	if err := m.chooseCatalogs(ctx, l); err != nil {
		return err
	}
	if m.catalogs.talos == "" {
		if err := m.others(l); err != nil {
			return err
		}
	}
	for _, c := range l.catalogs {
		if err := m.layoutCatalog(ctx, l, c); err != nil {
			return err
		}
	}
	if m.catalogs.talos == "" {
		m.leftBehind(l)
	}
	return nil
}

// others are the images that have a name, whether a catalog lists them or not.
func (m *mirroring) others(l *mirroredLayout) error {
	for _, i := range l.chosen {
		switch {
		case slices.Contains(l.catalogs, i), i.Name == "" && len(l.catalogs) > 0:
			continue
		case i.Name == "":
			return withCode(exitInvalid, fmt.Errorf("reading %s: its image %s has no name to give it in a mirror", l.src, i.Source),
				"graft catalog mirror writes layouts whose images have names")
		}
		if err := m.add(l.base+"@"+i.Digest, i.Name, i.Digest, l.home); err != nil {
			return err
		}
	}
	return nil
}

// leftBehind tells of images that lost their name to others, and that no catalog
// lists any more.
func (m *mirroring) leftBehind(l *mirroredLayout) {
	n := 0
	for _, i := range l.chosen {
		from := func(r oci.Route) bool { return r.From == l.base+"@"+i.Digest }
		if i.Name == "" && !slices.ContainsFunc(m.routes, from) {
			n++
		}
	}
	if n > 0 {
		fmt.Fprintf(m.streams.Err, "note: %d images in %s have no name, and no catalog in it lists them: they are left out\n", n, l.src)
	}
}

func (c *catalogs) openLayout(ctx context.Context, src string) (*mirroredLayout, error) {
	found, err := oci.Names(ctx, src, c.images())
	if err != nil {
		return nil, inputError(err)
	}
	if len(found) == 0 {
		return nil, withCode(exitInvalid, fmt.Errorf("reading %s: it holds no image of that name", src))
	}
	one, err := oci.Resolve(ctx, found[0].Source, c.images())
	if err != nil {
		return nil, inputError(err)
	}
	l := &mirroredLayout{src: src, base: strings.TrimSuffix(one.Ref, "@"+one.Digest), chosen: found}
	l.images, err = oci.Names(ctx, l.base, c.images())
	return l, inputError(err)
}

// chooseCatalogs finds the catalogs of a layout, or that of --talos. What was
// chosen by its name may be called otherwise than catalogs are.
func (m *mirroring) chooseCatalogs(ctx context.Context, l *mirroredLayout) error {
	all := slices.DeleteFunc(slices.Clone(l.chosen), func(i oci.NamedImage) bool { return !isCatalog(i.Name) })
	if len(all) == 0 && len(l.chosen) == 1 && l.chosen[0].Name != "" {
		o, err := m.unguarded().options()
		if err != nil {
			return err
		}
		if _, err := catalog.Open(ctx, []string{l.chosen[0].Source}, o); err == nil {
			all = l.chosen
		}
	}
	for _, c := range all {
		l.home = c.Name[:strings.LastIndex(c.Name, "/")+1]
	}
	slices.SortStableFunc(all, func(a, b oci.NamedImage) int { return versionOf(a).Compare(versionOf(b)) })
	if l.catalogs = all; m.catalogs.talos == "" {
		return nil
	}
	version, err := catalog.Version(m.catalogs.talos)
	if err != nil {
		return usageError(fmt.Errorf("--talos: %w", err))
	}
	l.catalogs = slices.DeleteFunc(slices.Clone(all), func(i oci.NamedImage) bool { return tagOf(i) != version })
	if len(l.catalogs) == 0 {
		var has []string
		for _, c := range all {
			has = append(has, c.Name)
		}
		return withCode(exitInvalid, fmt.Errorf("reading %s: it holds no catalog for Talos %s", l.src, version),
			"it has "+cmp.Or(strings.Join(has, ", "), "no catalog"))
	}
	return nil
}

// isCatalog says whether an image is called as catalogs are by convention.
func isCatalog(name string) bool {
	repository, tag := oci.CutTag(name)
	return tag != "" && path.Base(repository) == path.Base(catalog.Default)
}

func tagOf(i oci.NamedImage) string {
	_, tag := oci.CutTag(i.Name)
	return tag
}

// versionOf is the version that a catalog is for; the oldest, if its tag says none.
func versionOf(i oci.NamedImage) extension.Version {
	v, _ := extension.ParseVersion(tagOf(i))
	return v
}

// layoutCatalog takes the images that a catalog of a layout lists, and then
// itself.
func (m *mirroring) layoutCatalog(ctx context.Context, l *mirroredLayout, c oci.NamedImage) error {
	all, err := m.unguarded().openRefs(ctx, m.streams, []string{c.Source})
	if err != nil {
		return err
	}
	for _, e := range all.Entries {
		if err := m.present(ctx, l, c, e); err != nil {
			return err
		}
		if err := m.add(l.base+"@"+e.Image.Digest, originalName(e), e.Image.Digest, l.home); err != nil {
			return err
		}
	}
	return m.add(l.base+"@"+c.Digest, c.Name, c.Digest, l.home)
}

// unguarded reads catalogs of a layout whatever a policy says of that path: they
// are copied as they are, and not used.
func (m *mirroring) unguarded() *catalogs {
	c := m.catalogs
	c.gate = nil
	return &c
}

// present wants what a catalog lists to be in its layout.
func (m *mirroring) present(ctx context.Context, l *mirroredLayout, c oci.NamedImage, e catalog.Entry) error {
	if slices.ContainsFunc(l.images, func(i oci.NamedImage) bool { return i.Digest == e.Image.Digest }) {
		return nil
	}
	_, there, err := oci.Exists(ctx, l.base+"@"+e.Image.Digest, m.catalogs.images())
	if err != nil {
		return inputError(err)
	}
	if !there {
		return withCode(exitInvalid, fmt.Errorf("mirroring %s: its catalog %s lists %s@%s, which is not in it", l.src, c.Name, originalName(e), e.Image.Digest),
			"mirror that catalog into it again", "--talos takes one of several catalogs")
	}
	return nil
}

// nearby takes images that names were resolved to from the layouts that the
// catalogs are in, if they are there: whoever has the mirror of a release needs
// no registry.
func (c *catalogs) nearby(ctx context.Context, names, resolved []string) []string {
	near := map[string]string{} // sources by digest
	for _, ref := range c.names() {
		if !oci.IsLocal(ref) {
			continue
		}
		l, err := c.openLayout(ctx, ref)
		if err != nil {
			continue // it is no layout, but a directory of files
		}
		for _, i := range l.images {
			near[i.Digest] = i.Source
			if i.Name != "" {
				near[i.Digest] += "@" + i.Digest
			}
		}
	}
	found := slices.Clone(resolved)
	for i, ref := range resolved {
		if _, digest, ok := strings.Cut(ref, "@"); ok && ref != names[i] && near[digest] != "" {
			found[i] = near[digest]
		}
	}
	return found
}
