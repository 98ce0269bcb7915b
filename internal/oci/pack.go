package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/tree"
)

// Packed is the content of an image for one platform.
type Packed struct {
	Platform Platform
	// Tree is the root of the image. The root directory's own mode is not
	// kept, for a layer has no entry for it.
	Tree *tree.Tree
	// On is an image for the same platform that the tree is put on; nil for
	// none.
	On *Below
}

// PackOptions say how an image is written. The zero value works.
type PackOptions struct {
	// Name, as "gvisor:20260905.0", that the image has in a layout or tarball.
	// For a registry its tag is the one to take if the destination has none.
	Name string
	// Epoch is the time of the image and of every file in it; the zero Time
	// stands for the Unix epoch. Fractions of seconds are dropped.
	Epoch time.Time
	// Compression of the layers; the zero value is Gzip.
	Compression Compression
	// Labels of the config; those of the image below stay beside them.
	Labels map[string]string
	// Entrypoint of the config, if not that of the image below.
	Entrypoint []string
	// Insecure is for a registry: see Options.
	Insecure bool
	// SpoolDir is where compressed layers wait until they are all there, in
	// files without a name; os.TempDir if empty.
	SpoolDir string
	// Progress of an upload, see Options.
	Progress func(done, total int64)
	// Client shares connections with other calls; nil: this one has its own.
	Client *Client
	// Replaces, if not nil, is the digest that the tag in a registry must have when
	// it is set, "" for none; if it is another one the error is ErrMoved. Between two
	// who do so at once a registry decides if it knows conditions (RFC 9110), as graft's
	// does; others are asked in the moment before.
	Replaces *string
	// Cache keeps compressed layers by what is in their trees; nil: they are
	// made each time.
	Cache *cache.Cache
}

// ErrMoved says that a tag is not what it was to replace.
var ErrMoved = errors.New("the tag is of another image than a moment ago")

// Result tells what was written.
type Result struct {
	// Digest of the image's manifest, or of its index if it has several
	// platforms. It is the same wherever the image is written to.
	Digest string
	// Ref is NAME@DIGEST for a registry, "" elsewhere.
	Ref string
	// Name of the image where it was written, with its tag.
	Name string
	// Place is for people: "the OCI layout DIR".
	Place string
	// Size in bytes of all blobs.
	Size int64
	// There says that the tag in the registry was that image already: nothing was
	// sent. Before is the digest that it had if that was another one.
	There  bool
	Before string
	// Platforms are the images for each platform, in the order of Packed.
	Platforms []PlatformResult
}

// PlatformResult is an image for one platform.
type PlatformResult struct {
	Platform Platform
	Digest   string // of its manifest
	Size     int64  // of its layers as they are stored, in bytes
}

// Pack writes an image of the trees to a destination: one layer for each, in
// the order of tree.Walk, owned by 0:0. One platform makes a manifest, several
// an index. dest is
//
//	NAME[:TAG]     an image in a registry, where NAME begins with a host
//	FILE.tar       an image tarball, for docker load and all that reads OCI
//	DIR            an OCI layout, a new one or one to add to
//	docker://NAME  oci:DIR[:NAME]  oci-archive:FILE[:NAME]  docker-archive:FILE[:NAME]
//
// Whatever ends Pack, files are there whole or not at all, and a layout is
// valid. Errors of a registry are of the type *RegistryError.
func Pack(ctx context.Context, images []Packed, dest string, opts PackOptions) (Result, error) {
	d, err := parseDest(dest, opts)
	if err != nil {
		return Result{}, fmt.Errorf("writing to %s: %w", Redact(dest), err)
	}
	b := newBuilder(opts)
	defer b.spool.Close()
	art, err := b.build(ctx, images)
	if err != nil {
		return Result{}, fmt.Errorf("packing: %w", err)
	}
	res, err := d.write(ctx, art)
	if err != nil {
		return Result{}, fmt.Errorf("writing to %s: %w", Redact(dest), err)
	}
	res.Digest, res.Size, res.Platforms = art.root.Digest.String(), art.size(), b.platforms
	return res, nil
}

// Describe tells what Pack would write, and writes nothing.
func Describe(ctx context.Context, images []Packed, opts PackOptions) (Result, error) {
	b := newBuilder(opts)
	defer b.spool.Close()
	art, err := b.build(ctx, images)
	if err != nil {
		return Result{}, fmt.Errorf("packing: %w", err)
	}
	return Result{Name: opts.Name, Digest: art.root.Digest.String(), Size: art.size(), Platforms: b.platforms}, nil
}

func newBuilder(opts PackOptions) *builder {
	return &builder{opts: opts, spool: newSpool(opts.SpoolDir), layers: map[*tree.Tree]layer{}}
}

// artifact is an image with everything that belongs to it, ready to be written.
type artifact struct {
	blobs     []blob // layers and configs, each once
	manifests []blob // of the platforms
	root      blob   // the index, or the only manifest
}

// add takes a blob, unless platforms with the same files have brought it.
func (a *artifact) add(b blob) {
	if !slices.ContainsFunc(a.blobs, func(have blob) bool { return have.Digest == b.Digest }) {
		a.blobs = append(a.blobs, b)
	}
}

func (a *artifact) size() int64 {
	n := int64(0)
	for _, b := range a.all() {
		n += b.Size
	}
	return n
}

// all lists every blob in an order in which none comes before what it needs.
func (a *artifact) all() []blob {
	all := slices.Concat(a.blobs, a.manifests)
	if len(a.manifests) > 1 {
		all = append(all, a.root)
	}
	return all
}

// blob is a descriptor with its bytes.
type blob struct {
	v1.Descriptor
	at io.ReaderAt
}

