package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/deb"
)

// DebInfo is what a Debian package says of itself.
type DebInfo struct {
	Arch string // "all" of one that is the same for all
	// Source and SourceVersion are the source package that it was built from.
	Source, SourceVersion string
}

// ErrOtherPackage says that a checksum is not that of the package which a recipe
// names.
var ErrOtherPackage = errors.New("the file with this checksum is another package")

// DebInfo tells what a package says of itself. It is read once, when the package
// is fetched, and kept beside it: later neither the network nor the package is
// needed. Of a source package nothing is read, and it is not fetched.
func (f *Fetcher) DebInfo(ctx context.Context, s DebSource) (DebInfo, error) {
	if s.Arch == SourceArch {
		return DebInfo{SourceArch, s.Name, s.Version}, nil
	}
	info, err := f.debInfo(ctx, s, func() (deb.Control, error) {
		b, err := f.deb(ctx, s)
		if err != nil {
			return deb.Control{}, err
		}
		defer b.Close()
		return readControl(b)
	})
	return info, failed("Debian package "+s.String(), err)
}

// debInfo tells what read finds, or found before. That a recipe names another
// package than its checksum does is an error.
func (f *Fetcher) debInfo(ctx context.Context, s DebSource, read func() (deb.Control, error)) (DebInfo, error) {
	if err := errors.Join(s.check(), checkSums(s.SHA256, "")); err != nil {
		return DebInfo{}, err
	}
	var c deb.Control
	err := cache.JSON(ctx, f.Cache, "deb control v1\n"+s.SHA256, "control file of "+s.String(), &c, func() (err error) {
		c, err = read()
		return err
	})
	if err != nil {
		return DebInfo{}, err
	}
	if c.Package != s.Name || c.Version != s.Version || c.Architecture != s.Arch && c.Architecture != "all" {
		return DebInfo{}, fmt.Errorf("%w: %s:%s=%s", ErrOtherPackage, c.Package, c.Architecture, c.Version)
	}
	return DebInfo{c.Architecture, c.Source, c.SourceVersion}, nil
}

// readControl reads the control file, and leaves the place in the blob as it is.
func readControl(b *cache.Blob) (deb.Control, error) {
	return deb.ReadControl(io.NewSectionReader(b, 0, b.Size))
}
