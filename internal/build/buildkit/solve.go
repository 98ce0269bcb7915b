package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/tree"
)

// Solve implements plan.Engine.
func (e *Engine) Solve(ctx context.Context, roots []*plan.Op, report plan.Report) ([]*tree.Tree, error) {
	ops := operations(roots)
	for _, op := range ops {
		if k, ok := op.Kind.(*plan.Exec); ok {
			if err := e.refuse(op, k); err != nil {
				return nil, &opError{op, err}
			}
		}
	}
	s := &solver{e: e, roots: roots, ops: ops, store: newContentStore(), progress: newProgress(report)}
	defer s.store.Close()
	trees, err := s.solve(ctx)
	if err = s.explain(ctx, err); err != nil {
		s.progress.fail(err)
		return nil, err
	}
	s.progress.finish(ops)
	return trees, nil
}

// solver is one call of Solve.
type solver struct {
	e        *Engine
	roots    []*plan.Op
	ops      []*plan.Op // all, inputs first
	store    *contentStore
	progress *progress
}

func (s *solver) solve(ctx context.Context) ([]*tree.Tree, error) {
	g, err := s.graph(ctx)
	if err != nil {
		return nil, err
	}
	all := tree.New()
	if st := g.collect(s.roots); st.Output() != nil {
		def, err := st.Marshal(ctx, llb.LinuxAmd64)
		if err != nil {
			return nil, err
		}
		if all, err = s.build(ctx, def); err != nil {
			return nil, err
		}
	}
	if len(s.roots) == 1 {
		return []*tree.Tree{all}, nil
	}
	trees := make([]*tree.Tree, len(s.roots))
	for i, op := range s.roots {
		if trees[i] = all.Sub(strconv.Itoa(i)); trees[i] != nil {
			continue
		}
		if g.states[op].Output() != nil {
			return nil, &opError{op, errors.New("the BuildKit daemon did not send its files")}
		}
		trees[i] = tree.New()
	}
	return trees, nil
}

// graph turns the plan into LLB.
func (s *solver) graph(ctx context.Context) (*graph, error) {
	in := &inputs{e: s.e, log: s.progress.log, store: s.store, images: map[string]*input{}}
	digests, err := in.prepare(ctx, s.ops)
	if err != nil {
		return nil, err
	}
	g := newGraph(digests, s.e.opts.NoCache)
	for _, op := range s.ops {
		if err := g.add(ctx, op); err != nil {
			return nil, err
		}
	}
	s.progress.know(g.vertices)
	return g, nil
}

// build has the daemon do the work, and gets the result.
func (s *solver) build(ctx context.Context, def *llb.Definition) (*tree.Tree, error) {
	out, err := s.e.spool()
	if err != nil {
		return nil, err
	}
	s.e.keep(out)
	opt, err := s.options(out)
	if err != nil {
		return nil, err
	}
	statuses := make(chan *client.SolveStatus)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for st := range statuses {
			s.progress.update(st)
		}
	}()
	_, err = s.e.client.Solve(ctx, def, opt, statuses)
	<-followed
	if err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	t, err := tree.FromTar(out, size)
	if err != nil {
		return nil, fmt.Errorf("reading what the BuildKit daemon sent: %w", err)
	}
	return t, nil
}

func (s *solver) options(out *os.File) (client.SolveOpt, error) {
	docker, err := config.Load(config.Dir())
	if err != nil {
		return client.SolveOpt{}, fmt.Errorf("reading the names and passwords for registries: %w", err)
	}
	auth := authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: authprovider.LoadAuthConfig(docker)})
	return client.SolveOpt{
		Exports: []client.ExportEntry{{
			Type: client.ExporterTar,
			Output: func(map[string]string) (io.WriteCloser, error) {
				return keptOpen{out}, nil
			},
		}},
		OCIStores:           map[string]content.Store{storeID: s.store},
		CacheImports:        cloneEntries(s.e.cacheFrom),
		CacheExports:        cloneEntries(s.e.cacheTo),
		Session:             []session.Attachable{auth},
		AllowedEntitlements: s.e.opts.Allow,
	}, nil
}

// cloneEntries copies entries, into which the client writes what it finds out.
func cloneEntries(entries []client.CacheOptionsEntry) []client.CacheOptionsEntry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Attrs = maps.Clone(entries[i].Attrs)
	}
	return entries
}

// keptOpen is a file that another one closes.
type keptOpen struct{ io.Writer }

// Close implements io.Closer.
func (keptOpen) Close() error { return nil }
