package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

func newPack(s Streams) *cobra.Command {
	p := packing{streams: s}
	cmd := &cobra.Command{
		Use:   "pack [DIR] -o DEST",
		Short: "Make an extension's image out of a directory",
		Long: `Make an extension's image out of DIR, which holds manifest.yaml and rootfs/ and
nothing else. Everything in the image belongs to root; modes, links and SELinux
labels are kept. The same files make the same image, to the bit: its time, and
that of its files, is SOURCE_DATE_EPOCH (seconds), or 1970.

DEST is a name in a registry (its first part has a dot or a port), an image
tarball (*.tar; docker load, podman load, crane and skopeo read it) or the
directory of an OCI layout, to which the image is added. Prefixes say it
outright: docker://NAME  oci:DIR[:NAME]  oci-archive:FILE  docker-archive:FILE

The image is for linux/amd64 unless --platform says otherwise. Several platforms
make one image for all of them: from one DIR if it fits all; from DIR/linux_amd64
and DIR/linux_arm64, if DIR has these and no manifest.yaml (all of them, unless
--platform says which); or from a directory each, --platform PLATFORM=DIR.

The answer on stdout is the reference to use: NAME@DIGEST for a registry, else
the digest. What is in the image is not judged here: see graft validate.`,
		Example: `  graft pack ./gvisor -o gvisor.tar
  graft pack ./gvisor -o ghcr.io/me/gvisor        # the tag is the manifest's version
  graft pack ./gvisor -o oci:out -t gvisor:test --platform linux/arm64
  graft pack --platform linux/amd64=./x86 --platform linux/arm64=./arm -o out`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVarP(&p.dest, "output", "o", "", "where the image goes: a registry, a tarball, an OCI layout (required)")
	f.StringArrayVar(&p.platforms, "platform", nil, "PLATFORM or PLATFORM=DIR; may be repeated (default linux/amd64)")
	f.StringVarP(&p.name, "tag", "t", "", "NAME:TAG of the image in a tarball or layout (default: name and version of the manifest)")
	f.StringVar(&p.compression, "compression", string(oci.Gzip), "of the layer: gzip, zstd, none")
	f.StringArrayVar(&p.labels, "label", nil, "KEY=VALUE, a label of the image; may be repeated")
	f.BoolVar(&p.insecure, "insecure", false, "the registry may speak plain HTTP or have an untrusted certificate")
	complete(cmd, "platform", "linux/amd64", "linux/arm64")
	complete(cmd, "compression", "gzip", "zstd", "none")
	return cmd
}

// packing is one call of graft pack.
type packing struct {
	streams     Streams
	dest        string
	platforms   []string
	name        string
	compression string
	labels      []string
	insecure    bool
}

func (p *packing) run(ctx context.Context, args []string) error {
	if p.dest == "" {
		return usageError(errors.New("-o is missing: say where the image goes"))
	}
	if p.dest == "-" {
		return usageError(errors.New("-o -: an image is not written to standard output; name a tarball"))
	}
	opts, err := p.options()
	if err != nil {
		return usageError(err)
	}
	dirs, err := p.dirs(args)
	if err != nil {
		return withCode(exitInvalid, err)
	}
	images, manifest, err := readExtensions(dirs)
	if err != nil {
		return withCode(exitInvalid, err, "an extension is a directory with manifest.yaml and rootfs/")
	}
	if opts.Name == "" {
		opts.Name = manifest.Metadata.Name + ":" + manifest.Metadata.Version
	}
	labels := manifestLabels(manifest.Metadata, opts.Epoch)
	maps.Copy(labels, opts.Labels)
	opts.Labels = labels
	bar := newProgress(p.streams)
	defer bar.wait()
	opts.Progress = uploads(bar)
	res, err := oci.Pack(ctx, images, p.dest, opts)
	if err != nil {
		return inputError(err)
	}
	bar.wait()
	return p.report(res, dirs)
}

// uploads draws the progress of a push.
func uploads(bar *progress) func(done, total int64) { return transfers(bar, "pushing") }

// transfers draws the progress of what is told how much of how much is there.
func transfers(bar *progress, what string) func(done, total int64) {
	var add func(int64)
	var last int64
	return func(done, total int64) {
		if add == nil {
			add, _ = bar.start(what, total)
		}
		add(done - last)
		last = done
	}
}

func (p *packing) report(res oci.Result, dirs []platformDir) error {
	var platforms []string
	for _, d := range dirs {
		platforms = append(platforms, d.platform.String())
	}
	sayPacked(p.streams.Err, res, platforms)
	answer := res.Digest
	if res.Ref != "" {
		answer = res.Ref
	}
	_, err := fmt.Fprintln(p.streams.Out, answer)
	return err
}

// sayPacked tells people where an image is, and what became of another one.
func sayPacked(w io.Writer, res oci.Result, platforms []string) {
	said := "packed %s for %s (%s) into %s\n"
	if res.There {
		said = "packed %s for %s (%s): it is in %s already\n"
	}
	fmt.Fprintf(w, said, res.Name, strings.Join(platforms, ", "), size(res.Size), res.Place)
	if res.Before != "" {
		fmt.Fprintf(w, "  %s was %s before\n", res.Name, res.Before)
	}
}

func (p *packing) options() (oci.PackOptions, error) {
	opts := oci.PackOptions{Name: p.name, Insecure: p.insecure, Labels: map[string]string{}}
	for _, l := range p.labels {
		key, value, ok := strings.Cut(l, "=")
		if !ok || key == "" {
			return opts, fmt.Errorf("--label %q is not KEY=VALUE", l)
		}
		opts.Labels[key] = value
	}
	var err error
	if opts.Compression, err = oci.ParseCompression(p.compression); err != nil {
		return opts, fmt.Errorf("--compression: %w", err)
	}
	opts.Epoch, err = sourceDateEpoch()
	return opts, err
}

// sourceDateEpoch is the time of everything that is made, as all builders
// agree (reproducible-builds.org/specs/source-date-epoch).
func sourceDateEpoch() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	t, err := parseEpoch(s)
	if err != nil {
		return t, withCode(exitInvalid, fmt.Errorf("SOURCE_DATE_EPOCH is %w", err), "unset it, or set it as in SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)")
	}
	return t, nil
}

