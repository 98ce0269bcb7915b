// Package embedded is the build engine that needs nothing but Linux: no daemon, no
// root, no external program. Commands run in namespaces of their own on an
// overlay of layers (package sandbox), and what they leave behind is kept by
// content (package store).
//
// A command's key is all that it can see: its arguments, environment, directory,
// network, persistent directories, and the digests of the layers below it. So a
// change that ends in the same files ends there: what depends on them is not run
// again. Operations that do not need each other run at the same time.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/store"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// Options say how the engine runs.
type Options struct {
	Store *store.Store
	// Commands to run at a time; 0 is one per CPU, but two at least: most wait.
	Parallel int
	// NoCache runs every command, though its result may be known.
	NoCache bool
	// Scope keeps results and persistent directories apart from those of other
	// scopes: for a second build that must not see anything of the first. They are
	// not kept beyond Close.
	Scope string
	// AllowHostNetwork lets commands have the host's network where their recipe
	// asks for it by name.
	AllowHostNetwork bool
	// Copy has commands run in a copy of their file system, for hosts where
	// overlayfs cannot be mounted.
	Copy bool
	// Images says how container images are read.
	Images oci.Options
	// OnFailure is called, one at a time, after a command failed, while its file
	// system is still there. shell runs another command in it.
	OnFailure func(err *plan.ExecError, shell Shell)
}

// Shell runs a command on the user's terminal in place of one that failed.
type Shell func(ctx context.Context, args []string, stdin *os.File) error

// New returns an engine. Close also closes the store.
func New(o Options) (*Engine, error) {
	if o.Parallel == 0 {
		o.Parallel = max(2, runtime.GOMAXPROCS(0))
	}
	return &Engine{opts: o, slots: make(chan struct{}, o.Parallel), scoped: map[string]bool{}}, nil
}

// Engine implements plan.Engine.
type Engine struct {
	opts    Options
	slots   chan struct{} // one per operation that works
	failure sync.Mutex    // held during OnFailure

	mu     sync.Mutex
	scoped map[string]bool // persistent directories that nobody sees but this engine
}

// Close implements plan.Engine. What persists in a scope of its own goes.
func (e *Engine) Close() error {
	var errs []error
	for id := range e.scoped {
		errs = append(errs, e.opts.Store.RemoveMount(id))
	}
	return errors.Join(append(errs, e.opts.Store.Close())...)
}

// mount is a persistent directory.
func (e *Engine) mount(id string) (string, error) {
	id = e.opts.Scope + id
	if e.opts.Scope != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.scoped[id] = true
	}
	return e.opts.Store.Mount(id)
}

// Solve implements plan.Engine.
func (e *Engine) Solve(ctx context.Context, roots []*plan.Op, report plan.Report) ([]*tree.Tree, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &solver{e: e, ctx: ctx, cancel: cancel, report: report, results: map[*plan.Op]*result{}}
	defer s.running.Wait() // nobody works on after the first error was returned
	defer cancel(nil)
	for _, op := range roots {
		s.start(op)
	}
	trees := make([]*tree.Tree, len(roots))
	for i, op := range roots {
		stack, err := s.wait(op)
		if err != nil {
			return nil, s.cause(err)
		}
		v, err := stack.View()
		if err != nil {
			return nil, fmt.Errorf("reading the result of %s: %w", op.Name, err)
		}
		trees[i] = v.Tree()
	}
	return trees, nil
}

// solver is one call of Solve.
type solver struct {
	e       *Engine
	ctx     context.Context //nolint:containedctx // of this one call
	cancel  context.CancelCauseFunc
	report  plan.Report
	running sync.WaitGroup

	mu      sync.Mutex
	results map[*plan.Op]*result
}

// result is what becomes of an operation.
type result struct {
	done  chan struct{}
	stack store.Stack
	err   error
}

// cause is the error that made all others stop.
func (s *solver) cause(err error) error {
	if c := context.Cause(s.ctx); errors.Is(err, context.Canceled) && c != nil {
		return c
	}
	return err
}

// start has an operation made, and before it all that it needs.
func (s *solver) start(op *plan.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.results[op] != nil {
		return
	}
	r := &result{done: make(chan struct{})}
	s.results[op] = r
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer close(r.done)
		for _, in := range op.Kind.Inputs() {
			s.start(in)
		}
		for _, in := range op.Kind.Inputs() {
			if _, r.err = s.wait(in); r.err != nil {
				return
			}
		}
		r.stack, r.err = s.solve(op)
		if r.err != nil {
			s.cancel(r.err)
		}
	}()
}

// wait returns the result of an operation that was started.
func (s *solver) wait(op *plan.Op) (store.Stack, error) {
	s.mu.Lock()
	r := s.results[op]
	s.mu.Unlock()
	<-r.done
	return r.stack, r.err
}

// solve makes an operation whose inputs are there.
func (s *solver) solve(op *plan.Op) (store.Stack, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if m, ok := op.Kind.(*plan.Merge); ok {
		return s.merge(m)
	}
	key, err := s.key(op)
	if err != nil {
		return nil, s.fail(op, err)
	}
	_, isExec := op.Kind.(*plan.Exec)
	if !isExec || !s.e.opts.NoCache {
		if stack, err := s.e.opts.Store.Result(key); err == nil {
			s.tell(plan.Status{Op: op, State: plan.Cached})
			return stack, nil
		}
	}
	return s.makeOnce(op, key, isExec && s.e.opts.NoCache)
}

