package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/catalog"
)

func newCatalogReadme(s Streams) *cobra.Command {
	var r readme
	var platform string
	cmd := &cobra.Command{
		Use:   "readme",
		Short: "Write the tables of extensions into the README of a tree of recipes",
		Long: `Write a table of extensions for each category into README.md, between the lines
  ` + catalog.TableMarkers.Begin + `
  ` + catalog.TableMarkers.End + `
as upstream's does: name, tier, image, version, description. Versions that
contain that of Talos show the word VERSION in its place, which is the value of
the build argument TAG. What is internal, and examples, are left out. Where
images are is told by the label org.opencontainers.image.source of the Pkgfile,
for a repository on GitHub, or by --registry.

--legend writes the table of tiers as well, between
  ` + catalog.LegendMarkers.Begin + `
  ` + catalog.LegendMarkers.End,
		Example: `  graft catalog readme
  graft catalog readme --check
  graft catalog readme --root recipes --registry registry.example/extensions`,
		Args: cobra.NoArgs,
	}
	r.recipes.flags(cmd)
	platformFlag(cmd, &platform)
	cmd.Flags().StringVar(&r.file, "file", "README.md", "file to write into, relative to the recipes")
	cmd.Flags().StringVar(&r.registry, "registry", "", "what the names of images begin with (default: by the Pkgfile's label)")
	cmd.Flags().BoolVar(&r.legend, "legend", false, "write the table of tiers, too")
	cmd.Flags().BoolVar(&r.check, "check", false, "write nothing; exit with 1 if the file is not up to date")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), s, platform) }
	return cmd
}

// readme are the flags of commands that keep a page of a tree of recipes up to date.
type readme struct {
	recipes  recipes
	file     string
	registry string
	legend   bool
	check    bool
}

func (r *readme) run(ctx context.Context, s Streams, platform string) error {
	root, err := r.recipes.dir()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(r.recipes.buildArgs, func(a string) bool { return strings.HasPrefix(a, "TAG=") }) {
		r.recipes.buildArgs = append(r.recipes.buildArgs, "TAG=VERSION")
	}
	set, err := r.recipes.load(ctx, s, platform)
	if err != nil {
		return err
	}
	shelf := catalog.ShelfOf(set)
	if r.registry != "" {
		shelf.Registry = strings.TrimSuffix(r.registry, "/")
	}
	table, err := catalog.Table(ctx, set, root, shelf)
	if err != nil {
		return inputError(err)
	}
	name := filepath.Join(root, r.file)
	old, err := readArgument(s, name)
	if err != nil {
		return err
	}
	page, err := catalog.Insert(old, catalog.TableMarkers, table)
	if err == nil && r.legend {
		page, err = catalog.Insert(page, catalog.LegendMarkers, catalog.Legend())
	}
	if err != nil {
		return withCode(exitInvalid, fmt.Errorf("writing into %s: %w", name, err), "graft catalog readme --help shows the two lines")
	}
	return writePage(s, name, old, page, r.check)
}

// writePage writes a page that is generated, or checks that it is up to date.
func writePage(s Streams, name string, old, page []byte, check bool) error {
	if bytes.Equal(old, page) {
		fmt.Fprintf(s.Err, "%s is up to date\n", name)
		return nil
	}
	if check {
		return withCode(exitUnknown, fmt.Errorf("%s is not up to date with the recipes", name), "the same command without --check writes it")
	}
	err := atomicfile.Write(name, func(f *os.File) error {
		_, err := f.Write(page)
		return err
	})
	if err == nil {
		fmt.Fprintf(s.Err, "wrote %s\n", name)
	}
	return withCode(exitIO, err)
}

func newCatalogGraph(s Streams) *cobra.Command {
	var r readme
	var platform string
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw the dependency diagram of a tree of recipes into deps.svg",
		Long: `Draw what depends on what in a tree of recipes into deps.svg, for its README.
Packages whose variable GRAPH_IGNORE is "true" are left out. graft graph draws
the same to standard output, of one package as well, and in other formats.`,
		Example: `  graft catalog graph
  graft catalog graph --check`,
		Args: cobra.NoArgs,
	}
	r.recipes.flags(cmd)
	platformFlag(cmd, &platform)
	cmd.Flags().StringVar(&r.file, "file", "deps.svg", "file to write, relative to the recipes")
	cmd.Flags().BoolVar(&r.check, "check", false, "write nothing; exit with 1 if the file is not up to date")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		root, err := r.recipes.dir()
		if err != nil {
			return err
		}
		set, err := r.recipes.load(cmd.Context(), s, platform)
		if err != nil {
			return err
		}
		found, err := set.Graph("")
		if err != nil {
			return withCode(exitInvalid, recipeError(err))
		}
		var page bytes.Buffer
		if err := drawable(found).SVG(cmd.Context(), &page); err != nil {
			return err
		}
		name := filepath.Join(root, r.file)
		old, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return writePage(s, name, old, page.Bytes(), r.check)
	}
	return cmd
}
