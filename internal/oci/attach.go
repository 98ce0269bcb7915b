package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writable is a place that takes what refers to its images.
type writable interface {
	place
	// add stores small blobs that are not there.
	add(ctx context.Context, blobs []blob) error
	// refer stores a manifest with its subject, so that referrers lists it.
	refer(ctx context.Context, m v1.Descriptor, subject v1.Hash) error
	// rewrite replaces what has a tag. change gets the old one, nil if there is
	// none, and returns nil to leave it. It may be called again if somebody else
	// wrote at the same time.
	rewrite(ctx context.Context, tag string, change func(old *v1.Descriptor) (*v1.Descriptor, error)) error
}

var errReadOnly = errors.New("a tarball is only read: copy it into an OCI layout or a registry first")

func openWritable(ctx context.Context, src string, opts PackOptions) (writable, error) {
	p, err := openPlace(ctx, src, transport.PushScope, Options{Insecure: opts.Insecure, SpoolDir: opts.SpoolDir, Client: opts.Client})
	if err != nil {
		return nil, err
	}
	switch p := p.(type) {
	case *registry:
		return p, nil
	case *layoutPlace:
		if p.form == formLayout {
			return p, nil
		}
	}
	return nil, errors.Join(errReadOnly, p.Close())
}

// Attach stores an artifact that refers to the image that subject names, which
// must be there: in a registry (with the fall-back tag, if that keeps no list
// of referrers), or in the directory of an OCI layout. Of the artifact it takes
// the type, the annotations, and of its blobs the media types, annotations and
// data. It returns the digest of the artifact's manifest, which depends on
// these and the subject alone.
func Attach(ctx context.Context, subject string, a Artifact, opts PackOptions) (digest string, err error) {
	w, err := openWritable(ctx, subject, opts)
	if err != nil {
		return "", fmt.Errorf("attaching to %s: %w", Redact(subject), err)
	}
	defer w.Close()
	digest, err = attach(ctx, w, a)
	if err != nil {
		return "", fmt.Errorf("attaching to %s: %w", Redact(subject), w.explain(err))
	}
	return digest, nil
}

func attach(ctx context.Context, w writable, a Artifact) (string, error) {
	root, err := rootOf(ctx, w)
	if err != nil {
		return "", err
	}
	config := bytesBlob(emptyType, []byte("{}"))
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.Type, Config: config.Descriptor,
		Subject: &v1.Descriptor{MediaType: root.MediaType, Size: root.Size, Digest: root.Digest}, Annotations: a.Annotations,
	}
	blobs := a.blobs()
	if len(blobs) == 0 { // a manifest has one layer at least
		m.Layers = []v1.Descriptor{config.Descriptor}
	}
	for _, b := range blobs {
		m.Layers = append(m.Layers, b.Descriptor)
	}
	if err := w.add(ctx, append(blobs, config)); err != nil {
		return "", err
	}
	manifest, err := jsonBlob(types.OCIManifestSchema1, m)
	if err != nil {
		return "", err
	}
	return manifest.Digest.String(), w.refer(ctx, withData(manifest), root.Digest)
}

// emptyType is the config of what is no image (OCI image specification,
// "Guidance for an Empty Descriptor").
const emptyType types.MediaType = "application/vnd.oci.empty.v1+json"

// blobs are those of the artifact, ready to be written.
func (a Artifact) blobs() []blob {
	var blobs []blob
	for _, b := range a.Blobs {
		out := bytesBlob(types.MediaType(b.MediaType), b.Data)
		out.Annotations = b.Annotations
		blobs = append(blobs, out)
	}
	return blobs
}

// withData is the descriptor of a small blob with its bytes.
func withData(b blob) v1.Descriptor {
	d := b.Descriptor
	d.Data, _ = io.ReadAll(b.reader()) // from memory
	return d
}

// AttachTagged adds the blobs of an artifact to the manifest that has cosign's
// tag for the image that subject names, which need not be there if its digest
// is said; suffix is "sig", "att" or "sbom". A blob that it has already, with
// the same annotations, is not added again. It returns the digest of the
// manifest.
func AttachTagged(ctx context.Context, subject, suffix string, a Artifact, opts PackOptions) (digest string, err error) {
	w, err := openWritable(ctx, subject, opts)
	if err != nil {
		return "", fmt.Errorf("adding to the .%s of %s: %w", bare(suffix), subject, err)
	}
	defer w.Close()
	digest, err = attachTagged(ctx, w, suffix, a)
	if err != nil {
		return "", fmt.Errorf("adding to the .%s of %s: %w", bare(suffix), subject, w.explain(err))
	}
	return digest, nil
}

func attachTagged(ctx context.Context, w writable, suffix string, a Artifact) (digest string, err error) {
	h, err := digestOf(ctx, w)
	if err != nil {
		return "", err
	}
	err = w.rewrite(ctx, cosignTag(h, suffix), func(old *v1.Descriptor) (*v1.Descriptor, error) {
		m, added, err := extended(old, a)
		if err != nil {
			return nil, err
		}
		if !added {
			digest = old.Digest.String()
			return nil, nil
		}
		config, err := cosignConfig(m.Layers)
		if err != nil {
			return nil, err
		}
		m.Config = config.Descriptor
		if err := w.add(ctx, append(a.blobs(), config)); err != nil {
			return nil, err
		}
		manifest, err := jsonBlob(types.OCIManifestSchema1, m)
		if err != nil {
			return nil, err
		}
		digest = manifest.Digest.String()
		d := withData(manifest)
		return &d, nil
	})
	return digest, err
}

