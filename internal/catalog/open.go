package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// DefaultMaxAge is how long a tag is taken to be what it was when it was asked
// for: the catalog of a release changes as good as never.
const DefaultMaxAge = time.Hour

// Options say how catalogs are opened.
type Options struct {
	// Talos is the version whose catalog is wanted, as "v1.12.0": the tag of
	// references without one.
	Talos string
	// Mirrors are where to look instead, for catalogs and for the images in them.
	Mirrors Mirrors
	// Images are the options for reading catalogs. Catalogs are for no platform: as
	// everybody does, that for linux/amd64 is read, whatever Images say.
	Images oci.Options
	// Cache keeps what was read, by digest.
	Cache *cache.Cache
	// Memory is a directory for what tags pointed to. A tag that was asked for
	// less than MaxAge before Now is not asked for again, unless its registry is
	// on this machine or in a private network. "" asks each time.
	Memory string
	MaxAge time.Duration
	Now    time.Time
	// Offline asks no registry: catalogs are what is remembered, however old that
	// is, and what the cache has; else an error is ErrOffline.
	Offline bool
	// Verify, if not nil, is called with what Catalog.Pinned has for every catalog,
	// before anything in it is used. An error of it is final.
	Verify func(ctx context.Context, pinned string) error
}

// Open opens catalogs and merges them; those after the first are extra ones: if
// the registry of one has no such tag, that is a problem of the result and no
// error. A reference is all that oci.Open takes. If it is the name of an image
// without a tag, its tag is the version of Talos.
func Open(ctx context.Context, refs []string, o Options) (*Catalog, error) {
	if len(refs) == 0 {
		return nil, errors.New("opening catalogs: none is named")
	}
	var opened []*Catalog
	var missing []string
	for i, ref := range refs {
		c, err := o.one(ctx, ref)
		switch {
		case err == nil:
			opened = append(opened, c)
		case i > 0 && isMissing(err):
			missing = append(missing, fmt.Sprintf("there is no catalog %s: %v", ref, err))
		default:
			return nil, err
		}
	}
	all := Merge(opened...)
	if len(missing) > 0 {
		all.Problems = append(all.Problems, missing...)
	}
	return all.Via(o.Mirrors), nil
}

// one opens one catalog.
func (o *Options) one(ctx context.Context, ref string) (*Catalog, error) {
	named, err := o.name(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("opening the catalog %s: %w", ref, err)
	}
	p, err := o.pin(ctx, named)
	if err != nil {
		return nil, fmt.Errorf("opening the catalog %s: %w", named, err)
	}
	if o.Verify != nil {
		if err := o.Verify(ctx, p.ref); err != nil {
			return nil, fmt.Errorf("opening the catalog %s: %w", named, err)
		}
	}
	c, err := o.read(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog %s: %w", named, err)
	}
	if err := o.checkVersion(named, c.Talos); err != nil {
		return nil, fmt.Errorf("opening the catalog %s: %w", named, err)
	}
	c.Ref, c.Pinned = named, []string{p.ref}
	c.Talos = cmp.Or(c.Talos, talosOf(named))
	if p.note != "" {
		c.Problems = append(c.Problems, p.note)
	}
	for i := range c.Entries {
		c.Entries[i].Catalog = named
	}
	return c, nil
}

// ErrNoVersion says that a catalog is named without a tag, and no version of
// Talos that would be it.
var ErrNoVersion = errors.New("which version of Talos Linux is it for?")

// name is a reference with its tag, in the registry where it is to be found.
func (o *Options) name(ctx context.Context, ref string) (string, error) {
	if oci.IsLocal(ref) {
		return o.choose(ctx, ref)
	}
	ref = strings.TrimPrefix(ref, "docker://")
	repository, _, pinned := strings.Cut(ref, "@")
	if _, tag := oci.CutTag(repository); tag == "" && !pinned {
		version, err := Version(o.Talos)
		if err != nil {
			return "", err
		}
		ref += ":" + version
	}
	return o.Mirrors.Map(ref), nil
}

// BadVersionError says that a word is no version of Talos.
type BadVersionError struct{ Word string }

// Error implements error.
func (e *BadVersionError) Error() string {
	return fmt.Sprintf("%q is no version of Talos Linux: wanted is one such as v1.12.0", e.Word)
}

