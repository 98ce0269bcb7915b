package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/inspect"
	"github.com/spf13/cobra"
)

func newInspect(s Streams) *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "inspect SRC|INITRAMFS",
		Short: "Say what is in an extension or a boot asset",
		Long: `Say what is in an extension (manifest, sizes, binaries, services, modules,
firmware) or in an initramfs of graft or of Talos' imager (archives, base, layers).

` + sourceHelp,
		Example: `  graft inspect registry.example/gvisor:20250505.0
  graft inspect initramfs-metal-amd64.xz -o yaml`,
		Args: cobra.ExactArgs(1),
	}
	src.flags(cmd)
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := openCache(src.cacheDir)
		if err != nil {
			return err
		}
		report, err := inspectAny(cmd.Context(), c, &src, args[0])
		if err != nil {
			return err
		}
		switch *format {
		case "json":
			return printJSON(s.Out, report)
		case "yaml":
			return printYAML(s.Out, report)
		}
		return printReport(s.Out, report)
	}
	return cmd
}

// inspectAny tells an initramfs by its content; everything else is a source.
func inspectAny(ctx context.Context, c *cache.Cache, src *sources, name string) (any, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		report, err := inspect.OfInitramfs(f, c)
		if !errors.Is(err, inspect.ErrNotInitramfs) {
			return report, err
		}
	}
	imgs, err := src.open(ctx, c, []string{name})
	if err != nil {
		return nil, err
	}
	defer imgs.close()
	facts, err := bootasset.Survey(ctx, c, imgs[0])
	if err != nil {
		return nil, inputError(fmt.Errorf("reading %s: %w", name, err))
	}
	if facts.Manifest == nil && facts.ManifestError == "" {
		return nil, withCode(exitInvalid, fmt.Errorf("%s has no %s: it is not an extension", name, extension.ManifestName),
			"a base is an image, too; graft inspect looks into its initramfs: usr/install/<arch>/initramfs.xz")
	}
	report := inspect.OfExtension(name, facts)
	report.Ref, report.Digest, report.Platform = imgs[0].Ref(), imgs[0].Digest(), imgs[0].Platform().String()
	return report, nil
}

func printReport(w io.Writer, report any) error {
	switch r := report.(type) {
	case inspect.Extension:
		return printExtension(w, r)
	case *inspect.Initramfs:
		return printInitramfs(w, r)
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
		section(w, "Services", someRows(services)), section(w, "Kernel modules", someRows(modules)), firmware(w, r))
}

// someRows drops a table that has a head only.
func someRows(rows [][]string) [][]string {
	if len(rows) == 1 {
		return nil
	}
	return rows
}

func firmware(w io.Writer, r inspect.Extension) error {
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
	layers := [][]string{{"LAYER", "NAME", "VERSION", "SIZE", "DIGEST"}}
	for _, l := range r.Layers {
		layers = append(layers, []string{l.Image, l.Metadata.Name, l.Metadata.Version, size(l.Size), l.Digest})
	}
	err = errors.Join(err, section(w, "Archives", someRows(archives)), section(w, "Layers, the lowest first", someRows(layers)))
	for _, p := range r.Problems {
		fmt.Fprintf(w, "\nproblem: %s", printable(p))
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(w)
	}
	return err
}
