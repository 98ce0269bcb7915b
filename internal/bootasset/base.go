package bootasset

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// Base is what extensions are added to: a kernel, an initramfs with a root
// filesystem, and what is known of them.
type Base struct {
	Arch  string            // amd64 or arm64
	Talos extension.Version // whose contracts the asset follows
	// Version is the same as it was written, "" if nobody says it.
	Version string

	summary baseSummary
	facts   *BaseFacts // once somebody asked, see Facts
	cache   *cache.Cache

	initramfs *cache.Blob
	// What a base need not have is nil then.
	kernel *cache.Blob
	stub   *cache.Blob // systemd-stub
	loader *cache.Blob // systemd-boot
	grub   []string    // files and directories, before what is in the image
	image  *oci.Image
}

// BaseOptions say where a base is: an image in the layout of Talos' imager, or
// files.
type BaseOptions struct {
	Image *oci.Image // nil if files are given; open as long as the base is used
	// Files that take the place of what is in the image: kernel, initramfs,
	// systemd-stub and systemd-boot. Without an image, the initramfs is needed,
	// and the others only for what is made of them.
	Kernel, Initramfs, Stub, BootLoader string
	// GRUB are directories of GRUB's files (i386-pc, x86_64-efi), or Debian
	// packages of them (grub-pc-bin, grub-efi-amd64-bin), before what is in the
	// image.
	GRUB  []string
	Arch  string // of files; an image knows its own
	Talos string // overrides the version that the base says it is
}

// OpenBase reads a base. An image that was seen before is not pulled again.
func OpenBase(ctx context.Context, c *cache.Cache, o BaseOptions) (*Base, error) {
	b := &Base{Arch: o.Arch, grub: o.GRUB, image: o.Image, cache: c}
	if o.Image != nil && o.Arch != "" && o.Image.Platform().Arch != "" && o.Image.Platform().Arch != o.Arch {
		return nil, fmt.Errorf("opening the base: %s is for %s, wanted is one for linux/%s", o.Image.Ref(), o.Image.Platform(), o.Arch)
	}
	var err error
	if o.Image != nil {
		err = b.openImage(ctx, c, o.Image)
	}
	if err == nil {
		err = b.openOwn(o)
	}
	if err == nil {
		err = checkGRUB(o.GRUB)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the base: %w", errors.Join(err, b.Close()))
	}
	if err := b.summarize(ctx); err != nil {
		return nil, fmt.Errorf("opening the base: %w", errors.Join(err, b.Close()))
	}
	return b, b.setVersion(o)
}

// summarize reads what every asset needs to know of the base. It is kept by
// itself: the facts of a real base are a megabyte.
func (b *Base) summarize(ctx context.Context) error {
	key, label := b.factsKey("base-summary")
	return cache.JSON(ctx, b.cache, key, "summary"+label, &b.summary, func() error {
		facts, err := b.Facts(ctx)
		if err == nil {
			b.summary = facts.baseSummary
		}
		return err
	})
}

// Facts describe the base's own initramfs.
func (b *Base) Facts(ctx context.Context) (*BaseFacts, error) {
	if b.facts != nil {
		return b.facts, nil
	}
	var facts *BaseFacts
	key, label := b.factsKey("base-facts")
	err := cache.JSON(ctx, b.cache, key, "facts"+label, &facts, func() (err error) {
		if err := b.initramfs.Verify(ctx); err != nil {
			return err
		}
		facts, err = readBase(ctx, b.cache, b.initramfs)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.facts = facts
	return facts, nil
}

func (b *Base) factsKey(what string) (key, label string) {
	return what + "|v" + writerVersion + "|" + b.initramfs.Digest, " of the base " + b.initramfs.Digest[:19]
}

// setVersion takes the first that is known: the user's word, the image's
// label, the root's os-release.
func (b *Base) setVersion(o BaseOptions) (err error) {
	said := []string{o.Talos}
	if o.Image != nil {
		said = append(said, o.Image.Labels()[extension.VersionLabel])
	}
	for _, v := range append(said, b.summary.OSVersion) {
		if v != "" {
			b.Version = v
			b.Talos, err = extension.ParseVersion(v)
			return err
		}
	}
	return nil
}

// forCheck is the base as the rules see it.
func (f *BaseFacts) forCheck() (*check.Base, error) {
	c := &check.Base{Files: tree.New()}
	if len(f.Releases) == 1 {
		c.Release = f.Releases[0]
	}
	for _, file := range f.Files {
		if err := c.Files.Put(file.Path, &tree.Node{Mode: file.Mode, Target: file.Target}); err != nil {
			return nil, fmt.Errorf("reading the base's root: %w", err)
		}
	}
	return c, nil
}

// CheckOptions are what extensions for this base are checked for.
func (b *Base) CheckOptions(ctx context.Context) (check.Options, error) {
	facts, err := b.Facts(ctx)
	if err != nil {
		return check.Options{}, err
	}
	base, err := facts.forCheck()
	return check.Options{Talos: b.Talos, Base: base}, err
}

// blobs are the files that a base has.
func (b *Base) blobs() (blobs []*cache.Blob) {
	for _, f := range []*cache.Blob{b.initramfs, b.kernel, b.stub, b.loader} {
		if f != nil {
			blobs = append(blobs, f)
		}
	}
	return blobs
}

// Verify compares the files of the base with their digests, once. What was made
// of them must not be used before.
func (b *Base) Verify(ctx context.Context) error { return verify(ctx, b.blobs()) }

func verify(ctx context.Context, blobs []*cache.Blob) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range blobs {
		g.Go(func() error { return b.Verify(ctx) })
	}
	return g.Wait()
}

// Close lets go of the base's files.
func (b *Base) Close() error {
	var errs []error
	for _, f := range b.blobs() {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
