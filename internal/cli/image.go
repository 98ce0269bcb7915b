package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/spf13/cobra"
)

func newImage(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Make a boot asset from a base and extensions",
		Long: `Make a boot asset from a base and extensions.

The base is an image in the layout of Talos' imager (usr/install/<arch>/vmlinuz
and initramfs.xz), or the two files. Extensions become layers in the order in
which they are given: of two files with one path the node sees that of the last.`,
		Args: cobra.NoArgs,
		RunE: help,
	}
	cmd.AddCommand(newImageInitramfs(s), newImageKernel(s), newImageCmdline(s))
	return cmd
}

// baseFlags say where the base is.
type baseFlags struct {
	sources   sources
	image     string
	kernel    string
	initramfs string
	arch      string
	talos     string
}

func (b *baseFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.image, "base", "", "base image: a reference, an OCI layout or a tarball")
	f.StringVar(&b.kernel, "kernel", "", "the base's kernel as a file, instead of --base")
	f.StringVar(&b.initramfs, "initramfs", "", "the base's initramfs as a file, instead of --base")
	f.StringVar(&b.arch, "arch", "amd64", "architecture of the asset: amd64 or arm64")
	f.StringVar(&b.talos, "talos-version", "", "version whose contracts hold (default: what the base says, or the newest)")
	f.BoolVar(&b.sources.insecure, "insecure", false, "registries may speak plain HTTP or have untrusted certificates")
	cacheDirFlag(cmd, &b.sources.cacheDir)
	complete(cmd, "arch", "amd64", "arm64")
	cmd.MarkFlagsMutuallyExclusive("base", "initramfs")
	cmd.MarkFlagsMutuallyExclusive("base", "kernel")
	cmd.MarkFlagsOneRequired("base", "initramfs", "kernel")
}

func (b *baseFlags) open(ctx context.Context, c *cache.Cache) (*bootasset.Base, error) {
	if b.arch != "amd64" && b.arch != "arm64" {
		return nil, usageError(fmt.Errorf("--arch %q is neither amd64 nor arm64", b.arch))
	}
	b.sources.platform = "linux/" + b.arch
	o := bootasset.BaseOptions{Kernel: b.kernel, Initramfs: b.initramfs, Arch: b.arch, Talos: b.talos}
	if b.image != "" {
		imgs, err := b.sources.open(ctx, c, []string{b.image})
		if err != nil {
			return nil, err
		}
		defer imgs.close()
		o.Image = imgs[0]
	}
	base, err := bootasset.OpenBase(ctx, c, o)
	return base, inputError(err)
}

// with opens the cache and the base for a function.
func (b *baseFlags) with(ctx context.Context, do func(*cache.Cache, *bootasset.Base) error) error {
	c, err := openCache(b.sources.cacheDir)
	if err != nil {
		return err
	}
	base, err := b.open(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(do(c, base), base.Close())
}

// outputFlag adds -o with the name that Talos' imager would choose.
func outputFlag(cmd *cobra.Command, name string) *string {
	return cmd.Flags().StringP("output", "o", "", "file to write, - for standard output (default "+name+")")
}

// writeAsset writes to a file that appears whole or not at all, or to stdout.
func writeAsset(s Streams, output, name string, write func(io.Writer) error) error {
	switch output {
	case "-":
		return write(s.Out)
	case "":
		output = name
	}
	err := atomicfile.Write(output, func(f *os.File) error { return write(f) })
	if err == nil {
		fmt.Fprintln(s.Out, output)
	}
	return err
}

func newImageInitramfs(s Streams) *cobra.Command {
	var b baseFlags
	var a assetFlags
	cmd := &cobra.Command{
		Use:   "initramfs",
		Short: "The base's initramfs with extensions appended",
		Long: `Append extensions to the base's initramfs. Each becomes a squashfs layer; the
work is kept in a cache, so that only what changed is made again.

The extensions are checked first. Errors stop the command; --force overrules
those that a person may answer for.

` + sourceHelp,
		Example: `  graft image initramfs --base registry.example/imager:v1.9.2 \
    --extension registry.example/gvisor:20250505.0 --extension ./my-extension -o initramfs.xz
  graft image initramfs --kernel vmlinuz --initramfs initramfs.xz --talos-version v1.9.2 --extension gvisor.tar`,
		Args: cobra.NoArgs,
	}
	b.flags(cmd)
	a.flags(cmd)
	output := outputFlag(cmd, "initramfs-metal-ARCH.xz")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.initramfs(cmd.Context(), s, &b, *output)
	}
	return cmd
}

// assetFlags say what goes into an asset.
type assetFlags struct {
	extensions  []string
	compression string
	force       bool
}

