package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	errNoTag         = errors.New("the image has no name to take the tag from: give the destination a tag")
	errDockerArchive = errors.New("a docker-archive cannot keep manifests as they are: copy to an oci-archive")
)

// load reads all manifests of an image and of what refers to it.
func (c *copier) load(ctx context.Context, r Route) (*cargo, error) {
	from, err := c.source(ctx, r.From)
	if err != nil {
		return nil, err
	}
	cargo, err := c.loadFrom(ctx, r, from)
	if err != nil {
		return nil, from.explain(err)
	}
	return cargo, nil
}

func (c *copier) loadFrom(ctx context.Context, r Route, from place) (*cargo, error) {
	w := &loading{copier: c, cargo: &cargo{route: r, from: from, done: make(chan struct{})}, seen: map[v1.Hash]bool{}}
	d, err := from.root(ctx)
	if err != nil {
		return nil, err
	}
	w.name = nameIn(from, d)
	if err := w.add(ctx, shipped{Descriptor: d}, 0); err != nil {
		return nil, err
	}
	for _, m := range w.manifests {
		if m.Digest == d.Digest {
			w.root = m.Descriptor
		}
	}
	return w.cargo, nil
}

// nameIn is what an image is called in its place.
func nameIn(p place, d v1.Descriptor) string {
	if r, ok := p.(*registry); ok {
		if tag, ok := r.ref.(name.Tag); ok {
			return tag.Name()
		}
		// NAME:TAG@DIGEST has a tag to keep.
		given, _, _ := strings.Cut(r.ref.String(), "@")
		if hasTag(given) {
			return given
		}
		return ""
	}
	return named{names: namesOf(d.Annotations)}.name()
}

// loading reads what belongs to one cargo.
type loading struct {
	*copier
	*cargo
	seen map[v1.Hash]bool
}

// add reads a manifest, then what it needs, then what refers to it.
func (w *loading) add(ctx context.Context, m shipped, depth int) error {
	if w.seen[m.Digest] {
		return w.mark(m)
	}
	w.seen[m.Digest] = true
	if depth > maxCopyDepth || len(w.seen) > maxCopied {
		return fmt.Errorf("%s: too many manifests that belong to each other: %d are allowed, %d deep", m.Digest, maxCopied, maxCopyDepth)
	}
	d, err := readManifest(ctx, w.from, m.Descriptor)
	if err != nil {
		return err
	}
	if w.held.Add(d.Size) > maxCopyManifests {
		return fmt.Errorf("its manifests, with those of the other images, have more than %d MiB", maxCopyManifests>>20)
	}
	if d.MediaType.IsSchema1() {
		return fmt.Errorf("image %s is of Docker's schema 1, which is gone since 2017: push it again with a current tool", d.Digest)
	}
	if err := w.parts(ctx, d, depth); err != nil {
		return err
	}
	m.Descriptor = d
	w.manifests = append(w.manifests, m)
	if w.opts.Alone {
		return nil
	}
	return w.attached(ctx, d.Digest, depth)
}

// mark notes that a manifest that is there already has a tag, too.
func (w *loading) mark(m shipped) error {
	i := slices.IndexFunc(w.manifests, func(have shipped) bool { return have.Digest == m.Digest && have.tag == "" })
	if m.tag == "" || i < 0 {
		return nil
	}
	w.manifests[i].tag = m.tag
	return nil
}

// parts adds what a manifest or an index names.
func (w *loading) parts(ctx context.Context, d v1.Descriptor, depth int) error {
	var m struct {
		Manifests []v1.Descriptor `json:"manifests"`
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
		Blobs     []v1.Descriptor `json:"blobs"` // of artifact manifests, which OCI 1.1 gave up
	}
	if err := json.Unmarshal(d.Data, &m); err != nil {
		return fmt.Errorf("parsing manifest %s: %w", d.Digest, err)
	}
	blobs := slices.Concat(m.Layers, m.Blobs)
	children := w.chosen(m.Manifests)
	if len(children) == 0 && len(m.Manifests) > 0 {
		return fmt.Errorf("index %s has no image for %s", d.Digest, strings.Join(w.opts.Platforms, ", "))
	}
	if err := w.lacking(d.Digest, children); err != nil {
		return err
	}
	for _, child := range children {
		if !isManifestType(child) { // an index may list blobs, as build caches do
			blobs = append(blobs, child)
			continue
		}
		if err := w.add(ctx, shipped{Descriptor: child}, depth+1); err != nil {
			return err
		}
	}
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	for _, b := range blobs {
		if b.Size < 0 || b.Size > maxBlob {
			return fmt.Errorf("manifest %s: blob %s has %d bytes, %d are allowed", d.Digest, b.Digest, b.Size, int64(maxBlob))
		}
		w.blob(b)
	}
	return nil
}

func isManifestType(d v1.Descriptor) bool {
	return d.MediaType == "" || d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType.IsSchema1()
}

// blob notes a blob, unless its bytes are in no registry.
func (w *loading) blob(d v1.Descriptor) {
	if w.seen[d.Digest] || len(d.URLs) > 0 && !d.MediaType.IsDistributable() {
		return
	}
	w.seen[d.Digest] = true
	w.blobs = append(w.blobs, v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest, Data: d.Data})
}

// chosen are the manifests of an index for the wanted platforms, with
// BuildKit's attestations of these.
func (w *loading) chosen(all []v1.Descriptor) []v1.Descriptor {
	if len(w.platforms) == 0 {
		return all
	}
	kept := map[string]bool{}
	for _, d := range all {
		p := platformOf(d.Platform)
		fits := func(want Platform) bool { return p.fits(want) }
		if !p.known() && !attests(d) || slices.ContainsFunc(w.platforms, fits) {
			kept[d.Digest.String()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(d v1.Descriptor) bool {
		return !kept[d.Digest.String()] && !(attests(d) && kept[d.Annotations["vnd.docker.reference.digest"]])
	})
}

// cosignSuffixes are those of the tags that cosign gives.
var cosignSuffixes = []string{"sig", "att", "sbom"}

// attached adds what refers to a manifest.
func (w *loading) attached(ctx context.Context, subject v1.Hash, depth int) error {
	refer, tagged, err := w.lookFor(ctx, subject)
	if err != nil {
		return err
	}
	if err := boundReferrers(subject, refer); err != nil {
		return err
	}
	for _, d := range refer {
		err := w.add(ctx, shipped{Descriptor: d, subject: subject}, depth+1)
		if isAbsent(err) { // as a fall-back tag does not notice
			delete(w.seen, d.Digest)
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, m := range tagged {
		if err := w.add(ctx, m, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// lookFor asks for referrers and for cosign's tags, at once: a registry may be
// far away.
func (w *loading) lookFor(ctx context.Context, subject v1.Hash) (refer []v1.Descriptor, tagged []shipped, err error) {
	g, gctx := group(ctx, 1+len(cosignSuffixes))
	g.Go(func() (err error) {
		refer, err = w.from.referrers(gctx, subject, nil)
		return err
	})
	found := make([]*v1.Descriptor, len(cosignSuffixes))
	for i, suffix := range cosignSuffixes {
		g.Go(func() (err error) {
			found[i], err = w.from.tagged(gctx, cosignTag(subject, suffix))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i, d := range found {
		if d != nil {
			tagged = append(tagged, shipped{Descriptor: *d, tag: cosignTag(subject, cosignSuffixes[i])})
		}
	}
	return refer, tagged, nil
}
