// Package grub assembles boot images of GRUB 2 from GRUB's own files, as
// Debian's packages grub-pc-bin and grub-efi-amd64-bin install them, and writes
// and reads the menus, the files grub.cfg. It does the part of grub-mkimage,
// grub-bios-setup and grub-mkrescue that the boot of a disk or an ISO needs.
//
// A computer with a BIOS comes to the menu in these steps:
//
//   - The BIOS loads the boot code, the first 440 bytes of the disk
//     ([InstallDisk]; [HybridMBR] for an ISO on a USB stick). It knows one
//     number, the sector where the core image begins.
//   - The core image ([DiskCore]) is in a partition of its own without a file
//     system. Its first sector, diskboot.img, has the list of the others and
//     loads them. From a CD, the BIOS loads cdboot.img by El Torito, which
//     loads the rest of its file ([CDCore]).
//   - The rest is lzma_decompress.img and what it unpacks: the kernel of GRUB,
//     with modules, commands (the embedded configuration) and the prefix, the
//     directory with grub.cfg.
//   - With the module normal in the core, GRUB reads grub.cfg ([Menu]).
//
// UEFI firmware starts a program, [EFI], with the same parts in a PE file.
//
// All modules that are needed can be in the core: it is read before there is a
// file system, and what it holds cannot be missing or be of another version.
// [DiskModules] and [CDModules] list them.
//
// GRUB 2.06 and 2.12 are known; their layouts are those of these versions of
// grub-mkimage, with which the tests compare. Disks have sectors of 512 bytes:
// the boot code asks the BIOS for nothing else. Not covered: network boot,
// Reed-Solomon codes (they protect a core that is in no partition), a memory
// disk or public keys in the core, and platforms other than i386-pc,
// x86_64-efi and arm64-efi.
package grub

import (
	"fmt"
	"io"
	"io/fs"
)

// Options say what is in a core image beside the kernel of GRUB.
type Options struct {
	// Modules to embed, without ".mod". Those that they depend on come along.
	Modules []string

	// Prefix is the directory of grub.cfg, as GRUB writes paths: "/boot/grub" is
	// on the device that GRUB was loaded from; "(,gpt3)/grub" on the third
	// partition of the disk that it was loaded from.
	Prefix string

	// Config is a script that runs before grub.cfg is looked for, by the few
	// words that the kernel of GRUB and the embedded modules know. May be empty.
	Config []byte
}

// platform is a directory with the files of GRUB for one kind of machine.
type platform struct {
	files fs.FS
	name  string // as GRUB calls it
	from  string // package of Debian that has the files
}

func pc(files fs.FS) platform { return platform{files, "i386-pc", "grub-pc-bin"} }

// maxFile is far more than the largest file of GRUB that is read here has.
const maxFile = 4 << 20

// read returns a file of GRUB.
func (p platform) read(name string) ([]byte, error) {
	data, err := readLimited(p.files, name)
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's file %s for %s (Debian's package %s has it in /usr/lib/grub/%s): %w", name, p.name, p.from, p.name, err)
	}
	return data, nil
}

func readLimited(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, err
}

// readSized returns a file of GRUB that has a size known beforehand.
func (p platform) readSized(name string, size int) ([]byte, error) {
	data, err := p.read(name)
	if err == nil && len(data) != size {
		err = fmt.Errorf("reading GRUB's file %s for %s: it has %d bytes, want %d", name, p.name, len(data), size)
	}
	return data, err
}
