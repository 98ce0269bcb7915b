//go:build !linux

package atomicfile

import "os"

func create(name string) (*os.File, func() error, error) { return createNamed(name) }
