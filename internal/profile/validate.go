package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/vhd"
)

const (
	// maxDisk keeps sizes far from overflowing, in bytes.
	maxDisk = 1 << 46
	// maxVHD is the limit of the format, in bytes.
	maxVHD = 2040 << 30
)

// validate looks at a profile that has its defaults, and changes nothing.
func (p Profile) validate(q Quirks, ps *problems) {
	oneOf(ps, "arch", p.Arch, AMD64, ARM64)
	oneOf(ps, "platform", p.Platform, Platforms()...)
	if p.Output.Kind == "" && len(*ps) == 0 { // and not for want of a base profile
		ps.invalid("output.kind", "nothing says what to make: give one of %v, or a baseProfileName", Kinds())
	}
	oneOf(ps, "output.kind", p.Output.Kind, Kinds()...)
	oneOf(ps, "output.outFormat", p.Output.OutFormat, OutRaw, OutTarGz, OutXz, OutGzip, OutZstd)
	p.validateVersion(q, ps)
	p.validateCustomization(q, ps)
	p.validateInput(ps)
	switch p.Output.Kind {
	case Image:
		p.validateImage(q, ps)
	case ISO:
		p.validateISO(q, ps)
	case Kernel, Initramfs:
		p.validatePart(ps)
	}
	if p.Output.OutFormat == OutTarGz && (p.Output.Kind != Image || p.Output.ImageOptions.DiskFormat != DiskRaw) {
		ps.invalid("output.outFormat", "%s is for raw disk images: the archive holds one file, disk.raw", OutTarGz)
	}
}

func (p Profile) validateVersion(q Quirks, ps *problems) {
	const inNames = "letters, digits, '.', '_', '+', '~' and '-'"
	if p.Version != "" && (strings.ContainsFunc(p.Version, notInNames) || strings.HasPrefix(p.Version, ".") || len(p.Version) > 128) {
		ps.invalid("version", "%q becomes part of names of files, where it may have %s", shorten(p.Version), inNames)
	}
	if strings.ContainsFunc(p.Name, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune("\"\\$`", r) }) || len(p.Name) > 128 {
		ps.invalid("name", "%q cannot stand in quotes in os-release", shorten(p.Name))
	}
	switch {
	case p.Version == "" && slices.Contains([]Kind{ISO, Image, Installer, UKI}, p.Output.Kind):
		ps.invalid("version", "neither the profile nor the base says which version of Talos this is")
	case !q.has(uki) && p.Secure():
		ps.invalid("secureboot", "Talos has SecureBoot since 1.5, and this is %s", p.Version)
	case !q.has(uki) && p.Output.Kind == UKI:
		ps.invalid("output.kind", "Talos has unified kernel images since 1.5, and this is %s", p.Version)
	}
}

func notInNames(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+~-", r))
}

func (p Profile) validateCustomization(q Quirks, ps *problems) {
	c := p.Customization
	for i, a := range c.ExtraKernelArgs {
		key := fmt.Sprintf("customization.extraKernelArgs[%d]", i)
		switch {
		case strings.TrimSpace(a) == "":
			ps.invalid(key, "it is empty")
		case strings.ContainsFunc(a, unicode.IsControl):
			ps.invalid(key, "%q has a control character", shorten(a))
		}
	}
	if p.Output.Kind == Installer && len(c.MetaContents) > 0 {
		ps.invalid("customization.metaContents", "an installer has no META partition, and its command line does not reach the one that installs")
	}
	for i, v := range c.MetaContents {
		key := fmt.Sprintf("customization.metaContents[%d]", i)
		if v.Key == 0 {
			ps.invalid(key, "a key is a number from 1 to 255")
		}
		if p.Output.Kind != Image && strings.Contains(v.Value, ";") {
			ps.invalid(key, "a value with a semicolon fits into a disk image, but not into the kernel command line of kind %s", p.Output.Kind)
		}
	}
	if c.EmbeddedMachineConfiguration != "" && !q.has(embeddedConfig) {
		ps.invalid("customization.embeddedMachineConfiguration", "Talos reads it since 1.12, and this is %s", p.Version)
	}
}

