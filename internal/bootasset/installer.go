package bootasset

import (
	"context"
	"fmt"
	"path"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
)

// InstallerPath is the program of an installer that a node starts. Its
// directory may be a link to usr/bin.
const InstallerPath = "/bin/installer"

// IsInstaller says whether an installer can be made of an image: whether it has
// the program. An image that starts it is taken at its word; others are pulled.
func IsInstaller(ctx context.Context, c *cache.Cache, img *oci.Image) (bool, error) {
	if e := img.Entrypoint(); len(e) > 0 && e[0] == InstallerPath {
		return true, nil
	}
	var there bool
	find := func() error {
		t, err := img.Tree(ctx)
		if err != nil {
			return err
		}
		there = t.Get(InstallerPath[1:]) != nil || t.Get(path.Join("usr", InstallerPath)) != nil
		return nil
	}
	if img.Digest() == "" {
		err := find()
		return there, err
	}
	err := cache.JSON(ctx, c, fmt.Sprintf("is-installer|%s|%s", img.Digest(), img.Platform()), "whether "+img.Ref()+" is an installer", &there, find)
	return there, err
}
