package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem writes all of the file system that a file is in.
func syncFileSystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
