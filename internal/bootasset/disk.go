package bootasset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/grub"
	"github.com/graftlinux/graft/internal/format/meta"
	"github.com/graftlinux/graft/internal/format/ova"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/vhd"
	"github.com/graftlinux/graft/internal/format/xfs"
	"github.com/graftlinux/graft/internal/profile"
)

// diskName is what the GUID of a disk is made of (Talos, pkg/imager).
const diskName = "talos-image-disk"

// The labels of partitions that hold something at the beginning.
const (
	labelEFI  = "EFI"
	labelBIOS = "BIOS"
	labelBoot = "BOOT"
	labelMeta = "META"
)

// disk lays out the disk image of a plan, in its format.
func (b *builder) disk(ctx context.Context) (*sparse.Image, error) {
	raw, err := b.rawDisk(ctx)
	if err != nil {
		return nil, err
	}
	switch f := b.plan.Profile.Output.ImageOptions.DiskFormat; f {
	case profile.DiskRaw:
		return raw, nil
	case profile.DiskQCOW2:
		return qcow2.Encode(raw, b.plan.QCOW2)
	case profile.DiskVHD:
		o := b.plan.VHD
		o.Label, o.Time = diskName, b.vhdTime()
		return vhd.Encode(raw, o)
	case profile.DiskOVA:
		return b.ova(ctx, raw)
	default:
		return nil, fmt.Errorf("disk format %q: %w", f, errors.ErrUnsupported)
	}
}

// vhdTime is the time for a VHD, in which there is none before 2000.
func (b *builder) vhdTime() time.Time {
	if b.epoch.Year() < 2000 {
		return time.Time{}
	}
	return b.epoch
}

// ova is an appliance with the disk, compressed for VMware.
func (b *builder) ova(ctx context.Context, raw *sparse.Image) (*sparse.Image, error) {
	p := b.plan.Profile
	m := ova.Machine{
		Name: p.Platform + "-" + p.Arch, SecureBoot: p.Secure(), Product: ova.Product{Name: p.Name, Version: p.Version},
		Properties: []ova.Property{{Key: "talos.config", Label: "Talos config data", Description: "Inline Talos config"}},
	}
	if b.plan.Bootloader == profile.GRUB {
		m.Firmware = "bios"
	}
	if p.Arch == profile.ARM64 {
		m.GuestOS = "arm-other-64"
	}
	_, done := b.asset.opts.Progress("disk of the OVA", 0)
	defer done()
	var archive *sparse.Image
	blob, err := b.asset.opts.Cache.Scratch(func(f *os.File) (err error) {
		archive, err = ova.Encode(ctx, raw, f, ova.Options{Machine: m, Time: b.epoch})
		return err
	})
	if err != nil {
		return nil, err
	}
	b.asset.open = append(b.asset.open, blob)
	return archive, nil
}

// rawDisk is the disk as it is: a partition table and what is in the partitions.
func (b *builder) rawDisk(ctx context.Context) (*sparse.Image, error) {
	d := gpt.Disk{GUID: gpt.DeterministicGUID(diskName), Size: b.plan.DiskSize, SectorSize: int(b.plan.SectorSize)}
	offset := int64(gpt.Alignment)
	for i, p := range b.plan.Partitions {
		typ, err := gpt.ParseGUID(p.Type)
		if err != nil {
			return nil, err
		}
		size := p.Size
		if size == 0 {
			size = (b.plan.DiskSize - gpt.Alignment - offset) / gpt.Alignment * gpt.Alignment
		}
		part := gpt.Partition{Name: p.Label, Type: typ, GUID: gpt.DeterministicGUID(p.Label), Offset: offset, Size: size}
		if p.LegacyBoot {
			part.Attributes = gpt.LegacyBIOSBootable
		}
		d.Partitions = append(d.Partitions, part)
		if err := b.fill(ctx, &d, i); err != nil {
			return nil, partitionError(p.Label, err)
		}
		offset += (size + gpt.Alignment - 1) / gpt.Alignment * gpt.Alignment
	}
	return d.Image()
}

// FullError says that a partition is too small for what is to be in it. Its
// size is Talos' and the same on a larger disk.
type FullError struct {
	Partition  string
	Size, Need int64 // bytes
}

func (e *FullError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("the partition %s has %d MiB, and what is to be in it needs %d MiB", e.Partition, e.Size/mib, (e.Need+mib-1)/mib)
}

func partitionError(label string, err error) error {
	var ofFAT *fat.TooSmallError
	var ofXFS *xfs.SizeError
	switch {
	case errors.As(err, &ofFAT):
		return &FullError{label, ofFAT.Size, ofFAT.Needed}
	case errors.As(err, &ofXFS):
		return &FullError{label, ofXFS.Size, ofXFS.Need}
	}
	return fmt.Errorf("making the partition %s: %w", label, err)
}

