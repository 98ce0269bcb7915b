//go:build linux

// Command graft-init is the first process of the reference base's initramfs.
// Package boot says what it does.
package main

import "github.com/graftlinux/graft/internal/boot"

func main() { boot.Run() }
