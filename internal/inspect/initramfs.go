package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/survey"
)

// Initramfs is the report on an initramfs of graft or of Talos' imager.
type Initramfs struct {
	File     string    `json:"file,omitempty" yaml:"file,omitempty"`
	Size     int64     `json:"size" yaml:"size"`
	Archives []Archive `json:"archives" yaml:"archives"`
	Base     Base      `json:"base" yaml:"base"`
	Layers   []Layer   `json:"layers" yaml:"layers"`
	// Verified is what the one who made it wrote down of signatures: no proof.
	Verified []extension.Verified `json:"verified,omitempty" yaml:"verified,omitempty"`
	// Problems are what would go wrong at boot: a layer that is named and not
	// there, or is not what its digest says.
	Problems []string `json:"problems,omitempty" yaml:"problems,omitempty"`
	// Files are those beside the layers, firmware for one, with
	// Options.LayerFiles.
	Files []ListedFile `json:"files,omitempty" yaml:"files,omitempty"`
}

// Archive is one of the cpio archives that the file is made of.
type Archive struct {
	Offset      int64  `json:"offset" yaml:"offset"`
	Size        int64  `json:"size" yaml:"size"` // in the file
	Compression string `json:"compression" yaml:"compression"`
	Files       int    `json:"files" yaml:"files"`
	Bytes       int64  `json:"bytes" yaml:"bytes"` // of the files in it
	Holds       string `json:"holds" yaml:"holds"` // in words
}

// Base is what the extensions were added to.
type Base struct {
	OS       string   `json:"os,omitempty" yaml:"os,omitempty"`           // PRETTY_NAME, or NAME
	Version  string   `json:"version,omitempty" yaml:"version,omitempty"` // VERSION_ID
	Releases []string `json:"kernels,omitempty" yaml:"kernels,omitempty"` // that it has modules for
	Size     int64    `json:"size" yaml:"size"`                           // of rootfs.sqsh
	Digest   string   `json:"digest,omitempty" yaml:"digest,omitempty"`   // of rootfs.sqsh
	Format   string   `json:"format,omitempty" yaml:"format,omitempty"`   // compression of rootfs.sqsh
}

// Layer is a line of extensions.yaml and the file that it names.
type Layer struct {
	Image    string             `json:"image" yaml:"image"`
	Size     int64              `json:"size" yaml:"size"`
	Digest   string             `json:"digest" yaml:"digest"` // as computed
	Metadata extension.Metadata `json:"metadata" yaml:"metadata"`
	Files    []ListedFile       `json:"files,omitempty" yaml:"files,omitempty"` // with Options.LayerFiles
}

var errNotInitramfs = errors.New("not an initramfs")

// initramfs reports on an initramfs. The base's root is unpacked to a scratch
// file in the cache. Problems are in this report, and in that of the whole.
func (i *inspector) initramfs(f io.ReaderAt, size int64) (*Initramfs, error) {
	if err := i.spend(size); err != nil {
		return nil, err
	}
	r := &reader{report: &Initramfs{Size: size}, inspector: i, images: map[string]layerImage{}}
	archives := cpio.NewInitramfsReader(ctxio.NewReader(i.ctx, io.NewSectionReader(f, 0, size)))
	archives.MaxUnpacked = min(max(i.left, 1), cpio.DefaultMaxUnpacked)
	if err := r.all(archives); err != nil {
		return nil, err
	}
	r.layers()
	for _, p := range r.report.Problems {
		i.problem("%s", p)
	}
	return r.report, i.spend(r.unpacked)
}

// all reads the archives one after the other. What has no entry is something
// else.
func (r *reader) all(archives *cpio.InitramfsReader) error {
	for {
		a, err := archives.Next()
		if errors.Is(err, io.EOF) && len(r.report.Archives) > 0 {
			return nil
		}
		if err != nil && len(r.report.Archives) == 0 {
			return fmt.Errorf("%w: %w", errNotInitramfs, err)
		}
		if err == nil {
			err = r.archive(a)
		}
		if err != nil && r.entries == 0 {
			return fmt.Errorf("%w: %w", errNotInitramfs, err)
		}
		if err != nil {
			return fmt.Errorf("archive %d: %w", len(r.report.Archives)+1, err)
		}
		// The end of an archive is known when it has been read.
		s := archives.Segment()
		last := &r.report.Archives[len(r.report.Archives)-1]
		last.Offset, last.Size, last.Compression = s.Offset, s.Size, s.Compression.String()
		if s.Compression != cpio.Plain {
			r.unpacked += s.Unpacked
		}
	}
}

// layerImage is a squashfs in the initramfs.
type layerImage struct {
	size   int64
	digest string
	files  []ListedFile
}

type reader struct {
	*inspector
	report *Initramfs
	images map[string]layerImage
	config extension.Config

	entries  int   // read so far: what has none is something else
	unpacked int64 // bytes
}

