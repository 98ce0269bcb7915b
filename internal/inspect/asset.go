package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/tree"
)

// Asset is the report on a boot asset.
type Asset struct {
	Source  string   `json:"source" yaml:"source"`
	Kind    Kind     `json:"kind" yaml:"kind"`
	Formats []string `json:"formats,omitempty" yaml:"formats,omitempty"` // around it, the outermost first
	Size    int64    `json:"size,omitempty" yaml:"size,omitempty"`       // of the file

	// Ref, Digest and Platform of a container image, and how many layers it has.
	Ref      string `json:"ref,omitempty" yaml:"ref,omitempty"`
	Digest   string `json:"digest,omitempty" yaml:"digest,omitempty"`
	Platform string `json:"platform,omitempty" yaml:"platform,omitempty"`
	Layers   int    `json:"layers,omitempty" yaml:"layers,omitempty"`

	Contents `yaml:",inline"`

	// Files of a directory for PXE, and those below usr/install of an installer.
	Files []Entry `json:"files,omitempty" yaml:"files,omitempty"`

	// Problems are what would go wrong at boot, wherever it was found.
	Problems []string `json:"problems,omitempty" yaml:"problems,omitempty"`
}

// Contents are what a file turned out to hold. At most one of them is there.
type Contents struct {
	Disk      *Disk        `json:"disk,omitempty" yaml:"disk,omitempty"`
	ISO       *ISO         `json:"iso,omitempty" yaml:"iso,omitempty"`
	Program   *Program     `json:"program,omitempty" yaml:"program,omitempty"`
	Kernel    *Kernel      `json:"kernel,omitempty" yaml:"kernel,omitempty"`
	Initramfs *Initramfs   `json:"initramfs,omitempty" yaml:"initramfs,omitempty"`
	Menu      *Menu        `json:"menu,omitempty" yaml:"menu,omitempty"`
	Loader    []Setting    `json:"loader,omitempty" yaml:"loader,omitempty"`
	Enrolment *Enrolment   `json:"enrolment,omitempty" yaml:"enrolment,omitempty"`
	Signer    *Certificate `json:"certificate,omitempty" yaml:"certificate,omitempty"`
	Cmdline   string       `json:"cmdline,omitempty" yaml:"cmdline,omitempty"`
}

// Options are about how much is looked at.
type Options struct {
	// Cache has the room for what has to be unpacked.
	Cache *cache.Cache
	// LayerFiles lists the files of all layers, and what lies beside them in an
	// initramfs, for Compare.
	LayerFiles bool
	// Root is shown each squashfs in an initramfs: a layer, by the digest that the
	// report has of it, and the base's rootfs.sqsh. The tree can be read until Root
	// returns. An error ends the report.
	Root func(digest string, root *tree.Tree) error
	// MaxRead is how many bytes are read or unpacked in all; 0 is 64 GiB.
	MaxRead int64
}

// ErrUnknown says that a file is of no kind that is known here.
var ErrUnknown = errors.New("it is neither a boot asset nor an extension")

// errTooMuch ends reports on assets that make more work than they are worth.
var errTooMuch = errors.New("there is more to read than the limit")