func (p Profile) validateInput(ps *problems) {
	in := p.Input
	if p.Overlay != nil || in.OverlayInstaller != (ContainerAsset{}) {
		ps.unsupported("overlay", "graft makes no images for single-board computers; Talos' imager runs the programs that an overlay has for that")
	}
	if in.ImageCache != (ContainerAsset{}) {
		ps.unsupported("input.imageCache", "graft puts no image cache into boot assets")
	}
	in.Base.validate(ps, "input.base")
	in.BaseInstaller.validate(ps, "input.baseInstaller")
	for i, e := range in.SystemExtensions {
		key := fmt.Sprintf("input.systemExtensions[%d]", i)
		if e.ImageRef == "" && e.OCIPath == "" && e.TarballPath == "" {
			ps.invalid(key, "it names no image: one of imageRef, ociPath, tarballPath")
		}
		e.validate(ps, key)
	}
	if p.Secure() {
		in.SecureBoot.SecureBootSigner.validate(ps, "input.secureboot.secureBootSigner", true)
		in.SecureBoot.PCRSigner.validate(ps, "input.secureboot.pcrSigner", false)
	}
}

func (c ContainerAsset) validate(ps *problems, key string) {
	if c.OCIPath != "" && c.TarballPath != "" {
		ps.invalid(key, "ociPath and tarballPath exclude each other")
	}
	if d, ok := strings.CutPrefix(c.Digest, "sha256:"); c.Digest != "" && (!ok || len(d) != 64 || strings.Trim(d, "0123456789abcdef") != "") {
		ps.invalid(key+".digest", "%q is not sha256: and 64 hex digits", shorten(c.Digest))
	}
}

func (s Signer) validate(ps *problems, key string, certificate bool) {
	files := s.KeyPath != "" || s.CertPath != ""
	switch {
	case s.AzureVaultURL+s.AzureCertificateID+s.AzureKeyID+s.AzureKeyVersion != "":
		ps.unsupported(key, "graft does not sign with keys in Azure Key Vault; a service at signerAddress can")
	case s.AWSKMSKeyID+s.AWSRegion+s.AWSCertPath+s.AWSCertARN != "":
		ps.unsupported(key, "graft does not sign with keys in AWS KMS; a service at signerAddress can")
	case files && s.SignerAddress != "":
		ps.invalid(key, "a key in a file and signerAddress exclude each other")
	case files && s.KeyPath == "":
		ps.invalid(key, "there is a certPath and no keyPath")
	case files && certificate && s.CertPath == "":
		ps.invalid(key, "there is a keyPath and no certPath")
	case s.SignerAddress != "" && !strings.HasPrefix(s.SignerAddress, "unix://"):
		ps.invalid(key+".signerAddress", "%q is not unix:// and the path of a socket", shorten(s.SignerAddress))
	}
}

// validatePart is for files that are copied as they are in the base.
func (p Profile) validatePart(ps *problems) {
	for _, c := range []struct {
		key string
		set bool
	}{
		{"secureboot", p.Secure()},
		{"customization.extraKernelArgs", len(p.Customization.ExtraKernelArgs) > 0},
		{"customization.metaContents", len(p.Customization.MetaContents) > 0},
	} {
		if c.set {
			ps.invalid(c.key, "it has no effect on kind %s", p.Output.Kind)
		}
	}
}

func (p Profile) validateISO(q Quirks, ps *problems) {
	o := p.Output.ISOOptions
	if o == nil {
		return
	}
	const key = "output.isoOptions"
	oneOf(ps, key+".sdBootEnrollKeys", o.SDBootEnrollKeys, EnrollIfSafe, EnrollManual, EnrollForce, EnrollOff)
	if o.Bootloader != "" && !q.has(isoBootloader) && o.Bootloader != p.defaultBootloader(q) {
		ps.invalid(key+".bootloader", "it can be chosen since Talos 1.12; an ISO of %s has %s", p.Version, p.defaultBootloader(q))
		return
	}
	p.validateBootloader(q, ps, key+".bootloader", o.Bootloader)
}

