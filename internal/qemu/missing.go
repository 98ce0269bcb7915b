package qemu

import "fmt"

// MissingError says that QEMU or its firmware is not installed, and which package
// has it.
type MissingError struct {
	Program string // what was not found
	InPath  bool   // whether PATH is where it would have to be
	Debian  string // package of Debian and Ubuntu
	Fedora  string // package of Fedora
}

// Error implements error.
func (e *MissingError) Error() string {
	if e.InPath {
		return fmt.Sprintf("%s is not installed, or not in PATH", e.Program)
	}
	return fmt.Sprintf("%s is not installed", e.Program)
}

// Hint says how to install it.
func (e *MissingError) Hint() string {
	return fmt.Sprintf("install it: apt-get install %s (Debian, Ubuntu), dnf install %s (Fedora), brew install qemu (macOS)",
		e.Debian, e.Fedora)
}
