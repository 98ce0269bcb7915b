package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/ctxio"
)

// archiveDest is an image tarball as docker save writes it today: an OCI
// layout, and a manifest.json that describes the same blobs to older tools.
type archiveDest struct {
	path string
	name imageName
}

func (d archiveDest) write(ctx context.Context, a *artifact) (Result, error) {
	err := atomicfile.Write(d.path, func(f *os.File) error {
		tw := tar.NewWriter(ctxio.NewWriter(ctx, f))
		if err := d.writeEntries(tw, a); err != nil {
			return err
		}
		return tw.Close()
	})
	return Result{Name: d.name.given, Place: "the image tarball " + d.path}, err
}

func (d archiveDest) writeEntries(tw *tar.Writer, a *artifact) error {
	root := a.root.Descriptor
	root.Annotations = d.name.annotations()
	index, err := jsonBlob("", v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{root}})
	if err != nil {
		return err
	}
	docker, err := d.dockerManifest(a)
	if err != nil {
		return err
	}
	for _, dir := range []string{blobsDir, blobsDir + "/sha256"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	for _, b := range a.all() {
		if err := writeBlob(tw, blobPath(b.Digest), b); err != nil {
			return err
		}
	}
	if err := writeBlob(tw, indexFile, index); err != nil {
		return err
	}
	if err := writeBlob(tw, dockerManifestFile, docker); err != nil {
		return err
	}
	return writeBlob(tw, layoutFile, bytesBlob("", []byte(layoutVersion)))
}

// dockerManifest is manifest.json, which knows no platforms: all images are in
// it, and the name belongs to the first, for it can belong to one only.
func (d archiveDest) dockerManifest(a *artifact) (blob, error) {
	var entries []dockerEntry
	for _, m := range a.manifests {
		var manifest v1.Manifest
		if err := json.NewDecoder(m.reader()).Decode(&manifest); err != nil {
			return blob{}, err
		}
		e := dockerEntry{Config: blobPath(manifest.Config.Digest)}
		for _, l := range manifest.Layers {
			e.Layers = append(e.Layers, blobPath(l.Digest))
		}
		if len(entries) == 0 && d.name.given != "" {
			e.RepoTags = []string{d.name.given}
		}
		entries = append(entries, e)
	}
	return jsonBlob("", entries)
}

func writeBlob(tw *tar.Writer, path string, b blob) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path, Size: b.Size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := copyTo(tw, b.reader())
	return err
}
