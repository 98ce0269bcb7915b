//go:build !linux

package store

import "os"

// syncFileSystem: no engine runs here, so there is nothing to write.
func syncFileSystem(*os.File) error { return nil }
