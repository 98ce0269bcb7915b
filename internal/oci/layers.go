package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/tree"
)

// maxParallel is the number of layers that are read at once: enough to fill a
// line and a few cores, and few enough to be polite to a registry.
const maxParallel = 4

// uncompressed is a layer as a tar that can be read at any place.
type uncompressed struct {
	io.ReaderAt
	size int64
}

// Tree returns the files of the image: all layers on top of each other. It
// reads and verifies each layer once; later calls return the same tree. Its
// files are read where the layers are, so it must not be used after Close.
func (i *Image) Tree(ctx context.Context) (*tree.Tree, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tree != nil {
		return i.tree, nil
	}
	layers, err := i.readLayers(ctx)
	if err != nil {
		return nil, i.explain(err)
	}
	t := tree.New()
	for n, l := range layers {
		if err := t.ApplyLayer(l, l.size); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", i.layerName(n), err)
		}
	}
	i.tree = t
	return t, nil
}

func (i *Image) layerName(n int) string {
	layers := i.parts.manifest.Layers
	return fmt.Sprintf("layer %d of %d (%s)", n+1, len(layers), layers[n].Digest)
}

// explain lets the registry say more about an error.
func (i *Image) explain(err error) error {
	if r, ok := i.store.(*registry); ok {
		return r.explain(err)
	}
	return err
}

func (i *Image) readLayers(ctx context.Context) ([]uncompressed, error) {
	descs := i.parts.manifest.Layers
	layers := make([]uncompressed, len(descs))
	p := newProgress(layersSize(descs), i.progress)
	g, ctx := group(ctx, maxParallel)
	for n := range descs {
		g.Go(func() error {
			var err error
			if layers[n], err = i.readLayer(ctx, n, p); err != nil {
				return fmt.Errorf("reading %s: %w", i.layerName(n), err)
			}
			return nil
		})
	}
	return layers, g.Wait()
}

// readLayer verifies a layer. One that is a file and not compressed stays
// where it is; another goes to the spool.
func (i *Image) readLayer(ctx context.Context, n int, p *progress) (uncompressed, error) {
	d, diffID := i.parts.manifest.Layers[n], i.parts.config.RootFS.DiffIDs[n]
	rc, err := i.store.blob(ctx, d)
	if err != nil {
		return uncompressed{}, err
	}
	v, err := newVerifier(p.reader(ctxio.NewReader(ctx, rc)), d)
	if err != nil {
		return uncompressed{}, errors.Join(err, rc.Close())
	}
	if f, ok := rc.(*fileBlob); ok && f.magic() == magicNone && diffID.Algorithm == d.Digest.Algorithm {
		i.spool.keep(f)
		if err := v.finish(); err != nil {
			return uncompressed{}, err
		}
		return uncompressed{f, d.Size}, sameDiffID(d.Digest, diffID)
	}
	defer rc.Close()
	return i.spoolLayer(ctx, v, diffID)
}

func (i *Image) spoolLayer(ctx context.Context, v *verifier, diffID v1.Hash) (uncompressed, error) {
	u, err := i.unpackLayer(ctx, v, diffID)
	if errors.Is(err, errTooLarge) {
		return u, err // what is left need not be read
	}
	if verr := v.finish(); verr != nil {
		return u, verr // a damaged blob is the deeper cause of what a decoder says
	}
	return u, err
}

func (i *Image) unpackLayer(ctx context.Context, v *verifier, diffID v1.Hash) (uncompressed, error) {
	r, _, err := unpack(v)
	if err != nil {
		return uncompressed{}, err
	}
	defer r.Close()
	h, err := v1.Hasher(diffID.Algorithm)
	if err != nil {
		return uncompressed{}, err
	}
	f, size, err := i.spool.fill(ctx, io.TeeReader(r, h))
	if err != nil {
		return uncompressed{}, fmt.Errorf("unpacking it: %w", err)
	}
	got := v1.Hash{Algorithm: diffID.Algorithm, Hex: fmt.Sprintf("%x", h.Sum(nil))}
	return uncompressed{f, size}, sameDiffID(got, diffID)
}

func sameDiffID(got, want v1.Hash) error {
	if got != want {
		return fmt.Errorf("uncompressed it is %s, the image's config says %s", got, want)
	}
	return nil
}
