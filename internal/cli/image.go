package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/profile"
)

func newImage(s Streams) *cobra.Command {
	var f imageFlags
	cmd := &cobra.Command{
		Use:   "image PROFILE|-",
		Short: "Make a boot asset from a base and extensions",
		Long: `Make a boot asset: an ISO, a disk image, a unified kernel image (UKI), an
installer image, or the kernel, initramfs and command line alone.

PROFILE is one of Talos' imager, such as metal, iso or aws (--list prints all),
or a kind: kernel, initramfs, cmdline, uki, pxe. - reads a whole profile as YAML
from standard input. Flags are put over either.

The base is an image in the layout of Talos' imager (usr/install/<arch>/vmlinuz,
initramfs.xz, systemd-stub.efi, systemd-boot.efi), or files. Extensions become
layers in the order in which they are given: of two files with one path the node
sees that of the last. The name of one, such as gvisor, stands for the image that
the catalog of the Talos version has (graft catalog find). The work is kept in a cache, so that only what changed is
made again.

The extensions are checked first. Errors stop the command; --force overrules
those that a person may answer for.

The same inputs make the same asset, to the bit. Its time is SOURCE_DATE_EPOCH
(seconds), or 1970.

` + sourceHelp,
		Example: `  graft image iso --base registry.example/imager:v1.14.0 --extension registry.example/gvisor:20260905.0
  graft image metal --base registry.example/imager:v1.14.0 --arch arm64 --extension ./my-extension -o _out/
  graft image metal --base registry.example/imager:v1.14.0 --talos-version v1.14.0 --extension gvisor --policy policy.yaml
  graft image initramfs --kernel vmlinuz --initramfs initramfs.xz --talos-version v1.9.2 --extension gvisor.tar
  graft image secureboot-iso --base registry.example/imager:v1.14.0 --secureboot-keys _out/secureboot
  graft image installer --base registry.example/imager:v1.14.0 \
    --base-installer-image registry.example/installer-base:v1.14.0 --arch amd64,arm64 -o registry.example/me/installer:v1.14.0
  graft image - --dry-run <profile.yaml`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(profileNames(), cobra.ShellCompDirectiveNoFileComp),
	}
	f.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.list {
			return listProfiles(s)
		}
		if len(args) == 0 {
			if cmd.Flags().NFlag() > 0 {
				return withCode(exitInvalid, errors.New("no profile is named"), "graft image --list prints all")
			}
			return help(cmd, args)
		}
		return f.run(cmd.Context(), s, args[0])
	}
	return cmd
}

// imageFlags are the flags of Talos' imager, and those that graft adds.
type imageFlags struct {
	sources sources
	policy  policyFlags
	names   catalogs // where names of extensions are looked up
	list    bool
	dryRun  bool

	profile.Profile // what the flags say of it
	arches          []string
	secureBootDir   string
	metaValues      []string
	configPath      string
	extensions      []string
	overlay         overlayFlags
	talos           string
	grub            []string
	outFormat       string
	bootloader      string
	enrollKeys      string
	diskSize        string
	wellKnown       bool
	signer, pcr     string // addresses

	compression string
	force       bool
	output      string
	toStdout    bool
}

// overlayFlags are read to be refused by name.
type overlayFlags struct {
	name, image string
	options     []string
}

func (f *imageFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.list, "list", false, "list the profiles")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the resolved profile: every default filled in, every image pinned by digest; make nothing")
	f.inputFlags(cmd)
	f.customizationFlags(cmd)
	f.secureBootFlags(cmd)
	f.outputFlags(cmd)
	f.policy.flags(cmd)
	f.names.nameFlags(cmd)
	cacheDirFlag(cmd, &f.sources.cacheDir)
	cmd.MarkFlagsMutuallyExclusive("base", "initramfs")
	cmd.MarkFlagsMutuallyExclusive("output", "tar-to-stdout")
}

