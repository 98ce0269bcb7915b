// Package publish makes a release of extensions: their images in a registry,
// what is said about them beside these, and the catalog that lists them, which
// comes last. Whoever finds the catalog finds all that it names.
//
// A release that was interrupted is published again: everything is named by its
// digest, and what the registry has is not sent a second time. The same
// extensions make the same digests; signatures with ECDSA differ, and are not
// made again where there is one.
package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
	"github.com/graftlinux/graft/internal/trust"
)

// CatalogName is the name of the catalog's image.
const CatalogName = "extensions"

// Extension is what a release has to publish.
type Extension struct {
	Name     string // of its image
	Version  string // its tag
	Tier     string
	Category string // folder of its recipe
	Images   []Image
	Labels   map[string]string
	// Provenance is a predicate of SLSA, which is signed with the image; nil for
	// none.
	Provenance []byte
}

// Image is an extension for one platform.
type Image struct {
	oci.Packed
	Facts *survey.Facts
}

// Options say where a release goes, and how.
type Options struct {
	Registry string // what names of images begin with: "ghcr.io/me"
	Talos    string // version that the catalog is for, and its tag: "v1.12.0"
	// Pack are the options for each image; its name and labels are the
	// extension's.
	Pack oci.PackOptions
	// Signing signs images, their provenance, and the catalog; nil: nothing is
	// signed.
	Signing *trust.Signing
	// ProvenanceType is a URI.
	ProvenanceType string
	// Update keeps what the catalog that is there lists beside the extensions;
	// without it the catalog lists these alone. Whoever signs vouches for all that is
	// listed: what is kept must be signed by the same, unless Verify says otherwise.
	Update bool
	// Unsigned lets a catalog without a signature replace one that has one.
	Unsigned bool
	// Verify, if not nil, says whether a catalog, NAME@DIGEST, may be kept.
	Verify func(ctx context.Context, pinned string) error
	// DryRun computes digests, and sends nothing.
	DryRun bool
	// Report is told of each image when it is there, the catalog last. Calls do
	// not overlap.
	Report func(Published)
}

// Published is an image of a release.
type Published struct {
	Image catalog.Image
	Size  int64 // of all that belongs to it, in bytes
	// There says that the registry had it already.
	There bool
	// Before is the digest that its tag had, if that was another one.
	Before string
	// Signed are the forms of signature that were added.
	Signed []trust.Form
	// Kept and Gone are names that the catalog had before, of a catalog: those that
	// it still lists beside what was published, and those that it lists no longer.
	Kept, Gone []string
	// Unread says why Gone is not known, if it is not.
	Unread error
}

// Release is one that was begun.
type Release struct {
	Options
	mu     sync.Mutex
	before *listed
}

// atOnce is how many images are sent at the same time.
const atOnce = 4

// Begin finds out, before anything is built, whether there can be a release: it
// reads the catalog that is there.
func Begin(ctx context.Context, o Options) (*Release, error) {
	if o.Report == nil {
		o.Report = func(Published) {}
	}
	r := &Release{Options: o}
	var err error
	r.before, err = r.readBefore(ctx)
	return r, err
}

