package embedded

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/build/store"
)

// maxStack is how many layers are mounted on top of each other: the options of an
// overlay must fit into a page, and a lookup asks every layer.
const maxStack = 100

// exec runs a command and returns its file system afterwards.
func (s *solver) exec(op *plan.Op, k *plan.Exec) (store.Stack, error) {
	if err := s.refuse(op, k); err != nil {
		return nil, err
	}
	stack, err := s.wait(k.Root)
	if err != nil {
		return nil, err
	}
	if len(stack) > maxStack {
		if stack, err = s.copyStack(stack, "/", "/"); err != nil {
			return nil, err
		}
	}
	run := &execution{s: s, op: op, k: k}
	added, err := s.draft(func(d *store.Draft) (*store.Layer, error) { return run.in(d, stack) })
	if err != nil {
		return nil, err
	}
	if s.e.opts.Copy {
		return added, nil // it has everything
	}
	return unique(slices.Concat(stack, added)), nil
}

// refuse says why a command must not or cannot run here.
func (s *solver) refuse(op *plan.Op, k *plan.Exec) error {
	if k.Network == plan.HostNetwork && !s.e.opts.AllowHostNetwork {
		return fmt.Errorf("its recipe asks for the network of the host, which --allow network.host permits: %w", plan.ErrNotAllowed)
	}
	if _, arch, _ := strings.Cut(op.Platform, "/"); arch != runtime.GOARCH && !emulated(arch) {
		return fmt.Errorf("this machine cannot run programs for %s: %w", op.Platform, plan.ErrPlatform)
	}
	return nil
}

// emulated says whether the kernel starts an emulator for programs of another
// architecture (Linux, Documentation/admin-guide/binfmt-misc.rst).
func emulated(arch string) bool {
	qemu := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	data, err := os.ReadFile("/proc/sys/fs/binfmt_misc/qemu-" + qemu)
	return err == nil && bytes.HasPrefix(data, []byte("enabled"))
}

// execution is one run of a command.
type execution struct {
	s    *solver
	op   *plan.Op
	k    *plan.Exec
	tail plan.Tail
}

func (x *execution) in(d *store.Draft, stack store.Stack) (*store.Layer, error) {
	c, err := x.config(d, stack)
	if err != nil {
		return nil, err
	}
	res, err := sandbox.Run(x.s.ctx, c)
	switch {
	case x.s.ctx.Err() != nil:
		return nil, x.s.ctx.Err()
	case err != nil:
		return nil, &plan.ExecError{Op: x.op, Output: x.tail.Bytes(), Err: err}
	case res.ExitCode != 0:
		return nil, x.failed(c, res.ExitCode)
	}
	return d.Commit(x.s.ctx)
}

func (x *execution) config(d *store.Draft, stack store.Stack) (sandbox.Config, error) {
	c := sandbox.Config{
		Args: x.k.Args, Env: slices.Concat(x.k.Env, x.k.ProxyEnv), Dir: x.k.Dir,
		Network: sandbox.Host, Output: x,
	}
	if x.k.Network == plan.NoNetwork {
		c.Network = sandbox.None
	}
	for _, cache := range x.k.Caches {
		dir, err := x.s.e.mount(cache.ID)
		if err != nil {
			return c, err
		}
		c.Mounts = append(c.Mounts, sandbox.Mount{Source: dir, Target: cache.Path})
	}
	return c, x.root(&c, d, stack)
}

// root decides what the command's file system is made of.
func (x *execution) root(c *sandbox.Config, d *store.Draft, stack store.Stack) error {
	if x.s.e.opts.Copy {
		v, err := stack.View()
		if err != nil {
			return err
		}
		c.Root = d.FS
		return v.Flatten(x.s.ctx, d.FS)
	}
	c.Upper, c.Work = d.FS, d.Work
	for _, l := range stack {
		c.Lower = append(c.Lower, l.FS())
	}
	return nil
}

// failed makes the error, and lets the person look at what is there.
func (x *execution) failed(c sandbox.Config, code int) error {
	err := &plan.ExecError{Op: x.op, ExitCode: code, Output: x.tail.Bytes()}
	ask := x.s.e.opts.OnFailure
	if ask == nil {
		return err
	}
	x.s.e.failure.Lock()
	defer x.s.e.failure.Unlock()
	if x.s.ctx.Err() != nil {
		return err // another command failed, and the person has seen enough
	}
	ask(err, func(ctx context.Context, args []string, stdin *os.File) error {
		c.Args, c.Stdin, c.Terminal, c.Output = args, stdin, true, os.Stderr
		_, err := sandbox.Run(ctx, c)
		return err
	})
	return err
}

// Write implements io.Writer for what the command prints.
func (x *execution) Write(p []byte) (int, error) {
	x.tail.Write(p)
	x.s.tell(plan.Status{Op: x.op, State: plan.Output, Data: bytes.Clone(p)})
	return len(p), nil
}
