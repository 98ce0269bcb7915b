package qemu

import "fmt"

// MissingError says that QEMU is not installed, and which package has it.
type MissingError struct {
	Program string // the program that was not found
	Debian  string // package of Debian and Ubuntu
	Fedora  string // package of Fedora
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed, or not in PATH", e.Program)
}

// Hint says how to install it.
func (e *MissingError) Hint() string {
	return fmt.Sprintf("install it: apt-get install %s (Debian, Ubuntu), dnf install %s (Fedora), brew install qemu (macOS)",
		e.Debian, e.Fedora)
}
