package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/catalog"
)

func newCatalogList(s Streams) *cobra.Command {
	var c catalogs
	var f catalogFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the extensions of a catalog",
		Long: `List the extensions of a catalog by name. Catalogs that graft did not write tell
the tier as the first word of descriptions, and have no categories.

` + catalogHelp,
		Example: `  graft catalog list --talos v1.12.0
  graft catalog list --talos v1.12.0 --tier core --search nvidia
  graft catalog list --catalog registry.example/ext/extensions:v1.12.0 -o json | jq -r '.[].ref'`,
		Args: cobra.NoArgs,
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&f.tier, "tier", "", "only those of this tier")
	complete(cmd, "tier", "core", "extra", "contrib", "deprecated")
	cmd.Flags().StringVar(&f.category, "category", "", "only those of this category, such as container-runtime")
	cmd.Flags().StringVar(&f.search, "search", "", "only those with this text in name, description, services or modules")
	format := formatFlag(cmd, "table", "wide", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := c.open(cmd.Context(), s)
		if err == nil {
			err = f.usage(all)
		}
		if err != nil {
			return err
		}
		entries := slices.DeleteFunc(all.Sorted(), func(e catalog.Entry) bool { return !f.matches(e) })
		if len(entries) == 0 {
			fmt.Fprintf(s.Err, "no extension of %s matches (it has %d)\n", printable(all.Ref), len(all.Entries))
		}
		return printCatalogEntries(s.Out, entries, *format)
	}
	return cmd
}

// catalogFilter says which entries to list.
type catalogFilter struct{ tier, category, search string }

// usage refuses a tier that is none of the usual ones, nor one of the catalog's.
func (f catalogFilter) usage(all *catalog.Catalog) error {
	if f.tier == "" {
		return nil
	}
	return knownTier(f.tier, func(tier string) bool {
		return slices.ContainsFunc(all.Entries, func(e catalog.Entry) bool { return e.Tier() == tier })
	})
}

func (f catalogFilter) matches(e catalog.Entry) bool {
	if f.tier != "" && e.Tier() != f.tier {
		return false
	}
	d := e.Details
	if d == nil {
		d = &catalog.Details{}
	}
	if f.category != "" && d.Category != f.category {
		return false
	}
	words := slices.Concat([]string{e.Name(), e.Description}, d.Services, d.Modules)
	return strings.Contains(strings.ToLower(strings.Join(words, "\n")), strings.ToLower(f.search))
}

// catalogRow is an entry for programs.
type catalogRow struct {
	Name            string `json:"name" yaml:"name"`
	Version         string `json:"version" yaml:"version"`
	Repository      string `json:"repository" yaml:"repository"`
	Tag             string `json:"tag" yaml:"tag"`
	Digest          string `json:"digest" yaml:"digest"`
	Ref             string `json:"ref" yaml:"ref"` // the line in image-digests
	Author          string `json:"author,omitempty" yaml:"author,omitempty"`
	Description     string `json:"description,omitempty" yaml:"description,omitempty"`
	catalog.Details `yaml:",inline"`
	Catalog         string `json:"catalog" yaml:"catalog"`
}

func rowOf(e catalog.Entry) catalogRow {
	r := catalogRow{Name: e.Name(), Version: e.Image.Tag, Repository: e.Image.Repository, Tag: e.Image.Tag, Digest: e.Image.Digest, Ref: e.Image.String(),
		Author: e.Author, Description: e.Summary(), Catalog: e.Catalog}
	if e.Details != nil {
		r.Details = *e.Details
	}
	r.Tier = e.Tier()
	return r
}

func printCatalogEntries(w io.Writer, entries []catalog.Entry, format string) error {
	rows := []catalogRow{}
	for _, e := range entries {
		rows = append(rows, rowOf(e))
	}
	switch format {
	case "json":
		return printJSON(w, rows)
	case "yaml":
		return printYAML(w, rows)
	case "wide":
		return printWide(w, rows)
	}
	t := newTable(w, "NAME", "TIER", "VERSION", "IMAGE", "DESCRIPTION")
	for _, r := range rows {
		t.row(printable(r.Name), printable(r.Tier), printable(r.Version), printable(r.Repository), printable(shortText(r.Description)))
	}
	return t.flush()
}

