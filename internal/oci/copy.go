package oci

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Route is an image that is copied, and where to. From is what Resolve takes;
// To is what Pack takes, except a docker-archive. Where To has no name or tag,
// the image keeps the one that it has.
type Route struct {
	From, To string
	// Untagged stores the image for those who know its digest: To says the
	// repository, and the name stays with the image that has it.
	Untagged bool
}

// CopyOptions say how images are copied. The zero value works.
type CopyOptions struct {
	// Platforms to take out of an index, as "linux/arm64"; none stands for all.
	// The index stays as it is, so that its digest and signatures hold: it names
	// images that are not there, which some registries refuse.
	Platforms []string
	// Alone leaves behind what refers to the images: signatures and the like.
	Alone bool
	// DryRun copies nothing, and tells what would be.
	DryRun bool
	// Insecure is for registries, see Options.
	Insecure bool
	// SpoolDir is for tarballs that are compressed as a whole, see Options.
	SpoolDir string
	// Progress is told how many bytes of blobs are there, of how many. It is
	// called from several goroutines, one at a time.
	Progress func(done, total int64)
	// Copied is told of every image that has arrived, or would have in a dry
	// run, in the order of the routes.
	Copied func(Copied)
	// Client shares connections with other calls; nil: this one has its own.
	Client *Client
}

// Copied is an image that was copied.
type Copied struct {
	From      string // with the digest
	To        string // where it is now, as a person names it
	Digest    string // the same here and there
	Manifests int    // with those of what refers to it
	Referring int    // how many of the manifests only refer to it
	Size      int64  // of manifests and blobs, in bytes
	Missing   int64  // bytes of blobs that were not there before
	// Before is the digest of another image that had the name until now, "" if
	// none had. In a layout that image stays listed, without the name.
	Before string
}

// CopyAll copies images and indexes in parallel between registries, OCI layouts,
// and single files with a layout in them. Manifests are copied to the bit, with
// everything that refers to them, and to that: signatures, attestations and
// SBOMs, as referrers (OCI 1.1) and by cosign's tags. What is there already is not copied
// again: registries are asked, the blobs of a layout are read and compared
// with their digests. So a copy that was interrupted goes on where it was.
//
// An image that has a name in a layout, and loses it to another one, stays
// listed there without a name: a catalog may list its digest.
//
// The names appear when all that they need is there, in the order of the
// routes: whoever finds the last one finds all. A layout is valid at any
// moment; a file appears when it is complete. Digests and lengths are verified
// before the last byte of a blob is passed on. Between layouts on one file
// system blobs become hard links.
//
// Errors of a registry are of the type *RegistryError.
func CopyAll(ctx context.Context, routes []Route, opts CopyOptions) error {
	client, end := opts.Client.shared()
	defer end()
	opts.Client = client
	c, err := newCopier(opts)
	if err != nil {
		return err
	}
	defer c.close()
	cargos, err := c.plan(ctx, routes)
	if err != nil {
		return err
	}
	if opts.DryRun {
		return c.describe(ctx, cargos)
	}
	return c.ship(ctx, cargos)
}

// copier is one call of CopyAll.
type copier struct {
	opts      CopyOptions
	platforms []Platform
	mu        sync.Mutex
	layouts   map[string]*layoutPlace // that are read, by path
	held      atomic.Int64            // bytes of manifests in memory
	flights   flights
	progress  *progress
}

func newCopier(opts CopyOptions) (*copier, error) {
	c := &copier{opts: opts, layouts: map[string]*layoutPlace{}}
	for _, s := range opts.Platforms {
		p, err := ParsePlatform(s)
		if err != nil {
			return nil, err
		}
		c.platforms = append(c.platforms, p)
	}
	return c, nil
}

func (c *copier) close() {
	for _, l := range c.layouts {
		l.spool.Close()
	}
}

func (c *copier) options() Options {
	return Options{Insecure: c.opts.Insecure, SpoolDir: c.opts.SpoolDir, Client: c.opts.Client}
}

// cargo is an image with everything that goes with it.
type cargo struct {
	route     Route
	from      place
	to        target
	root      v1.Descriptor
	name      string // that it had
	manifests []shipped
	blobs     []v1.Descriptor // configs and layers, each once
	done      chan struct{}   // closed when it has its name
}

