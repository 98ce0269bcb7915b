//go:build tools

// Package ctr names the programs of the extension, so that go.mod and go.sum pin
// all that they are built from.
package ctr

import (
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
