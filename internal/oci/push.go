package oci

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// push is an image in a registry.
type push struct {
	ref  string // of the tag
	tag  name.Tag
	opts PackOptions
}

func newPush(s string, opts PackOptions) (destination, error) {
	ref, err := parseReference(s, opts.Insecure)
	if err != nil {
		return nil, err
	}
	tag, ok := ref.(name.Tag)
	if !ok {
		return nil, errors.New("it has a digest, which only the finished image can have: give it a tag")
	}
	if opts.Name != "" && !hasTag(s) {
		n, err := parseImageName(opts.Name)
		if err != nil {
			return nil, err
		}
		tag = tag.Tag(n.tag)
	}
	return push{tag.String(), tag, opts}, nil
}

func (p push) write(ctx context.Context, a *artifact) (Result, error) {
	r, err := openRegistry(ctx, p.ref, transport.PushScope, Options{Insecure: p.opts.Insecure, Client: p.opts.Client})
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	before, err := r.present(ctx)
	if err != nil {
		return Result{}, explain(p.tag, err)
	}
	digest := a.root.Digest.String()
	res := Result{Ref: p.tag.Context().Digest(digest).String(), Name: p.tag.String(), Place: "the registry " + p.tag.RegistryStr()}
	if before == digest {
		res.There = true
		return res, nil
	}
	res.Before = before
	if err := p.upload(ctx, r.repository, a); err != nil {
		return Result{}, explain(p.tag, err)
	}
	if err := p.set(ctx, r, a); err != nil {
		return Result{}, explain(p.tag, err)
	}
	return res, nil
}

// set has the tag point to what was uploaded. Most registries know no conditions:
// they are asked in the moment before.
func (p push) set(ctx context.Context, r *registry, a *artifact) error {
	condition := http.Header{}
	if p.opts.Replaces != nil {
		now, err := r.present(ctx)
		if err != nil {
			return err
		}
		if now != *p.opts.Replaces {
			return ErrMoved
		}
		condition.Set("If-None-Match", "*")
		if now != "" {
			condition = http.Header{"If-Match": {`"` + now + `"`}}
		}
	}
	err := r.uploadManifest(ctx, p.tag.TagStr(), a.root, condition)
	if hasStatus(err, http.StatusPreconditionFailed) {
		return ErrMoved
	}
	return err
}

// present is the digest of what the tag points to so far; "" if that is nothing,
// or nothing that whoever may write may read.
func (r *registry) present(ctx context.Context) (string, error) {
	d, err := r.root(ctx)
	if hasStatus(err, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden) {
		return "", nil
	}
	return d.Digest.String(), err
}

// upload sends blobs in parallel, then the manifests that need them. The tag
// comes last: a reader never finds a part of an image.
func (p push) upload(ctx context.Context, repo *repository, a *artifact) error {
	sent := newProgress(a.size(), p.opts.Progress)
	g, gctx := group(ctx, maxParallel)
	for _, b := range a.blobs {
		g.Go(func() error { return repo.upload(gctx, b, sent) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(a.manifests) > 1 {
		for _, m := range a.manifests {
			if err := repo.uploadManifest(ctx, m.Digest.String(), m, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// upload sends a blob, unless the repository has it.
func (r *repository) upload(ctx context.Context, b blob, sent *progress) error {
	have, err := r.has(ctx, "blobs", b.Descriptor)
	if err != nil {
		return err
	}
	c := sent.counter()
	if !have {
		err = r.putBlob(ctx, b.Descriptor, nil, func() (io.ReadCloser, error) {
			c.set(0)
			return io.NopCloser(c.reader(b.reader())), nil
		})
		if err != nil {
			return err
		}
	}
	c.set(b.Size)
	return nil
}

func (r *repository) uploadManifest(ctx context.Context, id string, m blob, condition http.Header) error {
	d := m.Descriptor
	var err error
	if d.Data, err = io.ReadAll(m.reader()); err != nil {
		return err
	}
	_, err = r.putManifestIf(ctx, id, d, condition)
	return err
}
