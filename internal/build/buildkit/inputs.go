package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// inputs are the file systems that graft brings to one call of Solve, as images
// of one layer.
type inputs struct {
	e     *Engine
	log   func(op *plan.Op, line string)
	store *contentStore

	mu     sync.Mutex
	images map[string]*input // by key
}

// input is one image.
type input struct {
	once   sync.Once
	digest digest.Digest // of the manifest
	err    error
}

// record is what the cache keeps of an input: all but its layer.
type record struct {
	Manifest, Config []byte
}

// inputVersion is part of every key in the cache. It changes with the bytes
// that are made of a tree.
const inputVersion = "1"

// prepare packs all inputs of a plan, several at a time, and returns their
// digests.
func (in *inputs) prepare(ctx context.Context, ops []*plan.Op) (map[*plan.Op]digest.Digest, error) {
	digests := make([]digest.Digest, len(ops))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0)) // most of them wait for a download or a disk
	for i, op := range ops {
		g.Go(func() (err error) {
			digests[i], err = in.one(ctx, op)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[*plan.Op]digest.Digest{}
	for i, op := range ops {
		if digests[i] != "" {
			out[op] = digests[i]
		}
	}
	return out, nil
}

// one packs what an operation brings, if it does.
func (in *inputs) one(ctx context.Context, op *plan.Op) (digest.Digest, error) {
	switch k := op.Kind.(type) {
	case *plan.Files:
		return in.files(ctx, op, k)
	case *plan.Image:
		if isLocal(k.Ref) {
			return in.image(ctx, op, k)
		}
	}
	return "", nil
}

func (in *inputs) files(ctx context.Context, op *plan.Op, k *plan.Files) (digest.Digest, error) {
	in.mu.Lock()
	i := in.images[k.Key]
	if i == nil {
		i = &input{}
		in.images[k.Key] = i
	}
	in.mu.Unlock()
	i.once.Do(func() { i.digest, i.err = in.known(ctx, op, k) })
	return i.digest, i.err
}

// image reads a container image of this machine. Only graft can: it is treated
// as files.
func (in *inputs) image(ctx context.Context, op *plan.Op, k *plan.Image) (digest.Digest, error) {
	img, err := oci.Open(ctx, k.Ref, oci.Options{Platform: op.Platform, SpoolDir: in.e.opts.SpoolDir})
	if err != nil {
		return "", &opError{op, err}
	}
	in.store.keep(img)
	t, err := img.Tree(ctx)
	if err != nil {
		return "", &opError{op, err}
	}
	key, err := t.Digest(ctx)
	if err != nil {
		return "", &opError{op, err}
	}
	return in.files(ctx, op, &plan.Files{Key: "image:" + key, Tree: func(context.Context, plan.Log) (*tree.Tree, error) { return t, nil }})
}

// isLocal says whether oci.Open would look for an image on this machine.
func isLocal(ref string) bool {
	scheme, _, _ := strings.Cut(ref, ":")
	switch scheme {
	case "docker":
		return false
	case "dir", "tar", "oci", "oci-archive", "docker-archive":
		return true
	}
	_, err := os.Stat(ref)
	return err == nil || filepath.IsAbs(ref) || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../")
}

// known takes an input that was packed before without reading it.
func (in *inputs) known(ctx context.Context, op *plan.Op, k *plan.Files) (digest.Digest, error) {
	img, err := in.recorded(ctx, op, k)
	if err != nil {
		return "", &opError{op, err}
	}
	return in.store.add(img, func(ctx context.Context) (io.ReaderAt, error) {
		now, err := in.pack(ctx, op, k)
		if err == nil && now.layer().Digest != img.layer().Digest {
			err = errChanged
		}
		if err != nil {
			return nil, &opError{op, err}
		}
		return now.file, nil
	}), nil
}

var errChanged = errors.New("its files are not what they were before under the same key")

// recorded packs an input, or gives an image without the layer's bytes if the
// cache knows the rest.
func (in *inputs) recorded(ctx context.Context, op *plan.Op, k *plan.Files) (*image, error) {
	c := in.e.opts.Cache
	if c == nil {
		return in.pack(ctx, op, k)
	}
	var img *image
	key := strings.Join([]string{"buildkit input", inputVersion, string(in.compression()), k.Key}, " ")
	blob, err := c.Make(ctx, key, op.Name+" (its digest for BuildKit)", func(f *os.File) (err error) {
		if img, err = in.pack(ctx, op, k); err != nil {
			return err
		}
		return json.NewEncoder(f).Encode(img.record)
	})
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if img != nil {
		return img, nil
	}
	img = &image{}
	if err := json.NewDecoder(io.LimitReader(blob, 2*oci.MaxManifest)).Decode(&img.record); err != nil {
		return nil, fmt.Errorf("reading what the cache knows: %w", err)
	}
	return img, img.parse()
}

// compression of what is sent: there is nothing to save on this machine.
func (in *inputs) compression() oci.Compression {
	if strings.HasPrefix(in.e.opts.Address, "unix:") {
		return oci.None
	}
	return oci.Zstd
}

// image is an input in its encoded form.
type image struct {
	record
	manifest ocispecs.Manifest
	file     *os.File // the layer's bytes; nil until they are asked for
}

func (i *image) layer() ocispecs.Descriptor { return i.manifest.Layers[0] }

// pack gets the files and makes an image of them.
func (in *inputs) pack(ctx context.Context, op *plan.Op, k *plan.Files) (*image, error) {
	t, err := k.Tree(ctx, func(line string) { in.log(op, line) })
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(in.e.opts.SpoolDir, "graft-input-*")
	if err != nil {
		return nil, fmt.Errorf("making room for it: %w", err)
	}
	defer os.RemoveAll(dir)
	p := oci.Packed{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: t} // the same for all: files have no platform
	opts := oci.PackOptions{Epoch: plan.FileTime, Compression: in.compression(), SpoolDir: in.e.opts.SpoolDir}
	res, err := oci.Pack(ctx, []oci.Packed{p}, "oci:"+dir, opts)
	if err != nil {
		return nil, err
	}
	img, err := openImage(dir, digest.Digest(res.Digest))
	if err != nil {
		return nil, err
	}
	in.store.keep(img.file)
	return img, nil
}

// openImage opens the blobs of a layout that is about to be removed.
func openImage(dir string, root digest.Digest) (*image, error) {
	blob := func(d digest.Digest) string { return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded()) }
	img := &image{}
	var err error
	if img.Manifest, err = os.ReadFile(blob(root)); err != nil {
		return nil, err
	}
	if err := img.parse(); err != nil {
		return nil, err
	}
	if img.Config, err = os.ReadFile(blob(img.manifest.Config.Digest)); err != nil {
		return nil, err
	}
	img.file, err = os.Open(blob(img.layer().Digest))
	return img, err
}

// parse reads the manifest.
func (i *image) parse() error {
	if err := json.Unmarshal(i.Manifest, &i.manifest); err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	if n := len(i.manifest.Layers); n != 1 {
		return fmt.Errorf("reading a manifest: it has %d layers, not one", n)
	}
	return nil
}
