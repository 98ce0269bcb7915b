//go:build !linux

package node

// Boot is for the PID 1 of a Linux machine, and does nothing elsewhere.
func Boot() {}
