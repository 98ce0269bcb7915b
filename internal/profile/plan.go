package profile

import (
	"fmt"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/meta"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/vhd"
)

// Plan is what the builder of an asset has to know.
type Plan struct {
	// Profile has every default filled in. Resolving it gives this plan again.
	Profile Profile
	Quirks  Quirks
	// Warnings are what a person should know before using the asset.
	Warnings []string

	// File is the name of the finished file, Name that of the file before it is
	// compressed or archived.
	File, Name string
	// ArchiveMember is the name that the file has inside of a .tar.gz.
	ArchiveMember string

	// Cmdline is the kernel command line.
	Cmdline string
	// Reset is the entry of the boot menu that wipes the machine; its ID is ""
	// if the kind of asset has none.
	Reset Entry
	// UKIProfiles are the profiles of a UKI in their order; none before Talos
	// 1.10, when a UKI had Cmdline and no more.
	UKIProfiles []Entry
	// UKIPath is the UKI's place on an EFI partition.
	UKIPath string
	// EFIName is what firmware starts, below /EFI/BOOT.
	EFIName string

	// Bootloader of images and ISOs.
	Bootloader Bootloader
	// EnrollKeys is secure-boot-enroll of systemd-boot; EnrollOff also says that
	// no keys are put beside it.
	EnrollKeys EnrollKeys
	// KeyFiles are what firmware is to enrol, if EnrollKeys is not EnrollOff.
	KeyFiles []KeyFile

	// Of disk images: sizes in bytes, the partitions, and META, empty if the
	// partition stays zero.
	DiskSize, SectorSize int64
	Partitions           []Partition
	Meta                 []meta.Value
	// QCOW2 and VHD are about how a disk of that format is written.
	QCOW2 qcow2.Options
	VHD   vhd.Options

	// VolumeID of an ISO.
	VolumeID string

	// InstallerFiles are the layer that an installer gets.
	InstallerFiles []InstallerFile
}

// Entry is a way to start the kernel.
type Entry struct {
	ID      string
	Title   string // for people; the main entry has none
	Cmdline string
}

// KeyFile is an authenticated variable of UEFI.
type KeyFile struct {
	// Name below /loader/keys/auto.
	Name string
	// Path of the file.
	Path string
	// Optional says that nobody asked for Path: if there is no such file, the
	// variable is made from the signer's certificate.
	Optional bool
}

// Part is a file that is made on the way.
type Part string

// The parts of an installer.
const (
	PartKernel    Part = "kernel"
	PartInitramfs Part = "initramfs"
	PartUKI       Part = "uki"
	PartSDBoot    Part = "sd-boot"
)

// InstallerFile is a part and its path in the installer's image.
type InstallerFile struct {
	Path string
	Part Part
}

// plan decides for a resolved and valid profile.
func (p Profile) plan(q Quirks) (*Plan, error) {
	pl := &Plan{
		Profile:    p,
		Quirks:     q,
		Name:       p.fileName(),
		UKIPath:    "EFI/Linux/Talos-" + p.Version + ".efi",
		EFIName:    map[string]string{AMD64: "BOOTX64.EFI", ARM64: "BOOTAA64.EFI"}[p.Arch],
		EnrollKeys: EnrollOff,
	}
	pl.File = pl.Name
	if p.Output.OutFormat != OutRaw {
		pl.File += string(p.Output.OutFormat)
	}
	if p.Output.OutFormat == OutTarGz {
		pl.ArchiveMember = "disk.raw"
	}
	if err := pl.planCmdline(); err != nil {
		return nil, err
	}
	switch p.Output.Kind {
	case Image:
		pl.planImage()
	case ISO:
		pl.planISO()
	case Installer:
		pl.InstallerFiles = p.installerFiles(q)
	}
	return pl, pl.checkCmdline()
}

// checkCmdline refuses a command line that a kernel would cut off: what is lost
// is what the user asked for, and what wipes the machine to reset it.
func (pl *Plan) checkCmdline() error {
	n, with := max(len(pl.Cmdline), len(pl.Reset.Cmdline)), ""
	if pl.NeedsGRUB() {
		n, with = n+len(grubWord), ", with what GRUB puts before it,"
	}
	if n <= MaxCmdline {
		return nil
	}
	var ps problems
	ps.invalid("customization", "the kernel command line%s has %d bytes, and a kernel keeps %d: leave out kernel arguments, or values of META", with, n, MaxCmdline)
	return ps.err()
}

// fileName is the name that Talos' imager gives.
func (p Profile) fileName() string {
	arch := p.Arch
	if p.Secure() {
		arch += "-secureboot"
	}
	switch p.Output.Kind {
	case ISO:
		return p.Platform + "-" + arch + ".iso"
	case Image:
		return p.Platform + "-" + arch + "." + string(p.Output.ImageOptions.DiskFormat)
	case Installer:
		return "installer-" + arch + ".tar"
	case Kernel:
		return "kernel-" + arch
	case Initramfs:
		return "initramfs-" + p.Platform + "-" + arch + ".xz"
	case UKI:
		return p.Platform + "-" + arch + "-uki.efi"
	}
	return "cmdline-" + p.Platform + "-" + arch
}