// Version is the tag of a version of Talos: "1.12.0" and " V1.12.0 " are "v1.12.0".
// Errors are ErrNoVersion and *BadVersionError.
func Version(talos string) (string, error) {
	number := strings.TrimSpace(talos)
	if number == "" {
		return "", ErrNoVersion
	}
	if strings.ContainsAny(number[:1], "vV") {
		number = number[1:]
	}
	if _, err := extension.ParseVersion(number); err != nil || number == "" || strings.Trim(number[:1], "0123456789") != "" {
		return "", &BadVersionError{talos}
	}
	return "v" + number, nil
}

// talosOf is the version that a catalog's tag says, "" if it says none.
func talosOf(ref string) string {
	_, tag := oci.CutRef(ref)
	if !strings.HasPrefix(tag, "v") {
		return ""
	}
	if _, err := extension.ParseVersion(tag); err != nil {
		return ""
	}
	return tag
}

// VersionError says that a catalog is for another version of Talos than the one
// that was asked for.
type VersionError struct{ Says, Wanted string }

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("its %s says that it is for Talos %s; wanted is %s", DetailsName, e.Says, e.Wanted)
}

// checkVersion compares what a catalog says with what was asked for: the tag may
// be a wrong one, although the catalog is signed. Catalogs that graft did not
// write say nothing, and nobody may have asked.
func (o *Options) checkVersion(named, says string) error {
	if says == "" {
		return nil
	}
	for _, wanted := range []string{o.Talos, talosOf(named)} {
		if wanted == "" {
			continue
		}
		version, err := Version(wanted)
		if err != nil {
			return err
		}
		if is, err := Version(says); err != nil || is != version {
			return &VersionError{says, version}
		}
	}
	return nil
}

// schema changes when what is kept of a catalog in the cache changes.
const schema = "1"

// read reads a catalog that has been pinned, from the cache if it is there.
func (o *Options) read(ctx context.Context, p pin) (*Catalog, error) {
	if p.digest == "" || o.Cache == nil {
		return o.pull(ctx, p.ref)
	}
	var c *Catalog
	key := fmt.Sprintf("catalog|v%s|%s", schema, p.digest)
	err := cache.JSON(ctx, o.Cache, key, "catalog "+p.ref, &c, func() (err error) {
		c, err = o.pull(ctx, p.ref)
		return err
	})
	return c, err
}

// ErrOffline says that a catalog is not known without a network.
var ErrOffline = errors.New("it is not in the cache")

func (o *Options) pull(ctx context.Context, ref string) (c *Catalog, err error) {
	if o.Offline && !oci.IsLocal(ref) {
		return nil, ErrOffline
	}
	err = o.files(ctx, ref, func(t *tree.Tree) (err error) {
		c, err = Read(t)
		return err
	})
	return c, err
}

// Listed are the digests of the images that a catalog lists; ErrNoCatalog if ref
// is none. All that oci.Open takes is a reference here.
func Listed(ctx context.Context, ref string, images oci.Options) ([]string, error) {
	c, err := (&Options{Images: images}).pull(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog %s: %w", ref, err)
	}
	var digests []string
	for _, e := range c.Entries {
		digests = append(digests, e.Image.Digest)
	}
	return digests, nil
}

// Listings calls fn for each listing that the images of catalogs have.
func (o *Options) Listings(ctx context.Context, c *Catalog, fn func(Listing) error) error {
	for _, ref := range c.Pinned {
		if err := o.files(ctx, ref, func(t *tree.Tree) error { return eachListing(t, fn) }); err != nil {
			return fmt.Errorf("reading the catalog %s: %w", ref, err)
		}
	}
	return nil
}

// files calls fn with the files of a catalog's image.
func (o *Options) files(ctx context.Context, ref string, fn func(*tree.Tree) error) error {
	images := o.Images
	images.Platform = "linux/amd64"
	img, err := oci.Open(ctx, ref, images)
	if err != nil {
		return err
	}
	defer img.Close()
	if img.Size() > maxImageSize {
		return fmt.Errorf("its layers have %d bytes, %d are allowed", img.Size(), int64(maxImageSize))
	}
	t, err := img.Tree(ctx)
	if err != nil {
		return err
	}
	return fn(t)
}

// maxImageSize bounds the layers of a catalog's image as they are stored, in
// bytes: that of Talos has 30 KiB, and listings are compressed.
const maxImageSize = 256 << 20

// isMissing says whether a registry answered that it has no such image.
func isMissing(err error) bool {
	var registry *oci.RegistryError
	return errors.As(err, &registry) && errors.Is(registry, fs.ErrNotExist)
}

// Untagged is the name of a catalog in a registry without its tag; other
// references stay what they are.
func Untagged(ref string) string {
	if oci.IsLocal(ref) {
		return ref
	}
	repository, _ := oci.CutRef(ref)
	return repository
}