func (f *imageFlags) inputFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.Input.Base.ImageRef, "base", "", "base image: a reference, an OCI layout or a tarball")
	fl.StringVar(&f.Input.Kernel.Path, "kernel", "", "kernel as a file, instead of the base's")
	fl.StringVar(&f.Input.Initramfs.Path, "initramfs", "", "initramfs as a file, instead of --base")
	fl.StringVar(&f.Input.SDStub.Path, "sd-stub", "", "systemd-stub as a file, instead of the base's")
	fl.StringVar(&f.Input.SDBoot.Path, "sd-boot", "", "systemd-boot as a file, instead of the base's")
	fl.StringArrayVar(&f.grub, "grub", nil, "GRUB's files, instead of the base's: a directory with i386-pc, or Debian's package grub-pc-bin (repeat it)")
	fl.StringSliceVar(&f.arches, "arch", nil, "architecture: amd64 or arm64; both, with a comma, for an installer (default amd64)")
	fl.StringVar(&f.Platform, "platform", "", "platform, such as metal or aws (default: the profile's)")
	fl.StringVar(&f.talos, "talos-version", "", "version whose contracts hold (default: what the base says)")
	fl.StringVar(&f.Input.BaseInstaller.ImageRef, "base-installer-image", "", "image that an installer is made from")
	fl.StringArrayVar(&f.extensions, "extension", nil, "extension to add, the lowest layer first (repeat it)")
	// One value has both names: two of their own would each begin anew, and lose what the other had.
	fl.Var(fl.Lookup("extension").Value, "system-extension-image", "the same, as Talos' imager calls it")
	fl.StringVar(&f.Input.ImageCache.ImageRef, "image-cache", "", "container images to put into the asset (not supported)")
	insecureFlag(cmd, &f.sources.insecure)
	fl.StringVar(&f.overlay.name, "overlay-name", "", "overlay for a single-board computer (not supported)")
	fl.StringVar(&f.overlay.image, "overlay-image", "", "its image (not supported)")
	fl.StringArrayVar(&f.overlay.options, "overlay-option", nil, "its options (not supported)")
	complete(cmd, "arch", "amd64", "arm64", "amd64,arm64")
	complete(cmd, "platform", profile.Platforms()...)
	if err := cmd.RegisterFlagCompletionFunc("extension", f.completeExtension); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

// completeExtension offers names in the catalog, and files.
func (f *imageFlags) completeExtension(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	f.names.talos, f.names.cacheDir = f.talos, f.sources.cacheDir
	names, _ := completeExtensions(&f.names)(cmd, args, word)
	return names, cobra.ShellCompDirectiveDefault
}

func (f *imageFlags) customizationFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.Customization.ExtraKernelArgs, "extra-kernel-arg", nil, `kernel argument to add; console= and talos.platform= replace, "-key" removes (repeat it)`)
	fl.StringArrayVar(&f.metaValues, "meta", nil, "KEY=VALUE for the META partition, such as 0xa=… (repeat it)")
	fl.StringVar(&f.configPath, "embedded-config-path", "", "machine configuration to embed, a file (Talos 1.12 and newer)")
}

func (f *imageFlags) secureBootFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.secureBootDir, "secureboot-keys", "", "directory of keys, as graft keys generate secureboot makes it (default /secureboot)")
	fl.StringVar(&f.signer, "secureboot-signer-address", "", "service that signs for Secure Boot, unix:///PATH")
	fl.StringVar(&f.pcr, "pcr-signer-address", "", "service that signs PCR policies, unix:///PATH")
	fl.StringVar(&f.enrollKeys, "secureboot-enroll-keys", "", "when systemd-boot enrols keys: if-safe, manual, force, off")
	fl.BoolVar(&f.wellKnown, "secureboot-include-well-known-certs", false, "enrol Microsoft's certificates, too")
	complete(cmd, "secureboot-enroll-keys", "if-safe", "manual", "force", "off")
}

