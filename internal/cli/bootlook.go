package cli

import (
	"io/fs"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/gpt"
	"github.com/graftlinux/graft/internal/format/iso"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/format/xfs"
	"github.com/graftlinux/graft/internal/inspect"
)

// mediumFacts are what the choice of a machine depends on.
type mediumFacts struct {
	arch       string // "" if nothing tells it
	uefi, bios bool   // whether there is something for it to start
	sectorSize int    // of a disk in bytes
	largest    int64  // size in bytes of the largest file that may be loaded
}

// removablePaths are where UEFI starts a medium that it has not seen before
// (UEFI specification 2.10, 3.5.1.1).
var removablePaths = map[string]string{"amd64": "EFI/BOOT/BOOTX64.EFI", "arm64": "EFI/BOOT/BOOTAA64.EFI"}

func removablePath(arch string) string { return removablePaths[arch] }

// look finds the facts. What cannot be read tells nothing: a machine is to show
// what becomes of a damaged medium.
func (m *medium) look() mediumFacts {
	var facts mediumFacts
	switch m.kind {
	case inspect.KindUKI:
		facts.uefi, facts.largest = true, m.size
		if program, err := uki.Read(m.ReaderAt, m.size); err == nil {
			facts.arch = program.Machine
		}
	case inspect.KindISO:
		if volume, err := iso.NewReader(m.ReaderAt, m.size); err == nil {
			facts.ofISO(volume)
		}
	case inspect.KindDisk:
		if disk, err := gpt.Read(m.ReaderAt, m.size); err == nil {
			facts.ofDisk(disk)
		}
	}
	return facts
}

func (f *mediumFacts) ofISO(volume *iso.Reader) {
	f.ofFiles(volume)
	for _, b := range volume.Boot {
		switch {
		case b.Platform == iso.PlatformBIOS:
			f.bios = true
		case b.Platform == iso.PlatformEFI && b.Image != nil:
			if esp, err := fat.NewReader(b.Image, b.Image.Size()); err == nil {
				f.ofESP(esp)
			}
		}
	}
}

func (f *mediumFacts) ofDisk(disk *gpt.Disk) {
	f.sectorSize, f.bios = disk.SectorSize, len(disk.BootCode) > 0
	for _, p := range disk.Partitions {
		if p.Content == nil {
			continue
		}
		switch p.Type {
		case gpt.EFISystem:
			if esp, err := fat.NewReader(p.Content, p.Content.Size()); err == nil {
				f.ofESP(esp)
			}
		case gpt.LinuxData:
			if files, err := xfs.NewReader(p.Content, p.Content.Size()); err == nil {
				f.ofFiles(files)
			}
		}
	}
}

// ofESP looks for programs of only one architecture.
func (f *mediumFacts) ofESP(esp fs.FS) {
	f.ofFiles(esp)
	found := ""
	for _, arch := range []string{"amd64", "arm64"} {
		if _, err := fs.Stat(esp, removablePath(arch)); err == nil {
			found += arch
			f.uefi = true
		}
	}
	if removablePaths[found] != "" {
		f.arch = found
	}
}

func (f *mediumFacts) ofFiles(files fs.FS) {
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir
		}
		if info, err := d.Info(); err == nil && d.Type().IsRegular() {
			f.largest = max(f.largest, info.Size())
		}
		return nil
	})
}
