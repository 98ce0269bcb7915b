package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
)

func newCatalogDuplicates(s Streams) *cobra.Command {
	d := duplicates{streams: s}
	cmd := &cobra.Command{
		Use:   "duplicates [NAME|IMAGE|CATALOG...]",
		Short: "Find files that several extensions bring",
		Long: `Find files that two or more extensions bring to the same place of a node, where
the one that is listed last wins. Without arguments these are all extensions of
the catalog. Of each file it is told whether its copies are identical, or what
differs: content, permissions, target, type, SELinux label. Directories count
where these differ; the modules.* indexes of kernels, which are made anew, do not.

What exists as a file or directory is taken as such; other names are those of
extensions in the catalog.

A catalog that graft wrote lists the files of its images; those of others are
pulled, once. --pull always looks into the images.

Exceptions are a YAML list of {images: [...], files: [...]}: these images may
share these files. Both are patterns; a file without a slash is one of that name
anywhere. The exit code is 1 if there is an overlap that no exception allows.

` + catalogHelp,
		Example: `  graft catalog duplicates --talos v1.12.0 --exceptions hack/test/exceptions-amd64.yaml --platform linux/amd64
  graft catalog duplicates gvisor kata-containers --talos v1.12.0
  graft catalog duplicates my-extension registry.example/gvisor:20260905.0`,
		Args:              notEmpty(cobra.ArbitraryArgs),
		ValidArgsFunction: completeExtensions(&d.catalogs),
	}
	d.catalogs.flags(cmd)
	cmd.Flags().StringArrayVar(&d.platforms, "platform", []string{"linux/amd64", "linux/arm64"}, "platform to look at; may be repeated")
	complete(cmd, "platform", "linux/amd64", "linux/arm64")
	cmd.Flags().StringVar(&d.exceptions, "exceptions", "", "file of overlaps that are allowed")
	cmd.Flags().BoolVar(&d.pull, "pull", false, "look into the images, whatever the catalog says of their files")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		found, allowed, err := d.run(cmd.Context(), args)
		if err != nil {
			return err
		}
		return errors.Join(printOverlaps(s.Out, found, *format), overlapVerdict(s, found, allowed))
	}
	return cmd
}

// duplicates finds overlaps.
type duplicates struct {
	catalogs
	platforms  []string
	exceptions string
	pull       bool
	streams    Streams

	mu       sync.Mutex // guards overlaps
	overlaps catalog.Overlaps
}

// parallelPulls bounds the images that are looked into at the same time: each
// keeps its list of files, and its layers on disk.
const parallelPulls = 4

func (d *duplicates) run(ctx context.Context, args []string) (found []catalog.Overlap, allowed int, err error) {
	exceptions, err := d.readExceptions()
	if err != nil {
		return nil, 0, err
	}
	for _, p := range d.platforms {
		if _, err := oci.ParsePlatform(p); err != nil {
			return nil, 0, usageError(err)
		}
	}
	if err := d.ready(); err != nil {
		return nil, 0, err
	}
	if len(args) == 0 {
		err = d.addCatalogs(ctx, d.names())
	} else {
		err = d.addArguments(ctx, args)
	}
	if err != nil {
		return nil, 0, inputError(err)
	}
	found, allowed, unused := d.overlaps.Found(exceptions)
	for _, i := range unused {
		e := exceptions[i]
		fmt.Fprintf(d.streams.Err, "note: exception %d (%s for %s) is not needed\n", i+1,
			printable(strings.Join(e.Files, ", ")), printable(strings.Join(e.Images, ", ")))
	}
	return found, allowed, nil
}

func (d *duplicates) readExceptions() ([]catalog.Exception, error) {
	if d.exceptions == "" {
		return nil, nil
	}
	data, err := readArgument(d.streams, d.exceptions)
	if err != nil {
		return nil, err
	}
	all, err := catalog.ParseExceptions(data)
	if err != nil {
		return nil, withCode(exitInvalid, fmt.Errorf("reading the exceptions %s: %w", d.exceptions, err))
	}
	return all, nil
}

// addArguments adds what the arguments name: what exists as a file or directory,
// extensions of the catalog, images, catalogs.
func (d *duplicates) addArguments(ctx context.Context, args []string) error {
	sources, err := d.pinNames(ctx, d.streams, args, func(arg string) bool { return catalog.IsName(arg) && !oci.IsLocal(arg) })
	if err != nil {
		return err
	}
	var listed []string
	for _, source := range sources {
		if isCatalog, err := d.isCatalog(ctx, source); err != nil {
			return err
		} else if isCatalog {
			listed = append(listed, source)
		}
	}
	images := slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return slices.Contains(listed, s) })
	if err := d.addImages(ctx, images); err != nil || len(listed) == 0 {
		return err
	}
	return d.addCatalogs(ctx, listed)
}

