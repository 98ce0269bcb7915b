package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/oci"
)

func newInspect(s Streams) *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "inspect SRC|FILE|DIR",
		Short: "Say what is in an extension or a boot asset",
		Long: `Say what is in an extension (manifest, sizes, binaries, services, modules,
firmware) or in a boot asset, of graft or of Talos' imager:

  disk image     partitions and their files; META; raw, qcow2, VHD, VMDK, OVA
  ISO            files, boot images, partition tables
  UKI            sections, profiles with command lines, PCR 11, who signed
  initramfs      archives, base, layers
  kernel         release
  installer      the files below usr/install of its image, and of a base's
  directory      of files to boot over the network

What is in these is reported on as well: the UKI on a partition, the initramfs
in it, the layers in that. Files may be compressed with gzip, xz or zstd, or be a
disk in a .tar.gz. What a file is, its content tells; its name does not matter.

A problem is what would go wrong at boot: a damaged partition table, a program
that was changed after it was signed, a layer that is not what its digest says.
PCR 11 is predicted for the moment at which Talos unlocks its disks.

` + sourceHelp,
		Example: `  graft inspect registry.example/gvisor:20250505.0
  graft inspect metal-amd64.raw.zst
  graft inspect initramfs-metal-amd64.xz -o yaml
  graft inspect metal-amd64-uki.efi -o json | jq .program.profiles`,
		Args: cobra.ExactArgs(1),
	}
	src.flags(cmd)
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := openCache(src.cacheDir)
		if err != nil {
			return err
		}
		report, err := inspectAny(cmd.Context(), &src, args[0], inspect.Options{Cache: c})
		if err != nil {
			return err
		}
		return printReport(s.Out, report, *format)
	}
	return cmd
}

// inspectAny tells boot assets by their content; everything else is a source.
func inspectAny(ctx context.Context, src *sources, name string, o inspect.Options) (inspect.Report, error) {
	switch info, err := os.Stat(name); {
	case err == nil && info.Mode().IsRegular():
		report, err := inspectFile(ctx, name, o)
		if !errors.Is(err, inspect.ErrUnknown) {
			return report, inputError(err)
		}
	case err == nil && info.IsDir() && inspect.IdentifyDir(os.DirFS(name)) == inspect.KindPXE:
		return inspect.OfDir(ctx, name, os.DirFS(name), o)
	}
	return inspectSource(ctx, src, name, o)
}

func inspectFile(ctx context.Context, name string, o inspect.Options) (inspect.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	report, err := inspect.Of(ctx, name, f, info.Size(), o)
	if err != nil {
		return nil, err
	}
	if report.Initramfs != nil {
		return report.Initramfs, nil
	}
	return report, nil
}

// inspectSource reports on what is, or can be, a container image.
func inspectSource(ctx context.Context, src *sources, name string, o inspect.Options) (inspect.Report, error) {
	imgs, err := src.open(ctx, o.Cache, []string{name})
	if err != nil {
		return nil, err
	}
	defer imgs.close()
	facts, err := bootasset.Survey(ctx, o.Cache, imgs[0])
	if err != nil {
		return nil, inputError(fmt.Errorf("reading %s: %w", name, err))
	}
	if facts.Manifest == nil && facts.ManifestError == "" {
		return inspectInstaller(ctx, name, imgs[0], o)
	}
	report := inspect.OfExtension(name, facts)
	report.Ref, report.Digest, report.Platform = imgs[0].Ref(), imgs[0].Digest(), imgs[0].Platform().String()
	return report, nil
}

func inspectInstaller(ctx context.Context, name string, img *oci.Image, o inspect.Options) (inspect.Report, error) {
	root, err := img.Tree(ctx)
	if err != nil {
		return nil, inputError(fmt.Errorf("reading %s: %w", name, err))
	}
	report, err := inspect.OfInstaller(ctx, name, root, o)
	if errors.Is(err, inspect.ErrUnknown) {
		return nil, withCode(exitInvalid, fmt.Errorf("%s has no %s: it is not an extension", name, extension.ManifestName),
			"an installer or a base would have files below usr/install")
	}
	if err != nil {
		return nil, inputError(err)
	}
	report.Ref, report.Digest, report.Platform, report.Layers = img.Ref(), img.Digest(), img.Platform().String(), img.Layers()
	return report, nil
}

func printReport(w io.Writer, report inspect.Report, format string) error {
	switch format {
	case "json":
		return printJSON(w, report)
	case "yaml":
		return printYAML(w, report)
	}
	switch r := report.(type) {
	case inspect.Extension:
		return printExtension(w, r)
	case *inspect.Initramfs:
		return printInitramfs(w, r)
	case *inspect.Asset:
		return printAsset(w, r)
	}
	return nil
}

