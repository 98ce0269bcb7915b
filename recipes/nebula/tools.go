//go:build tools

// Package nebula names the programs of the extension, so that go.mod and go.sum pin
// all that they are built from.
package nebula

import (
	_ "github.com/slackhq/nebula/cmd/nebula"
)
