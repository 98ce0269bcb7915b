package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Descriptor is what a name points to: an image's manifest or an index, unread
// beyond that.
type Descriptor struct {
	Ref       string     // as a source, with the digest: NAME@DIGEST, oci:DIR@DIGEST
	Digest    string     // "sha256:" and hex digits
	MediaType string     // of the manifest or index
	Size      int64      // of the manifest or index, in bytes
	Platforms []Platform // of an index: what it has images for, in its order
}

// Resolve finds what src names, in a registry or an OCI layout (in a directory
// or tarball), see Open. Unlike Image.Digest, the digest is that of the index,
// where there is one. Errors of a registry are of the type *RegistryError.
func Resolve(ctx context.Context, src string, opts Options) (Descriptor, error) {
	d, err := resolve(ctx, src, opts)
	if err != nil {
		return d, fmt.Errorf("resolving %s: %w", Redact(src), err)
	}
	return d, nil
}

func resolve(ctx context.Context, src string, opts Options) (Descriptor, error) {
	p, err := openPlace(ctx, src, transport.PullScope, opts)
	if err != nil {
		return Descriptor{}, err
	}
	defer p.Close()
	root, err := rootOf(ctx, p)
	if err != nil {
		return Descriptor{}, p.explain(err)
	}
	d := Descriptor{Ref: p.at(root.Digest), Digest: root.Digest.String(), MediaType: string(root.MediaType), Size: root.Size}
	if !root.MediaType.IsIndex() {
		return d, nil
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(root.Data, &index); err != nil {
		return d, fmt.Errorf("parsing index %s: %w", root.Digest, err)
	}
	for _, m := range index.Manifests {
		if platform := platformOf(m.Platform); platform.known() && !attests(m) {
			d.Platforms = append(d.Platforms, platform)
		}
	}
	return d, nil
}

// rootOf reads what the source of a place names, and verifies it.
func rootOf(ctx context.Context, p place) (v1.Descriptor, error) {
	d, err := p.root(ctx)
	if err != nil {
		return d, err
	}
	return readManifest(ctx, p, d)
}

// readManifest completes a descriptor with the bytes of its manifest.
func readManifest(ctx context.Context, s store, d v1.Descriptor) (v1.Descriptor, error) {
	raw, err := (&resolver{store: s}).read(ctx, d)
	if err != nil {
		return d, err
	}
	media, err := sniff("", raw)
	if err != nil {
		return d, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return v1.Descriptor{MediaType: media, Size: int64(len(raw)), Digest: d.Digest, Data: raw}, nil
}

// digestOf is what the source of a place names.
func digestOf(ctx context.Context, p place) (v1.Hash, error) {
	if h := p.pinned(); h != (v1.Hash{}) {
		return h, nil
	}
	root, err := rootOf(ctx, p)
	return root.Digest, err
}

// Artifact is a manifest that says something about another one: a signature,
// an attestation, an SBOM. It refers to it by its subject (OCI 1.1), or is
// found by cosign's tag sha256-<hex>.sig, .att or .sbom.
type Artifact struct {
	Digest      string // of the manifest; Attach ignores it
	Type        string // the artifact type, or the media type of its config
	Annotations map[string]string
	Blobs       []Blob // the manifest's layers
	Subject     string // the digest that it refers to, "" if only its tag says so; Attach ignores it

	source string  // of the manifest
	opts   Options // to read its blobs
}

// Blob is a part of an Artifact.
type Blob struct {
	MediaType   string
	Annotations map[string]string
	Data        []byte // nil until Artifact.Read
	Digest      string // Attach ignores it
	Size        int64  // Attach ignores it
}

// Referrers reads the manifests that refer to the one that subject names:
// NAME@DIGEST, NAME:TAG, or an image in an OCI layout as Open knows it, which
// need not be there if its digest is said. types are the artifact types to
// take; none for all. The blobs of an Artifact are read by its method Read.
func Referrers(ctx context.Context, subject string, opts Options, types ...string) ([]Artifact, error) {
	p, err := openPlace(ctx, subject, transport.PullScope, opts)
	if err != nil {
		return nil, fmt.Errorf("finding what refers to %s: %w", Redact(subject), err)
	}
	defer p.Close()
	found, err := readReferrers(ctx, p, opts, types)
	if err != nil {
		return nil, fmt.Errorf("finding what refers to %s: %w", Redact(subject), p.explain(err))
	}
	return found, nil
}

func readReferrers(ctx context.Context, p place, opts Options, types []string) ([]Artifact, error) {
	h, err := digestOf(ctx, p)
	if err != nil {
		return nil, err
	}
	descs, err := p.referrers(ctx, h, types)
	if err != nil {
		return nil, err
	}
	if err := boundReferrers(h, descs); err != nil {
		return nil, err
	}
	read := make([]*Artifact, len(descs))
	g, gctx := group(ctx, maxParallel)
	for i, d := range descs {
		g.Go(func() (err error) {
			read[i], err = readReferrer(gctx, p, opts, d, h)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var artifacts []Artifact
	for _, a := range read {
		if a != nil {
			artifacts = append(artifacts, *a)
		}
	}
	return artifacts, nil
}

// boundReferrers limits what a list of referrers makes its reader read.
func boundReferrers(subject v1.Hash, descs []v1.Descriptor) error {
	total := int64(0)
	for _, d := range descs {
		total += max(0, d.Size)
	}
	if len(descs) > maxReferrers || total > maxReferrerBytes {
		return fmt.Errorf("%d manifests of %d bytes refer to %s; %d and %d are allowed", len(descs), total, subject, maxReferrers, maxReferrerBytes)
	}
	return nil
}

// readReferrer is nil if the manifest is gone, as a fall-back tag does not
// notice.
func readReferrer(ctx context.Context, p place, opts Options, d v1.Descriptor, subject v1.Hash) (*Artifact, error) {
	raw, err := (&resolver{store: p}).read(ctx, d)
	if hasStatus(err, http.StatusNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a, err := parseArtifact(raw)
	if err != nil {
		return nil, err
	}
	if a.Subject != subject.String() {
		return nil, fmt.Errorf("the registry lists %s, which refers to %q and not to %s", d.Digest, a.Subject, subject)
	}
	a.source, a.opts = p.at(d.Digest), opts
	return a, nil
}

// parseArtifact reads the manifest of an artifact.
func parseArtifact(raw []byte) (*Artifact, error) {
	var m v1.Manifest
	digest := sum(raw).String()
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("parsing manifest %s: %w", digest, err)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("manifest %s has %d blobs, %d are allowed", digest, len(m.Layers), maxLayers)
	}
	a := &Artifact{Digest: digest, Type: m.ArtifactType, Annotations: m.Annotations}
	if a.Type == "" {
		a.Type = string(m.Config.MediaType)
	}
	if m.Subject != nil {
		a.Subject = m.Subject.Digest.String()
	}
	for _, l := range m.Layers {
		a.Blobs = append(a.Blobs, Blob{MediaType: string(l.MediaType), Annotations: l.Annotations, Digest: l.Digest.String(), Size: l.Size, Data: l.Data})
	}
	return a, nil
}

// Tagged reads the manifest that has cosign's tag for the one that subject
// names; suffix is "sig", "att" or "sbom". It is nil if there is none.
func Tagged(ctx context.Context, subject, suffix string, opts Options) (*Artifact, error) {
	p, err := openPlace(ctx, subject, transport.PullScope, opts)
	if err != nil {
		return nil, fmt.Errorf("looking for the .%s of %s: %w", bare(suffix), Redact(subject), err)
	}
	defer p.Close()
	a, err := readTagged(ctx, p, suffix, opts)
	if err != nil {
		return nil, fmt.Errorf("looking for the .%s of %s: %w", bare(suffix), Redact(subject), p.explain(err))
	}
	return a, nil
}

func readTagged(ctx context.Context, p place, suffix string, opts Options) (*Artifact, error) {
	h, err := digestOf(ctx, p)
	if err != nil {
		return nil, err
	}
	d, err := p.tagged(ctx, cosignTag(h, suffix))
	if err != nil || d == nil {
		return nil, err
	}
	a, err := parseArtifact(d.Data)
	if err != nil {
		return nil, err
	}
	a.Digest, a.source, a.opts = d.Digest.String(), p.at(d.Digest), opts
	return a, nil
}

// cosignTag is the tag by which cosign finds what it has to say about a
// manifest (github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md).
func cosignTag(h v1.Hash, suffix string) string { return fallbackTag(h) + "." + bare(suffix) }

func bare(suffix string) string { return strings.TrimPrefix(suffix, ".") }

// Read reads the blobs of the artifact and verifies them. One of more than 32
// MiB, or several of more than 128 MiB together, are refused.
func (a *Artifact) Read(ctx context.Context) error {
	if err := a.read(ctx); err != nil {
		return fmt.Errorf("reading the artifact %s: %w", a.source, err)
	}
	return nil
}

func (a *Artifact) read(ctx context.Context) error {
	if err := a.checkSizes(); err != nil {
		return err
	}
	p, err := openPlace(ctx, a.source, transport.PullScope, a.opts)
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range a.Blobs {
		if err := a.Blobs[i].read(ctx, p); err != nil {
			return fmt.Errorf("blob %d of %d (%s): %w", i+1, len(a.Blobs), a.Blobs[i].Digest, p.explain(err))
		}
	}
	return nil
}

func (a *Artifact) checkSizes() error {
	total := int64(0)
	for i, b := range a.Blobs {
		if b.Size < 0 || b.Size > MaxArtifactBlob {
			return fmt.Errorf("blob %d of %d (%s) has %d bytes, %d are allowed", i+1, len(a.Blobs), b.Digest, b.Size, MaxArtifactBlob)
		}
		total += b.Size
	}
	if total > 4*MaxArtifactBlob {
		return fmt.Errorf("its blobs have %d bytes, %d are allowed", total, 4*MaxArtifactBlob)
	}
	return nil
}

func (b *Blob) read(ctx context.Context, s store) error {
	h, err := v1.NewHash(b.Digest)
	if err != nil {
		return err
	}
	d := v1.Descriptor{Digest: h, Size: b.Size}
	d.Data = b.Data
	data, err := readBlob(ctx, s, d, MaxArtifactBlob)
	if err != nil {
		return err
	}
	b.Data = data
	return nil
}
