// Package bootasset makes boot assets: the base's kernel and initramfs, plus
// the layers of extensions.
//
// A layer is a pure function of an extension's files and a few settings, and
// costly; an initramfs is cheap, because the kernel takes any sequence of cpio
// archives: it is the base, byte for byte, followed by the layers as they are.
// So everything costly is kept in a cache under a key that names all that it
// depends on, and making an asset again is a copy.
//
//	early microcode (uncompressed cpio, only if an extension brings microcode)
//	the base's initramfs, byte for byte
//	uncompressed cpio: 000.<ref>.sqsh, 001.<ref>.sqsh, …, modules.dep.sqsh, extensions.yaml
//	one compressed cpio per extension with firmware: usr/lib/firmware/…
//
// Talos' imager compresses the second half as one archive, layers included;
// the kernel and Talos' init see the same files either way.
package bootasset

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// writerVersion changes when the same input gives other bytes than before: it
// is part of every key in the cache.
const writerVersion = "2"

// Level chooses between speed and size.
type Level string

// The levels.
const (
	Default Level = "default"
	Best    Level = "best" // about five times slower, 5 to 10 per cent smaller
)

// Extension is one extension to put into an asset.
type Extension struct {
	Source string // what the user called it
	Image  *oci.Image
}

// Options say what to make, and from what.
type Options struct {
	Base       *Base
	Extensions []Extension // the first is the lowest layer
	Level      Level       // "" is Default
	Cache      *cache.Cache
	Progress   Progress // nil shows none
}

// Progress is told what takes time: it returns what to call for each chunk of
// bytes done of total, and at the end.
type Progress func(what string, total int64) (add func(int64), done func())

// Asset is a set of extensions for a base that is known and checked, and the
// boot assets that can be made of both. It is for one goroutine.
type Asset struct {
	opts       Options
	settings   settings
	extensions []*prepared
	// Findings of the checks, errors included: whether to go on is up to the caller.
	Findings []check.Finding

	initramfs *sparse.Image // once it is laid out
	summary   Summary
	open      []io.Closer // that images are read from
}

// prepared is an extension with all that is known of it.
type prepared struct {
	Extension
	facts    *survey.Facts
	metadata extension.Metadata
	tree     *tree.Tree // opened when it is needed, see Asset.tree
}

// settings decide the bytes of a layer beside its files.
type settings struct {
	squashfs squashfs.Options
	segment  cpio.Compression
	level    cpio.Level
	libDir   string // of modules and firmware
}

// maxWorkers bounds the memory that a layer takes on machines with many CPUs:
// some 8 MiB each.
const maxWorkers = 8

func newSettings(v extension.Version, level Level) settings {
	s := settings{segment: cpio.Zstd, libDir: v.LibDir()}
	s.squashfs.Compression, s.squashfs.Workers = squashfs.Zstd, min(runtime.GOMAXPROCS(0), maxWorkers)
	if level == Best {
		s.squashfs.Level, s.level = squashfs.Best, cpio.Best
	}
	if !v.Zstd() {
		s.squashfs.Compression, s.segment = squashfs.XZ, cpio.XZ
	}
	return s
}

// key identifies what is made from an input with these settings.
func (s settings) key(what, input string) string {
	return fmt.Sprintf("%s|v%s|%d.%d.%d|%v.%d|%s|%s", what, writerVersion,
		s.squashfs.Compression, s.squashfs.Level, s.squashfs.BlockSize, s.segment, s.level, s.libDir, input)
}

// Prepare looks at the extensions and checks them, one by one, together, and
// against the base. It reads what is not in the cache and makes nothing yet.
func Prepare(ctx context.Context, opts Options) (*Asset, error) {
	if opts.Progress == nil {
		opts.Progress = func(string, int64) (func(int64), func()) { return func(int64) {}, func() {} }
	}
	a := &Asset{opts: opts, settings: newSettings(opts.Base.Talos, opts.Level)}
	var subjects []check.Subject
	for _, e := range opts.Extensions {
		if arch := e.Image.Platform().Arch; arch != "" && arch != opts.Base.Arch {
			return nil, fmt.Errorf("reading extension %s: it is for %s, the base is for %s", e.Source, arch, opts.Base.Arch)
		}
		p, err := a.prepare(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("reading extension %s: %w", e.Source, err)
		}
		a.extensions = append(a.extensions, p)
		subjects = append(subjects, check.Subject{Source: e.Source, Ref: e.Image.Ref(), Arch: opts.Base.Arch, Facts: p.facts})
	}
	against, err := opts.Base.CheckOptions()
	if err != nil {
		return nil, err
	}
	a.Findings, err = check.Run(subjects, against)
	return a, err
}

// prepare finds the facts of an extension: an image that was seen before is
// known by its digest, and not pulled again.
func (a *Asset) prepare(ctx context.Context, e Extension) (*prepared, error) {
	p := &prepared{Extension: e}
	facts, err := Survey(ctx, a.opts.Cache, e.Image)
	if err != nil {
		return nil, err
	}
	p.facts = facts
	if m, _, err := extension.ParseManifest(facts.Manifest); err == nil {
		p.metadata = m.Metadata
	}
	return p, nil
}

// Survey returns the facts of an image, from the cache if its digest is known
// there, or the state of its directory.
func Survey(ctx context.Context, c *cache.Cache, img *oci.Image) (*survey.Facts, error) {
	id := img.Digest()
	if id == "" {
		t, err := img.Tree(ctx)
		if err != nil {
			return nil, err
		}
		if id = t.Stamp(); id == "" {
			return survey.Of(ctx, t)
		}
	}
	var facts *survey.Facts
	key := fmt.Sprintf("facts|v%s|%s|%s", survey.Version, id, img.Platform())
	err := cache.JSON(ctx, c, key, strings.TrimSpace("facts "+img.Ref()), &facts, func() error {
		t, err := img.Tree(ctx)
		if err != nil {
			return err
		}
		facts, err = survey.Of(ctx, t)
		return err
	})
	return facts, err
}

// name of an extension for people and for its layer.
func (p *prepared) name() string {
	switch ref := p.Image.Ref(); {
	case ref != "":
		return ref
	case p.metadata.Name != "":
		return strings.Trim(p.metadata.Name+"-"+p.metadata.Version, "-")
	}
	return p.Source
}

// open returns the tree of an extension; its image is pulled the first time.
func (p *prepared) open(ctx context.Context) (*tree.Tree, error) {
	if p.tree != nil {
		return p.tree, nil
	}
	t, err := p.Image.Tree(ctx)
	if err != nil {
		return nil, err
	}
	digest, err := t.Digest(ctx)
	if err != nil {
		return nil, err
	}
	if digest != p.facts.Digest {
		return nil, fmt.Errorf("reading %s: %w", p.Source, tree.ErrChanged)
	}
	p.tree = t
	return t, nil
}

// rootEntries are the entries of an extension's rootfs, by path on the node
// without the leading slash.
func (p *prepared) rootEntries(fn func(path string, e survey.Entry)) {
	for _, e := range p.facts.Entries {
		if path, ok := survey.OnNode(e.Path); ok {
			fn(path[1:], e)
		}
	}
}
