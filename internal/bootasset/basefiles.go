package bootasset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// openImage gets the files of a base image that assets are made of.
func (b *Base) openImage(ctx context.Context, c *cache.Cache, img *oci.Image) error {
	if b.Arch == "" {
		b.Arch = img.Platform().Arch
	}
	places := map[string]**cache.Blob{
		extension.KernelPath(b.Arch):     &b.kernel,
		extension.InitramfsPath(b.Arch):  &b.initramfs,
		extension.StubPath(b.Arch):       &b.stub,
		extension.BootLoaderPath(b.Arch): &b.loader,
	}
	there, err := installFiles(ctx, c, img, path.Dir(extension.InitramfsPath(b.Arch)))
	if err != nil {
		return err
	}
	for _, p := range there {
		if to := places[p]; to != nil {
			if *to, err = fromImage(ctx, c, img, p); err != nil {
				return err
			}
		}
	}
	if b.initramfs == nil {
		return fmt.Errorf("%s has no %s: it is not a base in the layout of Talos' imager image: %w", orImage(img.Ref()), extension.InitramfsPath(b.Arch), fs.ErrNotExist)
	}
	return nil
}

// orImage is what to call an image that may have no name.
func orImage(ref string) string {
	if ref == "" {
		return "the image"
	}
	return ref
}

// installFiles lists the files of a directory of a base image, so that one that
// lacks something need not be pulled again to know that.
func installFiles(ctx context.Context, c *cache.Cache, img *oci.Image, dir string) (names []string, err error) {
	find := func() error {
		t, err := img.Tree(ctx)
		if err != nil {
			return err
		}
		sub := t.Sub(dir)
		if sub == nil {
			return nil
		}
		return sub.Walk(func(e tree.Entry) error {
			if e.Mode.IsRegular() {
				names = append(names, path.Join(dir, e.Path))
			}
			return nil
		})
	}
	if img.Digest() == "" {
		err = find()
		return names, err
	}
	key := fmt.Sprintf("base-files|%s|%s|%s", img.Digest(), img.Platform(), dir)
	err = cache.JSON(ctx, c, key, "files of "+img.Ref(), &names, find)
	return names, err
}

// fromImage gets one file of a base image. A directory has no digest, and is
// read each time.
func fromImage(ctx context.Context, c *cache.Cache, img *oci.Image, p string) (*cache.Blob, error) {
	return ofImage(ctx, c, img, p, path.Base(p), func(f *os.File, t *tree.Tree) error {
		n := t.Get(p)
		if n == nil || !n.Mode.IsRegular() {
			return fmt.Errorf("reading %s: %w", p, fs.ErrNotExist)
		}
		return copyNode(f, n)
	})
}

// ofImage gets what is made of the files of an image, not verified yet.
func ofImage(ctx context.Context, c *cache.Cache, img *oci.Image, p, what string, fill func(*os.File, *tree.Tree) error) (*cache.Blob, error) {
	pull := func(f *os.File) error {
		t, err := img.Tree(ctx)
		if err != nil {
			return err
		}
		return fill(f, t)
	}
	if img.Digest() == "" {
		return c.Scratch(pull)
	}
	key := fmt.Sprintf("base|%s|%s|%s", img.Digest(), img.Platform(), p)
	return c.MakeUnverified(ctx, key, what+" of "+img.Ref(), pull)
}

func copyNode(w io.Writer, n *tree.Node) error {
	r, err := n.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	size, err := io.Copy(w, r)
	if err == nil && size != n.Size {
		err = tree.ErrChanged
	}
	return err
}

// openOwn takes the user's files in place of the base's.
func (b *Base) openOwn(o BaseOptions) error {
	for _, own := range []struct {
		file string
		to   **cache.Blob
	}{{o.Kernel, &b.kernel}, {o.Initramfs, &b.initramfs}, {o.Stub, &b.stub}, {o.BootLoader, &b.loader}} {
		if own.file == "" {
			continue
		}
		blob, err := cache.File(own.file)
		if err != nil {
			return err
		}
		if *own.to != nil {
			_ = (*own.to).Close() // it was read only
		}
		*own.to = blob
	}
	if b.initramfs == nil {
		return errors.New("neither a base image nor an initramfs is given")
	}
	return nil
}

// MissingError says that an asset needs something that its base does not have.
type MissingError struct {
	What string // in words
	Path string // where it would be in a base image
	Hint string // what to do
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the base has no %s (%s)", e.What, e.Path)
}

// Kernel is the base's kernel, byte for byte.
func (b *Base) Kernel() (*sparse.Image, error) {
	return b.part(b.kernel, MissingError{"kernel", extension.KernelPath(b.Arch), "name one with --kernel"})
}

// Stub is systemd-stub, which unified kernel images begin with.
func (b *Base) Stub() (*sparse.Image, error) {
	return b.part(b.stub, MissingError{"systemd-stub", extension.StubPath(b.Arch),
		"name one with --sd-stub: Debian's package systemd-boot-efi has it as usr/lib/systemd/boot/efi/linux*.efi.stub"})
}

// BootLoader is systemd-boot.
func (b *Base) BootLoader() (*sparse.Image, error) {
	return b.part(b.loader, MissingError{"systemd-boot", extension.BootLoaderPath(b.Arch),
		"name one with --sd-boot: Debian's package systemd-boot-efi has it as usr/lib/systemd/boot/efi/systemd-boot*.efi"})
}

func (b *Base) part(blob *cache.Blob, missing MissingError) (*sparse.Image, error) {
	if blob == nil {
		return nil, &missing
	}
	return blobImage(blob), nil
}
