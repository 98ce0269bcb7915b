package publish

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sign"
	"github.com/graftlinux/graft/internal/trust"
)

// KeepError says that the catalog that is there cannot be kept, and so nothing
// was sent.
type KeepError struct{ Err error }

// Error implements error.
func (e *KeepError) Error() string { return "keeping what the catalog lists: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *KeepError) Unwrap() error { return e.Err }

// listed is what a catalog lists.
type listed struct {
	digest   string // of the catalog; "" if there is none
	entries  []catalog.Entry
	listings map[string][]catalog.Listing // by the entry's line
	unread   error                        // why nothing of it is known
}

// SignedError says that the catalog that is there is signed, and the new one would
// not be.
type SignedError struct{ Ref string }

// Error implements error.
func (e *SignedError) Error() string {
	return fmt.Sprintf("the catalog %s is signed, and this one would not be", e.Ref)
}

// readBefore is what the catalog that is there lists. If nothing of it is to be
// kept, it is no error that it cannot be read. A dry run needs no registry for that.
func (r *Release) readBefore(ctx context.Context) (*listed, error) {
	d, found, err := oci.Exists(ctx, r.catalogRef(), r.reading())
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && r.DryRun && !r.Update:
		return &listed{unread: err}, nil
	case err != nil || !found:
		return &listed{}, err
	}
	if r.Signing == nil && !r.Unsigned {
		signed, err := trust.HasSignature(ctx, d, r.reading())
		if err != nil {
			return nil, err
		}
		if signed {
			return nil, &SignedError{d.Ref}
		}
	}
	l, err := r.listedIn(ctx, d)
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case r.Update:
		return nil, &KeepError{err}
	}
	return &listed{unread: err}, nil
}

// catalogRef is where the catalog is or will be.
func (r *Release) catalogRef() string {
	return "docker://" + path.Join(r.Registry, CatalogName) + ":" + r.Talos
}

// readListed is what the catalog that is there now lists.
func (r *Release) readListed(ctx context.Context) (*listed, error) {
	d, found, err := oci.Exists(ctx, r.catalogRef(), r.reading())
	if err != nil || !found {
		return &listed{}, err
	}
	return r.listedIn(ctx, d)
}

// listedIn is what a catalog lists.
func (r *Release) listedIn(ctx context.Context, d oci.Descriptor) (*listed, error) {
	o := catalog.Options{Talos: r.Talos, Images: r.reading(), Cache: r.Pack.Cache}
	o.Images.SpoolDir = r.Pack.SpoolDir
	if r.Update {
		o.Verify = func(ctx context.Context, pinned string) error { return r.vouched(ctx, d, pinned) }
	}
	c, err := catalog.Open(ctx, []string{d.Ref}, o)
	if err != nil {
		return nil, err
	}
	l := &listed{digest: d.Digest, entries: c.Entries}
	if !r.Update {
		return l, nil
	}
	if len(c.Problems) > 0 {
		return nil, fmt.Errorf("reading the catalog %s: %s", d.Ref, strings.Join(c.Problems, "; "))
	}
	if _, err := catalog.Write(r.Talos, c.Entries, nil); err != nil {
		return nil, fmt.Errorf("reading the catalog %s: %w", d.Ref, err)
	}
	l.listings, err = readListings(ctx, c, o)
	return l, err
}

// readListings are the listings of a catalog; none if they cannot be read, as
// they only save work.
func readListings(ctx context.Context, c *catalog.Catalog, o catalog.Options) (map[string][]catalog.Listing, error) {
	all := map[string][]catalog.Listing{}
	err := o.Listings(ctx, c, func(l catalog.Listing) error {
		all[l.Image] = append(all[l.Image], l)
		return nil
	})
	if err != nil {
		return nil, ctx.Err()
	}
	return all, nil
}

// vouched says whether a catalog may be kept in one that is signed.
func (r *Release) vouched(ctx context.Context, d oci.Descriptor, pinned string) error {
	if r.Verify != nil {
		return r.Verify(ctx, pinned)
	}
	if r.Signing == nil {
		return nil
	}
	v := r.own()
	if v == nil {
		return errors.New("whether it is signed is not known without a trusted root")
	}
	_, err := trust.Verify(ctx, d, v, r.reading())
	return err
}

// own verifies what the signer of this release has signed before; nil if that takes
// a trusted root, and there is none.
func (r *Release) own() *sign.Verifier {
	rule := r.Signing.Signer.Rule()
	if rule.Key == nil && r.Signing.Root == nil {
		return nil
	}
	return &sign.Verifier{Rule: rule, Root: r.Signing.Root, IgnoreLog: rule.Key != nil}
}

// updated is what a new catalog lists, and what becomes of the old one.
type updated struct{ all, kept, gone []catalog.Entry }

// update puts entries into the catalog that was there: in the place of the image
// with the same path, or else where their name is.
func (r *Release) update(entries []catalog.Entry, before *listed) updated {
	published, placed := map[string]catalog.Entry{}, map[string]bool{}
	for _, e := range entries {
		published[e.Image.Path()] = e
	}
	var u updated
	for _, e := range before.entries {
		now, again := published[e.Image.Path()]
		switch {
		case again && !placed[e.Image.Path()]:
			u.all = append(u.all, now)
			placed[e.Image.Path()] = true
		case again:
		case r.Update:
			u.all, u.kept = append(u.all, e), append(u.kept, e)
		default:
			u.gone = append(u.gone, e)
		}
	}
	if !r.Update {
		u.all = entries
		return u
	}
	for _, e := range entries {
		if !placed[e.Image.Path()] {
			u.all = insert(u.all, e)
		}
	}
	return u
}

// insert puts an entry before the first one with a later name.
func insert(all []catalog.Entry, e catalog.Entry) []catalog.Entry {
	i := slices.IndexFunc(all, func(other catalog.Entry) bool { return other.Name() > e.Name() })
	if i < 0 {
		i = len(all)
	}
	return slices.Insert(all, i, e)
}

func names(entries []catalog.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	slices.Sort(all)
	return all
}
