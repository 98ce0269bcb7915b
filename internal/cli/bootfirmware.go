package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/qemu"
)

// bootFirmware is what a machine starts with.
type bootFirmware string

const (
	firmwareBIOS       bootFirmware = "bios"
	firmwareUEFI       bootFirmware = "uefi"
	firmwareSecureBoot bootFirmware = "secureboot"
)

func (f bootFirmware) isUEFI() bool { return f == firmwareUEFI || f == firmwareSecureBoot }

// firmwareBoot has firmware start the machine from the medium.
func (b *bootFlags) firmwareBoot(ctx context.Context, s Streams, c *qemu.Config, m *medium, dir string) error {
	if err := m.unpack(ctx, s, dir); err != nil {
		return inputError(fmt.Errorf("unpacking %s: %w", m.name, err))
	}
	if m.kind == inspect.KindInitramfs {
		return withCode(exitInvalid, fmt.Errorf("%s is an initramfs that is packed more than once, which no kernel unpacks", m.name))
	}
	if err := b.checkFor(m); err != nil { // it may have been packed before
		return err
	}
	facts := m.look()
	if err := b.chooseArch(c, m, facts); err != nil {
		return err
	}
	if err := b.chooseFirmware(c, facts, dir); err != nil {
		return err
	}
	if c.Memory == 0 {
		c.Memory = memoryForFirmware(facts.largest)
	}
	if m.kind == inspect.KindUKI {
		if err := m.ontoESP(ctx, c.Arch, dir); err != nil {
			return err
		}
	}
	c.Drive = &qemu.Drive{File: m.file, Format: m.format, CD: m.kind == inspect.KindISO, SectorSize: facts.sectorSize, Keep: b.persist}
	c.Reboot = true
	return nil
}

// chooseArch takes the architecture of the file unless another is asked for.
func (b *bootFlags) chooseArch(c *qemu.Config, m *medium, facts mediumFacts) error {
	c.Arch = b.base.arch
	switch {
	case c.Arch == "":
		c.Arch = orAMD64(facts.arch)
	case facts.arch != "" && facts.arch != c.Arch:
		return usageError(fmt.Errorf("--arch %s: %s is for %s", c.Arch, m.name, facts.arch))
	}
	return nil
}

// chooseFirmware finds the firmware; its variables are the user's or the
// machine's own.
func (b *bootFlags) chooseFirmware(c *qemu.Config, facts mediumFacts, dir string) error {
	kind := b.firmware
	if kind == "" {
		kind = firmwareUEFI
		if facts.bios && !facts.uefi && b.vars == "" {
			kind = firmwareBIOS
		}
	}
	if kind == firmwareBIOS {
		if c.Arch != "amd64" {
			return usageError(fmt.Errorf("--firmware bios: a machine of %s has no BIOS", c.Arch))
		}
		return nil
	}
	found, err := qemu.FindUEFI(c.Arch, kind == firmwareSecureBoot)
	var missing *qemu.MissingError
	if errors.As(err, &missing) {
		return withCode(exitEnvironment, missing, missing.Hint())
	}
	if err != nil {
		return err
	}
	vars := b.vars
	if vars == "" {
		vars = filepath.Join(dir, "vars.fd")
	}
	if vars, err = filepath.Abs(vars); err != nil {
		return err
	}
	own, err := found.CopyVars(vars)
	c.UEFI = &own
	return err
}

// memoryForFirmware is the memory in MiB to boot what has a largest file of so
// many bytes, a UKI or an initramfs: UEFI reads the program into memory and loads
// it from there, its stub copies the initramfs, and the kernel unpacks that.
func memoryForFirmware(largest int64) int {
	const least = 2048
	return max(least, inSteps(512+4*int(largest>>20)))
}
