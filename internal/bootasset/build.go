package bootasset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/tree"
)

// Output is a boot asset that is laid out and not yet written. It can be read
// until its Asset is closed.
//
// What it is made of comes from the cache and was not verified. Asset.Verify
// does that, best while the output is being written; nobody may get it before.
type Output struct {
	// Image is the asset, not compressed; nil for an installer.
	Image *sparse.Image
	// Installer is what an installer has over its base installer.
	Installer *tree.Tree
	// Warnings are what a person should know before using the asset.
	Warnings []string
	Summary  Summary
}

// builder makes one asset.
type builder struct {
	asset *Asset
	plan  *profile.Plan
	keys  *Keys
	epoch time.Time

	grub     map[string]*grubFiles // by platform, once they are open
	warnings []string
}

// Build lays out the asset that a plan describes. Keys are nil without Secure
// Boot. All times in the asset are the epoch; the zero Time is 1970.
func (a *Asset) Build(ctx context.Context, plan *profile.Plan, keys *Keys, epoch time.Time) (*Output, error) {
	if epoch.IsZero() {
		epoch = time.Unix(0, 0)
	}
	b := &builder{asset: a, plan: plan, keys: keys, epoch: epoch.UTC().Truncate(time.Second), grub: map[string]*grubFiles{}}
	out := &Output{}
	var err error
	if plan.Profile.Output.Kind == profile.Installer {
		out.Installer, err = b.installer(ctx)
	} else {
		out.Image, err = b.image(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", plan.Name, err)
	}
	b.checkKernel()
	out.Summary = a.summary
	out.Warnings = append(plan.Warnings, b.warnings...)
	return out, nil
}

// checkKernel warns of a kernel that nothing would start. There are formats that
// are not known here, so it is for a person to judge.
func (b *builder) checkKernel() {
	if k := b.plan.Profile.Output.Kind; k == profile.Initramfs || k == profile.Cmdline {
		return
	}
	kernel, err := b.asset.opts.Base.Kernel()
	if err != nil {
		return // whatever needs one has said so
	}
	switch arch := uki.KernelArch(kernel); arch {
	case b.plan.Profile.Arch:
	case "":
		b.warn("the kernel is neither a bzImage (amd64) nor an Image (arm64): this will probably not boot")
	default:
		b.warn("the kernel is for %s and the asset for %s: this will not boot", arch, b.plan.Profile.Arch)
	}
}

func (b *builder) image(ctx context.Context) (*sparse.Image, error) {
	switch kind := b.plan.Profile.Output.Kind; kind {
	case profile.Kernel:
		return b.kernel(ctx)
	case profile.Initramfs:
		m, _, err := b.asset.Initramfs(ctx)
		return m, err
	case profile.Cmdline:
		return sparse.Bytes([]byte(b.plan.Cmdline)), nil
	case profile.UKI:
		return b.uki(ctx)
	case profile.ISO:
		return b.iso(ctx)
	case profile.Image:
		return b.disk(ctx)
	default:
		return nil, fmt.Errorf("kind %q: %w", kind, errors.ErrUnsupported)
	}
}

func (b *builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
}

// installer is the layer of an installer image.
func (b *builder) installer(ctx context.Context) (*tree.Tree, error) {
	t := tree.New()
	for _, f := range b.plan.InstallerFiles {
		m, err := b.part(ctx, f.Part)
		if err != nil {
			return nil, err
		}
		if err := t.Put(f.Path, &tree.Node{Mode: 0o644, Size: m.Size(), Content: content{m}}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (b *builder) part(ctx context.Context, p profile.Part) (*sparse.Image, error) {
	switch p {
	case profile.PartKernel:
		return b.kernel(ctx)
	case profile.PartInitramfs:
		m, _, err := b.asset.Initramfs(ctx)
		return m, err
	case profile.PartUKI:
		return b.uki(ctx)
	case profile.PartSDBoot:
		return b.loader(ctx)
	default:
		return nil, fmt.Errorf("part %q: %w", p, errors.ErrUnsupported)
	}
}

// content is an image as the content of a tree's file.
type content struct{ m *sparse.Image }

// Open implements tree.Content.
func (c content) Open() (tree.Reader, error) { return reader{c.m.Reader()}, nil }

type reader struct{ *io.SectionReader }

func (reader) Close() error { return nil }