// shipped is a manifest of a cargo, with its bytes. They are in an order in
// which none comes before what it needs.
type shipped struct {
	v1.Descriptor
	subject v1.Hash // what it refers to; the zero Hash for what is no referrer
	tag     string  // one of cosign's
}

// copied is what there is to say about a cargo.
func (c *cargo) copied() Copied {
	got := Copied{From: c.from.at(c.root.Digest), To: c.to.String(), Digest: c.root.Digest.String(), Manifests: len(c.manifests)}
	if c.route.Untagged {
		got.To += "@" + got.Digest
	}
	for _, m := range c.manifests {
		got.Size += m.Size
		if m.subject != (v1.Hash{}) || m.tag != "" {
			got.Referring++
		}
	}
	got.Size += layersSize(c.blobs)
	return got
}

// target is where one image is copied to. All but name may be called by
// several goroutines.
type target interface {
	fmt.Stringer
	// key is the same for targets that share their blobs.
	key() string
	// has says whether a blob or a manifest is there, whole.
	hasBlob(ctx context.Context, d v1.Descriptor) (bool, error)
	putBlob(ctx context.Context, d v1.Descriptor, from place, count *counter) error
	// put stores a manifest without a name, but for one of cosign's.
	put(ctx context.Context, m shipped) error
	// named is the digest of what has the name so far, "" if nothing has, or if
	// the image is to have none.
	named(ctx context.Context) (string, error)
	// finish names the image, and returns what was named so before.
	finish(ctx context.Context, root v1.Descriptor) (before string, err error)
	explain(err error) error
}

// plan finds out what there is to copy.
func (c *copier) plan(ctx context.Context, routes []Route) ([]*cargo, error) {
	cargos := make([]*cargo, len(routes))
	g, gctx := group(ctx, copyParallel)
	for i, r := range routes {
		g.Go(func() (err error) {
			if cargos[i], err = c.load(gctx, r); err != nil {
				return fmt.Errorf("copying %s: %w", Redact(r.From), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	archives := map[string]*archive{}
	for _, cargo := range cargos {
		var err error
		if cargo.to, err = c.target(ctx, cargo, archives); err != nil {
			return nil, fmt.Errorf("copying %s to %s: %w", cargo.route.From, Redact(cargo.route.To), err)
		}
	}
	return cargos, nil
}

// source opens the place of an image; a layout only once.
func (c *copier) source(ctx context.Context, src string) (place, error) {
	s, err := parseSource(src)
	if err != nil {
		return nil, err
	}
	if s.form == formRegistry {
		return openPlace(ctx, src, transport.PullScope, c.options())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.layouts[s.path]; l != nil {
		return l.choosing(s.want), nil
	}
	l, err := openLayoutPlace(ctx, opener{source: s, opts: c.options(), spool: newSpool(c.opts.SpoolDir)})
	if err != nil {
		return nil, err
	}
	c.layouts[s.path] = l
	return l, nil
}

// target finds where a cargo goes, which may depend on its name.
func (c *copier) target(ctx context.Context, cargo *cargo, archives map[string]*archive) (target, error) {
	name, _, _ := strings.Cut(cargo.name, "@")
	dest, err := parseDest(cargo.route.To, PackOptions{Name: name, Insecure: c.opts.Insecure, Client: c.opts.Client})
	if err != nil {
		return nil, err
	}
	switch d := dest.(type) {
	case push:
		if name == "" && !hasTag(cargo.route.To) && !cargo.route.Untagged {
			return nil, errNoTag
		}
		return c.registryTarget(ctx, d, cargo)
	case layoutDest:
		if !c.opts.DryRun {
			if err := d.begin(ctx); err != nil {
				return nil, err
			}
		}
		return &layoutTarget{layoutDest: d, untagged: cargo.route.Untagged}, nil
	case archiveDest:
		if strings.HasPrefix(cargo.route.To, string(formDockerArchive)+":") {
			return nil, errDockerArchive
		}
		path := filepath.Clean(d.path)
		if archives[path] == nil {
			archives[path] = &archive{path: path}
		}
		return archiveTarget{archives[path], d.name, cargo.route.Untagged}, nil
	}
	return nil, fmt.Errorf("nothing is copied to %T", dest)
}