// validateBootloader says whether the boot loader is one at all.
func (p Profile) validateBootloader(q Quirks, ps *problems, key string, b Bootloader) bool {
	if !oneOf(ps, key, b, GRUB, SDBoot, DualBoot) {
		return false
	}
	switch {
	case p.Secure() && b != "" && b != SDBoot:
		ps.invalid(key, "SecureBoot goes with %s only", SDBoot)
	case b == SDBoot && !q.has(uki):
		ps.invalid(key, "Talos can be started by %s since 1.5, and this is %s", SDBoot, p.Version)
	case b == DualBoot && !q.has(dualBoot):
		ps.invalid(key, "Talos knows %s since 1.10, and this is %s", DualBoot, p.Version)
	case b == DualBoot && p.Arch == ARM64:
		ps.invalid(key, "%s is for machines that have a BIOS, and arm64 has none", DualBoot)
	}
	return true
}

func (p Profile) validateImage(q Quirks, ps *problems) {
	o := *p.Output.ImageOptions
	const key = "output.imageOptions"
	oneOf(ps, key+".diskFormat", o.DiskFormat, DiskRaw, DiskQCOW2, DiskVHD, DiskOVA)
	oneOf(ps, key+".sdBootEnrollKeys", o.SDBootEnrollKeys, EnrollIfSafe, EnrollManual, EnrollForce, EnrollOff)
	o.validateFormatOptions(ps, key+".diskFormatOptions")
	switch {
	case o.DiskSectorSize != 0 && o.DiskSectorSize != 512 && o.DiskSectorSize != 4096:
		ps.invalid(key+".diskSectorSize", "it is 512 or 4096, and not %d", o.DiskSectorSize)
	case o.DiskSectorSize == 4096 && (o.DiskFormat == DiskVHD || o.DiskFormat == DiskOVA):
		ps.invalid(key+".diskSectorSize", "a disk of the format %s has sectors of 512 bytes", o.DiskFormat)
	}
	var least int64
	if p.validateBootloader(q, ps, key+".bootloader", o.Bootloader) {
		least = leastDisk(partitions(o.Bootloader, q))
	}
	o.validateSize(ps, key+".diskSize", least)
}

func (o ImageOptions) validateSize(ps *problems, key string, least int64) {
	switch {
	case o.DiskSize == 0:
		ps.invalid(key, "a disk image needs a size")
	case o.DiskSize < 0 || o.DiskSize > maxDisk:
		ps.invalid(key, "%d is no size between 1 byte and 64 TiB", o.DiskSize)
	case o.DiskSize%4096 != 0:
		ps.invalid(key, "%d bytes are not a multiple of 4096", o.DiskSize)
	case o.DiskSize < least:
		ps.invalid(key, "%d bytes are too few: the partitions need %d (%d MiB)", o.DiskSize, least, least/mib)
	case o.DiskFormat == DiskVHD && o.DiskSize > maxVHD:
		ps.invalid(key, "a VHD has 2040 GiB at most")
	}
}

// maxFormatOptions bounds diskFormatOptions, in bytes.
const maxFormatOptions = 1 << 10

// formatOptions reads diskFormatOptions; those of other formats are zero.
func (o ImageOptions) formatOptions() (q qcow2.Options, v vhd.Options, err error) {
	switch s := o.DiskFormatOptions; {
	case s == "":
	case len(s) > maxFormatOptions:
		err = fmt.Errorf("%d bytes are too many: %d at most are read", len(s), maxFormatOptions)
	case o.DiskFormat == DiskQCOW2:
		q, err = qcow2.ParseOptions(s)
	case o.DiskFormat == DiskVHD:
		v, err = vhd.ParseOptions(s)
	default:
		err = fmt.Errorf("only qcow2 and vhd have options, and this is %s", shorten(string(o.DiskFormat)))
	}
	return q, v, err
}

func (o ImageOptions) validateFormatOptions(ps *problems, key string) {
	switch _, _, err := o.formatOptions(); {
	case errors.Is(err, errors.ErrUnsupported):
		ps.unsupported(key, "%v", err)
	case err != nil:
		ps.invalid(key, "%v", err)
	}
}