func (f *imageFlags) outputFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar((*string)(&f.Output.Kind), "output-kind", "", "what to make, instead of the profile's: iso, image, installer, kernel, initramfs, uki, cmdline")
	fl.StringVar(&f.outFormat, "output-format", "", "raw, or packed: .zst, .xz, .gz, .tar.gz (default: the profile's)")
	fl.StringVar(&f.bootloader, "bootloader", "", "of disk images and ISOs: sd-boot, grub, dual-boot (default: what the version has)")
	fl.StringVar(&f.diskSize, "disk-size", "", "size of a disk image, such as 10GiB (default: the profile's)")
	fl.StringVar(&f.compression, "compression", string(bootasset.Default), "default, or best: about five times slower and up to 10 % smaller")
	fl.BoolVar(&f.force, "force", false, "go on in spite of errors that may be overruled")
	fl.StringVarP(&f.output, "output", "o", "", "file or directory to write, - for standard output; for an installer what graft pack takes (default: a file named as Talos' imager does)")
	fl.BoolVar(&f.toStdout, "tar-to-stdout", false, "write a tar with the asset to standard output")
	complete(cmd, "output-kind", kindNames()...)
	complete(cmd, "output-format", "raw", ".zst", ".xz", ".gz", ".tar.gz")
	complete(cmd, "bootloader", "sd-boot", "grub", "dual-boot")
	complete(cmd, "compression", string(bootasset.Default), string(bootasset.Best))
}

func kindNames() (names []string) {
	for _, k := range profile.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// kindProfiles are kinds that can be asked for without a profile: they are made
// for the platform metal.
var kindProfiles = []struct{ name, about string }{
	{"kernel", "the base's kernel"},
	{"initramfs", "initramfs with the extensions"},
	{"cmdline", "kernel command line"},
	{"uki", "unified kernel image"},
	{pxe, "kernel, initramfs and an iPXE script in a directory"},
}

// pxe is a kind of graft's own: several files for a boot over the network.
const pxe = "pxe"

func profileNames() []string {
	names := profile.Names()
	for _, k := range kindProfiles {
		names = append(names, k.name)
	}
	return names
}

func listProfiles(s Streams) error {
	t := newTable(s.Out, "PROFILE", "KIND", "FORMAT", "MAKES")
	for _, name := range profile.Names() {
		p, _ := profile.Get(name)
		format := string(p.Output.OutFormat)
		if o := p.Output.ImageOptions; o != nil {
			format = strings.TrimSuffix(string(o.DiskFormat)+" "+strings.TrimPrefix(format, "."), " raw")
		}
		t.row(name, string(p.Output.Kind), format, profile.Describe(name))
	}
	for _, k := range kindProfiles {
		t.row(k.name, k.name, "raw", k.about)
	}
	return t.flush()
}

// stdoutNames are those that systems have for standard output. Taken for a file,
// it would be told the file's name, too.
var stdoutNames = []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}

// run makes the asset, or says what it would be.
func (f *imageFlags) run(ctx context.Context, s Streams, name string) error {
	if l := bootasset.Level(f.compression); l != bootasset.Default && l != bootasset.Best {
		return usageError(fmt.Errorf("--compression %q is neither default nor best", f.compression))
	}
	if err := checkVersion(f.talos); err != nil {
		return err
	}
	if slices.Contains(stdoutNames, f.output) {
		f.output = "-"
	}
	p, err := f.wanted(s.In, name)
	if err != nil {
		return err
	}
	if err := f.admission(); err != nil {
		return err
	}
	arches := f.arches
	if len(arches) == 0 {
		arches = []string{p.Arch}
	}
	if len(arches) > 1 && (p.Output.Kind != profile.Installer || f.dryRun) {
		return usageError(errors.New("--arch: only an installer is made for several architectures in one call"))
	}
	j := imageJob{flags: f, s: s, pxe: name == pxe}
	if j.pxe && (f.dryRun || p.Output.Kind != profile.Cmdline || f.outFormat != "") {
		return usageError(errors.New("pxe makes several files, for which there is no profile: --dry-run, --output-kind and --output-format go with each alone"))
	}
	slices.Sort(arches)
	arches = slices.Compact(arches)
	err = j.run(ctx, p, arches)
	if errors.Is(err, cache.ErrDamaged) { // the damaged entry is gone, and is made again
		err = j.run(ctx, p, arches)
	}
	return meantOneOf(f.extensions, err)
}
