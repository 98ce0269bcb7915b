package cli

import (
	"context"
	"sync"

	"github.com/graftlinux/graft/internal/resource"
)

// watchNodes prints what is there and every change, until all nodes have
// failed or ctx is done, which is how a person ends it and no error.
func watchNodes(ctx context.Context, s Streams, q question, nodes []*target, p resourcePrinter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{printer: p, left: len(nodes)}
	var running sync.WaitGroup
	for _, t := range nodes {
		running.Go(func() {
			if err := w.follow(ctx, t, q); ctx.Err() == nil {
				w.lose(s, t.failed(q, err))
			}
			if w.broken() != nil {
				cancel()
			}
		})
	}
	running.Wait()
	if err := w.broken(); err != nil {
		return err
	}
	return w.last
}

// watch brings the events of several nodes to one printer.
type watch struct {
	mu      sync.Mutex
	printer resourcePrinter
	begun   bool
	left    int   // nodes that have not failed
	last    error // of the node that failed when no other was left
	output  error // why printing is over
}

// follow watches one node. The error is never nil.
func (w *watch) follow(ctx context.Context, t *target, q question) error {
	c, d, err := t.connect(ctx, &q)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := w.begin(d); err != nil {
		return err
	}
	live := false
	return c.Watch(ctx, q.namespace, d.Type, q.id, func(e *resource.Event) error {
		live = live || e == nil
		return w.event(t.name, e, live)
	})
}

// connect reaches a node and resolves the question, within its timeout.
func (t *target) connect(ctx context.Context, q *question) (*resource.Client, resource.Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	c, err := t.dial(ctx, q.timeout)
	if err != nil {
		return nil, resource.Definition{}, err
	}
	d, err := define(ctx, c, q)
	if err != nil {
		c.Close()
		return nil, d, err
	}
	return c, d, nil
}

// begin starts the output with the definition of the first node that answers.
func (w *watch) begin(d resource.Definition) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun && w.output == nil {
		w.begun = true
		w.output = w.printer.begin(d)
	}
	return w.output
}

// event prints an event, which may be nil. The rows of what was there at the
// beginning wait for each other, so that the table is as wide as they need;
// what happens live is printed at once.
func (w *watch) event(node string, e *resource.Event, live bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.output == nil && e != nil {
		w.output = w.printer.print(node, e.Resource, e.Change)
	}
	if w.output == nil && live {
		w.output = w.printer.flush()
	}
	return w.output
}

// broken says why nothing can be printed any more.
func (w *watch) broken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.output
}

// lose tells of a node that has failed. The error of the last one is left for
// the command to return.
func (w *watch) lose(s Streams, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left--
	switch {
	case w.output != nil:
	case w.left > 0:
		report(s.Err, nil, err)
	default:
		w.last = err
	}
}
