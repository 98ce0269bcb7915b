// Package buildkit runs plans on a BuildKit daemon, here or far away.
//
// A plan is sent as LLB, BuildKit's own form of such a graph: every operation
// becomes one of the daemon's, named as the plan names it. What graft brings
// itself, such as sources, is packed as images of one layer which the daemon
// fetches out of this process, each once: it knows them by their digests. The
// results come back as one tar.
//
// Where BuildKit's rules are not the plan's, the plan's count. What cannot be
// had: directories that a copy makes have the time when that happened. Commands
// see the variables that the daemon's tracing adds (OTEL_*, TRACEPARENT). What
// they write to stdout and to stderr comes in two streams, whose order is not
// kept, and the daemon cuts output that is very long (its
// BUILDKIT_STEP_LOG_MAX_SIZE).
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer" // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"         // kube-pod://
	"github.com/sirupsen/logrus"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/cache"
)

// Options say which daemon runs plans, and how.
type Options struct {
	// Address of the daemon: unix:///PATH, tcp://HOST:PORT,
	// docker-container://NAME or kube-pod://POD?namespace=NAME. The last two
	// are reached through the programs docker and kubectl. Empty stands for
	// DefaultAddress.
	Address string
	// TLS is for tcp. The zero value speaks plainly.
	TLS TLS
	// CacheFrom and CacheTo are places of results that daemons share, as
	// buildctl takes them: "type=registry,ref=NAME", "type=local,src=DIR"
	// (CacheTo: dest=DIR), or only NAME.
	CacheFrom, CacheTo []string
	// NoCache runs every command, though its result may be known.
	NoCache bool
	// Allow has the names of what recipes may ask for: "network.host".
	Allow []string
	// SpoolDir is for files without a name that vanish with the process: what
	// is sent, and results. os.TempDir if empty.
	SpoolDir string
	// Cache remembers the digests of inputs that were packed before, so that
	// they are read only if the daemon asks for them; nil: every time.
	Cache *cache.Cache
}

// TLS names PEM files, and who the daemon must be.
type TLS struct {
	CA         string // who vouches for the daemon; the system's if empty
	Cert, Key  string // who we are; both or none
	ServerName string // the host of the address if empty
}

// DefaultAddress is where a daemon listens unless it is told otherwise.
const DefaultAddress = "unix:///run/buildkit/buildkitd.sock"

// networkHost is the entitlement to the network of the daemon's host.
const networkHost = "network.host"

// patience is how long a daemon may take for the first answer. Starting a
// program in a pod of a far cluster takes seconds.
const patience = 30 * time.Second

// Engine implements plan.Engine.
type Engine struct {
	opts      Options
	client    *client.Client
	platforms []string // that the daemon can run commands of
	cacheFrom []client.CacheOptionsEntry
	cacheTo   []client.CacheOptionsEntry

	mu   sync.Mutex
	kept []io.Closer // what results are read from
}

// New connects to a daemon.
func New(ctx context.Context, o Options) (*Engine, error) {
	if o.Address == "" {
		o.Address = DefaultAddress
	}
	e := &Engine{opts: o}
	err := errors.Join(checkAddress(o.Address), o.TLS.check(o.Address))
	for _, dest := range []struct {
		entries *[]client.CacheOptionsEntry
		texts   []string
		dir     string // the key of a directory
	}{{&e.cacheFrom, o.CacheFrom, "src"}, {&e.cacheTo, o.CacheTo, "dest"}} {
		for _, text := range dest.texts {
			entry, perr := parseCache(text, dest.dir)
			err = errors.Join(err, perr)
			*dest.entries = append(*dest.entries, entry)
		}
	}
	if err != nil {
		return nil, err
	}
	logrus.SetOutput(io.Discard) // of the one logger that the client's libraries have
	if err := e.connect(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := dial(ctx, e.opts.Address, e.opts.TLS.options()...)
	if err != nil {
		return unreachable(e.opts.Address, err)
	}
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return errors.Join(unreachable(e.opts.Address, err), c.Close())
	}
	e.client = c
	for _, w := range workers {
		for _, p := range w.Platforms {
			e.platforms = append(e.platforms, platformName(p))
		}
	}
	return nil
}

// Close implements plan.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.client.Close()
	for _, c := range e.kept {
		err = errors.Join(err, c.Close())
	}
	e.kept = nil
	return err
}

// keep has Close close c.
func (e *Engine) keep(c io.Closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, c)
}

// spool makes a file without a name.
func (e *Engine) spool() (*os.File, error) {
	f, err := os.CreateTemp(e.opts.SpoolDir, "graft-spool-*")
	if err != nil {
		return nil, fmt.Errorf("making room for a file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// refuse says why a command must not or cannot run there.
func (e *Engine) refuse(op *plan.Op, k *plan.Exec) error {
	if k.Network == plan.HostNetwork && !slices.Contains(e.opts.Allow, networkHost) {
		return fmt.Errorf("its recipe asks for the network of the host, which --allow %s permits: %w", networkHost, plan.ErrNotAllowed)
	}
	if len(e.platforms) > 0 && !slices.Contains(e.platforms, op.Platform) {
		return fmt.Errorf("the BuildKit daemon at %s runs programs for %s, not for %s: %w",
			e.opts.Address, strings.Join(e.platforms, ", "), op.Platform, plan.ErrPlatform)
	}
	return nil
}
