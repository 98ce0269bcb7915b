package bootasset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/sparse"
)

// makeParallel is how many extensions are made at the same time. Each uses all
// CPUs for its squashfs; a second one fills the gaps that small files and
// firmware, which is one stream, leave. More would only take memory.
const makeParallel = 2

// Summary is what an initramfs was made of.
type Summary struct {
	Layers []LayerSummary `json:"layers" yaml:"layers"`
	Size   int64          `json:"size" yaml:"size"` // bytes of the whole
}

// LayerSummary is one layer with its size in bytes.
type LayerSummary struct {
	extension.Layer `yaml:",inline"`
	Size            int64 `json:"size" yaml:"size"`
}

// Initramfs makes the layers that are not in the cache and lays out the
// initramfs, without looking at the findings. Made once, it is the same image
// each time; it can be read until Close.
func (a *Asset) Initramfs(ctx context.Context) (*sparse.Image, Summary, error) {
	if a.initramfs != nil {
		return a.initramfs, a.summary, nil
	}
	parts := make([]*made, len(a.extensions))
	defer func() {
		for _, m := range parts {
			a.keep(m)
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(makeParallel)
	for i, p := range a.extensions {
		g.Go(func() (err error) {
			parts[i], err = a.make(gctx, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, Summary{}, err
	}
	modules, err := a.modulesLayer(ctx)
	if err != nil {
		return nil, Summary{}, err
	}
	if modules != nil {
		a.open = append(a.open, modules)
	}
	if err := a.assemble(parts, modules); err != nil {
		return nil, Summary{}, fmt.Errorf("laying out the initramfs: %w", err)
	}
	return a.initramfs, a.summary, nil
}

// keep has Close close what was made.
func (a *Asset) keep(m *made) {
	if m != nil {
		for _, b := range m.blobs() {
			a.open = append(a.open, b)
		}
	}
}

// Verify compares what assets are read from with its digests, as far as that
// was not done before: see Output.
func (a *Asset) Verify(ctx context.Context) error {
	blobs := a.opts.Base.blobs()
	for _, c := range a.open {
		if b, ok := c.(*cache.Blob); ok {
			blobs = append(blobs, b)
		}
	}
	return verify(ctx, blobs)
}

// Close lets go of the files that assets are read from.
func (a *Asset) Close() error {
	var errs []error
	for _, b := range a.open {
		errs = append(errs, b.Close())
	}
	a.open = nil
	return errors.Join(errs...)
}

// assemble puts what is made in order. Nothing is computed from here on.
func (a *Asset) assemble(parts []*made, modules *cache.Blob) error {
	layers := a.layers(parts, modules)
	early, err := microcodeArchive(parts)
	if err != nil {
		return err
	}
	late, err := layersArchive(layers, a.opts.Verified)
	if err != nil {
		return err
	}
	archives := slices.Concat(early, []*sparse.Image{blobImage(a.opts.Base.initramfs)}, late)
	for _, m := range parts {
		if m.firmware != nil {
			archives = append(archives, blobImage(m.firmware))
		}
	}
	whole := sparse.Concat(archiveAlign, archives...)
	whole.Resize(whole.Size() + cpio.PaddingTo4(whole.Size()))
	a.initramfs, a.summary = whole, Summary{Size: whole.Size()}
	for _, l := range layers {
		a.summary.Layers = append(a.summary.Layers, LayerSummary{l.Layer, l.blob.Size})
	}
	return nil
}

// archiveAlign is where the kernel looks for the next archive, in bytes.
const archiveAlign = 4

// blobImage is a file of the cache as an image.
func blobImage(b *cache.Blob) *sparse.Image { return sparse.From(b.File, 0, b.Size) }

// layer is a line of extensions.yaml and the file that it names.
type layer struct {
	extension.Layer
	blob *cache.Blob
}

func (a *Asset) layers(parts []*made, modules *cache.Blob) []layer {
	var layers []layer
	for i, p := range a.extensions {
		blob := parts[i].layer
		layers = append(layers, layer{extension.Layer{Image: extension.LayerImage(i, p.name()), Digest: blob.Digest, Metadata: p.Metadata}, blob})
	}
	if modules != nil {
		layers = append(layers, layer{extension.Layer{
			Image: extension.ModulesDepName + ".sqsh", Digest: modules.Digest,
			Metadata: extension.ModulesDep(a.opts.Base.summary.Releases[0]),
		}, modules})
	}
	return layers
}

// microcodeFiles are where the kernel looks for microcode before anything else
// runs (Documentation/arch/x86/microcode.rst).
var microcodeFiles = []struct {
	part part
	name string
}{
	{partAMD, "kernel/x86/microcode/AuthenticAMD.bin"},
	{partIntel, "kernel/x86/microcode/GenuineIntel.bin"},
}

// microcodeArchive is the early archive, if there is microcode at all.
func microcodeArchive(parts []*made) ([]*sparse.Image, error) {
	var files []cpio.File
	for _, file := range microcodeFiles {
		var pieces []*sparse.Image
		for _, m := range parts {
			if b := m.microcode[file.part]; b != nil {
				pieces = append(pieces, blobImage(b))
			}
		}
		if len(pieces) > 0 {
			files = append(files, archived(file.name, sparse.Concat(1, pieces...)))
		}
	}
	return archive(files)
}

// layersArchive has the squashfs images and extensions.yaml.
func layersArchive(layers []layer, verified []extension.Verified) ([]*sparse.Image, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	config := extension.Config{Verified: verified}
	var files []cpio.File
	for _, l := range layers {
		config.Layers = append(config.Layers, l.Layer)
		files = append(files, archived(l.Image, blobImage(l.blob)))
	}
	data, err := config.Encode()
	if err != nil {
		return nil, err
	}
	return archive(append(files, archived(extension.ConfigName, sparse.Bytes(data))))
}

func archived(name string, content *sparse.Image) cpio.File {
	return cpio.File{Header: cpio.Header{Name: name, Mode: 0o644, ModTime: encode.Epoch}, Content: content}
}

// archive is one archive of the files, or none.
func archive(files []cpio.File) ([]*sparse.Image, error) {
	if len(files) == 0 {
		return nil, nil
	}
	m, err := cpio.Image(files, cpio.Header{Mode: fs.ModeDir | 0o755, ModTime: encode.Epoch})
	return []*sparse.Image{m}, err
}