// fill makes what is in a partition of the disk.
func (b *builder) fill(ctx context.Context, d *gpt.Disk, i int) (err error) {
	p := &d.Partitions[i]
	switch p.Name {
	case labelEFI:
		p.Content, err = b.esp(ctx, p, d.SectorSize)
	case labelBIOS:
		d.BootCode, p.Content, err = b.biosBoot(ctx, p, d.SectorSize)
	case labelBoot:
		p.Content, err = b.boot(ctx, p, d.SectorSize)
	case labelMeta:
		if len(b.plan.Meta) > 0 {
			p.Content, err = meta.Encode(b.plan.Meta)
		}
	}
	return err
}

// esp is the EFI system partition.
func (b *builder) esp(ctx context.Context, p *gpt.Partition, sector int) (*sparse.Image, error) {
	var files []fat.File
	var err error
	if b.plan.Bootloader == profile.GRUB {
		files, err = b.grubUEFI(ctx, "disks with UEFI", grub.Options{Prefix: grubPrefix})
	} else {
		files, err = b.espFiles(ctx)
	}
	if err != nil {
		return nil, err
	}
	o := b.fatOptions(labelEFI)
	o.Size, o.SectorSize, o.HiddenSectors = p.Size, sector, uint32(p.Offset/int64(sector))
	if sector == biosSector { // with larger ones, FAT32 takes more than GRUB's partition has
		o.Kind = fat.FAT32
	}
	return fat.Build(o, files)
}

// grubUEFI is GRUB where UEFI finds it. With a base that has it for BIOS only,
// there is none, and the asset starts by BIOS only.
func (b *builder) grubUEFI(ctx context.Context, what string, o grub.Options) ([]fat.File, error) {
	arch := b.plan.Profile.Arch
	o.Modules = grub.EFIModules()
	program, err := b.grubProgram(ctx, grubEFI[arch], what, o, func(files fs.FS, o grub.Options) ([]byte, error) {
		return grub.EFI(files, arch, o)
	})
	var missing *MissingError
	if errors.As(err, &missing) && b.hasBIOS() {
		b.warn("%v: %s starts by BIOS only (%s)", err, b.plan.Name, missing.Hint)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []fat.File{{Path: "EFI/BOOT/" + b.plan.EFIName, Content: sparse.Bytes(program)}}, nil
}

// hasBIOS says whether there are machines with a BIOS that could start this.
func (b *builder) hasBIOS() bool { return b.plan.Profile.Arch == profile.AMD64 }

const (
	// grubPrefix is where GRUB finds its menu: in BOOT, the third partition of
	// the disk that it was started from.
	grubPrefix = "(,gpt3)/grub"
	// biosSector is the size in bytes of the only sectors that a BIOS reads.
	biosSector = 512
)

// biosBoot is GRUB: the boot code of the disk, and the core image.
func (b *builder) biosBoot(ctx context.Context, p *gpt.Partition, sector int) ([]byte, *sparse.Image, error) {
	if !b.hasBIOS() {
		return nil, nil, nil
	}
	if sector != biosSector {
		b.warn("a BIOS starts no disk with sectors of %d bytes: this one starts by UEFI only", sector)
		return nil, nil, nil
	}
	core, err := b.grubProgram(ctx, grubBIOS, "disks", grub.Options{Modules: grub.DiskModules(), Prefix: grubPrefix}, grub.DiskCore)
	if err != nil {
		return nil, nil, err
	}
	files, err := b.grubFiles(ctx, grubBIOS)
	if err != nil {
		return nil, nil, err
	}
	code, core, err := grub.InstallDisk(files, core, uint64(p.Offset)/uint64(sector), sector)
	if err != nil {
		return nil, nil, err
	}
	if int64(len(core)) > p.Size {
		return nil, nil, fmt.Errorf("GRUB's core image has %d bytes, the partition %d", len(core), p.Size)
	}
	return code, sparse.Bytes(core), nil
}

// boot is the partition with kernels and menu that GRUB reads.
func (b *builder) boot(ctx context.Context, p *gpt.Partition, sector int) (*sparse.Image, error) {
	kernel, initramfs, err := b.payload(ctx)
	if err != nil {
		return nil, err
	}
	menu, err := grub.DiskMenu(grub.Slot{Name: "A", Version: b.plan.Profile.Version, Cmdline: b.plan.Cmdline}, nil).Config()
	if err != nil {
		return nil, err
	}
	o := xfs.Options{Size: p.Size, SectorSize: sector, Label: labelBoot, UUID: gpt.DeterministicGUID(labelBoot), Time: b.epoch}
	return xfs.Build(o, []xfs.File{
		{Path: "A/vmlinuz", Mode: 0o644, Content: kernel},
		{Path: "A/initramfs.xz", Mode: 0o644, Content: initramfs},
		{Path: "grub/grub.cfg", Mode: 0o644, Content: sparse.Bytes(menu)},
	})
}
