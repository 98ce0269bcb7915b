package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/secureboot"
)

// imageJob is one call of graft image: a plan, or one for each architecture.
type imageJob struct {
	flags *imageFlags
	s     Streams
	pxe   bool
	made  []madeAsset
	open  []io.Closer
}

// madeAsset is what was laid out for an architecture.
type madeAsset struct {
	plan      *profile.Plan
	asset     *bootasset.Asset // nil for a command line without a base
	out       *bootasset.Output
	installer *oci.Image // the base of an installer
	base      *bootasset.Base
	cache     *cache.Cache
}

// verify says whether what the asset is made of is what it should be.
func (m madeAsset) verify(ctx context.Context) error {
	if m.asset == nil {
		return nil
	}
	return m.asset.Verify(ctx)
}

// run makes the asset of a profile, for each architecture.
func (j imageJob) run(ctx context.Context, p profile.Profile, arches []string) (err error) {
	defer func() { err = errors.Join(err, j.close()) }()
	for _, arch := range arches {
		p.Arch = arch
		if err := j.add(ctx, p); err != nil {
			return err
		}
	}
	return j.finish(ctx)
}

// close lets go of everything, the last opened first.
func (j *imageJob) close() error {
	var errs []error
	for i := len(j.open) - 1; i >= 0; i-- {
		errs = append(errs, j.open[i].Close())
	}
	return errors.Join(errs...)
}

// add resolves a profile and lays out its asset; a dry run only prints it.
func (j *imageJob) add(ctx context.Context, p profile.Profile) error {
	c, err := openCache(j.flags.sources.cacheDir)
	if err != nil {
		return err
	}
	base, err := j.openBase(ctx, c, &p)
	if err != nil {
		return err
	}
	if base == nil && !j.flags.dryRun && (p.Output.Kind != profile.Cmdline || j.pxe) {
		return usageError(errors.New("no base is given: --base IMAGE, or --initramfs FILE, and --kernel FILE for what has a kernel"))
	}
	version := p.Version
	if base != nil {
		version = base.Version
	}
	if err := j.flags.pinNames(ctx, j.s, &p, version); err != nil {
		return err
	}
	plan, err := p.Resolve(version)
	if err != nil {
		return profileError(err)
	}
	if o := plan.Profile.Output; o.Kind == profile.Installer && o.OutFormat != profile.OutRaw {
		return usageError(fmt.Errorf("output.outFormat: an installer is an image, and not packed as %s", o.OutFormat))
	}
	in, err := j.openInputs(ctx, c, plan)
	if err != nil {
		return err
	}
	m := madeAsset{plan: plan, installer: in.installer, base: base, cache: c}
	if j.flags.dryRun {
		return j.print(plan)
	}
	if err := j.layOut(ctx, &m, in.extensions); err != nil {
		return err
	}
	j.made = append(j.made, m)
	return nil
}

func (j *imageJob) print(plan *profile.Plan) error {
	data, err := plan.Profile.Encode()
	if err != nil {
		return err
	}
	for _, w := range plan.Warnings {
		fmt.Fprintln(j.s.Err, "warning:", w)
	}
	_, err = j.s.Out.Write(data)
	return err
}

// openBase opens the base of a profile, and pins it; nil if it names none.
func (j *imageJob) openBase(ctx context.Context, c *cache.Cache, p *profile.Profile) (*bootasset.Base, error) {
	if p.Arch == "" {
		p.Arch = profile.AMD64
	}
	if p.Arch != profile.AMD64 && p.Arch != profile.ARM64 {
		return nil, usageError(fmt.Errorf("--arch %q is neither amd64 nor arm64", p.Arch))
	}
	o := bootasset.BaseOptions{
		Kernel: ownFile(p.Input.Kernel), Initramfs: ownFile(p.Input.Initramfs), Stub: ownFile(p.Input.SDStub), BootLoader: ownFile(p.Input.SDBoot),
		GRUB: j.flags.grub, Arch: p.Arch, Talos: p.Version,
	}
	if p.Input.Base != (profile.ContainerAsset{}) {
		img, err := j.openAsset(ctx, c, &p.Input.Base, p.Arch)
		if err != nil {
			return nil, err
		}
		o.Image = img
	}
	if o.Image == nil && o.Initramfs == "" {
		return nil, nil
	}
	base, err := bootasset.OpenBase(ctx, c, o)
	if err != nil {
		return nil, inputError(err)
	}
	j.open = append(j.open, base)
	return base, nil
}

// ownFile is a file of the user's; a path that is the imager's own stands for
// what is in the base.
func ownFile(f profile.FileAsset) string {
	if strings.HasPrefix(f.Path, "/usr/install/") {
		return ""
	}
	return f.Path
}

// openAsset opens an image that a profile names, and pins it there.
func (j *imageJob) openAsset(ctx context.Context, c *cache.Cache, a *profile.ContainerAsset, arch string) (*oci.Image, error) {
	src := j.flags.sources
	src.platform = "linux/" + arch
	src.insecure = src.insecure || a.ForceInsecure
	name := a.ImageRef
	switch {
	case a.TarballPath != "":
		name = "tar:" + a.TarballPath
	case a.OCIPath != "":
		name = "oci:" + a.OCIPath
	}
	imgs, err := src.open(ctx, c, []string{name})
	if err != nil {
		return nil, err
	}
	img := imgs[0]
	j.open = append(j.open, img)
	if a.Digest != "" && img.Digest() != a.Digest {
		return nil, withCode(exitInvalid, fmt.Errorf("opening %s: the profile pins it to %s, and it is %s now", name, a.Digest, orNone(img.Digest())))
	}
	a.Digest = img.Digest()
	return img, nil
}

