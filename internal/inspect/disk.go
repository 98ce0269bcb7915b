package inspect

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/meta"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/xfs"
)

// Disk is the report on a disk image.
type Disk struct {
	Size       int64       `json:"size" yaml:"size"`             // bytes
	SectorSize int         `json:"sectorSize" yaml:"sectorSize"` // bytes
	GUID       string      `json:"guid" yaml:"guid"`
	BootCode   bool        `json:"bootCode" yaml:"bootCode"` // whether a BIOS finds something to start
	BootDigest string      `json:"bootCodeDigest,omitempty" yaml:"bootCodeDigest,omitempty"`
	Partitions []Partition `json:"partitions" yaml:"partitions"`
}

// Partition is one of a disk, and what is in it.
type Partition struct {
	Label      string      `json:"label" yaml:"label"`
	Type       string      `json:"type" yaml:"type"` // in words if it is known, else its GUID
	GUID       string      `json:"guid" yaml:"guid"`
	Offset     int64       `json:"offset" yaml:"offset"` // bytes
	Size       int64       `json:"size" yaml:"size"`     // bytes
	Bootable   bool        `json:"legacyBootable,omitempty" yaml:"legacyBootable,omitempty"`
	FileSystem *FileSystem `json:"filesystem,omitempty" yaml:"filesystem,omitempty"`
	Meta       []MetaValue `json:"meta,omitempty" yaml:"meta,omitempty"`
	Digest     string      `json:"digest,omitempty" yaml:"digest,omitempty"` // of a boot loader that has no file system
	Empty      bool        `json:"empty,omitempty" yaml:"empty,omitempty"`   // nothing but zeros at the start
}

// MetaValue is a value in the partition META.
type MetaValue struct {
	Tag   string `json:"tag" yaml:"tag"` // its name in Talos, or its number
	Value string `json:"value" yaml:"value"`
}

var partitionTypes = map[gpt.GUID]string{
	gpt.EFISystem: "EFI system", gpt.BIOSBoot: "BIOS boot", gpt.LinuxData: "Linux data",
}

// metaLabel is that of the partition with Talos' own values.
const metaLabel = "META"

// maxPartitions is how many partitions are looked into.
const maxPartitions = 128

func (i *inspector) disk(r io.ReaderAt, size int64) (*Disk, error) {
	d, err := gpt.Read(r, size)
	if err != nil {
		return nil, err
	}
	if d.Damage != nil {
		i.problem("the partition table is damaged: %s", oneLine(d.Damage))
	}
	report := &Disk{Size: d.Size, SectorSize: d.SectorSize, GUID: d.GUID.String(), BootCode: len(d.BootCode) > 0}
	if report.BootDigest, err = i.bootCode(d.BootCode); err != nil {
		return nil, err
	}
	for n := range d.Partitions {
		if n == maxPartitions {
			i.problem("there are %d partitions; those after %d are left out", len(d.Partitions), maxPartitions)
			break
		}
		p, err := i.partition(&d.Partitions[n])
		if err != nil {
			return nil, err
		}
		report.Partitions = append(report.Partitions, p)
	}
	i.bootable(report)
	return report, nil
}

// bootCode is the digest of what a BIOS starts from the first sector; "" for
// nothing.
func (i *inspector) bootCode(code []byte) (string, error) {
	if len(code) == 0 {
		return "", nil
	}
	return i.digest(bytes.NewReader(code), int64(len(code)))
}

// oneLine is an error that may have several lines.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

func (i *inspector) partition(p *gpt.Partition) (Partition, error) {
	report := Partition{
		Label: p.Name, Type: partitionTypes[p.Type], GUID: p.GUID.String(), Offset: p.Offset, Size: p.Size,
		Bootable: p.Attributes&gpt.LegacyBIOSBootable != 0,
	}
	if report.Type == "" {
		report.Type = p.Type.String()
	}
	if p.Content == nil {
		p.Content = sparse.New(p.Size)
	}
	err := i.at(p.Name, func() error { return i.fill(&report, p) })
	return report, err
}

// fill looks for what the partition has: by its content, and the values of META
// by the label.
func (i *inspector) fill(report *Partition, p *gpt.Partition) (err error) {
	report.Empty = !hasData(p.Content)
	switch {
	case report.Empty:
	case p.Name == metaLabel:
		i.meta(report, p.Content)
	case p.Type == gpt.BIOSBoot:
		report.Digest, err = i.digest(p.Content, p.Content.Size())
	default:
		report.FileSystem, err = i.fileSystem(p.Content, p.Content.Size())
	}
	if report.FileSystem == nil && p.Type == gpt.EFISystem && err == nil {
		i.problem("there is no FAT file system in it")
	}
	return err
}

// hasData says whether the first bytes of a content, where all that is looked
// for begins, are not all zero.
func hasData(m *sparse.Image) bool {
	const enough = 128 << 10
	head := make([]byte, min(m.Size(), enough))
	n, _ := m.ReadAt(head, 0) // what cannot be read has none
	for _, b := range head[:n] {
		if b != 0 {
			return true
		}
	}
	return false
}

func (i *inspector) meta(report *Partition, content *sparse.Image) {
	values, err := meta.Decode(content, content.Size())
	if err != nil {
		i.problem("%v", err)
	}
	for _, v := range values {
		report.Meta = append(report.Meta, MetaValue{v.Key.String(), v.Value})
	}
}

// fileSystem looks into FAT and XFS; nil for what is neither. What is damaged
// is a problem.
func (i *inspector) fileSystem(r io.ReaderAt, size int64) (*FileSystem, error) {
	esp, err := fat.NewReader(r, size)
	if err == nil {
		report := &FileSystem{Type: esp.Kind.String(), Label: esp.Label, Size: esp.Size}
		report.Files, err = i.entries(esp, ".")
		return report, err
	}
	if !errors.Is(err, fat.ErrNotFAT) {
		i.problem("%v", err)
		return nil, nil
	}
	boot, err := xfs.NewReader(r, size)
	if err == nil {
		report := &FileSystem{Type: "XFS", Label: boot.Info().Label, Size: boot.Info().Size}
		report.Files, err = i.entries(boot, ".")
		i.missingFiles(report.Files)
		return report, err
	}
	if !errors.Is(err, xfs.ErrFormat) {
		i.problem("%v", err)
	}
	return nil, nil
}

// bootable notes what firmware would miss on a disk.
func (i *inspector) bootable(d *Disk) {
	efi := false
	for _, p := range d.Partitions {
		efi = efi || p.Type == partitionTypes[gpt.EFISystem]
		if p.FileSystem != nil && p.Type == partitionTypes[gpt.EFISystem] && !(d.BootCode && len(p.FileSystem.Files) == 0) {
			i.startsUEFI(p.Label, p.FileSystem.Files)
		}
	}
	if !efi && !d.BootCode {
		i.problem("there is neither an EFI system partition nor boot code in the MBR: no firmware starts this disk")
	}
}

// startsUEFI wants what firmware looks for on a medium.
func (i *inspector) startsUEFI(label string, files []Entry) {
	for _, e := range files {
		if p := strings.ToUpper(e.Path); strings.HasPrefix(p, "EFI/BOOT/BOOT") && strings.HasSuffix(p, ".EFI") {
			return
		}
	}
	i.problem("%s: there is no EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI: UEFI does not start from it", label)
}
