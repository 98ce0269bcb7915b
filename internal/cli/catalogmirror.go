package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
)

func newCatalogMirror(s Streams) *cobra.Command {
	m := mirroring{streams: s}
	cmd := &cobra.Command{
		Use:   "mirror SRC... DEST",
		Short: "Copy a catalog with all its images, and back",
		Long: `Copy catalogs with all images that they list, and everything that refers to
these: signatures, attestations, SBOMs. All is copied to the bit, so digests and
signatures hold.

SRC is a catalog in a registry, as ghcr.io/siderolabs/extensions:v1.12.0 (--talos
gives the tag of one that has none), or what an earlier mirror has written: a
directory or a file. DEST is a registry and a path in it, where images are called
as they are below their catalog (REG/NS/gvisor:20260905.0), a directory, or
FILE.tar. Directories and files are OCI layouts that keep the full names, so a
later mirror can take them from there into any registry.

Of a directory or a file all catalogs are taken, with every image that they list,
and all other images that have a name. --talos, or oci:DIR:NAME:TAG and
oci-archive:FILE:NAME:TAG, choose one catalog. Where catalogs have different images
of one name and tag, the tag is that of the last one: in the order of the
arguments, and by version in a directory or file. The others have their digests,
by which catalogs know them. A tag at the destination that was of another image
is told of.

What is there already is not copied again: after an interruption the same command
goes on where it was, except that a file is written anew. The catalog itself comes
last. On one file system directories share their blobs by hard links.

A catalog that was mirrored still says the names of the registry that it is from,
with digests that are the same in the mirror. To use it, say where these are:

  graft catalog list --catalog REG/siderolabs/extensions:v1.12.0 --registry-mirror ghcr.io/siderolabs=REG/siderolabs

or, for what pulls by the original names, mirror to a path that ends as theirs do,
and name it where registries are configured, as in Talos' machine configuration:

  machine:
    registries:
      mirrors:
        ghcr.io:
          endpoints: [https://REG]

With --platform only images for that platform are copied. Indexes stay as they
are, with their signatures, and name images that are not there: layouts may be so,
many registries refuse them.`,
		Example: `  graft catalog mirror ghcr.io/siderolabs/extensions:v1.12.0 registry.example/siderolabs
  graft catalog mirror ghcr.io/siderolabs/extensions:v1.12.0 /media/usb/extensions
  graft catalog mirror /media/usb/extensions registry.example/siderolabs
  graft catalog mirror /media/usb/extensions --talos v1.12.0 registry.example/siderolabs
  graft catalog mirror --dry-run --talos v1.12.0 ghcr.io/siderolabs/extensions all.tar`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return m.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVar(&m.catalogs.talos, "talos", "", "version of Talos Linux: the tag of a catalog that has none, the one catalog of a directory or file")
	f.StringArrayVar(&m.catalogs.mirrors, "registry-mirror", nil, "FROM=TO: images whose names begin with FROM are read from TO; may be repeated")
	f.StringArrayVar(&m.platforms, "platform", nil, "copy images for this platform only; may be repeated (default all)")
	f.BoolVar(&m.dryRun, "dry-run", false, "say what would be copied")
	insecureFlag(cmd, &m.catalogs.insecure)
	cacheDirFlag(cmd, &m.catalogs.cacheDir)
	m.format = formatFlag(cmd, "table", "json", "yaml")
	complete(cmd, "platform", "linux/amd64", "linux/arm64")
	return cmd
}

// mirroring is one call of graft catalog mirror.
type mirroring struct {
	streams   Streams
	catalogs  catalogs
	platforms []string
	dryRun    bool
	format    *string

	depot   oci.Depot
	routes  []oci.Route
	planned map[mirrorKey]int    // where in routes an image is
	tagged  map[string]mirrorKey // which image is called so in the destination
}

// mirrorKey is an image in the destination.
type mirrorKey struct{ to, digest string }

// mirroredImage is a line of the answer.
type mirroredImage struct {
	Image     string `json:"image" yaml:"image"`
	To        string `json:"to" yaml:"to"`
	Digest    string `json:"digest" yaml:"digest"`
	Size      int64  `json:"size" yaml:"size"`
	Copied    int64  `json:"copied" yaml:"copied"`
	Referring int    `json:"referring" yaml:"referring"`
	Before    string `json:"before,omitempty" yaml:"before,omitempty"` // the digest that had the name until now
}

func (m *mirroring) run(ctx context.Context, args []string) error {
	last := len(args) - 1
	var err error
	if m.depot, err = oci.ParseDepot(args[last]); err != nil {
		return usageError(err)
	}
	if err := m.catalogs.ready(); err != nil {
		return err
	}
	defer m.catalogs.client.Close()
	m.catalogs.refresh = true // a mirror is of what there is now
	for _, src := range args[:last] {
		if err := m.source(ctx, src); err != nil {
			return err
		}
	}
	m.shared()
	found, err := m.copy(ctx)
	if err != nil {
		return inputError(err)
	}
	return m.report(found, args[last])
}

// source finds the images of one SRC.
func (m *mirroring) source(ctx context.Context, src string) error {
	if oci.IsLocal(src) {
		return m.layout(ctx, src)
	}
	return m.catalog(ctx, src)
}

// catalog takes the images that a catalog lists, and then itself.
func (m *mirroring) catalog(ctx context.Context, src string) error {
	all, err := m.catalogs.openRefs(ctx, m.streams, []string{src})
	if err != nil {
		return err
	}
	home := all.Ref[:strings.LastIndex(all.Ref, "/")+1]
	for _, e := range all.Entries {
		if err := m.add(e.Image.String(), originalName(e), e.Image.Digest, home); err != nil {
			return err
		}
	}
	_, digest, _ := strings.Cut(all.Pinned[0], "@")
	return m.add(all.Pinned[0], all.Ref, digest, home)
}

// originalName is what an image is called where its catalog is from, without the
// digest.
func originalName(e catalog.Entry) string {
	full := e.Image
	full.Repository = cmp.Or(e.Origin, full.Repository)
	named, _, _ := strings.Cut(full.String(), "@")
	return named
}

// add plans one image: full is its name without a digest. A name that an image
// before has, too, is for this one; the other keeps its digest.
func (m *mirroring) add(from, full, digest, home string) error {
	full, _, _ = strings.Cut(full, "@")
	short, ok := strings.CutPrefix(full, home)
	if !ok || home == "" {
		short = full[strings.LastIndex(full, "/")+1:]
	}
	if from == "" || digest == "" {
		return withCode(exitInvalid, fmt.Errorf("mirroring %s: it has no digest", full), "mirror what is in a registry or an OCI layout")
	}
	_, tag := oci.CutTag(full)
	route := oci.Route{From: from, To: m.depot.Dest(full, short), Untagged: tag == ""}
	image := mirrorKey{route.To, digest}
	if m.planned == nil {
		m.planned, m.tagged = map[mirrorKey]int{}, map[string]mirrorKey{}
	}
	if other, ok := m.tagged[route.To]; ok && !route.Untagged && other != image {
		m.routes[m.planned[other]].Untagged = true
	}
	i, ok := m.planned[image]
	if !ok {
		i = len(m.routes)
		m.routes, m.planned[image] = append(m.routes, route), i
	}
	if !route.Untagged {
		m.routes[i].Untagged, m.tagged[route.To] = false, image
	}
	return nil
}

// shared tells of images whose name is given to another one.
func (m *mirroring) shared() {
	for _, r := range m.routes {
		if other, ok := m.tagged[r.To]; ok && r.Untagged {
			fmt.Fprintf(m.streams.Err, "note: %s gets no name, as %s is for %s: it is known by its digest\n", r.From, strings.TrimPrefix(r.To, "docker://"), other.digest)
		}
	}
}

func (m *mirroring) copy(ctx context.Context) ([]mirroredImage, error) {
	bar := newProgress(m.streams)
	defer bar.wait()
	var found []mirroredImage
	fmt.Fprintf(m.streams.Err, "looking at %d images and what refers to them\n", len(m.routes))
	err := oci.CopyAll(ctx, m.routes, oci.CopyOptions{
		Platforms: m.platforms, DryRun: m.dryRun, Insecure: m.catalogs.insecure, SpoolDir: m.catalogs.cache.TempDir(),
		Client: m.catalogs.client, Progress: transfers(bar, "mirroring"),
		Copied: func(c oci.Copied) {
			found = append(found, mirroredImage{c.From, c.To, c.Digest, c.Size, c.Missing, c.Referring, c.Before})
		},
	})
	if err != nil && len(found) > 0 && !m.dryRun {
		fmt.Fprintf(m.streams.Err, "%d of %d images are there; the same command goes on\n", len(found), len(m.routes))
	}
	return found, err
}

func (m *mirroring) report(found []mirroredImage, dest string) error {
	var total, copied int64
	referring := 0
	verb := "mirrored"
	if m.dryRun {
		verb = "would mirror"
	}
	for _, f := range found {
		if f.Before != "" {
			fmt.Fprintf(m.streams.Err, "%s %s as %s; the tag was of %s before\n", verb, f.To, f.Digest, f.Before)
		}
		total += f.Size
		copied += f.Copied
		referring += f.Referring
	}
	fmt.Fprintf(m.streams.Err, "%s %d images, and %d manifests that refer to them, to %s: %s, of which %s were not there\n",
		verb, len(found), referring, dest, size(total), size(copied))
	switch *m.format {
	case "json":
		return printJSON(m.streams.Out, found)
	case "yaml":
		return printYAML(m.streams.Out, found)
	}
	t := newTable(m.streams.Out, "IMAGE", "TO", "SIZE", "COPIED", "REFERRING")
	for _, f := range found {
		t.row(f.Image, f.To, size(f.Size), size(f.Copied), fmt.Sprint(f.Referring))
	}
	return t.flush()
}
