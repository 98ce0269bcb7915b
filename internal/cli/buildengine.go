package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/build/buildkit"
	"github.com/graftlinux/graft/internal/build/embedded"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/build/store"
	"github.com/graftlinux/graft/internal/oci"
)

// engineFlags choose what runs the scripts.
type engineFlags struct {
	name      string
	noCache   bool
	parallel  int
	allow     []string
	shell     bool
	cacheFrom []string
	cacheTo   []string
	tls       buildkit.TLS
}

const (
	embeddedEngine = "embedded"
	networkHost    = "network.host" // what --allow permits
)

func (e *engineFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.name, "engine", "", `what runs the scripts: "embedded", or the address of a BuildKit daemon (default: $BUILDKIT_HOST, or embedded)`)
	f.BoolVar(&e.noCache, "no-cache", false, "run every script again")
	f.IntVarP(&e.parallel, "parallel", "j", 0, "steps to run at a time (default: one per CPU, at least two; embedded engine)")
	f.StringSliceVar(&e.allow, "allow", nil, "what scripts may have beyond the usual: network.host")
	f.BoolVar(&e.shell, "shell-on-error", false, "start a shell where a script failed (embedded engine)")
	f.StringArrayVar(&e.cacheFrom, "cache-from", nil, "where BuildKit imports its cache from: a reference, or type=registry,ref=…")
	f.StringArrayVar(&e.cacheTo, "cache-to", nil, "where BuildKit exports its cache to: a reference, or type=registry,ref=…,mode=max")
	f.StringVar(&e.tls.CA, "tls-ca", "", "certificate authority of the BuildKit daemon, PEM")
	f.StringVar(&e.tls.Cert, "tls-cert", "", "certificate to show to the BuildKit daemon, PEM")
	f.StringVar(&e.tls.Key, "tls-key", "", "key of that certificate, PEM")
	f.StringVar(&e.tls.ServerName, "tls-server-name", "", "name that the daemon's certificate must have")
	complete(cmd, "engine", embeddedEngine, "buildkit://")
	complete(cmd, "allow", networkHost)
}

// address is that of a BuildKit daemon, or "" for the embedded engine.
func (e *engineFlags) address() (string, error) {
	name := e.name
	if name == "" {
		name = os.Getenv("BUILDKIT_HOST")
	}
	if name == "" && runtime.GOOS != "linux" {
		return "", withCode(exitUnsupported, fmt.Errorf("the embedded engine needs Linux, and this is %s", runtime.GOOS),
			"--engine names a BuildKit daemon, as does $BUILDKIT_HOST: docker-container://buildkitd")
	}
	if name == "" || name == embeddedEngine {
		return "", nil
	}
	address := strings.TrimPrefix(name, "buildkit://")
	switch {
	case address == "" || address == "buildkit":
		if host := os.Getenv("BUILDKIT_HOST"); host != "" {
			return host, nil
		}
		return "", usageError(errors.New("--engine buildkit:// lacks an address, and $BUILDKIT_HOST is not set"))
	case strings.HasPrefix(address, "/"):
		return "unix://" + address, nil
	case !strings.Contains(address, "://"):
		return "tcp://" + address, nil
	}
	return address, nil
}

// enter gives the embedded engine the rights that it needs: this program runs
// again in a user namespace, unless root started it.
func (e *engineFlags) enter(ctx context.Context) (inside bool, code int, err error) {
	address, err := e.address()
	if err != nil || address != "" {
		return true, 0, err
	}
	inside, code, err = sandbox.Enter(ctx)
	return inside, code, hostError(err)
}

// hostError adds what to do about a machine that forbids sandboxes.
func hostError(err error) error {
	var h *sandbox.HostError
	if errors.As(err, &h) {
		hints := append(slices.Clone(h.Hints), "or let a BuildKit daemon build: --engine buildkit://ADDRESS")
		return withCode(exitEnvironment, err, hints...)
	}
	return err
}

// second says that a build is to see nothing of the first.
type second struct {
	scope string // "" for the first
}

// open starts the engine.
func (e *engineFlags) open(ctx context.Context, w *work, how second, screen *screen) (plan.Engine, error) {
	address, err := e.address()
	if err != nil {
		return nil, err
	}
	if address != "" {
		engine, err := buildkit.New(ctx, buildkit.Options{
			Address: address, TLS: e.tls, CacheFrom: e.cacheFrom, CacheTo: e.cacheTo, Allow: e.allow,
			NoCache: e.noCache || how.scope != "", SpoolDir: w.cache.TempDir(), Cache: w.cache,
		})
		return engine, withCode(exitDependency, err)
	}
	return e.openEmbedded(ctx, w, how, screen)
}

func (e *engineFlags) openEmbedded(ctx context.Context, w *work, how second, screen *screen) (plan.Engine, error) {
	dir, err := storeDir(w.checks.sources.cacheDir)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(dir)
	if err != nil {
		return nil, withCode(exitIO, err, "--cache-dir names another directory")
	}
	support, err := sandbox.Probe(ctx, dir)
	if err != nil {
		return nil, errors.Join(hostError(err), s.Close())
	}
	o := embedded.Options{
		Store: s, Parallel: e.parallel, NoCache: e.noCache || how.scope != "", Scope: how.scope, Copy: !support.Overlay,
		AllowHostNetwork: slices.Contains(e.allow, networkHost),
		Images:           oci.Options{Insecure: w.checks.sources.insecure, SpoolDir: w.cache.TempDir(), Client: w.checks.sources.client},
	}
	if e.shell {
		if o.OnFailure, err = onFailure(ctx, w.streams, screen); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	engine, err := embedded.New(o)
	return engine, err
}

// storeDir is where the embedded engine keeps layers: beside the cache's own
// entries.
func storeDir(dir string) (string, error) {
	dir, err := cacheDir(dir)
	return filepath.Join(dir, "build"), err
}

func (w *work) logDir() string {
	dir, err := cacheDir(w.checks.sources.cacheDir)
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "logs")
}

// onFailure starts a shell for the person at the terminal.
func onFailure(ctx context.Context, s Streams, screen *screen) (func(*plan.ExecError, embedded.Shell), error) {
	in, ok := s.In.(*os.File)
	if !ok || !(Streams{Err: in}).Terminal() {
		return nil, usageError(errors.New("--shell-on-error needs a terminal"))
	}
	return func(failed *plan.ExecError, shell embedded.Shell) {
		screen.pause()
		defer screen.resume()
		fmt.Fprintf(s.Err, "%s failed (exit code %d); this is a shell in its file system. \"exit\" goes on.\n", failed.Op.Name, failed.ExitCode)
		args := []string{"/bin/sh"}
		if e, ok := failed.Op.Kind.(*plan.Exec); ok && len(e.Args) > 0 {
			args[0] = e.Args[0]
		}
		if err := shell(ctx, args, in); err != nil {
			fmt.Fprintf(s.Err, "the shell: %v\n", err)
		}
	}, nil
}
