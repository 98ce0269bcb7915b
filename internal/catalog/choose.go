package catalog

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/oci"
)

// choose names the catalog in an OCI layout that holds several images, as a mirror
// of a release does: …/extensions with the version of Talos as its tag, or the
// only one there is.
func (o *Options) choose(ctx context.Context, ref string) (string, error) {
	images, err := oci.Names(ctx, ref, o.Images)
	if err != nil || len(images) < 2 {
		return ref, nil // a directory, a plain tar; or opening it says what is wrong
	}
	images = slices.DeleteFunc(images, func(i oci.NamedImage) bool { return !isCatalogName(i.Name) })
	if len(images) == 0 {
		return ref, nil
	}
	fits := images
	if o.Talos != "" {
		version, err := Version(o.Talos)
		if err != nil {
			return "", err
		}
		fits = tagged(images, version)
	}
	if len(fits) == 1 {
		return fits[0].Source, nil
	}
	var names []string
	for _, i := range images {
		names = append(names, i.Name)
	}
	which := ""
	if o.Talos != "" {
		which = " for Talos " + strings.TrimSpace(o.Talos)
	}
	return "", fmt.Errorf("it holds %d catalogs%s: choose one, as in %s; there is %s", len(fits), which, images[0].Source, strings.Join(names, ", "))
}

// isCatalogName says whether an image is called as catalogs are by convention.
func isCatalogName(name string) bool {
	repository, tag := oci.CutTag(name)
	return tag != "" && path.Base(repository) == path.Base(Default)
}

// tagged are the catalogs for a version; where no tag says it, those whose tags
// say no version at all.
func tagged(images []oci.NamedImage, version string) []oci.NamedImage {
	said := func(want string) []oci.NamedImage {
		return slices.DeleteFunc(slices.Clone(images), func(i oci.NamedImage) bool { return talosOf(i.Name) != want })
	}
	if exact := said(version); len(exact) > 0 {
		return exact
	}
	return said("")
}