// Of reports on a file of size bytes: an ErrUnknown if it is no boot asset. A
// boot asset that is damaged is reported on as far as it goes, with Problems.
func Of(ctx context.Context, source string, r io.ReaderAt, size int64, o Options) (_ *Asset, err error) {
	i := newInspector(ctx, o)
	inner, err := i.unwrap(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	defer func() { err = errors.Join(err, inner.close()) }()
	a := &Asset{Source: source, Kind: inner.kind, Formats: inner.formats, Size: size}
	if a.Contents, err = i.contents(a.Kind, inner, inner.size); err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	if a.Initramfs != nil {
		a.Initramfs.File = source
	}
	a.Problems = i.problems
	return a, nil
}

// OfDir reports on a directory from which machines boot over the network.
func OfDir(ctx context.Context, source string, dir fs.FS, o Options) (*Asset, error) {
	i := newInspector(ctx, o)
	files, err := i.entries(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	a := &Asset{Source: source, Kind: KindPXE, Files: files}
	i.needs(files, "kernel", func(e Entry) bool { return e.Kernel != nil })
	i.needs(files, "initramfs", func(e Entry) bool { return e.Initramfs != nil })
	a.Problems = i.problems
	return a, nil
}

// installDir has the parts of boot assets in the images of installers, and in
// those of bases.
const installDir = "usr/install"

// stubName is in bases only.
const stubName = "systemd-stub.efi"

// OfInstaller reports on the contents of a container image with parts of boot
// assets: an installer, or a base. Without any it is an ErrUnknown.
func OfInstaller(ctx context.Context, source string, root *tree.Tree, o Options) (*Asset, error) {
	i := newInspector(ctx, o)
	a := &Asset{Source: source, Kind: KindInstaller}
	err := root.Walk(func(e tree.Entry) error {
		if !e.Mode.IsRegular() || !under(e.Path, installDir) {
			return nil
		}
		f, err := e.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		entry, err := i.entry(e.Path, f, e.Size)
		a.Files = append(a.Files, entry)
		if path.Base(e.Path) == stubName {
			a.Kind = KindBase
		}
		return err
	})
	if err == nil && len(a.Files) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", source, err)
	}
	i.needs(a.Files, "kernel", func(e Entry) bool { return e.Kernel != nil || e.Program != nil && e.Program.Kernel != nil })
	a.Problems = i.problems
	return a, nil
}

func under(p, dir string) bool {
	return len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/'
}

// inspector is one report in the making.
type inspector struct {
	ctx      context.Context
	options  Options
	left     int64 // bytes that may still be read
	where    []string
	problems []string
}

func newInspector(ctx context.Context, o Options) *inspector {
	const defaultMaxRead = 64 << 30
	if o.MaxRead == 0 {
		o.MaxRead = defaultMaxRead
	}
	return &inspector{ctx: ctx, options: o, left: o.MaxRead}
}

// spend takes bytes that are going to be read off the budget: files may
// overlap, and a small image tell of very much.
func (i *inspector) spend(n int64) error {
	if i.left -= n; i.left < 0 || n < 0 {
		return fmt.Errorf("%w of %d bytes", errTooMuch, i.options.MaxRead)
	}
	return i.ctx.Err()
}

// final says whether an error ends the report; others are problems in it.
func (i *inspector) final(err error) bool {
	return i.ctx.Err() != nil || errors.Is(err, errTooMuch) || errors.As(err, &shown{})
}

// maxProblems is how many are told of: a person reads the first ones.
const maxProblems = 256

// problem notes what would go wrong, with the place in which it is.
func (i *inspector) problem(format string, args ...any) {
	if len(i.problems) == maxProblems {
		return
	}
	text := fmt.Sprintf(format, args...)
	for _, w := range slices.Backward(i.where) {
		text = w + ": " + text
	}
	i.problems = append(i.problems, text)
}

// at runs a function whose problems are in some place.
func (i *inspector) at(where string, fn func() error) error {
	i.where = append(i.where, where)
	defer func() { i.where = i.where[:len(i.where)-1] }()
	return fn()
}

// needs notes that one of the files should be of a kind.
func (i *inspector) needs(files []Entry, what string, is func(Entry) bool) {
	if !slices.ContainsFunc(files, is) {
		i.problem("there is no %s", what)
	}
}

// contents looks into what is of a known kind.
func (i *inspector) contents(kind Kind, r io.ReaderAt, size int64) (c Contents, err error) {
	switch kind {
	case KindDisk:
		c.Disk, err = i.disk(r, size)
	case KindISO:
		c.ISO, err = i.iso(r, size)
	case KindUKI, KindEFI:
		c.Program, err = i.program(r, size)
	case KindKernel:
		c.Kernel = kernelOf(r, size)
	case KindInitramfs:
		c.Initramfs, err = i.initramfs(r, size)
	default:
		err = ErrUnknown
	}
	return c, err
}

// digest is that of a whole content.
func (i *inspector) digest(r io.ReaderAt, size int64) (string, error) {
	if err := i.spend(size); err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, ctxio.NewReader(i.ctx, io.NewSectionReader(r, 0, size)))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), err
}

// readSmall reads the whole of a content that has at most limit bytes.
func readSmall(r io.ReaderAt, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("%d bytes are too many; %d at most are read", size, limit)
	}
	return io.ReadAll(io.NewSectionReader(r, 0, size))
}
