package plan

import (
	"errors"
	"fmt"
)

// Error implements error: one line. Script and output are for the caller to show.
func (e *ExecError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("running %s: %v", e.Op.Name, e.Err)
	}
	return fmt.Sprintf("running %s: exit code %d", e.Op.Name, e.ExitCode)
}

// Unwrap implements errors.
func (e *ExecError) Unwrap() error { return e.Err }

// What engines refuse.
var (
	// ErrNotAllowed says that a recipe wants more than it was given.
	ErrNotAllowed = errors.New("not allowed")
	// ErrPlatform says that commands of a platform cannot be run.
	ErrPlatform = errors.New("no emulator is set up for it (Debian's package qemu-user-static does); for Go programs, buildPlatform lets the recipe cross-compile")
)