func (r *reader) archive(a *cpio.Reader) error {
	var sum Archive
	var kinds []string
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.entries++
		name, err := cpio.LocalName(h.Name)
		if err != nil {
			return err
		}
		if !h.Mode.IsDir() {
			sum.Files++
			sum.Bytes += h.Size
			kinds = addKind(kinds, kindOf(name))
		}
		if err := r.file(name, h, a); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	sum.Holds = strings.Join(kinds, ", ")
	r.report.Archives = append(r.report.Archives, sum)
	return nil
}

func addKind(kinds []string, kind string) []string {
	for _, k := range kinds {
		if k == kind {
			return kinds
		}
	}
	return append(kinds, kind)
}

// kindOf says in a word what a file of an initramfs is for.
func kindOf(name string) string {
	switch {
	case strings.HasPrefix(name, "kernel/x86/microcode/"):
		return "microcode"
	case strings.HasPrefix(name, "usr/lib/firmware/"), strings.HasPrefix(name, "lib/firmware/"):
		return "firmware"
	case name == "init":
		return "init"
	case name == "rootfs.sqsh":
		return "root filesystem"
	case name == extension.ConfigName:
		return extension.ConfigName
	case strings.HasSuffix(name, ".sqsh"):
		return "layers"
	}
	return "files"
}

func (r *reader) file(name string, h *cpio.Header, content io.Reader) error {
	switch {
	case !h.Mode.IsRegular():
		return nil
	case name == extension.ConfigName:
		data, err := io.ReadAll(io.LimitReader(content, extension.MaxConfigSize+1))
		if err != nil {
			return err
		}
		r.config, err = extension.ParseConfig(data)
		return err
	case name == "rootfs.sqsh":
		return r.root(content)
	case strings.HasSuffix(name, ".sqsh"):
		img, err := r.layer(name, content)
		r.images[name] = img
		return err
	case r.options.LayerFiles:
		return r.loose(name, h, content)
	}
	return nil
}

// layer reads the squashfs of a layer.
func (r *reader) layer(name string, content io.Reader) (layerImage, error) {
	if r.options.LayerFiles || r.options.Root != nil {
		return r.openLayer(name, content)
	}
	hash := sha256.New()
	n, err := io.Copy(hash, content)
	return layerImage{size: n, digest: "sha256:" + hex.EncodeToString(hash.Sum(nil))}, err
}

// loose lists a file beside the layers.
func (r *reader) loose(name string, h *cpio.Header, content io.Reader) error {
	hash := sha256.New()
	n, err := io.Copy(hash, content)
	r.report.Files = append(r.report.Files, ListedFile{Path: name, Mode: h.Mode.String(), Size: n, Sum: hex.EncodeToString(hash.Sum(nil))})
	return err
}

// root looks into the base's root filesystem.
func (r *reader) root(content io.Reader) error {
	blob, err := r.options.Cache.Scratch(func(f *os.File) error {
		_, err := io.Copy(f, content)
		return err
	})
	if err != nil {
		return err
	}
	defer blob.Close()
	b := &r.report.Base
	b.Size, b.Digest = blob.Size, blob.Digest
	root, err := squashfs.NewReader(blob, blob.Size)
	if err != nil {
		return err
	}
	if err := r.show(blob.Digest, root); err != nil {
		return err
	}
	b.Format = fmt.Sprint(root.Info().Compression)
	release := survey.ReadOSRelease(root)
	b.OS, b.Version = release.Name, release.Version
	for _, p := range []string{"usr/lib/modules", "lib/modules"} {
		entries, err := root.ReadDir(p)
		for _, e := range entries {
			b.Releases = append(b.Releases, e.Name())
		}
		if err == nil && len(entries) > 0 {
			break
		}
	}
	return nil
}

// layers brings extensions.yaml and the images together.
func (r *reader) layers() {
	listed := map[string]bool{}
	for _, l := range r.config.Layers {
		img, ok := r.images[l.Image]
		listed[l.Image] = true
		switch {
		case !ok:
			r.problem("the layer %s is listed in %s and not there", l.Image, extension.ConfigName)
		case l.Digest != "" && l.Digest != img.digest:
			r.problem("the layer %s has the digest %s, %s says %s", l.Image, img.digest, extension.ConfigName, l.Digest)
		}
		r.report.Layers = append(r.report.Layers, Layer{l.Image, img.size, img.digest, l.Metadata, img.files})
	}
	r.report.Verified = r.config.Verified
	for _, name := range slices.Sorted(maps.Keys(r.images)) {
		if !listed[name] {
			r.problem("the file %s is in no line of %s: it will not be mounted", name, extension.ConfigName)
		}
	}
	if r.report.Base.Size == 0 {
		r.problem("there is no /rootfs.sqsh: this initramfs does not boot Talos")
	}
}

func (r *reader) problem(format string, args ...any) {
	if len(r.report.Problems) == maxProblems {
		return
	}
	r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
}
