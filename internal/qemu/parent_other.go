//go:build !linux

package qemu

import "syscall"

// diesWithParent: no other system has the means that Linux has.
func diesWithParent() *syscall.SysProcAttr { return nil }