// extended is the old manifest with the blobs of the artifact that it lacks.
func extended(old *v1.Descriptor, a Artifact) (m v1.Manifest, added bool, err error) {
	m = v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if old != nil {
		if err := json.Unmarshal(old.Data, &m); err != nil {
			return m, false, fmt.Errorf("parsing manifest %s: %w", old.Digest, err)
		}
	}
	for _, b := range a.blobs() {
		same := func(d v1.Descriptor) bool { return d.Digest == b.Digest && maps.Equal(d.Annotations, b.Annotations) }
		if !slices.ContainsFunc(m.Layers, same) {
			m.Layers = append(m.Layers, b.Descriptor)
			added = true
		}
	}
	if len(m.Layers) > maxLayers {
		return m, false, fmt.Errorf("it would have %d blobs, %d are allowed", len(m.Layers), maxLayers)
	}
	return m, added || old == nil, nil
}

// cosignConfig is the config that cosign gives to what has its tags: that of an
// image whose layers are not compressed.
func cosignConfig(layers []v1.Descriptor) (blob, error) {
	c := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.Digest)
		c.History = append(c.History, v1.History{})
	}
	return jsonBlob(types.OCIConfigJSON, c)
}

func (r *registry) add(ctx context.Context, blobs []blob) error {
	for _, b := range blobs {
		if err := r.upload(ctx, b, newProgress(0, nil)); err != nil {
			return err
		}
	}
	return nil
}

// refer sends the manifest, and adds it to the fall-back tag if the registry
// neither says that it has noticed the subject nor can be asked for referrers.
func (r *repository) refer(ctx context.Context, m v1.Descriptor, subject v1.Hash) error {
	noticed, err := r.putManifest(ctx, m.Digest.String(), m)
	if noticed || err != nil {
		return err
	}
	if _, ok, err := r.listReferrers(ctx, subject, []string{"application/x-none"}); ok || err != nil {
		return err
	}
	return r.rewrite(ctx, fallbackTag(subject), func(old *v1.Descriptor) (*v1.Descriptor, error) {
		return fallbackWith(old, m)
	})
}

// fallbackWith is the old list of referrers with one more; nil if it is there.
func fallbackWith(old *v1.Descriptor, m v1.Descriptor) (*v1.Descriptor, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if old != nil {
		var err error
		if index.Manifests, err = parseReferrers(old.Data); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Digest == m.Digest }) {
		return nil, nil
	}
	listed, err := listedReferrer(m)
	if err != nil {
		return nil, err
	}
	index.Manifests = append(index.Manifests, listed)
	b, err := jsonBlob(types.OCIImageIndex, index)
	d := withData(b)
	return &d, err
}

// listedReferrer is how a manifest appears in a list of referrers.
func listedReferrer(m v1.Descriptor) (v1.Descriptor, error) {
	var r refersTo
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return m, fmt.Errorf("parsing manifest %s: %w", m.Digest, err)
	}
	return v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, ArtifactType: r.artifactType(), Annotations: r.Annotations}, nil
}

// rewriteAttempts is how often a tag is written while others write it, too.
const rewriteAttempts = 8

// rewrite reads the tag again after it was written: registries cannot compare
// and swap, and the other writer's part must not be lost.
func (r *repository) rewrite(ctx context.Context, tag string, change func(old *v1.Descriptor) (*v1.Descriptor, error)) error {
	defer r.lock(r.repo.Name() + ":" + tag)()
	old, err := r.tagged(ctx, tag)
	if err != nil {
		return err
	}
	for range rewriteAttempts {
		m, err := change(old)
		if m == nil || err != nil {
			return err
		}
		if _, err := r.putManifest(ctx, tag, *m); err != nil {
			return err
		}
		if old, err = r.tagged(ctx, tag); err != nil {
			return err
		}
		if old != nil && old.Digest == m.Digest {
			return nil
		}
	}
	return fmt.Errorf("writing the tag %s: others write it, too, and the registry keeps only theirs", tag)
}

func (l *layoutPlace) dest() layoutDest { return layoutDest{dir: l.path} }

func (l *layoutPlace) add(ctx context.Context, blobs []blob) error {
	for _, b := range blobs {
		if err := l.dest().writeBlob(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// refer names the manifest in index.json, from where referrers finds it.
func (l *layoutPlace) refer(ctx context.Context, m v1.Descriptor, _ v1.Hash) error {
	if err := l.add(ctx, []blob{bytesBlob(m.MediaType, m.Data)}); err != nil {
		return err
	}
	listed, err := listedReferrer(m)
	if err != nil {
		return err
	}
	return l.dest().updateIndex(ctx, func(index *v1.IndexManifest) error {
		if !slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Digest == m.Digest }) {
			index.Manifests = append(index.Manifests, listed)
		}
		return nil
	})
}

// rewrite gives a tag the name of the image's repository, if that is known.
func (l *layoutPlace) rewrite(ctx context.Context, tag string, change func(old *v1.Descriptor) (*v1.Descriptor, error)) error {
	return l.dest().updateIndex(ctx, func(index *v1.IndexManifest) error {
		l.entries = namedEntries(index.Manifests)
		old, err := l.tagged(ctx, tag)
		if err != nil {
			return err
		}
		m, err := change(old)
		if m == nil || err != nil {
			return err
		}
		if err := l.add(ctx, []blob{bytesBlob(m.MediaType, m.Data)}); err != nil {
			return err
		}
		name := l.nameFor(tag)
		entry := v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Annotations: map[string]string{refNameAnnotation: name}}
		index.Manifests = replaceEntry(index.Manifests, entry)
		return nil
	})
}
