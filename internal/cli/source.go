package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
)

// sourceHelp explains SRC in the long help of commands.
const sourceHelp = `SRC is a directory with manifest.yaml and rootfs/, an OCI layout, an image
tarball (docker save, OCI), a plain tar of the contents, or an image reference.
What exists as a file or directory is taken as such; prefixes say it outright:
dir:PATH  oci:PATH[:TAG]  oci-archive:PATH  docker-archive:PATH  tar:PATH
docker://REFERENCE`

// sources opens what the user names on the command line.
type sources struct {
	platform string
	insecure bool
	cacheDir string
	gate     *gate       // what a policy allows, see policyFlags
	client   *oci.Client // for the registries of all images
}

func (s *sources) flags(cmd *cobra.Command) {
	s.client = oci.NewClient()
	cmd.Flags().StringVar(&s.platform, "platform", "", "platform to take out of images for several (default: the only one, or linux/amd64)")
	complete(cmd, "platform", "linux/amd64", "linux/arm64")
	insecureFlag(cmd, &s.insecure)
	cacheDirFlag(cmd, &s.cacheDir)
}

func insecureFlag(cmd *cobra.Command, insecure *bool) {
	cmd.Flags().BoolVar(insecure, "insecure", false, "registries may speak plain HTTP or have untrusted certificates")
}

func cacheDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "cache-dir", "", "directory of the cache (default: graft in the user's cache directory)")
}

func openCache(dir string) (*cache.Cache, error) {
	dir, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	c, err := cache.Open(dir)
	return c, withCode(exitIO, err, "--cache-dir names another directory")
}

// cacheDir is the directory that was named, or the user's.
func cacheDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	dir, err := cache.DefaultDir()
	return dir, withCode(exitEnvironment, err)
}

// images are opened sources; close them all at once.
type images []*oci.Image

func (is images) close() error {
	var errs []error
	for _, i := range is {
		errs = append(errs, i.Close())
	}
	return errors.Join(errs...)
}

// openOne opens a source, if it may be used.
func (s *sources) openOne(ctx context.Context, c *cache.Cache, name string) (*oci.Image, error) {
	digest, err := s.gate.admit(ctx, name)
	if err != nil {
		return nil, err
	}
	return oci.Open(ctx, name, oci.Options{Platform: s.platform, Digest: digest, Insecure: s.insecure, SpoolDir: c.TempDir(), Client: s.client})
}

// open opens every source, or none.
func (s *sources) open(ctx context.Context, c *cache.Cache, names []string) (images, error) {
	var opened images
	for _, name := range names {
		img, err := s.openOne(ctx, c, name)
		if err != nil {
			return nil, errors.Join(inputError(err), opened.close())
		}
		opened = append(opened, img)
	}
	return opened, nil
}
