package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/extension"
)

func newCatalogDiff(s Streams) *cobra.Command {
	var c catalogs
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changes from one catalog to another",
		Long: `Say which extensions were added (+), removed (-), renamed or changed (~) from A
to B: their versions, what they are compatible with, their tiers. A and B are
versions of Talos Linux, for the catalogs that --catalog names, or catalogs. An
extension was rebuilt if it has another image of the same version, or of one in
which only that of Talos changed, as in those of kernel modules.

The exit code is 0, differences or not; with --exit-code, 1 if there are any.`,
		Example: `  graft catalog diff v1.11.0 v1.12.0
  graft catalog diff v1.12.0 oci:mirror:extensions:v1.12.0 --exit-code -o json`,
		Args: notEmpty(cobra.ExactArgs(2)),
	}
	c.sourceFlags(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if there are differences")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		older, err := c.openVersion(cmd.Context(), s, args[0])
		if err != nil {
			return err
		}
		newer, err := c.openVersion(cmd.Context(), s, args[1])
		if err != nil {
			return err
		}
		changes := catalog.Diff(older, newer)
		if len(changes) == 0 {
			fmt.Fprintf(s.Err, "there is no difference between the extensions of %s and %s\n", printable(older.Ref), printable(newer.Ref))
		}
		err = printCatalogChanges(s.Out, changes, *format)
		if err == nil && exitCode && len(changes) > 0 {
			return errSaid
		}
		return err
	}
	return cmd
}

// openVersion opens the catalogs for a version of Talos, or one catalog.
func (c *catalogs) openVersion(ctx context.Context, s Streams, word string) (*catalog.Catalog, error) {
	if _, err := extension.ParseVersion(word); err != nil {
		return c.openRefs(ctx, s, []string{word})
	}
	of := *c
	of.talos = word
	var refs []string
	for _, ref := range c.names() {
		refs = append(refs, catalog.Untagged(ref))
	}
	return of.openRefs(ctx, s, refs)
}

func printCatalogChanges(w io.Writer, changes []catalog.Change, format string) error {
	switch format {
	case "json":
		return printJSON(w, append([]catalog.Change{}, changes...))
	case "yaml":
		return printYAML(w, append([]catalog.Change{}, changes...))
	}
	t := newTable(w)
	for _, c := range changes {
		sign, words := catalogChangeWords(c)
		t.row(sign+" "+printable(c.Name), printable(strings.TrimSpace(words)))
	}
	return t.flush()
}

func catalogChangeWords(c catalog.Change) (sign, words string) {
	arrow := c.Old + " -> " + c.New
	switch c.Kind {
	case catalog.Added:
		return "+", c.New
	case catalog.Removed:
		return "-", c.Old
	case catalog.Renamed:
		return "~", "was called " + c.Old
	case catalog.NewVersion:
		return "~", arrow
	case catalog.Rebuilt:
		if c.Old == c.New {
			return "~", c.New + ", rebuilt"
		}
		return "~", arrow + ", rebuilt"
	}
	return "~", c.Kind + ": " + arrow
}
