//go:build !linux

package sandbox

import (
	"context"
	"fmt"
	"runtime"
)

// Support is what a machine can do.
type Support struct {
	Overlay bool
	Reason  error
}

func unsupported() error {
	return &HostError{
		Err:   fmt.Errorf("running a build step: %s has no namespaces, which are Linux'", runtime.GOOS),
		Hints: []string{"build with a BuildKit daemon: --engine buildkit://ADDRESS, or BUILDKIT_HOST"},
	}
}

// Child is for Linux.
func Child() {}

// Enter is for Linux: elsewhere there is nothing to enter.
func Enter(context.Context) (inside bool, exitCode int, err error) { return true, 0, nil }

// Probe says that this system cannot run sandboxes.
func Probe(context.Context, string) (Support, error) { return Support{}, unsupported() }

// Run says that this system cannot run sandboxes.
func Run(context.Context, Config) (Result, error) { return Result{}, unsupported() }
