package oci

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"
)

// workers are goroutines that end together with the first error. Unlike those
// of an errgroup they may wait for what others do: the error that Wait returns
// is the first that says more than that somebody was stopped for its sake.
type workers struct {
	group *errgroup.Group
	mu    sync.Mutex
	err   error
}

// group has at most limit workers at a time. Their context ends with the first
// error.
func group(ctx context.Context, limit int) (*workers, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	return &workers{group: g}, ctx
}

// Go starts a worker when there is room for it.
func (w *workers) Go(fn func() error) {
	w.group.Go(func() error {
		err := fn()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err == nil || isCanceled(w.err) && err != nil && !isCanceled(err) {
			w.err = err
		}
		return err
	})
}

// Wait waits for all workers.
func (w *workers) Wait() error {
	_ = w.group.Wait() // which knows the first error only
	return w.err
}

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
