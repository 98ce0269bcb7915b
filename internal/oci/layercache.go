package oci

import (
	"context"
	"fmt"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/tree"
)

// layerVersion is part of every key in the cache. It changes with the bytes
// that writeTar and the compressors make.
const layerVersion = "1"

// layerRecord is what the cache knows of a layer apart from its bytes, so that
// these are read only where they have to go.
type layerRecord struct {
	Digest v1.Hash `json:"digest"`
	DiffID v1.Hash `json:"diffID"`
	Size   int64   `json:"size"`
}

// cachedLayer gives a layer out of the cache, which it may have to make first.
func (b *builder) cachedLayer(ctx context.Context, t *tree.Tree) (layer, error) {
	digest, err := t.Digest(ctx)
	if err != nil {
		return layer{}, err
	}
	c := &cachedBytes{b: b, ctx: ctx, tree: t}
	c.key = fmt.Sprintf("image layer %s %s %d %s", layerVersion, b.opts.Compression, b.epoch().Unix(), digest)
	rec, err := c.record()
	if err != nil {
		return layer{}, err
	}
	d := v1.Descriptor{MediaType: b.opts.Compression.mediaType(), Size: rec.Size, Digest: rec.Digest}
	return layer{blob{d, c}, rec.DiffID}, nil
}

// cachedBytes are the bytes of a layer in the cache.
type cachedBytes struct {
	b    *builder
	ctx  context.Context //nolint:containedctx // of one call of Pack
	tree *tree.Tree
	key  string

	mu   sync.Mutex
	open *cache.Blob
}

func (c *cachedBytes) record() (rec layerRecord, err error) {
	err = cache.JSON(c.ctx, c.b.opts.Cache, c.key+" record", c.b.opts.Name+" (layer record)", &rec, func() error {
		rec, err = c.make()
		return err
	})
	return rec, err
}

// make compresses the layer into the cache.
func (c *cachedBytes) make() (rec layerRecord, err error) {
	var l layer
	blob, err := c.b.opts.Cache.Make(c.ctx, c.key, c.b.opts.Name+" (image layer)", func(f *os.File) error {
		l, err = c.b.writeLayer(c.ctx, c.tree, f)
		return err
	})
	if err != nil {
		return rec, err
	}
	defer blob.Close()
	if l.Size == 0 { // another process made it, or its record was lost
		if l, err = c.b.spooledLayer(c.ctx, c.tree); err != nil {
			return rec, err
		}
	}
	return layerRecord{l.Digest, l.diffID, l.Size}, nil
}

// ReadAt implements io.ReaderAt. The first call verifies the bytes.
func (c *cachedBytes) ReadAt(p []byte, off int64) (int, error) {
	blob, err := c.blob()
	if err != nil {
		return 0, err
	}
	return blob.ReadAt(p, off)
}

func (c *cachedBytes) blob() (*cache.Blob, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != nil {
		return c.open, nil
	}
	blob, err := c.b.opts.Cache.Make(c.ctx, c.key, c.b.opts.Name+" (image layer)", func(f *os.File) error {
		_, err := c.b.writeLayer(c.ctx, c.tree, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.b.spool.keep(blob)
	c.open = blob
	return blob, nil
}
