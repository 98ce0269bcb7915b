package bootasset

import (
	"context"
	"errors"
	"fmt"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/grub"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/profile"
)

// iso lays out the ISO image of a plan.
func (b *builder) iso(ctx context.Context) (*sparse.Image, error) {
	o := iso.Options{VolumeID: b.plan.VolumeID, Time: b.epoch}
	if b.plan.NeedsGRUB() {
		err := b.isoGRUB(ctx, &o)
		var missing *MissingError
		switch {
		case errors.As(err, &missing) && b.plan.Bootloader == profile.DualBoot:
			b.warn("%v: the ISO starts by UEFI only (%s)", err, missing.Hint)
		case err != nil:
			return nil, err
		}
	}
	files, err := b.isoESP(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		if o.EFI, err = b.fitted(files); err != nil {
			return nil, err
		}
	}
	return iso.Build(o)
}

// fitted is a FAT file system that has the size of its files.
func (b *builder) fitted(files []fat.File) (*sparse.Image, error) {
	o := b.fatOptions(labelEFI)
	var err error
	if o.Size, err = fat.Size(o, files); err != nil {
		return nil, err
	}
	return fat.Build(o, files)
}

// isoESP are the files of the EFI system partition: those of a disk's, or GRUB
// where it is the only boot loader. Without GRUB for UEFI, the ISO starts by
// BIOS only.
func (b *builder) isoESP(ctx context.Context) ([]fat.File, error) {
	if b.plan.Bootloader != profile.GRUB {
		return b.espFiles(ctx)
	}
	// The firmware has started GRUB from the EFI system partition, and the menu
	// is on the ISO around it.
	find := fmt.Appendf(nil, "search.fs_label %s root\nset prefix=($root)%s\n", b.plan.VolumeID, isoPrefix)
	return b.grubUEFI(ctx, "ISOs with UEFI", grub.Options{Prefix: isoPrefix, Config: find})
}

// isoPrefix is GRUB's directory on an ISO.
const isoPrefix = "/boot/grub"

// isoGRUB adds what GRUB starts, and GRUB for machines with a BIOS.
func (b *builder) isoGRUB(ctx context.Context, o *iso.Options) error {
	kernel, initramfs, err := b.payload(ctx)
	if err != nil {
		return err
	}
	menu, err := grub.ISOMenu(b.plan.Cmdline).Config()
	if err != nil {
		return err
	}
	if b.hasBIOS() {
		if o.BIOS, err = b.isoBIOS(ctx); err != nil {
			return err
		}
	}
	o.Files = []iso.File{
		{Path: "boot/vmlinuz", Content: kernel},
		{Path: "boot/initramfs.xz", Content: initramfs},
		{Path: "boot/grub/grub.cfg", Content: sparse.Bytes(menu)},
	}
	return nil
}

// isoBIOS is GRUB as a BIOS starts it from a CD, and from a stick.
func (b *builder) isoBIOS(ctx context.Context) (*iso.BIOSBoot, error) {
	core, err := b.grubProgram(ctx, grubBIOS, "ISOs", grub.Options{Modules: grub.CDModules(), Prefix: isoPrefix}, grub.CDCore)
	if err != nil {
		return nil, err
	}
	files, err := b.grubFiles(ctx, grubBIOS)
	if err != nil {
		return nil, err
	}
	mbr, err := grub.HybridMBR(files)
	return &iso.BIOSBoot{Image: sparse.Bytes(core), InfoTable: true, GRUB2Info: true, GRUB2MBR: mbr}, err
}