func (a *assetFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&a.extensions, "extension", nil, "extension to add, the lowest layer first (repeat it)")
	f.StringVar(&a.compression, "compression", string(bootasset.Default), "default, or best: about five times slower and up to 10 % smaller")
	f.BoolVar(&a.force, "force", false, "go on in spite of errors that may be overruled")
	complete(cmd, "compression", string(bootasset.Default), string(bootasset.Best))
}

// initramfs checks the extensions and writes the asset.
func (a *assetFlags) initramfs(ctx context.Context, s Streams, b *baseFlags, output string) error {
	level := bootasset.Level(a.compression)
	if level != bootasset.Default && level != bootasset.Best {
		return usageError(fmt.Errorf("--compression %q is neither default nor best", a.compression))
	}
	return b.with(ctx, func(c *cache.Cache, base *bootasset.Base) error {
		return a.writeInitramfs(ctx, s, bootasset.Options{Base: base, Level: level, Cache: c}, &b.sources, output)
	})
}

func (a *assetFlags) writeInitramfs(ctx context.Context, s Streams, opts bootasset.Options, src *sources, output string) (err error) {
	imgs, err := src.open(ctx, opts.Cache, a.extensions)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, imgs.close()) }()
	bars := newProgress(s)
	defer bars.wait()
	opts.Progress = bars.start
	for i, img := range imgs {
		opts.Extensions = append(opts.Extensions, bootasset.Extension{Source: a.extensions[i], Image: img})
	}
	asset, err := bootasset.Prepare(ctx, opts)
	if err != nil {
		return inputError(err)
	}
	if err := a.judge(s.Err, asset.Findings); err != nil {
		return err
	}
	var sum bootasset.Summary
	err = writeAsset(s, output, "initramfs-metal-"+opts.Base.Arch+".xz", func(w io.Writer) (err error) {
		sum, err = asset.WriteInitramfs(ctx, w)
		return err
	})
	bars.wait()
	if err == nil {
		summarize(s.Err, sum)
	}
	return err
}

// judge prints the findings and decides whether to go on.
func (a *assetFlags) judge(w io.Writer, findings []check.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	if err := printFindings(w, findings, "table"); err != nil {
		return err
	}
	errs, forcible := check.Worst(findings)
	switch {
	case errs == 0 || a.force && forcible:
		return nil
	case forcible:
		mends(w, findings)
		return withCode(exitInvalid, fmt.Errorf("%s found in the extensions", count(errs, "error")), "--force goes on in spite of them")
	}
	mends(w, findings)
	return withCode(exitInvalid, fmt.Errorf("%s found in the extensions", count(errs, "error")), "not all of them can be overruled by --force")
}

func summarize(w io.Writer, sum bootasset.Summary) {
	for _, l := range sum.Layers {
		fmt.Fprintf(w, "%s  %s %s, %s\n", l.Image, l.Metadata.Name, l.Metadata.Version, size(l.Size))
	}
	fmt.Fprintf(w, "%s with %s\n", size(sum.Size), count(len(sum.Layers), "layer"))
}

func newImageKernel(s Streams) *cobra.Command {
	var b baseFlags
	cmd := &cobra.Command{
		Use:     "kernel",
		Short:   "The base's kernel",
		Example: `  graft image kernel --base registry.example/imager:v1.9.2 -o vmlinuz`,
		Args:    cobra.NoArgs,
	}
	b.flags(cmd)
	output := outputFlag(cmd, "kernel-ARCH")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return b.with(cmd.Context(), func(_ *cache.Cache, base *bootasset.Base) error {
			return writeAsset(s, *output, "kernel-"+base.Arch, base.WriteKernel)
		})
	}
	return cmd
}

func newImageCmdline(s Streams) *cobra.Command {
	var (
		b     baseFlags
		extra []string
	)
	cmd := &cobra.Command{
		Use:   "cmdline",
		Short: "The kernel command line for the platform metal",
		Example: `  graft image cmdline --base registry.example/imager:v1.9.2 --extra-kernel-arg console=ttyS0
  graft image cmdline --base out/base --extra-kernel-arg=-module.sig_enforce -o -`,
		Args: cobra.NoArgs,
	}
	b.flags(cmd)
	cmd.Flags().StringArrayVar(&extra, "extra-kernel-arg", nil, `argument to add; console= and talos.platform= replace, "-key" removes`)
	output := outputFlag(cmd, "cmdline-metal-ARCH")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return b.with(cmd.Context(), func(_ *cache.Cache, base *bootasset.Base) error {
			line := bootasset.Cmdline(base.Talos, base.Arch, extra)
			return writeAsset(s, *output, "cmdline-metal-"+base.Arch, func(w io.Writer) error {
				_, err := io.WriteString(w, line)
				return err
			})
		})
	}
	return cmd
}
