package bootasset

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"golang.org/x/sync/errgroup"
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

// WriteInitramfs makes the layers that are not in the cache and writes the
// whole initramfs to w, without looking at the findings.
func (a *Asset) WriteInitramfs(ctx context.Context, w io.Writer) (_ Summary, err error) {
	parts := make([]*made, len(a.extensions))
	defer func() {
		for _, m := range parts {
			if m != nil {
				err = errors.Join(err, m.close())
			}
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
		return Summary{}, err
	}
	modules, err := a.modulesLayer(ctx)
	if err != nil {
		return Summary{}, err
	}
	if modules != nil {
		defer modules.Close()
	}
	return a.assemble(w, parts, modules)
}

// assemble writes what is made. Nothing is computed from here on.
func (a *Asset) assemble(w io.Writer, parts []*made, modules *cache.Blob) (Summary, error) {
	out := &counting{w: bufio.NewWriterSize(w, 1<<20)}
	layers := a.layers(parts, modules)
	steps := []func() error{
		func() error { return writeMicrocode(out, parts) },
		func() error { return out.copy(a.opts.Base.initramfs) },
		func() error { return writeLayers(out, layers) },
	}
	for _, m := range parts {
		if m.firmware != nil {
			steps = append(steps, func() error { return out.copy(m.firmware) })
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Summary{}, fmt.Errorf("writing the initramfs: %w", err)
		}
	}
	if err := out.w.Flush(); err != nil {
		return Summary{}, fmt.Errorf("writing the initramfs: %w", err)
	}
	s := Summary{Size: out.n}
	for _, l := range layers {
		s.Layers = append(s.Layers, LayerSummary{l.Layer, l.blob.Size})
	}
	return s, nil
}

// layer is a line of extensions.yaml and the file that it names.
type layer struct {
	extension.Layer
	blob *cache.Blob
}

func (a *Asset) layers(parts []*made, modules *cache.Blob) []layer {
	var layers []layer
	for i, p := range a.extensions {
		blob := parts[i].layer
		layers = append(layers, layer{extension.Layer{Image: extension.LayerImage(i, p.name()), Digest: blob.Digest, Metadata: p.metadata}, blob})
	}
	if modules != nil {
		layers = append(layers, layer{extension.Layer{
			Image: extension.ModulesDepName + ".sqsh", Digest: modules.Digest,
			Metadata: extension.ModulesDep(a.opts.Base.Initramfs.Releases[0]),
		}, modules})
	}
	return layers
}

// counting knows where in the initramfs it is: archives begin at multiples of four.
type counting struct {
	w *bufio.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// copy appends a file and pads to where the next archive may begin.
func (c *counting) copy(b *cache.Blob) error {
	n, err := io.Copy(c, io.NewSectionReader(b.File, 0, b.Size))
	if err != nil {
		return err
	}
	if n != b.Size {
		return io.ErrUnexpectedEOF
	}
	return c.pad()
}

func (c *counting) pad() error {
	_, err := c.Write(make([]byte, cpio.PaddingTo4(c.n)))
	return err
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

// writeMicrocode writes the early archive, if there is microcode at all.
func writeMicrocode(out *counting, parts []*made) error {
	w := cpio.NewWriter(out)
	any := false
	for _, file := range microcodeFiles {
		var size int64
		for _, m := range parts {
			if b := m.microcode[file.part]; b != nil {
				size += b.Size
			}
		}
		if size == 0 {
			continue
		}
		any = true
		if err := startFile(w, file.name, size); err != nil {
			return err
		}
		for _, m := range parts {
			if b := m.microcode[file.part]; b != nil {
				if _, err := io.Copy(w, io.NewSectionReader(b.File, 0, b.Size)); err != nil {
					return err
				}
			}
		}
	}
	if !any {
		return nil
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.pad()
}

func startFile(w *cpio.Writer, name string, size int64) error {
	if err := w.MkdirAll(path.Dir(name), cpio.Header{Mode: fs.ModeDir | 0o755, ModTime: encode.Epoch}); err != nil {
		return err
	}
	return w.WriteHeader(&cpio.Header{Name: name, Mode: 0o644, Size: size, ModTime: encode.Epoch})
}

// writeLayers writes the archive with the squashfs images and extensions.yaml.
func writeLayers(out *counting, layers []layer) error {
	if len(layers) == 0 {
		return nil
	}
	var config extension.Config
	w := cpio.NewWriter(out)
	for _, l := range layers {
		config.Layers = append(config.Layers, l.Layer)
		if err := startFile(w, l.Image, l.blob.Size); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.NewSectionReader(l.blob.File, 0, l.blob.Size)); err != nil {
			return err
		}
	}
	data, err := config.Encode()
	if err != nil {
		return err
	}
	if err := startFile(w, extension.ConfigName, int64(len(data))); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.pad()
}
