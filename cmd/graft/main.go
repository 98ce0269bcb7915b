// Command graft makes, checks, images, boots and shows system extensions of
// Talos Linux. Run "graft --help", or read README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/graftlinux/graft/internal/cli"
)

func main() {
	os.Exit(run())
}

// softMemory is from where the garbage collector works harder, in bytes. What
// graft needs at a time is far below; the rest would be garbage.
const softMemory = 160 << 20

func run() int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}
