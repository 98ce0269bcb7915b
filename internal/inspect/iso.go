package inspect

import (
	"io"

	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/sparse"
)

// ISO is the report on an ISO 9660 image: a FileSystem, and what firmware sees
// of it.
type ISO struct {
	FileSystem `yaml:",inline"`
	BootDigest string         `json:"bootCodeDigest,omitempty" yaml:"bootCodeDigest,omitempty"` // what a BIOS starts from a stick
	Boot       []BootImage    `json:"boot,omitempty" yaml:"boot,omitempty"`                     // of the boot catalog
	Partitions []ISOPartition `json:"partitions,omitempty" yaml:"partitions,omitempty"`         // for those who start it from a stick
}

// BootImage is an entry of the boot catalog.
type BootImage struct {
	Firmware   string      `json:"firmware" yaml:"firmware"`                 // BIOS or UEFI
	Size       int64       `json:"size" yaml:"size"`                         // bytes
	Digest     string      `json:"digest,omitempty" yaml:"digest,omitempty"` // of one without a file system
	FileSystem *FileSystem `json:"filesystem,omitempty" yaml:"filesystem,omitempty"`
}

// ISOPartition is an entry of a partition table around or beside the volume.
type ISOPartition struct {
	Table  string `json:"table" yaml:"table"` // mbr or gpt
	Number int    `json:"number" yaml:"number"`
	Type   string `json:"type" yaml:"type"`
	Name   string `json:"name,omitempty" yaml:"name,omitempty"`
	Offset int64  `json:"offset" yaml:"offset"` // bytes
	Size   int64  `json:"size" yaml:"size"`     // bytes
}

// maxBootImages is how many boot images are looked into.
const maxBootImages = 16

func (i *inspector) iso(r io.ReaderAt, size int64) (*ISO, error) {
	volume, err := iso.NewReader(r, size)
	if err != nil {
		return nil, err
	}
	report := &ISO{FileSystem: FileSystem{Type: "ISO 9660", Label: volume.Volume.ID, Size: volume.Volume.Size}}
	if report.Files, err = i.entries(volume, "."); err != nil {
		return nil, err
	}
	i.missingFiles(report.Files)
	if report.BootDigest, err = i.bootCode(volume.BootCode); err != nil {
		return nil, err
	}
	for _, p := range volume.Partitions {
		report.Partitions = append(report.Partitions, ISOPartition{p.Table, p.Number, p.Type, p.Name, p.Offset, p.Size})
	}
	for n, b := range volume.Boot {
		if n == maxBootImages {
			i.problem("there are %d boot images; those after %d are left out", len(volume.Boot), maxBootImages)
			break
		}
		boot, err := i.bootImage(b)
		if err != nil {
			return nil, err
		}
		report.Boot = append(report.Boot, boot)
	}
	if len(report.Boot) == 0 {
		i.problem("there is no boot catalog: no firmware starts this image from a CD")
	}
	return report, nil
}

func (i *inspector) bootImage(b iso.BootEntry) (report BootImage, err error) {
	switch b.Platform {
	case iso.PlatformBIOS:
		report.Firmware = "BIOS"
	case iso.PlatformEFI:
		report.Firmware = "UEFI"
	}
	image := b.Image
	if image == nil {
		image = sparse.New(0)
	}
	report.Size = image.Size()
	if b.Platform != iso.PlatformEFI {
		report.Digest, err = i.digest(image, image.Size())
		return report, err
	}
	err = i.at("UEFI", func() (err error) {
		report.FileSystem, err = i.fileSystem(image, image.Size())
		return err
	})
	if err == nil && report.FileSystem == nil {
		i.problem("the boot image for UEFI has no FAT file system")
	}
	if report.FileSystem != nil {
		i.startsUEFI("UEFI", report.FileSystem.Files)
	}
	return report, err
}
