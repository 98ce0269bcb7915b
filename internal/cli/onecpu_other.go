//go:build !linux

package cli

// oneCPU does nothing: scripts run on another machine.
func oneCPU() (release func()) { return func() {} }
