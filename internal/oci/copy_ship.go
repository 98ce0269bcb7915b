package oci

import (
	"context"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// flights let the first of several goroutines do what all of them need.
type flights struct {
	mu sync.Mutex
	by map[string]*flight
}

type flight struct {
	once sync.Once
	err  error
}

// do calls fn, unless it was called with this key before. It says whether it
// was this call that did.
func (f *flights) do(key string, fn func() error) (mine bool, err error) {
	f.mu.Lock()
	if f.by == nil {
		f.by = map[string]*flight{}
	}
	one := f.by[key]
	if one == nil {
		one = &flight{}
		f.by[key] = one
	}
	f.mu.Unlock()
	one.once.Do(func() {
		mine = true
		one.err = fn()
	})
	return mine, one.err
}

// describe tells what would be copied.
func (c *copier) describe(ctx context.Context, cargos []*cargo) error {
	for _, cargo := range cargos {
		got := cargo.copied()
		for _, d := range cargo.blobs {
			_, err := c.flights.do(cargo.to.key()+" "+d.Digest.String(), func() error {
				have, err := cargo.to.hasBlob(ctx, d)
				if !have {
					got.Missing += d.Size
				}
				return err
			})
			if err != nil {
				return cargo.failed(err)
			}
		}
		before, err := cargo.to.named(ctx)
		if err != nil {
			return cargo.failed(err)
		}
		c.tell(got.instead(before))
	}
	return nil
}

// instead notes what had the name before.
func (c Copied) instead(before string) Copied {
	if before != c.Digest {
		c.Before = before
	}
	return c
}

func (c *copier) tell(got Copied) {
	if c.opts.Copied != nil {
		c.opts.Copied(got)
	}
}

// failed says which image an error is about. Errors of its source know already
// which registry they are from, see openChecked.
func (c *cargo) failed(err error) error {
	return fmt.Errorf("copying %s to %s: %w", c.route.From, Redact(c.route.To), c.to.explain(err))
}

// ship copies what was planned. Files come first: they are written as a whole.
func (c *copier) ship(ctx context.Context, cargos []*cargo) error {
	c.progress = newProgress(distinctSize(cargos), c.opts.Progress)
	if err := c.shipArchives(ctx, cargos); err != nil {
		return err
	}
	g, gctx := group(ctx, copyParallel)
	line := make(chan struct{}, copyParallel) // how many blobs are on their way
	before := make(chan struct{})
	close(before)
	for _, cargo := range cargos {
		wait := before
		g.Go(func() error { return c.shipOne(gctx, cargo, wait, line) })
		before = cargo.done
	}
	return g.Wait()
}

// distinctSize counts blobs that several images share once.
func distinctSize(cargos []*cargo) int64 {
	seen := map[string]bool{}
	total := int64(0)
	for _, c := range cargos {
		for _, d := range c.blobs {
			if key := c.to.key() + " " + d.Digest.String(); !seen[key] {
				seen[key] = true
				total += d.Size
			}
		}
	}
	return total
}

// shipOne copies an image: blobs, manifests, what refers to it, and its name
// when the images before it have theirs.
func (c *copier) shipOne(ctx context.Context, cargo *cargo, before <-chan struct{}, line chan struct{}) error {
	got := cargo.copied()
	if _, ok := cargo.to.(archiveTarget); !ok {
		var err error
		if got.Missing, err = c.shipBlobs(ctx, cargo, line); err != nil {
			return cargo.failed(err)
		}
		for _, m := range cargo.manifests {
			if err := cargo.to.put(ctx, m); err != nil {
				return cargo.failed(err)
			}
		}
	} else {
		got.Missing = layersSize(cargo.blobs)
	}
	select {
	case <-before:
	case <-ctx.Done():
		return ctx.Err()
	}
	replaced, err := cargo.to.finish(ctx, cargo.root)
	if err != nil {
		return cargo.failed(err)
	}
	c.tell(got.instead(replaced))
	close(cargo.done)
	return nil
}

// shipBlobs returns how many bytes were not there.
func (c *copier) shipBlobs(ctx context.Context, cargo *cargo, line chan struct{}) (missing int64, err error) {
	var mu sync.Mutex
	g, gctx := group(ctx, copyParallel)
	for _, d := range cargo.blobs {
		g.Go(func() error {
			mine, err := c.flights.do(cargo.to.key()+" "+d.Digest.String(), func() error {
				select {
				case line <- struct{}{}:
					defer func() { <-line }()
				case <-gctx.Done():
					return gctx.Err()
				}
				sent, err := c.shipBlob(gctx, cargo, d)
				mu.Lock()
				defer mu.Unlock()
				missing += sent
				return err
			})
			if err != nil && !mine && gctx.Err() == nil {
				return fmt.Errorf("blob %s, which another image has, too: %w", d.Digest, err)
			}
			return err
		})
	}
	return missing, g.Wait()
}

// shipBlob copies a blob that is not there, and returns its size.
func (c *copier) shipBlob(ctx context.Context, cargo *cargo, d v1.Descriptor) (int64, error) {
	count := c.progress.counter()
	have, err := cargo.to.hasBlob(ctx, d)
	if err != nil {
		return 0, fmt.Errorf("looking for blob %s: %w", d.Digest, err)
	}
	sent := int64(0)
	if !have {
		if err := cargo.to.putBlob(ctx, d, cargo.from, count); err != nil {
			return 0, fmt.Errorf("blob %s: %w", d.Digest, err)
		}
		sent = d.Size
	}
	count.set(d.Size)
	return sent, nil
}
