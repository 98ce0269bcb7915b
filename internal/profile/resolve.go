package profile

import (
	"path"

	"github.com/graftlinux/graft/internal/extension"
)

const (
	defaultName = "Talos"
	// installerRepository is where Talos publishes its installers; since 1.10
	// the one without assets has a name that ends in -base.
	installerRepository = "ghcr.io/siderolabs/installer"
	// noBootloader is how Talos' imager writes that none was chosen.
	noBootloader = "none"
	// keyDir is where the imager looks for keys.
	keyDir = "/secureboot"
)

// Resolve fills in all that a profile leaves open and decides what the asset
// is. The version counts where the profile has none: it is that of the base.
// An error is *Error with every problem, and then there is no plan.
func (p Profile) Resolve(versionOfBase string) (*Plan, error) {
	var ps problems
	p = p.onBase(&ps).Merge(Profile{}) // a copy: the caller's stays as it is
	if p.Version == "" {
		p.Version = versionOfBase
	}
	q := QuirksOf(p.Version)
	p.fillNames()
	p.fillInput(q)
	p.fillOutput(q)
	p.validate(q, &ps)
	if err := ps.err(); err != nil {
		return nil, err
	}
	return p.plan(q)
}

// onBase puts the profile over its base profile.
func (p Profile) onBase(ps *problems) Profile {
	if p.BaseProfileName == "" {
		return p
	}
	b, ok := Get(p.BaseProfileName)
	if !ok {
		ps.invalid("baseProfileName", "there is no base profile %q%s", shorten(p.BaseProfileName), suggest(p.BaseProfileName, Names()))
	}
	p.BaseProfileName = ""
	return b.Merge(p)
}

func (p *Profile) fillNames() {
	orDefault(&p.Arch, AMD64)
	orDefault(&p.Platform, "metal")
	orDefault(&p.Name, defaultName)
	orDefault(&p.Output.OutFormat, OutRaw)
	if p.SecureBoot == nil {
		p.SecureBoot = new(bool)
	}
}

func orDefault[T ~string](s *T, value T) {
	if *s == "" {
		*s = value
	}
}

// defaultInput is where the base's image has its files, and the imager its own.
func defaultInput(arch string) Input {
	dir := path.Join("/usr/install", arch)
	return Input{
		Kernel:    FileAsset{"/" + extension.KernelPath(arch)},
		Initramfs: FileAsset{"/" + extension.InitramfsPath(arch)},
		SDStub:    FileAsset{path.Join(dir, "systemd-stub.efi")},
		SDBoot:    FileAsset{path.Join(dir, "systemd-boot.efi")},
	}
}

func (p *Profile) fillInput(q Quirks) {
	in, def := &p.Input, defaultInput(p.Arch)
	orDefault(&in.Kernel.Path, def.Kernel.Path)
	orDefault(&in.Initramfs.Path, def.Initramfs.Path)
	orDefault(&in.SDStub.Path, def.SDStub.Path)
	orDefault(&in.SDBoot.Path, def.SDBoot.Path)
	if in.BaseInstaller == (ContainerAsset{}) && p.Version != "" {
		in.BaseInstaller.ImageRef = installerRepository + ":" + p.Version
		if q.has(installerBase) {
			in.BaseInstaller.ImageRef = installerRepository + "-base:" + p.Version
		}
	}
	if p.Secure() {
		p.fillKeys()
	}
}

func (p *Profile) fillKeys() {
	if p.Input.SecureBoot == nil {
		p.Input.SecureBoot = &SecureBootAssets{}
	}
	keys := p.Input.SecureBoot
	if keys.SecureBootSigner == (Signer{}) {
		keys.SecureBootSigner = Signer{KeyPath: keyDir + "/uki-signing-key.pem", CertPath: keyDir + "/uki-signing-cert.pem"}
	}
	if keys.PCRSigner == (Signer{}) {
		keys.PCRSigner = Signer{KeyPath: keyDir + "/pcr-signing-key.pem"}
	}
}

func (p *Profile) fillOutput(q Quirks) {
	switch p.Output.Kind {
	case Image:
		p.fillImage(q)
	case ISO:
		p.fillISO(q)
	}
}

func (p *Profile) fillISO(q Quirks) {
	if p.Output.ISOOptions == nil && q.has(isoBootloader) {
		p.Output.ISOOptions = &ISOOptions{}
	}
	o := p.Output.ISOOptions
	if o == nil {
		return
	}
	orDefault(&o.SDBootEnrollKeys, EnrollIfSafe)
	switch {
	case q.has(isoBootloader):
		p.fillBootloader(&o.Bootloader, q)
	case o.Bootloader == noBootloader:
		o.Bootloader = ""
	}
}

func (p *Profile) fillImage(q Quirks) {
	if p.Output.ImageOptions == nil {
		p.Output.ImageOptions = &ImageOptions{}
	}
	o := p.Output.ImageOptions
	orDefault(&o.DiskFormat, DiskRaw)
	p.fillBootloader(&o.Bootloader, q)
	if p.Secure() && q.has(imageEnrollsKeys) {
		orDefault(&o.SDBootEnrollKeys, EnrollIfSafe)
	}
	if o.DiskSize > 0 && o.DiskSize <= maxDisk && !o.ExactDiskSize {
		o.DiskSize += growth(o.Bootloader, q)
		o.ExactDiskSize = true
	}
}

func (p Profile) fillBootloader(b *Bootloader, q Quirks) {
	if *b == "" || *b == noBootloader {
		*b = p.defaultBootloader(q)
	}
}

// defaultBootloader is the one that the version has for the architecture.
func (p Profile) defaultBootloader(q Quirks) Bootloader {
	switch {
	case p.Secure():
		return SDBoot
	case !q.SDBootOnUEFI():
		return GRUB
	case p.Arch == ARM64: // there is no BIOS
		return SDBoot
	}
	return DualBoot
}
