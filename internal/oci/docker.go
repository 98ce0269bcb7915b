package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerManifestFile lists the images in what "docker save" writes. Since
// Docker 25 there is an OCI layout in the same tarball, which is read instead.
const dockerManifestFile = "manifest.json"

// dockerEntry is one image of manifest.json; the paths are in the tarball.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive is the store of a docker-archive: its blobs go by file names.
type dockerArchive struct {
	files files
	paths map[v1.Hash]string
}

func (a *dockerArchive) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := a.files.open(a.paths[d.Digest])
	if err != nil {
		return nil, err
	}
	return f, nil
}

// manifest is never asked: describe embeds the manifests in their descriptors.
func (a *dockerArchive) manifest(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return nil, fmt.Errorf("a docker-archive has no manifest %s", d.Digest)
}

func (a *dockerArchive) Close() error { return nil }

func (o *opener) openDocker(ctx context.Context, f files) (*Image, error) {
	entries, err := readDockerManifest(f)
	if err != nil {
		return nil, err
	}
	a := &dockerArchive{files: f, paths: map[v1.Hash]string{}}
	var roots []named
	for i, e := range entries {
		n := named{names: e.RepoTags}
		if o.want == "" || strings.HasPrefix(o.want, "sha256:") || n.is(o.want) { // others are only listed
			if n.Descriptor, err = a.describe(e); err != nil {
				return nil, fmt.Errorf("reading image %d of %s: %w", i+1, dockerManifestFile, err)
			}
		}
		roots = append(roots, n)
	}
	o.form = formDockerArchive
	return o.chooseRoot(ctx, a, roots)
}

func readDockerManifest(f files) ([]dockerEntry, error) {
	r, err := f.open(dockerManifestFile)
	if err != nil {
		return nil, fmt.Errorf("reading the docker-archive: %w", err)
	}
	defer r.Close()
	data, err := readLimited(r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dockerManifestFile, err)
	}
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", dockerManifestFile, err)
	}
	if len(entries) > maxImages {
		return nil, fmt.Errorf("%s has %d images, %d are allowed", dockerManifestFile, len(entries), maxImages)
	}
	return entries, nil
}

// describe makes the manifest that a docker-archive lacks. Layers are as they
// are in the tarball; the digest of one that is not compressed is its diff ID,
// a promise of the config that is kept or broken when the layer is read.
func (a *dockerArchive) describe(e dockerEntry) (v1.Descriptor, error) {
	config, diffIDs, err := a.config(e.Config)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("config %q: %w", e.Config, err)
	}
	if len(e.Layers) > maxLayers || len(e.Layers) != len(diffIDs) {
		return v1.Descriptor{}, fmt.Errorf("%d layers, and %d in its config; %d are allowed", len(e.Layers), len(diffIDs), maxLayers)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config}
	for i, path := range e.Layers {
		d, err := a.layer(path, diffIDs[i])
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("layer %q: %w", path, err)
		}
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return embedded(types.OCIManifestSchema1, raw), nil
}

// embedded is a descriptor with the bytes that it describes.
func embedded(t types.MediaType, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: t, Size: int64(len(data)), Digest: sum(data), Data: data}
}

func (a *dockerArchive) config(path string) (v1.Descriptor, []v1.Hash, error) {
	f, err := a.files.open(path)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	defer f.Close()
	raw, err := readLimited(f)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(raw, &c); err != nil {
		return v1.Descriptor{}, nil, err
	}
	d := embedded(types.OCIConfigJSON, raw)
	d.Data = nil
	a.paths[d.Digest] = path
	return d, c.RootFS.DiffIDs, nil
}

func (a *dockerArchive) layer(path string, diffID v1.Hash) (v1.Descriptor, error) {
	f, err := a.files.open(path)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: f.Size(), Digest: diffID}
	switch f.magic() {
	case magicGzip:
		d.MediaType = types.OCILayer
	case magicZstd:
		d.MediaType = types.OCILayerZStd
	}
	if d.MediaType != types.OCIUncompressedLayer {
		if d.Digest, _, err = v1.SHA256(io.NewSectionReader(f, 0, f.Size())); err != nil {
			return v1.Descriptor{}, err
		}
	}
	a.paths[d.Digest] = path
	return d, nil
}
