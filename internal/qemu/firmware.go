package qemu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// UEFI is a firmware in two files, as EDK II builds it for QEMU (OVMF, AAVMF).
type UEFI struct {
	Code string // the program; it is not written to
	// Vars has the firmware's variables: boot entries, keys. The machine writes
	// to it, so give each its own copy: see CopyVars.
	Vars string
	// SMM is needed by firmware that guards its variables by it, as OVMF with
	// Secure Boot does.
	SMM bool
}

// installed is firmware as a distribution has it, with or without Secure Boot.
type installed struct {
	UEFI
	secure bool
}

// firmwares are where distributions have EDK II's firmware, by architecture.
// Those with Secure Boot have templates of variables without keys, so that the
// machine starts in setup mode and takes what a boot medium enrols.
var firmwares = map[string][]installed{
	"amd64": {
		{UEFI{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"}, false}, // Debian
		{UEFI{Code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd", SMM: true}, true},
		{UEFI{Code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", Vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd"}, false}, // Fedora
		{UEFI{Code: "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", Vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd", SMM: true}, true},
		{UEFI{Code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", Vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"}, false}, // Arch Linux
		{UEFI{Code: "/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", Vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd", SMM: true}, true},
		{UEFI{Code: "/opt/homebrew/share/qemu/edk2-x86_64-code.fd", Vars: "/opt/homebrew/share/qemu/edk2-i386-vars.fd"}, false}, // Homebrew
		{UEFI{Code: "/opt/homebrew/share/qemu/edk2-x86_64-secure-code.fd", Vars: "/opt/homebrew/share/qemu/edk2-i386-vars.fd", SMM: true}, true},
	},
	"arm64": {
		{UEFI{Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/usr/share/AAVMF/AAVMF_VARS.fd"}, false}, // Debian: one program for both
		{UEFI{Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/usr/share/AAVMF/AAVMF_VARS.fd"}, true},
		{UEFI{Code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", Vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw"}, false},
		{UEFI{Code: "/opt/homebrew/share/qemu/edk2-aarch64-code.fd", Vars: "/opt/homebrew/share/qemu/edk2-arm-vars.fd"}, false},
	},
}

var missingUEFI = map[string]MissingError{
	"amd64": {Program: "UEFI firmware for QEMU (OVMF)", Debian: "ovmf", Fedora: "edk2-ovmf"},
	"arm64": {Program: "UEFI firmware for QEMU (AAVMF)", Debian: "qemu-efi-aarch64", Fedora: "edk2-aarch64"},
}

// FindUEFI finds the firmware that a distribution has installed; its Vars are a
// template. A *MissingError says that there is none.
func FindUEFI(arch string, secureBoot bool) (UEFI, error) {
	for _, f := range firmwares[arch] {
		if f.secure != secureBoot {
			continue
		}
		_, codeErr := os.Stat(f.Code)
		_, varsErr := os.Stat(f.Vars)
		if codeErr == nil && varsErr == nil {
			return f.UEFI, nil
		}
	}
	missing, ok := missingUEFI[arch]
	if !ok {
		return UEFI{}, fmt.Errorf("architecture %q: %w", arch, ErrArch)
	}
	return UEFI{}, &missing
}

// CopyVars copies the variables to a file of the machine's own, unless that is
// there already: then it has what an earlier run has left in it.
func (u UEFI) CopyVars(file string) (UEFI, error) {
	template := u.Vars
	u.Vars = file
	dst, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return u, nil
	}
	if err != nil {
		return u, fmt.Errorf("copying the firmware's variables: %w", err)
	}
	src, err := os.Open(template)
	if err == nil {
		_, err = io.Copy(dst, src)
		err = errors.Join(err, src.Close())
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return u, fmt.Errorf("copying the firmware's variables: %w", errors.Join(err, os.Remove(file)))
	}
	return u, nil
}

// Drive is a disk or a CD that the firmware boots from.
type Drive struct {
	File       string
	Format     string // as QEMU calls it: "raw", "qcow2", "vmdk", "vpc"; "" is raw
	CD         bool
	SectorSize int // of a disk in bytes; 0 is 512
	// Keep lets the machine write to the file of a disk. Without it, what it
	// writes is gone when it ends.
	Keep bool
}

// args attach the drive. The machine of arm64 has no IDE: there a CD is SCSI's.
func (d *Drive) args(arch string) []string {
	drive := "if=none,id=boot,file=" + escape(d.File) + ",format=" + orText(d.Format, "raw")
	switch {
	case d.CD && arch == "arm64":
		return []string{"-drive", drive + ",media=cdrom,readonly=on", "-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=boot,bootindex=1"}
	case d.CD:
		return []string{"-drive", drive + ",media=cdrom,readonly=on", "-device", "ide-cd,drive=boot,bootindex=1"}
	case !d.Keep:
		drive += ",snapshot=on"
	}
	device := "virtio-blk-pci,drive=boot,bootindex=1"
	if d.SectorSize > 512 {
		device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", d.SectorSize)
	}
	return []string{"-drive", drive, "-device", device}
}

func (u *UEFI) args() []string {
	args := []string{
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + escape(u.Code),
		"-drive", "if=pflash,format=raw,unit=1,file=" + escape(u.Vars),
	}
	if u.SMM {
		args = append(args, "-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	return args
}
