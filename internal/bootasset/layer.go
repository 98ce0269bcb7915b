package bootasset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// part says where a file of an extension's rootfs goes.
type part string

// The parts.
const (
	partLayer    part = "layer"           // the squashfs
	partFirmware part = "firmware"        // beside the squashfs in the initramfs, so that the kernel finds it early
	partIntel    part = "microcode-intel" // in the early archive
	partAMD      part = "microcode-amd"
)

// partOf sorts a path of the rootfs (Talos, pkg/imager/extensions): firmware
// and the microcode in it do not stay in the layer.
func (s settings) partOf(p string) part {
	below, ok := strings.CutPrefix(p, s.libDir+"/firmware")
	if !ok || below != "" && below[0] != '/' {
		return partLayer
	}
	dir, name := path.Split(strings.TrimPrefix(below, "/"))
	switch {
	case dir == "intel-ucode/", below == "/intel-ucode":
		return partIntel
	case dir == "amd-ucode/" && strings.HasPrefix(name, "microcode_amd") && strings.HasSuffix(name, ".bin"):
		return partAMD
	}
	return partFirmware
}

// parts of an extension that are not empty, with a digest of what is in each.
func (s settings) parts(facts *survey.Facts) map[part]string {
	hashes := map[part]hashWriter{}
	empty := map[part]bool{}
	rootEntries(facts, func(name string, e survey.Entry) {
		which := s.partOf(name)
		h, ok := hashes[which]
		if !ok {
			h = sha256.New()
			hashes[which], empty[which] = h, true
		}
		empty[which] = empty[which] && e.Mode.IsDir()
		fmt.Fprintf(h, "%v %d %s %q %q %q %q\n", e.Mode, e.Size, e.Sum, e.Label, name, e.Target, e.Hardlink)
	})
	digests := map[part]string{}
	for which, h := range hashes {
		if which == partLayer || !empty[which] {
			digests[which] = hex.EncodeToString(h.Sum(nil))
		}
	}
	if digests[partLayer] == "" { // even an extension of nothing but firmware has a layer
		digests[partLayer] = "empty"
	}
	return digests
}

type hashWriter interface {
	io.Writer
	Sum([]byte) []byte
}

// made is what an extension has become.
type made struct {
	layer     *cache.Blob
	firmware  *cache.Blob // a compressed archive, or nil
	microcode map[part]*cache.Blob
}

// blobs are the files that it is in.
func (m *made) blobs() (blobs []*cache.Blob) {
	for _, b := range []*cache.Blob{m.layer, m.firmware, m.microcode[partIntel], m.microcode[partAMD]} {
		if b != nil {
			blobs = append(blobs, b)
		}
	}
	return blobs
}

// make gets the parts of an extension from the cache, or makes them. With an
// error it returns those that it has.
func (a *Asset) make(ctx context.Context, p *prepared) (*made, error) {
	m := &made{microcode: map[part]*cache.Blob{}}
	for _, which := range []part{partLayer, partFirmware, partIntel, partAMD} {
		digest, ok := p.Parts[which]
		if !ok {
			continue
		}
		blob, err := a.makePart(ctx, p, which, digest)
		if err != nil {
			return m, fmt.Errorf("making the %s of %s: %w", which, p.Source, err)
		}
		switch which {
		case partLayer:
			m.layer = blob
		case partFirmware:
			m.firmware = blob
		default:
			m.microcode[which] = blob
		}
	}
	return m, nil
}

func (a *Asset) makePart(ctx context.Context, p *prepared, which part, digest string) (*cache.Blob, error) {
	label := fmt.Sprintf("%s of %s", which, p.name())
	return a.opts.Cache.MakeUnverified(ctx, a.settings.key(string(which), digest), label, func(f *os.File) error {
		t, err := p.open(ctx)
		if err != nil {
			return err
		}
		sub, err := a.settings.subtree(t, which)
		if err != nil {
			return err
		}
		add, done := a.opts.Progress(label, size(sub))
		defer done()
		switch which {
		case partLayer:
			return encode.Squashfs(ctx, f, sub, a.settings.squashfs, add)
		case partFirmware:
			return a.settings.writeFirmware(ctx, f, sub, add)
		}
		return encode.Concatenate(ctx, f, sub, add) // the kernel finds its CPU's microcode in all of it
	})
}

// subtree is the part of a rootfs.
func (s settings) subtree(image *tree.Tree, which part) (*tree.Tree, error) {
	root := image.Sub(extension.RootfsName)
	if root == nil {
		root = tree.New()
	}
	return root.Filter(func(e tree.Entry) bool { return e.Path == "." || s.partOf(e.Path) == which })
}

func size(t *tree.Tree) (sum int64) {
	_ = t.Walk(func(e tree.Entry) error { // the function returns no error
		if e.Hardlink == "" {
			sum += e.Size
		}
		return nil
	})
	return sum
}

// writeFirmware writes a tree as one compressed archive of the initramfs.
func (s settings) writeFirmware(ctx context.Context, f *os.File, t *tree.Tree, add func(int64)) error {
	z, err := cpio.NewCompressor(f, s.segment, s.level)
	if err != nil {
		return err
	}
	return errors.Join(encode.Cpio(ctx, z, t, add), z.Close())
}
