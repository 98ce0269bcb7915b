// Package node is the daemon of a node: it brings a machine up (Boot) and
// serves what the machine is made of as resources (Serve).
//
// Boot is for PID 1. It mounts what is missing, loads modules, brings up the
// network, and then serves until the machine is told to go down. It never
// returns and never gives up: a step that fails is logged, and the next one is
// taken, because a machine without its second disk driver is worth more than
// one that has panicked. What a step decides is a pure function of text or of
// a file system, tested anywhere; the files *_linux.go do what was decided.
//
// It is no general init: it starts no other process, mounts no disk, and speaks
// DHCP for IPv4 only (the kernel configures IPv6 by itself).
package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/resource"
)

// ExtensionsFile is where a node has the list of its layers.
const ExtensionsFile = "/etc/" + extension.ConfigName

// Layers reads a list of layers. An empty file is the list of a system without
// extensions.
func Layers(file string) ([]extension.Layer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the extensions: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, extension.MaxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the extensions: %w", err)
	}
	c, err := extension.ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("reading the extensions: %s: %w", file, err)
	}
	return c.Layers, nil
}

// Serve serves layers as resources at an address such as ":50000", until ctx
// is done.
func Serve(ctx context.Context, l *slog.Logger, address string, layers []extension.Layer) error {
	state, err := resource.NewState(ctx)
	if err != nil {
		return err
	}
	added := len(layers)
	if err := state.AddExtensions(ctx, layers); err != nil {
		for _, one := range split(err) {
			l.Error(one.Error())
			added--
		}
	}
	server, err := resource.NewServer(state)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listening for clients: %w", err)
	}
	l.Info(fmt.Sprintf("ready, serving on %s (%d extensions)", shownAddress(address, listener), added))
	return server.Serve(ctx, listener)
}

// split gives the errors that errors.Join has joined.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// shownAddress is the address as it was given, or the real one if the port was
// left to the kernel.
func shownAddress(given string, l net.Listener) string {
	if _, port, err := net.SplitHostPort(given); err == nil && port == "0" {
		return l.Addr().String()
	}
	return given
}