func (d *duplicates) isCatalog(ctx context.Context, source string) (bool, error) {
	b, err := d.survey(ctx, source, "")
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(b.Facts.Entries, func(e survey.Entry) bool { return e.Path == catalog.DigestsName }), nil
}

// addCatalogs adds all images of catalogs: by the listings that these have, and
// where there is none by what is in the image.
func (d *duplicates) addCatalogs(ctx context.Context, refs []string) error {
	all, err := d.openRefs(ctx, d.streams, refs)
	if err != nil {
		return err
	}
	listed, err := d.addListings(ctx, all)
	if err != nil {
		return err
	}
	var images []string
	for _, e := range all.Entries {
		if !d.isListed(e, listed) {
			images = append(images, e.Image.String())
		}
	}
	return d.addImages(ctx, images)
}

// listed are the listings that a catalog has.
type listed map[[2]string]bool // by line and platform

func (d *duplicates) addListings(ctx context.Context, all *catalog.Catalog) (listed, error) {
	found := listed{}
	if d.pull {
		return found, nil
	}
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	current := map[string]bool{} // lines; a later catalog may have taken the place of an image
	for _, e := range all.Entries {
		current[e.Line()] = true
	}
	return found, o.Listings(ctx, all, func(l catalog.Listing) error {
		if current[l.Image] && slices.Contains(d.platforms, l.Platform) {
			d.overlaps.Add(l)
			found[[2]string{l.Image, l.Platform}] = true
		}
		return nil
	})
}

// isListed says whether the catalog lists the files of an image for all platforms
// that are looked at.
func (d *duplicates) isListed(e catalog.Entry, found listed) bool {
	if e.Details == nil || len(e.Details.Platforms) == 0 {
		return false
	}
	return !slices.ContainsFunc(e.Details.Platforms, func(p catalog.Platform) bool {
		return slices.Contains(d.platforms, p.Platform) && !found[[2]string{e.Line(), p.Platform}]
	})
}

// addImages looks into images, several at the same time.
func (d *duplicates) addImages(ctx context.Context, sources []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelPulls)
	for _, source := range sources {
		g.Go(func() error { return d.addImage(ctx, source) })
	}
	return g.Wait()
}

// addImage adds what an image has for each platform. What is not said to be for one
// is for all.
func (d *duplicates) addImage(ctx context.Context, source string) error {
	known, err := oci.Resolve(ctx, source, d.images())
	var registry *oci.RegistryError
	if errors.As(err, &registry) {
		return err
	}
	for _, platform := range d.platforms {
		if len(known.Platforms) > 0 && !slices.ContainsFunc(known.Platforms, func(p oci.Platform) bool { return isPlatform(p.String(), platform) }) {
			continue
		}
		b, err := d.survey(ctx, source, platform)
		if err != nil {
			return err
		}
		if b.Platform == "" || isPlatform(b.Platform, platform) {
			d.mu.Lock()
			d.overlaps.Add(catalog.NewListing(source, platform, b.Facts))
			d.mu.Unlock()
		}
	}
	return nil
}

// isPlatform says whether an image's platform is the one that was asked for,
// whatever its variant.
func isPlatform(has, want string) bool {
	return has == want || strings.HasPrefix(has, want+"/")
}

func printOverlaps(w io.Writer, found []catalog.Overlap, format string) error {
	switch format {
	case "json":
		return printJSON(w, append([]catalog.Overlap{}, found...))
	case "yaml":
		return printYAML(w, append([]catalog.Overlap{}, found...))
	}
	if len(found) == 0 {
		return nil
	}
	t := newTable(w, "PLATFORM", "DIFFERENCE", "PATH", "IMAGES")
	for _, o := range found {
		var images []string
		for _, i := range o.Images {
			images = append(images, printable(shortImage(i)))
		}
		t.row(printable(o.Platform), o.Kind, printable(o.Path), strings.Join(images, ", "))
	}
	return t.flush()
}

// shortImage is a source without its digest.
func shortImage(source string) string {
	named, _, _ := strings.Cut(source, "@")
	return named
}

// overlapVerdict says what was found, and is an error if that is anything.
func overlapVerdict(s Streams, found []catalog.Overlap, allowed int) error {
	switch {
	case len(found) == 0 && allowed == 0:
		fmt.Fprintln(s.Err, "no two extensions bring the same file")
		return nil
	case len(found) == 0:
		fmt.Fprintf(s.Err, "%s, allowed by the exceptions\n", count(allowed, "overlap"))
		return nil
	}
	identical, rest := 0, ""
	for _, o := range found {
		if o.Kind == catalog.Identical {
			identical++
		}
	}
	if allowed > 0 {
		rest = fmt.Sprintf("; %d more allowed by the exceptions", allowed)
	}
	fmt.Fprintf(s.Err, "%s, %d of them identical%s\n", count(len(found), "overlap"), identical, rest)
	return errSaid
}