func (pl *Plan) planCmdline() error {
	p := pl.Profile
	var env string
	if m := p.Customization.MetaContents; len(m) > 0 && p.Output.Kind != Image {
		var err error
		if env, err = meta.EncodeEnv(m, pl.Quirks.CompressedMeta()); err != nil {
			return err
		}
	}
	pl.Cmdline = p.cmdline(pl.Quirks, env)
	switch p.Output.Kind {
	case ISO:
		pl.Reset = Entry{"reset", "Reset system disk", pl.Cmdline + " " + wipe}
	case Image, Installer:
		pl.Reset = Entry{"reset-maintenance", "Reset to maintenance mode", pl.Cmdline + " " + wipe + ":EPHEMERAL,STATE"}
	}
	if pl.Quirks.UKIProfiles() {
		pl.UKIProfiles = append(pl.UKIProfiles, Entry{ID: "main", Cmdline: pl.Cmdline})
		if pl.Reset.ID != "" {
			pl.UKIProfiles = append(pl.UKIProfiles, pl.Reset)
		}
	}
	pl.warn()
	return nil
}

func (pl *Plan) warn() {
	for _, key := range pl.Profile.kept(pl.Quirks) {
		for _, word := range pl.Profile.extraArgs() {
			if argKey(word) == "-"+key {
				pl.Warnings = append(pl.Warnings, fmt.Sprintf("%s has no effect: SecureBoot enforces it", word))
			}
		}
	}
}

func (pl *Plan) planImage() {
	p, o := pl.Profile, *pl.Profile.Output.ImageOptions
	pl.Bootloader = o.Bootloader
	pl.DiskSize = o.DiskSize
	pl.SectorSize = max(o.DiskSectorSize, 512)
	pl.Partitions = partitions(o.Bootloader, pl.Quirks)
	pl.Meta = append(pl.Meta, p.Customization.MetaContents...)
	if o.Bootloader == DualBoot { // the first boot drops one half, and then the value
		pl.Meta = append(pl.Meta, meta.Value{Key: meta.DiskImageBootloader, Value: string(DualBoot)})
	}
	pl.QCOW2, pl.VHD, _ = o.formatOptions() // they are valid
	if p.Secure() && o.SDBootEnrollKeys != "" {
		pl.enroll(o.SDBootEnrollKeys)
	}
}

func (pl *Plan) planISO() {
	p := pl.Profile
	o := ISOOptions{SDBootEnrollKeys: EnrollIfSafe}
	if p.Output.ISOOptions != nil {
		o = *p.Output.ISOOptions
	}
	p.fillBootloader(&o.Bootloader, pl.Quirks)
	pl.Bootloader = o.Bootloader
	if p.Secure() {
		pl.enroll(o.SDBootEnrollKeys)
	}
	pl.VolumeID = "TALOS"
	if pl.Quirks.has(isoLabel) {
		pl.VolumeID = volumeID("Talos-" + p.Version)
	}
}

// volumeID makes a label of what ISO 9660 allows in one.
func volumeID(label string) string {
	const most = 32
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_':
			return r
		case r == '-' || r == '.':
			return '_'
		}
		return -1
	}, strings.ToUpper(label))
	return id[:min(len(id), most)]
}

func (pl *Plan) enroll(mode EnrollKeys) {
	pl.EnrollKeys = mode
	if mode == EnrollOff {
		return
	}
	keys := pl.Profile.Input.SecureBoot
	for _, k := range []KeyFile{{Name: "PK.auth", Path: keys.PlatformKeyPath}, {Name: "KEK.auth", Path: keys.KeyExchangeKeyPath}, {Name: "db.auth", Path: keys.SignatureKeyPath}} {
		if k.Path == "" {
			k.Path, k.Optional = keyDir+"/"+k.Name, true
		}
		pl.KeyFiles = append(pl.KeyFiles, k)
	}
}

// installerFiles are the assets of an installer: a UKI where systemd-boot is
// what starts Talos, from which an installer for BIOS takes the kernel.
func (p Profile) installerFiles(q Quirks) []InstallerFile {
	dir := "usr/install/" + p.Arch + "/"
	if !q.SDBootOnUEFI() && !p.Secure() {
		return []InstallerFile{{extension.KernelPath(p.Arch), PartKernel}, {extension.InitramfsPath(p.Arch), PartInitramfs}}
	}
	name := "vmlinuz.efi"
	if !q.SDBootOnUEFI() {
		name += ".signed"
	}
	return []InstallerFile{{dir + "systemd-boot.efi", PartSDBoot}, {dir + name, PartUKI}}
}

// NeedsUKI says whether a UKI is part of the asset.
func (pl *Plan) NeedsUKI() bool {
	switch pl.Profile.Output.Kind {
	case UKI:
		return true
	case ISO, Image:
		return pl.Bootloader != GRUB
	case Installer:
		return pl.InstallerFiles[0].Part == PartSDBoot
	}
	return false
}

// NeedsGRUB says whether GRUB is part of the asset.
func (pl *Plan) NeedsGRUB() bool { return pl.Bootloader == GRUB || pl.Bootloader == DualBoot }

// OSRelease is the file os-release that a UKI tells about itself (Talos,
// pkg/machinery/constants).
func (pl *Plan) OSRelease() []byte {
	name, version := pl.Profile.Name, pl.Profile.Version
	return fmt.Appendf(nil, `NAME="%[1]s"
ID=%[2]s
VERSION_ID=%[3]s
PRETTY_NAME="%[1]s (%[3]s)"
HOME_URL="https://www.talos.dev/"
BUG_REPORT_URL="https://github.com/siderolabs/talos/issues"
VENDOR_NAME="Sidero Labs"
VENDOR_URL="https://www.siderolabs.com/"
`, name, strings.ToLower(strings.ReplaceAll(name, " ", "_")), version)
}