// makeOnce makes a result, unless another process does so at the same time.
func (s *solver) makeOnce(op *plan.Op, key store.Key, again bool) (store.Stack, error) {
	unlock, err := s.e.opts.Store.Lock(s.ctx, key)
	if err != nil {
		return nil, s.fail(op, err)
	}
	defer unlock()
	if !again {
		if stack, err := s.e.opts.Store.Result(key); err == nil {
			s.tell(plan.Status{Op: op, State: plan.Cached})
			return stack, nil
		}
	}
	select {
	case s.e.slots <- struct{}{}:
		defer func() { <-s.e.slots }()
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	s.tell(plan.Status{Op: op, State: plan.Started})
	stack, err := s.make(op)
	if _, isExec := op.Kind.(*plan.Exec); err == nil && (!isExec || s.e.opts.Scope == "") {
		err = s.e.opts.Store.SetResult(key, op.Name, stack)
	}
	if err != nil {
		return nil, s.fail(op, err)
	}
	s.tell(plan.Status{Op: op, State: plan.Done})
	return stack, nil
}

// fail reports an error and says what it happened to.
func (s *solver) fail(op *plan.Op, err error) error {
	var exec *plan.ExecError
	switch {
	case errors.Is(err, context.Canceled):
		s.tell(plan.Status{Op: op, State: plan.Canceled})
		return err
	case !errors.As(err, &exec):
		err = fmt.Errorf("%s: %w", op.Name, err)
	}
	s.tell(plan.Status{Op: op, State: plan.Failed, Err: err})
	return err
}

// merge puts stacks on top of each other. A layer that comes twice counts where
// it is on top: there it covers all that it has below, and overlayfs takes no
// directory twice.
func (s *solver) merge(m *plan.Merge) (store.Stack, error) {
	var all store.Stack
	for _, in := range m.Layers {
		stack, err := s.wait(in)
		if err != nil {
			return nil, err
		}
		all = append(all, stack...)
	}
	return unique(all), nil
}

func unique(stack store.Stack) store.Stack {
	seen := map[string]bool{}
	var out store.Stack
	for _, l := range slices.Backward(stack) {
		if !seen[l.Name] {
			seen[l.Name] = true
			out = append(out, l)
		}
	}
	slices.Reverse(out)
	return out
}

// make does the work of an operation.
func (s *solver) make(op *plan.Op) (store.Stack, error) {
	switch k := op.Kind.(type) {
	case *plan.Files:
		return s.fill(k.Tree, op)
	case *plan.Image:
		return s.image(op, k)
	case *plan.Copy:
		return s.copy(k)
	case *plan.Exec:
		return s.exec(op, k)
	}
	return nil, fmt.Errorf("an operation of the kind %T is unknown", op.Kind)
}

// draft makes a layer of what fill does.
func (s *solver) draft(fill func(*store.Draft) (*store.Layer, error)) (store.Stack, error) {
	d, err := s.e.opts.Store.Draft()
	if err != nil {
		return nil, err
	}
	defer d.Discard()
	l, err := fill(d)
	if err != nil || l == nil {
		return nil, err
	}
	return store.Stack{l}, nil
}

func (s *solver) fill(files func(context.Context, plan.Log) (*tree.Tree, error), op *plan.Op) (store.Stack, error) {
	t, err := files(s.ctx, func(line string) {
		s.tell(plan.Status{Op: op, State: plan.Output, Data: []byte(line + "\n")})
	})
	if err != nil {
		return nil, err
	}
	return s.draft(func(d *store.Draft) (*store.Layer, error) { return d.Fill(s.ctx, t, plan.FileTime) })
}

func (s *solver) image(op *plan.Op, k *plan.Image) (store.Stack, error) {
	img, err := s.openImage(op, k)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	t, err := img.Tree(s.ctx)
	if err != nil {
		return nil, err
	}
	// Only root of the machine could make devices. Sandboxes have their own.
	t, err = t.Filter(func(e tree.Entry) bool { return e.Mode&(fs.ModeDevice|fs.ModeSocket) == 0 })
	if err != nil {
		return nil, err
	}
	return s.draft(func(d *store.Draft) (*store.Layer, error) { return d.Fill(s.ctx, t, plan.FileTime) })
}

func (s *solver) copy(k *plan.Copy) (store.Stack, error) {
	stack, err := s.wait(k.Input)
	if err != nil {
		return nil, err
	}
	return s.copyStack(stack, k.From, k.To)
}

func (s *solver) copyStack(stack store.Stack, from, to string) (store.Stack, error) {
	v, err := stack.View()
	if err != nil {
		return nil, err
	}
	return s.draft(func(d *store.Draft) (*store.Layer, error) { return d.Copy(s.ctx, v, from, to) })
}

func (s *solver) openImage(op *plan.Op, k *plan.Image) (*oci.Image, error) {
	o := s.e.opts.Images
	o.Platform = op.Platform
	return oci.Open(s.ctx, k.Ref, o)
}