func parseEpoch(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxEpoch {
		return time.Time{}, fmt.Errorf("%q, wanted are seconds since 1970", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

const maxEpoch = 253402300799 // the year 9999: JSON has no later time

// platformDir is the directory with the content for a platform.
type platformDir struct {
	platform oci.Platform
	dir      string
}

// dirs says which directory is for which platform.
func (p *packing) dirs(args []string) ([]platformDir, error) {
	dir := ""
	if len(args) > 0 {
		dir = args[0]
	}
	if len(p.platforms) == 0 && dir == "" {
		return nil, errors.New("name the directory to pack")
	}
	found := perPlatform(dir)
	if len(p.platforms) == 0 {
		return defaultDirs(dir, found)
	}
	var dirs []platformDir
	used := dir == ""
	for _, s := range p.platforms {
		name, own, hasOwn := strings.Cut(s, "=")
		platform, err := oci.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		d := platformDir{platform, own}
		if !hasOwn {
			if d.dir, err = dirFor(dir, found, platform); err != nil {
				return nil, err
			}
			used = true
		}
		dirs = append(dirs, d)
	}
	if !used {
		return nil, fmt.Errorf("every --platform has its own directory: %s is for none", dir)
	}
	return dirs, nil
}

// perPlatform lists directories such as linux_amd64 in dir, if these are what dir
// is about: a manifest says that dir itself is an extension.
func perPlatform(dir string) map[string]string {
	found := map[string]string{}
	if _, err := os.Lstat(filepath.Join(dir, extension.ManifestName)); err == nil || dir == "" {
		return found
	}
	matches, _ := filepath.Glob(filepath.Join(escapeGlob.Replace(dir), "linux_*")) // the pattern is well-formed
	for _, m := range matches {
		found[strings.ReplaceAll(filepath.Base(m), "_", "/")] = m
	}
	return found
}

var escapeGlob = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`)

func defaultDirs(dir string, found map[string]string) ([]platformDir, error) {
	if len(found) == 0 {
		return []platformDir{{oci.Platform{OS: "linux", Arch: "amd64"}, dir}}, nil
	}
	var dirs []platformDir
	for _, name := range slices.Sorted(maps.Keys(found)) {
		platform, err := oci.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, platformDir{platform, found[name]})
	}
	return dirs, nil
}

func dirFor(dir string, found map[string]string, platform oci.Platform) (string, error) {
	own, ok := found[platform.String()]
	switch {
	case dir == "":
		return "", fmt.Errorf("name a directory for %s, as in --platform %s=DIR", platform, platform)
	case ok:
		return own, nil
	case len(found) > 0:
		return "", fmt.Errorf("%s has nothing for %s, only %s", dir, platform, strings.Join(slices.Sorted(maps.Keys(found)), ", "))
	}
	return dir, nil
}

// readExtensions reads every directory once, and the manifest that all of
// them agree on.
func readExtensions(dirs []platformDir) ([]oci.Packed, extension.Manifest, error) {
	trees := map[string]*tree.Tree{}
	var images []oci.Packed
	var first extension.Manifest
	for i, d := range dirs {
		if trees[d.dir] == nil {
			t, m, err := readExtension(d.dir)
			if err != nil {
				return nil, first, fmt.Errorf("packing %s: %w", d.dir, err)
			}
			if i == 0 {
				first = m
			}
			if a, b := first.Metadata, m.Metadata; a.Name != b.Name || a.Version != b.Version {
				return nil, first, fmt.Errorf("packing %s: it is %s %s, and %s is %s %s: one image is one extension",
					d.dir, b.Name, b.Version, dirs[0].dir, a.Name, a.Version)
			}
			trees[d.dir] = t
		}
		images = append(images, oci.Packed{Platform: d.platform, Tree: trees[d.dir]})
	}
	return images, first, nil
}

// readExtension reads a directory in the form that the format demands: no
// other name may be beside the two.
func readExtension(dir string) (*tree.Tree, extension.Manifest, error) {
	var none extension.Manifest
	t, err := tree.FromDir(dir)
	if err != nil {
		return nil, none, err
	}
	if ps := t.Problems(); len(ps) > 0 {
		return nil, none, fmt.Errorf("%s: %s (%d of such problems)", ps[0].Path, ps[0].Detail, len(ps))
	}
	data, err := t.ReadFile(extension.ManifestName, extension.MaxManifestSize)
	if err != nil {
		return nil, none, err
	}
	m, _, err := extension.ParseManifest(data)
	if err != nil {
		return nil, none, err
	}
	if m.Metadata.Name == "" || m.Metadata.Version == "" {
		return nil, none, fmt.Errorf("%s lacks metadata.name or metadata.version", extension.ManifestName)
	}
	if !extension.ValidName(m.Metadata.Name) {
		return nil, none, fmt.Errorf("%s: metadata.name %q is not a name for an image: wanted are a-z, 0-9, and '.', '_', '-' between them", extension.ManifestName, m.Metadata.Name)
	}
	if rootfs := t.Get(extension.RootfsName); rootfs == nil || !rootfs.Mode.IsDir() {
		return nil, none, fmt.Errorf("there is no directory %s", extension.RootfsName)
	}
	others := slices.DeleteFunc(t.Names("."), func(name string) bool {
		return name == extension.ManifestName || name == extension.RootfsName
	})
	if len(others) > 0 {
		return nil, none, fmt.Errorf("unexpected file %q: Talos refuses images with more than %s and %s", others, extension.ManifestName, extension.RootfsName)
	}
	return t, m, nil
}

// manifestLabels are what the manifest says, in the words of the OCI image
// specification ("annotations.md").
func manifestLabels(m extension.Metadata, created time.Time) map[string]string {
	labels := map[string]string{"org.opencontainers.image.created": created.Format(time.RFC3339)}
	for key, value := range map[string]string{
		"title": m.Name, "version": m.Version, "description": m.Description, "authors": m.Author,
	} {
		if value = strings.TrimSpace(value); value != "" {
			labels["org.opencontainers.image."+key] = value
		}
	}
	return labels
}
