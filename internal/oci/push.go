package oci

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// push is an image in a registry.
type push struct {
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
	return push{tag, opts}, nil
}

func (p push) write(ctx context.Context, a *artifact) (Result, error) {
	base := newTransport(p.opts.Insecure)
	defer base.CloseIdleConnections()
	pusher, err := remote.NewPusher(remote.WithTransport(base), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithRetryBackoff(backoff), remote.WithRetryStatusCodes(busyCodes...), remote.WithRetryPredicate(isTemporary))
	if err != nil {
		return Result{}, err
	}
	if err := p.upload(ctx, pusher, a); err != nil {
		return Result{}, explain(p.tag, err)
	}
	pinned := p.tag.Context().Digest(a.root.Digest.String())
	return Result{Ref: pinned.String(), Name: p.tag.String(), Place: "the registry " + p.tag.RegistryStr()}, nil
}

// upload sends blobs in parallel, then the manifests that need them, then
// what the tag is for: a reader never finds a part of an image.
func (p push) upload(ctx context.Context, pusher *remote.Pusher, a *artifact) error {
	repo := p.tag.Context()
	sent := newProgress(a.size(), p.opts.Progress)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for _, b := range a.blobs {
		g.Go(func() error {
			u := &uploadable{blob: b, progress: sent}
			if err := pusher.Upload(gctx, repo, u); err != nil {
				return err
			}
			u.count(b.Size) // also if the registry had it already
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(a.manifests) > 1 {
		for _, m := range a.manifests {
			if err := pusher.Put(ctx, repo.Digest(m.Digest.String()), taggable{m}); err != nil {
				return err
			}
		}
	}
	return pusher.Put(ctx, p.tag, taggable{a.root})
}

// taggable is a manifest as ggcr wants it.
type taggable struct{ blob }

func (t taggable) RawManifest() ([]byte, error)        { return io.ReadAll(t.reader()) }
func (t taggable) MediaType() (types.MediaType, error) { return t.Descriptor.MediaType, nil }

// uploadable is a blob as ggcr wants it: a layer, of which it needs the
// compressed bytes only.
type uploadable struct {
	blob
	progress *progress
	counted  atomic.Int64 // what the progress knows of
}

// count tells the progress that n bytes in all have been sent.
func (u *uploadable) count(n int64) { u.progress.add(n - u.counted.Swap(n)) }

func (u *uploadable) Digest() (v1.Hash, error)             { return u.Descriptor.Digest, nil }
func (u *uploadable) DiffID() (v1.Hash, error)             { return u.Descriptor.Digest, nil }
func (u *uploadable) Size() (int64, error)                 { return u.Descriptor.Size, nil }
func (u *uploadable) MediaType() (types.MediaType, error)  { return u.Descriptor.MediaType, nil }
func (u *uploadable) Uncompressed() (io.ReadCloser, error) { return u.Compressed() }

// Compressed starts an attempt to send the blob.
func (u *uploadable) Compressed() (io.ReadCloser, error) {
	u.count(0)
	return io.NopCloser(&attempt{u: u, r: u.reader()}), nil
}

type attempt struct {
	u *uploadable
	r io.Reader
	n int64
}

func (a *attempt) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.n += int64(n)
	a.u.count(a.n)
	return n, err
}
