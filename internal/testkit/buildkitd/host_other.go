//go:build !linux

package buildkitd

import "syscall"

// The daemon runs on Linux only: these are never called.

func withParent() *syscall.SysProcAttr { return nil }
func unmount(string)                   {}