// section prints a table under a heading, and nothing if it has no rows.
func section(w io.Writer, heading string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s\n", heading)
	t := newTable(w, rows[0]...)
	for _, r := range rows[1:] {
		for i := range r {
			r[i] = printable(r[i])
		}
		t.row(r...)
	}
	if len(rows) == 1 {
		return nil
	}
	return t.flush()
}

// fields prints "name: value" lines, without the empty ones.
func fields(w io.Writer, pairs ...string) error {
	t := newTable(w)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			t.row(pairs[i]+":", printable(pairs[i+1]))
		}
	}
	return t.flush()
}

func printExtension(w io.Writer, r inspect.Extension) error {
	m := r.Manifest.Metadata
	err := fields(w, "Name", m.Name, "Version", m.Version, "Author", m.Author,
		"Description", strings.Join(strings.Fields(m.Description), " "), "Talos", m.Compatibility.Talos.Version,
		"Image", r.Ref, "Digest", r.Digest, "Platform", r.Platform,
		"Files", fmt.Sprintf("%d, %s", r.Files, size(r.Size)), "Error", r.Error)
	dirs := [][]string{{"DIRECTORY", "FILES", "SIZE"}}
	for _, d := range r.Directories {
		dirs = append(dirs, []string{d.Path, strconv.Itoa(d.Files), size(d.Size)})
	}
	binaries := [][]string{{"BINARY", "SIZE", "ARCH", "LINKING"}}
	for _, b := range r.Binaries {
		binaries = append(binaries, []string{b.Path, size(b.Size), b.Arch, b.Linking()})
	}
	services := [][]string{{"SERVICE", "ENTRYPOINT", "RESTART", "FILE"}}
	for _, v := range r.Services {
		services = append(services, []string{v.Name, v.Entrypoint + v.Error, v.Restart, v.Path})
	}
	modules := [][]string{{"MODULE", "SIZE", "KERNEL", "DEPENDS", "SIGNER"}}
	for _, v := range r.Modules {
		modules = append(modules, []string{v.Name, size(v.Size), v.Release, strings.Join(v.Depends, " "), v.Signer})
	}
	return errors.Join(err,
		section(w, "Directories", someRows(dirs)), section(w, "Binaries", someRows(binaries)),
		section(w, "Services", someRows(services)), section(w, "Kernel modules", someRows(modules)), printFirmware(w, r))
}

// someRows drops a table that has a head only.
func someRows(rows [][]string) [][]string {
	if len(rows) == 1 {
		return nil
	}
	return rows
}

func printFirmware(w io.Writer, r inspect.Extension) error {
	if len(r.Firmware) == 0 {
		return nil
	}
	var sum int64
	for _, f := range r.Firmware {
		sum += f.Size
	}
	_, err := fmt.Fprintf(w, "\nFirmware: %s, %s (listed with -o yaml)\n", count(len(r.Firmware), "file"), size(sum))
	return err
}

func printInitramfs(w io.Writer, r *inspect.Initramfs) error {
	err := fields(w, "Initramfs", r.File, "Size", size(r.Size), "Base", strings.TrimSpace(r.Base.OS+" "+r.Base.Version),
		"Kernel", strings.Join(r.Base.Releases, " "), "Root", fmt.Sprintf("%s, %s, %s", size(r.Base.Size), r.Base.Format, r.Base.Digest))
	archives := [][]string{{"OFFSET", "SIZE", "COMPRESSION", "FILES", "HOLDS"}}
	for _, a := range r.Archives {
		archives = append(archives, []string{strconv.FormatInt(a.Offset, 10), size(a.Size), a.Compression, strconv.Itoa(a.Files), a.Holds})
	}
	return errors.Join(err, section(w, "Archives", someRows(archives)), section(w, "Layers, the lowest first", layerRows(r)), section(w, "Verified when it was made", verifiedRows(r)), problems(w, r.Problems))
}

func layerRows(r *inspect.Initramfs) [][]string {
	layers := [][]string{{"LAYER", "NAME", "VERSION", "SIZE", "DIGEST"}}
	for _, l := range r.Layers {
		layers = append(layers, []string{l.Image, l.Metadata.Name, l.Metadata.Version, size(l.Size), l.Digest})
	}
	return someRows(layers)
}

// verifiedRows are what the initramfs says of signatures.
func verifiedRows(r *inspect.Initramfs) [][]string {
	rows := [][]string{{"IMAGE", "SIGNER", "ISSUER", "RULE"}}
	for _, v := range r.Verified {
		rows = append(rows, []string{v.Image, cmp.Or(v.Signer, "(not verified)"), v.Issuer, v.Rule})
	}
	return someRows(rows)
}

func problems(w io.Writer, all []string) error {
	for _, p := range all {
		fmt.Fprintf(w, "\nproblem: %s", printable(p))
	}
	if len(all) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(w)
	return err
}
