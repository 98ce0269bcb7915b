package refbase

import (
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/graftlinux/graft/internal/tree"
)

// Modules takes modules that the base leaves out, with those that they depend
// on, from the kernel package that the base is made from: the rootfs of an
// extension for the base.
func Modules(pkg io.Reader, names []string) (*tree.Tree, error) {
	k, err := readKernel(pkg)
	if err != nil {
		return nil, fmt.Errorf("taking modules: %w", err)
	}
	wanted, err := k.closure(names)
	if err != nil {
		return nil, fmt.Errorf("taking modules: %w", err)
	}
	there, err := k.closure(rootModules)
	if err != nil {
		return nil, fmt.Errorf("taking modules: %w", err)
	}
	t := tree.New()
	for _, p := range wanted {
		if slices.Contains(there, p) {
			continue
		}
		if err := t.Put(path.Join("usr/lib/modules", k.release, p), k.files[p]); err != nil {
			return nil, fmt.Errorf("taking modules: %w", err)
		}
	}
	return t, nil
}