func (b blob) reader() *io.SectionReader { return io.NewSectionReader(b.at, 0, b.Size) }

type builder struct {
	opts   PackOptions
	spool  *spool
	layers map[*tree.Tree]layer // platforms may share a tree
	art    artifact

	platforms []PlatformResult
}

// layer is a compressed layer with the digest of its tar.
type layer struct {
	blob
	diffID v1.Hash
}

func (b *builder) build(ctx context.Context, images []Packed) (*artifact, error) {
	if len(images) == 0 {
		return nil, errors.New("no platform")
	}
	seen := map[Platform]bool{}
	for _, img := range images {
		if !img.Platform.known() || seen[img.Platform] {
			return nil, fmt.Errorf("the platform %q is missing or there twice", img.Platform)
		}
		seen[img.Platform] = true
		if err := b.image(ctx, img); err != nil {
			return nil, err
		}
	}
	return &b.art, b.index()
}

func (b *builder) image(ctx context.Context, img Packed) error {
	var layers []layer
	if img.On != nil {
		var err error
		if layers, err = b.below(ctx, img.On); err != nil {
			return fmt.Errorf("taking the layers of %s: %w", img.On.Image.Ref(), err)
		}
	}
	l, err := b.layer(ctx, img.Tree)
	if err != nil {
		return err
	}
	config, err := jsonBlob(types.OCIConfigJSON, b.config(img, append(layers, l)))
	if err != nil {
		return err
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config.Descriptor}
	size := int64(0)
	for _, l := range append(layers, l) {
		b.art.add(l.blob)
		manifest.Layers = append(manifest.Layers, l.Descriptor)
		size += l.Size
	}
	b.art.add(config)
	m, err := jsonBlob(types.OCIManifestSchema1, manifest)
	m.Platform = img.Platform.descriptor()
	b.art.manifests = append(b.art.manifests, m)
	b.platforms = append(b.platforms, PlatformResult{img.Platform, m.Digest.String(), size})
	return err
}

func (b *builder) index() error {
	ms := b.art.manifests
	if len(ms) == 1 {
		b.art.root = ms[0]
		return nil
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, m := range ms {
		index.Manifests = append(index.Manifests, m.Descriptor)
	}
	var err error
	b.art.root, err = jsonBlob(types.OCIImageIndex, index)
	return err
}

func (b *builder) epoch() time.Time {
	if b.opts.Epoch.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return b.opts.Epoch.Truncate(time.Second).UTC()
}

func (b *builder) config(img Packed, layers []layer) v1.ConfigFile {
	created := v1.Time{Time: b.epoch()}
	var c v1.ConfigFile
	if img.On != nil {
		c = *img.On.Image.parts.config.DeepCopy()
		c.History = historyOf(c, len(layers)-1)
	}
	c.OS, c.Architecture, c.Variant = img.Platform.OS, img.Platform.Arch, img.Platform.Variant
	c.Created = created
	if len(b.opts.Labels) > 0 {
		labels := maps.Clone(c.Config.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, b.opts.Labels)
		c.Config.Labels = labels
	}
	if len(b.opts.Entrypoint) > 0 {
		c.Config.Entrypoint = b.opts.Entrypoint
	}
	c.RootFS = v1.RootFS{Type: "layers"}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.diffID)
	}
	if img.On == nil || c.History != nil {
		c.History = append(c.History, v1.History{Created: created, CreatedBy: "graft pack"})
	}
	return c
}

// layer gives the compressed tar of a tree.
func (b *builder) layer(ctx context.Context, t *tree.Tree) (layer, error) {
	if l, ok := b.layers[t]; ok {
		return l, nil
	}
	var l layer
	var err error
	if b.opts.Cache != nil {
		l, err = b.cachedLayer(ctx, t)
	} else {
		l, err = b.spooledLayer(ctx, t)
	}
	if err != nil {
		return layer{}, err
	}
	b.layers[t] = l
	b.art.add(l.blob)
	return l, nil
}

// spooledLayer makes a layer in the spool.
func (b *builder) spooledLayer(ctx context.Context, t *tree.Tree) (layer, error) {
	f, err := b.spool.create()
	if err != nil {
		return layer{}, fmt.Errorf("making room in %s: %w", b.spool.dir, cause(err))
	}
	l, err := b.writeLayer(ctx, t, f)
	l.at = f
	return l, err
}

// writeLayer writes the tar of a tree, compressed.
func (b *builder) writeLayer(ctx context.Context, t *tree.Tree, f *os.File) (layer, error) {
	packed, plain := sha256.New(), sha256.New()
	out := &bounded{io.MultiWriter(f, packed), &b.spool.left}
	z, err := b.opts.Compression.writer(out)
	if err != nil {
		return layer{}, err
	}
	err = writeTar(ctxio.NewWriter(ctx, io.MultiWriter(z, plain)), t, b.epoch())
	if err := errors.Join(err, z.Close()); err != nil {
		return layer{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return layer{}, err
	}
	d := v1.Descriptor{MediaType: b.opts.Compression.mediaType(), Size: size, Digest: hashOf(packed.Sum(nil))}
	return layer{blob{d, nil}, hashOf(plain.Sum(nil))}, nil
}

func hashOf(sum []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum)} }

func sum(data []byte) v1.Hash {
	s := sha256.Sum256(data)
	return hashOf(s[:])
}

// jsonBlob encodes a manifest, an index or a config.
func jsonBlob(t types.MediaType, v any) (blob, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return blob{}, err
	}
	return bytesBlob(t, data), nil
}

func bytesBlob(t types.MediaType, data []byte) blob {
	d := v1.Descriptor{MediaType: t, Size: int64(len(data)), Digest: sum(data)}
	return blob{d, bytes.NewReader(data)}
}
