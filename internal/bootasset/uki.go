package bootasset

import (
	"context"
	"crypto"
	"fmt"
	"slices"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/uki"
	"github.com/graftlinux/graft/internal/secureboot"
)

// uki lays out the unified kernel image of a plan, signed if there are keys.
func (b *builder) uki(ctx context.Context) (*sparse.Image, error) {
	stub, err := b.asset.opts.Base.Stub()
	if err != nil {
		return nil, err
	}
	program, err := b.program("UKI stub", stub)
	if err != nil {
		return nil, err
	}
	known, err := uki.KnownSections(program.Sections)
	if err != nil {
		return nil, err
	}
	common, err := b.commonSections(ctx)
	if err != nil {
		return nil, err
	}
	blocks := append([][]uki.Section{common}, b.profileSections(known)...)
	if b.keys != nil {
		measured := slices.Concat(program.Sections, slices.Concat(blocks...)) // the stub has .sbat
		measured = slices.DeleteFunc(measured, func(s uki.Section) bool { return !known(s.Name) })
		if err := b.signPolicies(ctx, blocks, measured); err != nil {
			return nil, err
		}
	}
	m, err := uki.Build(stub, slices.Concat(blocks...))
	if err != nil {
		return nil, fmt.Errorf("making the UKI: %w", err)
	}
	return b.signed(ctx, m)
}

func text(name string, content []byte) uki.Section {
	return uki.Section{Name: name, Content: sparse.Bytes(content)}
}

// commonSections are those that all profiles share, in the order of Talos'
// imager.
func (b *builder) commonSections(ctx context.Context) ([]uki.Section, error) {
	kernel, initramfs, err := b.payload(ctx)
	if err != nil {
		return nil, err
	}
	sections := []uki.Section{text(".osrel", b.plan.OSRelease()), text(".cmdline", []byte(b.plan.Cmdline))}
	if release := uki.KernelRelease(kernel); release != "" {
		sections = append(sections, text(".uname", []byte(release)))
	}
	if b.keys != nil {
		public, err := secureboot.PublicKeyPEM(b.keys.PCR.PublicKey())
		if err != nil {
			return nil, err
		}
		sections = append(sections, text(".pcrpkey", public))
	}
	return append(sections, uki.Section{Name: ".linux", Content: kernel}, uki.Section{Name: ".initrd", Content: initramfs}), nil
}

// profileSections are the blocks of the profiles. A stub that knows no profiles
// would take the command line of the last one, which wipes the machine.
func (b *builder) profileSections(known func(string) bool) [][]uki.Section {
	if !known(".profile") {
		if len(b.plan.UKIProfiles) > 1 {
			b.warn("the base's systemd-stub is older than 257 and knows no profiles: the UKI has no entry to reset the machine")
		}
		return nil
	}
	var blocks [][]uki.Section
	for _, e := range b.plan.UKIProfiles {
		about := "ID=" + e.ID + "\n"
		if e.Title != "" {
			about += "TITLE=" + e.Title + "\n"
		}
		block := []uki.Section{text(".profile", []byte(about))}
		if e.Cmdline != b.plan.Cmdline {
			block = append(block, text(".cmdline", []byte(e.Cmdline)))
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// signPolicies ends each block of a profile, or the only one there is, with the
// signatures of the values that register 11 may have then. The sections are
// those of the whole image that count.
func (b *builder) signPolicies(ctx context.Context, blocks [][]uki.Section, sections []uki.Section) error {
	digests, err := uki.Digest(ctx, sections)
	if err != nil {
		return fmt.Errorf("measuring the UKI: %w", err)
	}
	first := min(1, len(blocks)-1)
	for i, profile := range uki.Profiles(sections) {
		values := map[crypto.Hash][][]byte{}
		for _, bank := range uki.Banks {
			value, err := digests.PCR11(profile, secureboot.BootPhases(), bank)
			if err != nil {
				return fmt.Errorf("measuring the UKI: %w", err)
			}
			values[bank] = [][]byte{value}
		}
		signatures, err := secureboot.PCRSignatures(ctx, b.keys.PCR, values)
		if err != nil {
			return err
		}
		blocks[first+i] = append(blocks[first+i], text(".pcrsig", signatures))
	}
	return nil
}

// signed is a program with a signature, if there are keys.
func (b *builder) signed(ctx context.Context, program *sparse.Image) (*sparse.Image, error) {
	if b.keys == nil {
		return program, nil
	}
	return secureboot.Sign(ctx, program, b.keys.Program)
}

// payload is what every boot loader starts in the end.
func (b *builder) payload(ctx context.Context) (kernel, initramfs *sparse.Image, err error) {
	if kernel, err = b.kernel(ctx); err != nil {
		return nil, nil, err
	}
	initramfs, _, err = b.asset.Initramfs(ctx)
	return kernel, initramfs, err
}

// kernel is the base's, signed if it is an EFI program: with Secure Boot,
// systemd-stub has the firmware load it.
func (b *builder) kernel(ctx context.Context) (*sparse.Image, error) {
	kernel, err := b.asset.opts.Base.Kernel()
	if err != nil || b.keys == nil {
		return kernel, err
	}
	if _, err := uki.Read(kernel, kernel.Size()); err != nil {
		return kernel, nil
	}
	return b.signed(ctx, kernel)
}

// program reads an EFI program that has to be for the machines of the plan.
func (b *builder) program(what string, m *sparse.Image) (*uki.Image, error) {
	program, err := uki.Read(m, m.Size())
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	}
	if arch := b.plan.Profile.Arch; program.Machine != arch {
		return nil, fmt.Errorf("reading the %s: it is for %s, wanted is one for %s", what, program.Machine, arch)
	}
	return program, nil
}

// loader is systemd-boot, signed if there are keys.
func (b *builder) loader(ctx context.Context) (*sparse.Image, error) {
	m, err := b.asset.opts.Base.BootLoader()
	if err != nil {
		return nil, err
	}
	if _, err := b.program("boot loader", m); err != nil {
		return nil, err
	}
	return b.signed(ctx, m)
}
