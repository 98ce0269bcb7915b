package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// parts are the manifest and the config of one image for one platform.
type parts struct {
	desc     v1.Descriptor
	manifest v1.Manifest
	config   v1.ConfigFile
}

func (p *parts) platform() Platform {
	return Platform{OS: p.config.OS, Arch: p.config.Architecture, Variant: p.config.Variant}
}

// leaf is an image that was found below the roots.
type leaf struct {
	v1.Descriptor
	root     int // which of the roots it is below
	name     string
	platform Platform
	parts    *parts // if it had to be read already
}

// image resolves the roots to the image for the wanted platform.
func (o *opener) image(ctx context.Context, s store, roots []named) (*Image, error) {
	r := resolver{store: s}
	roots, err := o.wanted(roots)
	if err != nil {
		return nil, err
	}
	for i, root := range roots {
		if err := r.expand(ctx, leaf{Descriptor: root.Descriptor, root: i, name: root.name()}, 0); err != nil {
			return nil, err
		}
	}
	l, err := r.choose(ctx, o.platform)
	if err != nil {
		return nil, err
	}
	if l.parts == nil {
		if l.parts, err = r.load(ctx, l.Descriptor); err != nil {
			return nil, err
		}
	}
	img := &Image{ref: l.name, parts: l.parts, platform: l.parts.platform(), store: s, spool: o.spool, progress: o.opts.Progress}
	if !img.platform.known() {
		img.platform = l.platform
	}
	return img, nil
}

// wanted are the roots that have the digest that the options ask for.
func (o *opener) wanted(roots []named) ([]named, error) {
	if o.opts.Digest == "" {
		return roots, nil
	}
	kept := slices.DeleteFunc(slices.Clone(roots), func(n named) bool { return n.Digest.String() != o.opts.Digest })
	if len(kept) == 0 {
		return nil, fmt.Errorf("it is not %s, which it was a moment ago: try again", o.opts.Digest)
	}
	return kept, nil
}

// resolver reads manifests until it knows all images there are.
type resolver struct {
	store   store
	leaves  []leaf
	indexes int // how many were read
}

// expand adds an image, or the images of an index and of those nested in it.
func (r *resolver) expand(ctx context.Context, l leaf, depth int) error {
	if attests(l.Descriptor) {
		return nil
	}
	if l.MediaType == "" || l.MediaType.IsIndex() {
		raw, err := r.read(ctx, l.Descriptor)
		if err != nil {
			return err
		}
		l.Data = raw
		if l.MediaType, err = sniff(l.MediaType, raw); err != nil {
			return fmt.Errorf("manifest %s: %w", l.Digest, err)
		}
		if l.MediaType.IsIndex() {
			return r.expandIndex(ctx, l, depth)
		}
	}
	if len(r.leaves) >= maxImages {
		return fmt.Errorf("more than %d images in one index", maxImages)
	}
	l.platform = platformOf(l.Platform)
	r.leaves = append(r.leaves, l)
	return nil
}

