//go:build tools

// Package gvisor names the programs of the extension, so that go.mod and go.sum
// pin all that they are built from.
package gvisor

import (
	_ "gvisor.dev/gvisor/runsc"
	_ "gvisor.dev/gvisor/shim"
)