// Publish publishes extensions, in any order, and then the catalog, in which they
// have theirs.
func (r *Release) Publish(ctx context.Context, extensions []Extension) error {
	entries := make([]catalog.Entry, len(extensions))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, e := range extensions {
		g.Go(func() (err error) {
			if entries[i], err = r.extension(gctx, e); err != nil {
				return fmt.Errorf("publishing %s: %w", e.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.catalog(ctx, extensions, entries); err != nil {
		return fmt.Errorf("publishing the catalog: %w", err)
	}
	return nil
}

func (r *Release) extension(ctx context.Context, e Extension) (catalog.Entry, error) {
	var packed []oci.Packed
	for _, img := range e.Images {
		packed = append(packed, img.Packed)
	}
	opts := r.Pack
	opts.Labels = e.Labels
	p, res, err := r.image(ctx, e.Name, e.Version, packed, opts)
	if err != nil {
		return catalog.Entry{}, err
	}
	if !r.DryRun {
		if err := r.say(ctx, &p, e, res); err != nil {
			return catalog.Entry{}, err
		}
	}
	r.report(p)
	var built []catalog.Built
	for i, img := range e.Images {
		built = append(built, catalog.Built{Platform: img.Platform.String(), Digest: res.Platforms[i].Digest, Size: res.Platforms[i].Size, Facts: img.Facts})
	}
	entry, err := catalog.NewEntry(p.Image, e.Tier, e.Category, built)
	if err == nil && entry.Details != nil && r.Signing != nil {
		entry.Details.SignedBy = []string{strings.TrimPrefix(r.Signing.Signer.Rule().String(), "the ")}
	}
	return entry, err
}

// say stores what belongs to an image beside it: SBOMs, and, signed, who
// vouches for it and how it was made.
func (r *Release) say(ctx context.Context, p *Published, e Extension, res oci.Result) error {
	for i, img := range e.Images {
		subject := p.Image.Repository + "@" + res.Platforms[i].Digest
		if err := r.attachSBOMs(ctx, subject, img.Tree); err != nil {
			return err
		}
	}
	if r.Signing == nil {
		return nil
	}
	d, err := r.sign(ctx, p)
	if err != nil || e.Provenance == nil || p.There && r.attested(ctx, d) {
		return err
	}
	_, err = trust.Attest(ctx, d, *r.Signing, r.ProvenanceType, e.Provenance, r.reading())
	return err
}

// attested says whether it is known how an image was made that was there before:
// another release of the same image has other arguments, and makes it no other.
func (r *Release) attested(ctx context.Context, d oci.Descriptor) bool {
	v := r.own()
	if v == nil {
		return false
	}
	_, err := trust.VerifyAttestations(ctx, d, v, r.ProvenanceType, r.reading())
	return err == nil
}

// sign signs an image that is there.
func (r *Release) sign(ctx context.Context, p *Published) (oci.Descriptor, error) {
	d, err := oci.Resolve(ctx, "docker://"+p.Image.Repository+"@"+p.Image.Digest, r.reading())
	if err == nil {
		p.Signed, err = trust.Sign(ctx, d, *r.Signing, r.reading())
	}
	return d, err
}

func (r *Release) reading() oci.Options {
	return oci.Options{Insecure: r.Pack.Insecure, Client: r.Pack.Client}
}

// image sends an image, unless its tag has it already.
func (r *Release) image(ctx context.Context, name, tag string, packed []oci.Packed, opts oci.PackOptions) (Published, oci.Result, error) {
	opts.Name = name + ":" + tag
	repository := path.Join(r.Registry, name)
	var res oci.Result
	var err error
	if r.DryRun {
		res, err = oci.Describe(ctx, packed, opts)
	} else {
		res, err = oci.Pack(ctx, packed, "docker://"+repository+":"+tag, opts)
	}
	p := Published{Image: catalog.Image{Repository: repository, Tag: tag, Digest: res.Digest}, Size: res.Size, There: res.There, Before: res.Before}
	return p, res, err
}

// maxSBOM is what a registry's readers take of a document, in bytes.
const maxSBOM = oci.MaxArtifactBlob

// attachSBOMs has SBOMs refer to the image that they are in, for those who look
// for them in the registry. Those that do so already are not sent again.
func (r *Release) attachSBOMs(ctx context.Context, subject string, t *tree.Tree) error {
	names := SBOMs(t)
	if len(names) == 0 {
		return nil
	}
	subject = "docker://" + subject
	there, err := oci.Referrers(ctx, subject, r.reading(), sbom.TypeSPDX)
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := t.ReadFile(name, maxSBOM)
		if err != nil {
			return err
		}
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		if slices.ContainsFunc(there, func(a oci.Artifact) bool { return len(a.Blobs) == 1 && a.Blobs[0].Digest == digest }) {
			continue
		}
		title := map[string]string{"org.opencontainers.image.title": path.Base(name)}
		a := oci.Artifact{Type: sbom.TypeSPDX, Blobs: []oci.Blob{{MediaType: sbom.TypeSPDX, Annotations: title, Data: data}}}
		if _, err := oci.Attach(ctx, subject, a, r.Pack); err != nil {
			return fmt.Errorf("attaching %s: %w", path.Base(name), err)
		}
	}
	return nil
}

// SBOMs are the paths of the SPDX documents in an image, sorted.
func SBOMs(t *tree.Tree) []string {
	const at = extension.RootfsName + "/" + extension.SBOMDir
	var names []string
	if dir := t.Sub(at); dir != nil {
		_ = dir.Walk(func(e tree.Entry) error { // the function returns no error
			if e.Mode.IsRegular() && strings.HasSuffix(e.Path, ".spdx.json") {
				names = append(names, path.Join(at, e.Path))
			}
			return nil
		})
	}
	return names
}

// catalogPlatforms are those of bldr, whose catalogs are for all of them.
var catalogPlatforms = []oci.Platform{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64"}}

// catalog publishes the list of all that was published, and of what is kept. A
// part of a release goes into the catalog that is there at that moment.
func (r *Release) catalog(ctx context.Context, extensions []Extension, entries []catalog.Entry) error {
	p, err := r.writeCatalog(ctx, extensions, entries)
	for try := 1; errors.Is(err, oci.ErrMoved) && try < catalogTries; try++ {
		if r.before, err = r.readListed(ctx); err != nil {
			return fmt.Errorf("somebody else published it a moment ago: %w", err)
		}
		p, err = r.writeCatalog(ctx, extensions, entries)
	}
	if err == nil && r.Signing != nil && !r.DryRun {
		_, err = r.sign(ctx, &p)
	}
	if err == nil {
		r.report(p)
	}
	return err
}

// catalogTries is how often others may be faster.
const catalogTries = 10

// writeCatalog writes it once. It returns oci.ErrMoved if somebody else wrote one
// meanwhile that has to be kept.
func (r *Release) writeCatalog(ctx context.Context, extensions []Extension, entries []catalog.Entry) (p Published, err error) {
	var listings []catalog.Listing
	for i, e := range extensions {
		for _, img := range e.Images {
			listings = append(listings, catalog.NewListing(entries[i].Line(), img.Platform.String(), img.Facts))
		}
	}
	u := r.update(entries, r.before)
	for _, e := range u.kept {
		listings = append(listings, r.before.listings[e.Line()]...)
	}
	t, err := catalog.Write(r.Talos, u.all, listings)
	if err != nil {
		return p, err
	}
	var packed []oci.Packed
	for _, platform := range catalogPlatforms {
		packed = append(packed, oci.Packed{Platform: platform, Tree: t})
	}
	opts := r.Pack
	if r.Update {
		opts.Replaces = &r.before.digest
	}
	p, _, err = r.image(ctx, CatalogName, r.Talos, packed, opts)
	p.Kept, p.Gone, p.Unread = names(u.kept), names(u.gone), r.before.unread
	if err == nil && r.Update && !r.DryRun {
		err = r.stays(ctx, p)
	}
	return p, err
}

// stays looks at the catalog after it was written: two may have been written in
// the same moment.
func (r *Release) stays(ctx context.Context, p Published) error {
	d, _, err := oci.Exists(ctx, r.catalogRef(), r.reading())
	if err == nil && d.Digest != p.Image.Digest {
		err = oci.ErrMoved
	}
	return err
}

func (r *Release) report(p Published) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Report(p)
}
