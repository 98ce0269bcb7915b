package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
	"github.com/graftlinux/graft/internal/trust"
)

// catalogOf reads the catalog of a shelf, and the images that it lists files of.
func catalogOf(t *testing.T, s *shelf) (names, lists []string) {
	t.Helper()
	var o catalog.Options
	c, err := catalog.Open(t.Context(), []string{s.name + "/extensions:v1.12.0"}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Entries {
		names = append(names, e.Name()+" "+e.Tier())
	}
	err = o.Listings(t.Context(), c, func(l catalog.Listing) error {
		img, err := catalog.ParseImage(l.Image)
		lists = append(lists, img.Name())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, slices.Compact(lists)
}

// putCatalog has a shelf hold a catalog, or what is none.
func putCatalog(t *testing.T, s *shelf, files map[string]string) {
	t.Helper()
	tr := tree.New()
	for name, text := range files {
		if err := tr.Put(name, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	var packed []oci.Packed
	for _, p := range catalogPlatforms {
		packed = append(packed, oci.Packed{Platform: p, Tree: tr})
	}
	if _, err := oci.Pack(t.Context(), packed, s.name+"/extensions:v1.12.0", oci.PackOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestUpdate publishes into a catalog that is there: nothing is lost, each has its
// place, and the second time nothing is sent.
func TestUpdate(t *testing.T) {
	s := newShelf(t)
	signing, _ := keyed(t)
	run(t, s, Options{Signing: signing}, extensionNamed(t, "one", "core", "1"), extensionNamed(t, "three", "core", "3"))
	s.forget()
	o := Options{Signing: signing, Update: true}
	again := []Extension{extensionNamed(t, "zwei", "contrib", "2"), extensionNamed(t, "one", "extra", "other"), extensionNamed(t, "a", "core", "a")}
	dry := o
	dry.DryRun = true
	would := run(t, s, dry, again...)
	if sent := s.forget(); len(sent) > 0 {
		t.Errorf("a dry run sent %v", sent)
	}
	did := run(t, s, o, again...)
	last := did[len(did)-1]
	if would[len(would)-1].Image != last.Image {
		t.Errorf("a dry run said %s, and it is %s", would[len(would)-1].Image, last.Image)
	}
	if !slices.Equal(last.Kept, []string{"three"}) || len(last.Gone) > 0 || last.Before == "" {
		t.Errorf("the catalog is reported as %+v", last)
	}
	names, lists := catalogOf(t, s)
	if diff := cmp.Diff([]string{"a core", "one extra", "three core", "zwei contrib"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "one", "three", "zwei"}, lists); diff != "" {
		t.Errorf("listings, -want +got:\n%s", diff)
	}
	s.forget()
	if run(t, s, o, again...); len(s.forget()) > 0 {
		t.Error("the second time it sent something")
	}
	// The whole tree is a catalog of its own; what it lacks is named.
	whole := run(t, s, Options{Signing: signing}, again[1])
	if last := whole[1]; !slices.Equal(last.Gone, []string{"a", "three", "zwei"}) || len(last.Kept) > 0 || last.Unread != nil {
		t.Errorf("the catalog that was made anew is reported as %+v", last)
	}
}

// TestUpdateMeanwhile has somebody publish another part of a release while one is
// on its way: the catalog lists both.
func TestUpdateMeanwhile(t *testing.T) {
	s := newShelf(t)
	run(t, s, Options{Update: true}, extensionNamed(t, "zero", "core", "0"))
	meanwhile := func(p Published) {
		if strings.HasSuffix(p.Image.Repository, "/one") {
			run(t, s, Options{Update: true}, extensionNamed(t, "two", "core", "2"))
		}
	}
	o := Options{Registry: s.name, Talos: "v1.12.0", Update: true, Report: meanwhile}
	if err := publishAll(t.Context(), []Extension{extensionNamed(t, "one", "core", "1")}, o); err != nil {
		t.Fatal(err)
	}
	names, lists := catalogOf(t, s)
	if diff := cmp.Diff([]string{"one core", "two core", "zero core"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", "two", "zero"}, lists); diff != "" {
		t.Errorf("listings, -want +got:\n%s", diff)
	}
}

// TestUpdateAtOnce has many publish parts of a release in the same moment, into a
// registry without a catalog: it lists all in the end.
func TestUpdateAtOnce(t *testing.T) {
	s := newShelf(t)
	var parts []Extension
	var want []string
	for i := range 8 {
		name := fmt.Sprintf("part%d", i)
		parts, want = append(parts, extensionNamed(t, name, "core", name)), append(want, name+" core")
	}
	var g errgroup.Group
	for _, e := range parts {
		g.Go(func() error {
			return publishAll(t.Context(), []Extension{e}, Options{Registry: s.name, Talos: "v1.12.0", Update: true})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	names, _ := catalogOf(t, s)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestUpdateForeign keeps the entries of a catalog in the form of the field.
func TestUpdateForeign(t *testing.T) {
	s := newShelf(t)
	line := s.name + "/there:1@sha256:" + strings.Repeat("0", 64)
	putCatalog(t, s, map[string]string{"image-digests": "ghcr.io/me/not-built:1\n" + line + "\n", "descriptions.yaml": line + ": {author: me, description: \"[extra] x\"}\n"})
	run(t, s, Options{Update: true}, extensionNamed(t, "one", "core", "1"))
	names, _ := catalogOf(t, s)
	if diff := cmp.Diff([]string{"one core", "there extra"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestUpdateRefused: what cannot be kept stops a release before anything is
// sent, and does not stop one that makes the catalog anew.
func TestUpdateRefused(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	signing, _ := keyed(t)
	for name, c := range map[string]struct {
		files   map[string]string
		signing *trust.Signing
		want    string
	}{
		"no catalog":      {map[string]string{"other": ""}, nil, "it has no file image-digests"},
		"damaged":         {map[string]string{"image-digests": "x/there:1@sha256:12\n"}, nil, "is no digest"},
		"details":         {map[string]string{"image-digests": "", "catalog.json": "{"}, nil, "catalog.json: unexpected end"},
		"without a tag":   {map[string]string{"image-digests": "x.org/there@sha256:" + zeros + "\n"}, nil, "has no tag"},
		"another version": {map[string]string{"image-digests": "", "catalog.json": `{"version":1,"talos":"v1.11.0"}`}, nil, "it is for Talos v1.11.0; wanted is v1.12.0"},
		"not signed":      {map[string]string{"image-digests": ""}, signing, "is refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			putCatalog(t, s, c.files)
			s.forget()
			one := []Extension{extensionNamed(t, "one", "core", "1")}
			err := publishAll(t.Context(), one, Options{Registry: s.name, Talos: "v1.12.0", Update: true, Signing: c.signing})
			if !errors.As(err, new(*KeepError)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if sent := s.forget(); len(sent) > 0 {
				t.Errorf("it sent %v", sent)
			}
			if all := run(t, s, Options{Signing: c.signing}, one...); len(all) != 2 {
				t.Errorf("made anew: %+v", all)
			}
		})
	}
}

// TestDrySigned: a dry run with a key has the digests of the release.
func TestDrySigned(t *testing.T) {
	s := newShelf(t)
	signing, _ := keyed(t)
	one := extensionNamed(t, "one", "core", "1")
	would := run(t, s, Options{Signing: signing, DryRun: true}, one)
	if sent := s.forget(); len(sent) > 0 {
		t.Errorf("it sent %v", sent)
	}
	for i, p := range run(t, s, Options{Signing: signing}, one) {
		if p.Image != would[i].Image {
			t.Errorf("published %s, the dry run said %s", p.Image, would[i].Image)
		}
	}
}
