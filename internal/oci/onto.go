package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/ctxio"
)

// Below is an image that a packed tree is put on: its layers stay as they are
// and its config is kept, as the base of a FROM.
type Below struct {
	Image *Image
	// Layers is how many of its layers stay, from the lowest on; 0 stands for
	// all of them.
	Layers int
}

// layers are those that stay, as an OCI manifest has them. Their bytes are
// where they were, or in the spool.
func (b *builder) below(ctx context.Context, on *Below) ([]layer, error) {
	img := on.Image
	if img.parts == nil {
		return nil, errors.New("a directory or a plain tar is no image that a layer could be put on")
	}
	descs := img.parts.manifest.Layers
	n := on.Layers
	if n == 0 {
		n = len(descs)
	}
	if n > len(descs) {
		return nil, fmt.Errorf("it has %d layers, fewer than the %d that are to stay", len(descs), n)
	}
	var layers []layer
	for i, d := range descs[:n] {
		at, err := b.rawLayer(ctx, img, d)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", img.layerName(i), img.explain(err))
		}
		d = v1.Descriptor{MediaType: ociLayerType(d.MediaType), Size: d.Size, Digest: d.Digest}
		layers = append(layers, layer{blob{d, at}, img.parts.config.RootFS.DiffIDs[i]})
	}
	return layers, nil
}

// rawLayer is a layer as it is stored, verified.
func (b *builder) rawLayer(ctx context.Context, img *Image, d v1.Descriptor) (io.ReaderAt, error) {
	if b.opts.Cache == nil {
		f, err := b.spool.create()
		if err != nil {
			return nil, fmt.Errorf("making room in %s: %w", b.spool.dir, cause(err))
		}
		return f, img.copyLayer(ctx, d, f)
	}
	blob, err := b.opts.Cache.Make(ctx, "image blob "+d.Digest.String(), "layer of "+img.ref, func(f *os.File) error {
		return img.copyLayer(ctx, d, f)
	})
	if err != nil {
		return nil, err
	}
	b.spool.keep(blob)
	return blob, nil
}

func (i *Image) copyLayer(ctx context.Context, d v1.Descriptor, w io.Writer) error {
	rc, err := i.store.blob(ctx, d)
	if err != nil {
		return err
	}
	defer rc.Close()
	v, err := newVerifier(ctxio.NewReader(ctx, rc), d)
	if err != nil {
		return err
	}
	if _, err := copyTo(w, v); err != nil {
		return err
	}
	return v.finish()
}

// ociLayerType is what a layer is called in an OCI manifest, in which Docker's
// words have no place.
func ociLayerType(t types.MediaType) types.MediaType {
	switch t {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case dockerZstdLayer:
		return types.OCILayerZStd
	}
	return t
}

// historyOf is the part of a config's history that is about its first layers.
func historyOf(c v1.ConfigFile, layers int) []v1.History {
	for i, h := range c.History {
		if h.EmptyLayer {
			continue
		}
		if layers == 0 {
			return c.History[:i:i]
		}
		layers--
	}
	if layers > 0 { // it has less history than layers: it cannot be kept
		return nil
	}
	return c.History
}
