// Package oci turns container images into file trees and file trees into
// container images. It is the only package of graft that speaks registry.
//
// Open finds an image: in a registry, an OCI layout, an image tarball, or what
// is no image yet, a plain tar or a directory. It reads manifests and the
// config, nothing more, so a caller who knows the digest already never pulls.
// Image.Tree gets the layers, verifies each, and flattens them. Their bytes
// stay where they are, or go to a spool on disk if they are compressed, so
// memory depends on the number of files and not on their size.
//
// Pack writes an image of one layer per platform to any of these places. The
// same trees and options give the same bytes, on any machine, and the same
// digest in any place.
//
// Copy takes images as they are from one place to another, with what refers to
// them, to the bit. Attach, Referrers and Tagged write and read what says
// something about an image: signatures, attestations, SBOMs. A Client lets many
// calls share what a registry has granted.
//
// What comes in is not trusted: sizes and digests are checked against what
// vouches for them, and the constants of limits.go bound the rest. Left out on
// purpose: foreign layers (their bytes are elsewhere) and Docker's schema 1; Open
// and Pack know no artifacts that are no images.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graftlinux/graft/internal/tree"
)

// Options say how an image is read. The zero value works.
type Options struct {
	// Platform to take out of an index, as "linux/arm64"; "" is linux/amd64.
	// Where there is no choice, in an index of one platform or without an
	// index, the image is taken whatever it is for: see Image.Platform.
	Platform string
	// Digest that src has to have: that of the index or manifest that it names, as
	// Resolve tells it. Anything else is an error; "" is any.
	Digest string
	// Insecure allows plain http and certificates that nobody vouches for.
	// Without it, plain http is for registries on this machine and in private
	// networks.
	Insecure bool
	// SpoolDir is where compressed layers are unpacked to, in files without a
	// name that vanish with the process; os.TempDir if empty. It needs as much
	// room as the layers have bytes, which a tmpfs may not have.
	SpoolDir string
	// Progress is told how many bytes of the layers have been read, and how
	// many there are. It is called from several goroutines, one at a time.
	Progress func(done, total int64)
	// Client shares connections with other calls; nil: this one has its own.
	Client *Client
}

// Image is an image that was found. Its methods may be used by several
// goroutines.
type Image struct {
	ref      string
	parts    *parts // nil for a directory and a plain tar
	platform Platform
	store    store
	spool    *spool
	progress func(done, total int64)

	mu   sync.Mutex
	tree *tree.Tree
}

// Ref is the name that people know the image by: a registry reference as it
// was given, the name in a layout or tarball, "" for a directory, a plain tar
// and an image without a name.
func (i *Image) Ref() string { return i.ref }

// Digest of the image's manifest (of the chosen platform), as "sha256:" and
// hex digits; "" for a directory and a plain tar. It identifies the content: every byte of
// the tree depends on it. A docker-archive without an OCI index has no
// manifest; then it is the digest of the one that describes it.
func (i *Image) Digest() string {
	if i.parts == nil {
		return ""
	}
	return i.parts.desc.Digest.String()
}

// Platform that the image says it is for; the zero Platform if it does not.
func (i *Image) Platform() Platform { return i.platform }

// Labels of the image's config.
func (i *Image) Labels() map[string]string {
	if i.parts == nil {
		return nil
	}
	return maps.Clone(i.parts.config.Config.Labels)
}

// Entrypoint is what the image's config has a container start.
func (i *Image) Entrypoint() []string {
	if i.parts == nil {
		return nil
	}
	return slices.Clone(i.parts.config.Config.Entrypoint)
}

// Created is when the image says it was made; the zero time if it does not.
func (i *Image) Created() time.Time {
	if i.parts == nil {
		return time.Time{}
	}
	return i.parts.config.Created.Time
}

// Layers is the number of layers; 0 for a directory and a plain tar.
func (i *Image) Layers() int {
	if i.parts == nil {
		return 0
	}
	return len(i.parts.manifest.Layers)
}

// Size is the number of bytes of the layers as they are stored, which is what
// Tree has to read; 0 for a directory and a plain tar.
func (i *Image) Size() int64 {
	if i.parts == nil {
		return 0
	}
	return layersSize(i.parts.manifest.Layers)
}

func layersSize(layers []v1.Descriptor) int64 {
	var n int64
	for _, l := range layers {
		n += l.Size
	}
	return n
}

// Close gives back the spool and open files. The tree must not be read after.
func (i *Image) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	err := i.spool.Close()
	if i.store != nil {
		err = errors.Join(err, i.store.Close())
	}
	return err
}

// store is where the manifests and blobs of an image are. What it returns is
// not verified. A blob that is a file, or a part of one, comes as a *fileBlob.
type store interface {
	manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	io.Closer
}

// Open finds the image that src names and reads its manifest and config. src is
//
//	DIR                  a directory with manifest.yaml and rootfs, or an OCI layout
//	FILE                 an image tarball (docker save, OCI), a plain tar; both may be compressed
//	NAME[:TAG][@DIGEST]  an image in a registry
//	dir:DIR  tar:FILE  docker://NAME
//	oci:DIR[:NAME]  oci-archive:FILE[:NAME]  docker-archive:FILE[:NAME]
//
// where NAME (or @DIGEST) chooses one of several images in a layout or
// tarball. A src without a prefix is a file if there is one, else a reference.
// Errors of a registry are of the type *RegistryError.
func Open(ctx context.Context, src string, opts Options) (*Image, error) {
	o := opener{opts: opts, platform: defaultPlatform, spool: newSpool(opts.SpoolDir)}
	var err error
	if opts.Platform != "" {
		if o.platform, err = ParsePlatform(opts.Platform); err != nil {
			return nil, err
		}
	}
	if o.source, err = parseSource(src); err != nil {
		return nil, fmt.Errorf("opening %s: %w", Redact(src), err)
	}
	img, err := o.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", Redact(src), errors.Join(err, o.spool.Close()))
	}
	return img, nil
}
