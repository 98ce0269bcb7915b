package bootasset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/profile"
	"github.com/graftlinux/graft/internal/secureboot"
	"github.com/graftlinux/graft/internal/testkit"
)

// TestFull: what does not fit into a partition is said with sizes that a person
// can read.
func TestFull(t *testing.T) {
	for _, c := range []struct {
		w      wish
		kernel int64 // bytes
		want   string
	}{
		{wish{talos: "v1.10.0", over: onDisk(profile.ImageOptions{Bootloader: profile.SDBoot})}, 1101 << 20, "making metal-amd64.raw: the partition EFI has 1101 MiB, and what is to be in it needs 1104 MiB"},
		{wish{talos: "v1.7.0"}, 1000 << 20, "making metal-amd64.raw: the partition BOOT has 1000 MiB, and what is to be in it needs 1065 MiB"},
	} {
		if c.w.talos == "v1.7.0" {
			needGRUB(t)
		}
		s := newWorkshop(t, c.w)
		base, err := OpenBase(t.Context(), s.cache, s.base)
		if err != nil {
			t.Fatal(err)
		}
		defer base.Close()
		large, err := os.Create(filepath.Join(t.TempDir(), "vmlinuz"))
		if err != nil {
			t.Fatal(err)
		}
		defer large.Close()
		if err := large.Truncate(c.kernel); err != nil {
			t.Fatal(err)
		}
		base.kernel = &cache.Blob{File: large, Size: c.kernel}
		a, err := Prepare(t.Context(), Options{Base: base, Cache: s.cache})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		_, err = a.Build(t.Context(), s.plan(t, c.w), nil, epoch)
		if !errors.As(err, new(*FullError)) || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// TestMissing: each part that a base may lack is named when it is needed.
func TestMissing(t *testing.T) {
	for name, c := range map[string]struct {
		w    wish
		drop func(*BaseOptions)
		want string
	}{
		"kernel":       {wish{over: ofKind(profile.UKI)}, func(o *BaseOptions) { o.Kernel = "" }, "making metal-amd64-uki.efi: the base has no kernel (usr/install/amd64/vmlinuz)"},
		"stub":         {wish{over: ofKind(profile.UKI)}, func(o *BaseOptions) { o.Stub = "" }, "making metal-amd64-uki.efi: the base has no systemd-stub (usr/install/amd64/systemd-stub.efi)"},
		"systemd-boot": {wish{profile: "installer"}, func(o *BaseOptions) { o.BootLoader = "" }, "making installer-amd64.tar: the base has no systemd-boot (usr/install/amd64/systemd-boot.efi)"},
		"GRUB":         {wish{}, func(o *BaseOptions) { o.GRUB = nil }, "making metal-amd64.raw: making the partition BIOS: reading GRUB's files: the base has no GRUB (usr/lib/grub/i386-pc)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWorkshop(t, c.w)
			c.drop(&s.base)
			_, err := s.build(t, c.w)
			var missing *MissingError
			if !errors.As(err, &missing) || missing.Hint == "" || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestPrograms: boot programs that are none, or are for other machines.
func TestPrograms(t *testing.T) {
	for name, c := range map[string]struct {
		file func(*BaseOptions) string
		data []byte
		want string
	}{
		"stub, no program":       {func(o *BaseOptions) string { return o.Stub }, []byte("#!/bin/sh"), "reading the UKI stub: "},
		"stub for arm64":         {func(o *BaseOptions) string { return o.Stub }, testkit.Stub(profile.ARM64, 257), "reading the UKI stub: it is for arm64, wanted is one for amd64"},
		"stub, cut off":          {func(o *BaseOptions) string { return o.Stub }, testkit.Stub(profile.AMD64, 257)[:1500], "reading the UKI stub: "},
		"boot loader, empty":     {func(o *BaseOptions) string { return o.BootLoader }, nil, "reading the boot loader: "},
		"boot loader for arm64":  {func(o *BaseOptions) string { return o.BootLoader }, testkit.EFIProgram(profile.ARM64, ".text", "x"), "reading the boot loader: it is for arm64, wanted is one for amd64"},
		"boot loader, too short": {func(o *BaseOptions) string { return o.BootLoader }, []byte("MZ"), "reading the boot loader: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := wish{profile: "installer"}
			s := newWorkshop(t, w)
			if err := os.WriteFile(c.file(&s.base), c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.build(t, w); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestWithoutGRUB: an asset that starts by UEFI as well is made without GRUB for
// the other kind of firmware, with a word about it.
func TestWithoutGRUB(t *testing.T) {
	s := newWorkshop(t, wish{})
	s.base.GRUB = nil
	out := s.make(t, wish{profile: "iso"})
	if got := strings.Join(out.Warnings, "\n"); !strings.Contains(got, "the base has no GRUB (usr/lib/grub/i386-pc): the ISO starts by UEFI only (name it with --grub") {
		t.Errorf("it warns %q", got)
	}
}

// TestKeys: keys that are of no use are refused before anything is signed.
func TestKeys(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*profile.SecureBootAssets)
		want   string
		is     error
	}{
		"missing key":      {func(k *profile.SecureBootAssets) { k.SecureBootSigner.KeyPath = "/nowhere/key.pem" }, "/nowhere/key.pem", os.ErrNotExist},
		"missing PCR key":  {func(k *profile.SecureBootAssets) { k.PCRSigner.KeyPath = "/nowhere/pcr.pem" }, "/nowhere/pcr.pem", os.ErrNotExist},
		"another key":      {func(k *profile.SecureBootAssets) { k.SecureBootSigner.KeyPath = k.PCRSigner.KeyPath }, "the certificate ", nil},
		"missing signer":   {func(k *profile.SecureBootAssets) { k.PCRSigner = profile.Signer{SignerAddress: "unix:///nowhere/x"} }, "connecting to the signer", nil},
		"missing updates":  {func(k *profile.SecureBootAssets) { k.PlatformKeyPath = "/nowhere/PK.auth" }, "/nowhere/PK.auth", os.ErrNotExist},
		"Microsoft's keys": {func(k *profile.SecureBootAssets) { k.IncludeWellKnownCerts = true }, "graft does not contain Microsoft's certificates", secureboot.ErrWellKnown},
	} {
		t.Run(name, func(t *testing.T) {
			p := withKeys(wish{profile: "secureboot-iso"}.profileOf(t), keyDir(t))
			c.change(p.Input.SecureBoot)
			plan, err := p.Resolve("v1.14.0")
			if err != nil {
				t.Fatal(err)
			}
			_, err = OpenKeys(t.Context(), plan, epoch)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