func orNone(digest string) string {
	if digest == "" {
		return "a directory without a digest"
	}
	return digest
}

// inputs are what a plan is made of, beside the base.
type inputs struct {
	extensions []bootasset.Extension
	installer  *oci.Image
}

// openInputs opens and pins the extensions and the base of an installer.
func (j *imageJob) openInputs(ctx context.Context, c *cache.Cache, plan *profile.Plan) (in inputs, err error) {
	p := &plan.Profile
	for i := range p.Input.SystemExtensions {
		a := &p.Input.SystemExtensions[i]
		img, err := j.openAsset(ctx, c, a, p.Arch)
		if err != nil {
			return in, err
		}
		in.extensions = append(in.extensions, bootasset.Extension{Source: assetName(*a), Image: img})
	}
	if config := p.Customization.EmbeddedMachineConfiguration; config != "" {
		e, err := bootasset.EmbeddedConfig([]byte(config))
		if err != nil {
			return in, err
		}
		in.extensions = append(in.extensions, e)
	}
	if p.Output.Kind == profile.Installer {
		in.installer, err = j.openAsset(ctx, c, &p.Input.BaseInstaller, p.Arch)
		if err == nil && in.installer.Digest() == "" {
			err = withCode(exitInvalid, fmt.Errorf("%s is no container image: an installer is made by adding a layer to one", assetName(p.Input.BaseInstaller)))
		}
	}
	return in, err
}

func assetName(a profile.ContainerAsset) string {
	switch {
	case a.TarballPath != "":
		return a.TarballPath
	case a.OCIPath != "":
		return a.OCIPath
	}
	return a.ImageRef
}

// layOut checks the extensions and plans the asset.
func (j *imageJob) layOut(ctx context.Context, m *madeAsset, extensions []bootasset.Extension) error {
	if m.base == nil { // a command line needs no base
		m.out = &bootasset.Output{Image: sparse.Bytes([]byte(m.plan.Cmdline)), Warnings: m.plan.Warnings}
		return nil
	}
	if err := j.checkInstaller(ctx, m); err != nil {
		return err
	}
	epoch, err := sourceDateEpoch()
	if err != nil {
		return usageError(err)
	}
	bars := newProgress(j.s)
	defer bars.wait()
	m.asset, err = bootasset.Prepare(ctx, bootasset.Options{
		Base: m.base, Extensions: extensions, Level: bootasset.Level(j.flags.compression), Cache: m.cache, Progress: bars.start,
		Verified: j.flags.sources.gate.recorded(),
	})
	if err != nil {
		return inputError(err)
	}
	j.open = append(j.open, m.asset)
	if err := j.judge(m.asset.Findings); err != nil {
		return err
	}
	keys, err := bootasset.OpenKeys(ctx, m.plan, epoch)
	if err != nil {
		return keysError(err)
	}
	if keys != nil {
		j.open = append(j.open, keys)
		j.warnOfAge(keys)
	}
	m.out, err = m.asset.Build(ctx, m.plan, keys, epoch)
	return buildError(err)
}

// warnOfAge tells of a certificate that is not valid today. Most firmware does
// not mind; who has to answer for the keys may.
func (j *imageJob) warnOfAge(keys *bootasset.Keys) {
	c := keys.Program.Certificate()
	if c == nil {
		return
	}
	if w := secureboot.Warning(c, time.Now()); w != "" {
		fmt.Fprintln(j.s.Err, "warning:", w)
	}
}

// checkInstaller refuses a base installer that a node could not start.
func (j *imageJob) checkInstaller(ctx context.Context, m *madeAsset) error {
	if m.installer == nil {
		return nil
	}
	ok, err := bootasset.IsInstaller(ctx, m.cache, m.installer)
	if err != nil || ok {
		return inputError(err)
	}
	return withCode(exitInvalid, fmt.Errorf("%s is no installer: it has no %s, which is what nodes start", assetName(m.plan.Profile.Input.BaseInstaller), bootasset.InstallerPath),
		"--base-installer-image names Talos' installer-base, or its installer before 1.10")
}

// keysError has the exit code and the hint of what is wrong with keys.
func keysError(err error) error {
	if errors.Is(err, os.ErrNotExist) && !errors.As(err, new(*bootasset.SignerError)) {
		return withCode(exitInvalid, err, "graft keys generate secureboot -o DIR makes keys, --secureboot-keys DIR uses them")
	}
	return buildError(err)
}

// buildError has the exit code and the hint that the cause asks for.
func buildError(err error) error {
	var missing *bootasset.MissingError
	var signer *bootasset.SignerError
	var full *bootasset.FullError
	switch {
	case errors.As(err, &missing):
		return withCode(exitInvalid, err, missing.Hint)
	case errors.As(err, &full):
		return withCode(exitInvalid, err, "the version of Talos decides on this size, not --disk-size: leave out extensions, or make them smaller with --compression best")
	case errors.As(err, &signer):
		return withCode(exitDependency, err)
	case errors.Is(err, secureboot.ErrWellKnown), errors.Is(err, errors.ErrUnsupported):
		return withCode(exitUnsupported, err)
	}
	return inputError(err)
}

// judge prints the findings and decides whether to go on.
func (j *imageJob) judge(findings []check.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	if err := printFindings(j.s.Err, findings, "table"); err != nil {
		return err
	}
	errs, forcible := check.Worst(findings)
	if errs == 0 || j.flags.force && forcible {
		return nil
	}
	mends(j.s.Err, findings)
	hint := "--force goes on in spite of them"
	if !forcible {
		hint = "not all of them can be overruled by --force"
	}
	return withCode(exitInvalid, fmt.Errorf("%s found in the extensions", count(errs, "error")), hint)
}