func printWide(w io.Writer, rows []catalogRow) error {
	t := newTable(w, "NAME", "TIER", "CATEGORY", "VERSION", "TALOS", "PLATFORMS", "SIZE", "SBOM", "IMAGE", "DESCRIPTION")
	for _, r := range rows {
		var platforms []string
		for _, p := range r.Platforms {
			platforms = append(platforms, p.Platform)
		}
		bytes, sbom := "", ""
		if r.Size > 0 {
			bytes = size(r.Size)
		}
		if len(r.SBOM) > 0 {
			sbom = "yes"
		}
		cells := []string{r.Name, r.Tier, r.Category, r.Version, r.Compatibility, strings.Join(platforms, ","), bytes, sbom, r.Ref, r.Description}
		for i := range cells {
			cells[i] = printable(cells[i])
		}
		t.row(cells...)
	}
	return t.flush()
}

// shortText is as much of a description as a table shows.
func shortText(s string) string {
	const most = 60
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return strings.TrimSpace(string(runes[:most-1])) + "…"
}

func newCatalogFind(s Streams) *cobra.Command {
	var c catalogs
	var pattern bool
	cmd := &cobra.Command{
		Use:   "find NAME...",
		Short: "Print the pinned references of extensions",
		Long: `Print the lines of a catalog's image-digests with the names, NAME:TAG@DIGEST
each. A name, such as gvisor or siderolabs/gvisor, prints the line of that
extension alone, and is an error if there is none. Renamed extensions are found
by both of their names. Other words are regular expressions, and print every
line that matches, as grep would; with --regexp, names are, too. The exit code
is 1 if nothing matches an expression.

` + catalogHelp,
		Example: `  graft catalog find gvisor --talos v1.12.0
  graft catalog find 'nvidia.*-lts' --talos v1.12.0
  graft image iso --base registry.example/imager:v1.12.0 \
    --extension $(graft catalog find gvisor --talos v1.12.0)`,
		Args:              notEmpty(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeExtensions(&c),
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&pattern, "regexp", "E", false, "take names as regular expressions, too")
	format := formatFlag(cmd, "lines", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := c.open(cmd.Context(), s)
		if err != nil {
			return err
		}
		found, missing, err := findAll(s, &c, all, args, pattern)
		if err != nil {
			return err
		}
		return errors.Join(printFound(s.Out, found, *format), missing)
	}
	return cmd
}

// findAll finds what all words mean, each line once and in the catalog's order
// for each word. missing is an error about those that mean nothing.
func findAll(s Streams, c *catalogs, all *catalog.Catalog, words []string, pattern bool) (found []catalog.Entry, missing, err error) {
	seen := map[catalog.Image]bool{}
	for _, w := range words {
		some, gone, err := findWord(s, c, all, w, pattern)
		if err != nil {
			return nil, nil, err
		}
		if missing == nil {
			missing = gone
		}
		for _, e := range some {
			if !seen[e.Image] {
				seen[e.Image] = true
				found = append(found, e)
			}
		}
	}
	return found, missing, nil
}

func findWord(s Streams, c *catalogs, all *catalog.Catalog, word string, pattern bool) (found []catalog.Entry, missing, err error) {
	if !pattern && catalog.IsName(word) {
		e, err := c.find(s, all, word)
		if err != nil {
			return nil, notNamed(err), nil
		}
		return []catalog.Entry{e}, nil, nil
	}
	re, err := regexp.Compile(word)
	if err != nil {
		return nil, nil, withCode(exitInvalid, fmt.Errorf("%q is neither a name nor a regular expression: %w", word, err))
	}
	for _, e := range all.Entries {
		if re.MatchString(e.Image.String()) {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		missing = withCode(exitUnknown, fmt.Errorf("no extension in the catalog %s matches %q", all.Ref, word), nearHints(all.Near(word))...)
	}
	return found, missing, nil
}

// notNamed adds the advice that is of use for find alone.
func notNamed(err error) error {
	var c *coded
	if errors.As(err, &c) {
		return withCode(c.code, c.err, append(slices.Clone(c.hints), "--regexp takes the word as a pattern")...)
	}
	return err
}

func printFound(w io.Writer, found []catalog.Entry, format string) error {
	if format != "lines" {
		return printCatalogEntries(w, found, format)
	}
	var err error
	for _, e := range found {
		_, werr := fmt.Fprintln(w, e.Image)
		err = errors.Join(err, werr)
	}
	return err
}