func (r *resolver) expandIndex(ctx context.Context, l leaf, depth int) error {
	if r.indexes++; depth >= maxDepth || r.indexes > maxIndexes {
		return fmt.Errorf("index %s: too many indexes within each other; %d are allowed, %d deep", l.Digest, maxIndexes, maxDepth)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(l.Data, &index); err != nil {
		return fmt.Errorf("parsing index %s: %w", l.Digest, err)
	}
	for _, child := range index.Manifests {
		below := leaf{Descriptor: child, root: l.root, name: l.name}
		if err := r.expand(ctx, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// attests says whether a manifest of an index is BuildKit's provenance of another one.
func attests(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// read returns a manifest whose digest is right.
func (r *resolver) read(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Data != nil {
		return d.Data, verifyData(d)
	}
	rc, err := r.store.manifest(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	defer rc.Close()
	raw, err := readVerified(rc, d)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	return raw, nil
}

func verifyData(d v1.Descriptor) error {
	if _, err := readVerified(bytes.NewReader(d.Data), d); err != nil {
		return fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return nil
}

// sniff tells what a manifest is whose descriptor says nothing, or says too little.
func sniff(said types.MediaType, raw []byte) (types.MediaType, error) {
	if said != "" {
		return said, nil
	}
	var m struct {
		MediaType types.MediaType   `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Schema    int               `json:"schemaVersion"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("it is no manifest: %w", err)
	}
	switch {
	case m.Schema == 1:
		return types.DockerManifestSchema1, nil
	case m.MediaType != "":
		return m.MediaType, nil
	case m.Manifests != nil:
		return types.OCIImageIndex, nil
	}
	return types.OCIManifestSchema1, nil
}

// errNoImage says that a manifest is well-formed and yet no container image.
var errNoImage = errors.New("no container image")

// load reads the manifest of an image and its config.
func (r *resolver) load(ctx context.Context, d v1.Descriptor) (*parts, error) {
	if d.MediaType.IsSchema1() {
		return nil, fmt.Errorf("image %s is of Docker's schema 1, which is gone since 2017: push it again with a current tool", d.Digest)
	}
	if !d.MediaType.IsImage() {
		return nil, fmt.Errorf("%s is of the type %q: %w", d.Digest, d.MediaType, errNoImage)
	}
	raw, err := r.read(ctx, d)
	if err != nil {
		return nil, err
	}
	p := &parts{desc: d}
	if err := json.Unmarshal(raw, &p.manifest); err != nil {
		return nil, fmt.Errorf("parsing manifest %s: %w", d.Digest, err)
	}
	if t := p.manifest.Config.MediaType; !t.IsConfig() {
		return nil, fmt.Errorf("%s is an artifact of the type %q: %w", d.Digest, t, errNoImage)
	}
	if err := r.loadConfig(ctx, p); err != nil {
		return nil, fmt.Errorf("reading the config of image %s: %w", d.Digest, err)
	}
	return p, p.check()
}

func (r *resolver) loadConfig(ctx context.Context, p *parts) error {
	d := p.manifest.Config
	raw, err := readBlob(ctx, r.store, d, MaxManifest)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	if err := json.Unmarshal(raw, &p.config); err != nil {
		return fmt.Errorf("parsing %s: %w", d.Digest, err)
	}
	return nil
}

// check refuses what Tree could not read, before anybody downloads it.
func (p *parts) check() error {
	layers, ids := p.manifest.Layers, p.config.RootFS.DiffIDs
	switch {
	case len(layers) > maxLayers:
		return fmt.Errorf("image %s has %d layers, %d are allowed", p.desc.Digest, len(layers), maxLayers)
	case len(layers) != len(ids):
		return fmt.Errorf("image %s: the manifest has %d layers, the config %d", p.desc.Digest, len(layers), len(ids))
	}
	for i, l := range layers {
		switch {
		case !l.MediaType.IsDistributable():
			return fmt.Errorf("image %s: layer %d is foreign (%s), its bytes are in no registry: build the image without it", p.desc.Digest, i+1, l.MediaType)
		case !isLayer(l.MediaType):
			return fmt.Errorf("image %s: layer %d is of the type %q: %w", p.desc.Digest, i+1, l.MediaType, errNoImage)
		}
	}
	return nil
}

// dockerZstdLayer is what some tools write, though Docker never named it.
const dockerZstdLayer types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"

func isLayer(t types.MediaType) bool { return t.IsLayer() || t == dockerZstdLayer }

// choose finds the image for a platform, where there is a choice.
func (r *resolver) choose(ctx context.Context, want Platform) (*leaf, error) {
	if len(r.leaves) == 1 {
		return &r.leaves[0], nil
	}
	if err := r.findPlatforms(ctx); err != nil {
		return nil, err
	}
	if r.onePlatform() {
		want = r.leaves[0].platform
	}
	found := slices.DeleteFunc(slices.Clone(r.leaves), func(l leaf) bool { return !l.platform.fits(want) })
	if len(found) == 0 {
		return nil, fmt.Errorf("it has no image for %s; there is %s", want, r.platforms())
	}
	best := &found[0]
	for i, l := range found {
		if l.root != best.root && l.Digest != best.Digest {
			return nil, fmt.Errorf("it holds several images for %s: choose one of %s and %s", want, best.Digest, l.Digest)
		}
		if l.platform == want && best.platform != want { // arm64 rather than arm64/v9
			best = &found[i]
		}
	}
	return best, nil
}

// findPlatforms reads the configs of images whose descriptors do not say what
// they are for, and leaves out what turns out to be no image.
func (r *resolver) findPlatforms(ctx context.Context) error {
	kept := r.leaves[:0]
	for _, l := range r.leaves {
		if l.Platform == nil {
			p, err := r.load(ctx, l.Descriptor)
			if errors.Is(err, errNoImage) {
				continue
			}
			if err != nil {
				return err
			}
			l.parts, l.platform = p, p.platform()
		}
		if l.platform.known() {
			kept = append(kept, l)
		}
	}
	r.leaves = kept
	return nil
}

func (r *resolver) onePlatform() bool {
	for _, l := range r.leaves {
		if l.platform != r.leaves[0].platform {
			return false
		}
	}
	return len(r.leaves) > 0
}

func (r *resolver) platforms() string {
	names := []string{}
	for _, l := range r.leaves {
		names = append(names, l.platform.String())
	}
	if len(names) == 0 {
		return "none"
	}
	return list(names)
}
