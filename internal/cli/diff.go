package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/lazyregexp"
)

func newDiff(s Streams) *cobra.Command {
	var src sources
	var verbose, exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changes from one extension or boot asset to another",
		Long: `Say what was added (+), removed (-) and changed (~) from A to B: the base, the
kernel, extensions, arguments of the command line one by one, partitions, boot
code, files, META, menus, keys, who signed, the value of PCR 11. "What will this upgrade
change?" is graft diff OLD NEW.

A and B are two of one kind that graft inspect knows. What is around them does not
matter: a raw disk in .zst and one in qcow2 are compared as disks. Things are
compared by their names, in which versions do not count, and not by their order.
Places are told (in ...) if a change is not the same in all of them. Of a changed
extension the files are counted, and of PCR 11 only the bank SHA-256 is shown: -v
and JSON have all, and digests in full.

The exit code is 0, differences or not; with --exit-code, 1 if there are any.

` + sourceHelp,
		Example: `  graft diff old/metal-amd64.iso new/metal-amd64.iso
  graft diff registry.example/gvisor:20250505.0 registry.example/gvisor:20260905.0 -v
  graft diff metal-amd64.raw.zst metal-amd64.qcow2 --exit-code`,
		Args: cobra.ExactArgs(2),
	}
	src.flags(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list the files of changed extensions and all banks of PCR 11, and print digests in full")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if there are differences")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := compareAny(cmd.Context(), &src, args[0], args[1])
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			fmt.Fprintf(s.Err, "there is no difference between %s and %s in what graft reads of them\n", args[0], args[1])
		}
		err = printChanges(s.Out, changes, *format, verbose)
		if err == nil && exitCode && len(changes) > 0 {
			return errSaid
		}
		return err
	}
	return cmd
}

// compareAny compares two things that graft inspect knows.
func compareAny(ctx context.Context, src *sources, from, to string) ([]inspect.Change, error) {
	c, err := openCache(src.cacheDir)
	if err != nil {
		return nil, err
	}
	o := inspect.Options{Cache: c, LayerFiles: true}
	older, err := inspectAny(ctx, src, from, o)
	if err != nil {
		return nil, err
	}
	newer, err := inspectAny(ctx, src, to, o)
	if err != nil {
		return nil, err
	}
	changes, err := inspect.Compare(older, newer)
	if err != nil {
		return nil, withCode(exitInvalid, fmt.Errorf("comparing %s and %s: %w", from, to, err))
	}
	return changes, nil
}

func printChanges(w io.Writer, changes []inspect.Change, format string, verbose bool) error {
	switch format {
	case "json":
		return printJSON(w, changes)
	case "yaml":
		return printYAML(w, changes)
	}
	var err error
	for _, line := range changeLines(changes, verbose) {
		_, e := fmt.Fprintln(w, line)
		err = errors.Join(err, e)
	}
	return err
}

// changeOrder is that of the kinds: what one wants to know first. Other kinds
// follow in the order in which they come.
var changeOrder = []string{
	"manifest", "os", "base", "kernel", "modules", "arch", "extension", "extension file", "order", "initramfs file", "cmdline",
	"disk", "iso", "image", "partition", "boot image", "file", "meta", "loader", "menu", "entry", "profile",
	"key", "pcr key", "signature", "sbat", "section", "pcr11", "pcr11 signature",
}

// changeLines are what is printed for people, a change each.
func changeLines(changes []inspect.Change, verbose bool) []string {
	sorted := slices.Clone(changes)
	rank := func(c inspect.Change) int {
		if i := slices.Index(changeOrder, c.Kind); i >= 0 {
			return i
		}
		return len(changeOrder)
	}
	slices.SortStableFunc(sorted, func(a, b inspect.Change) int { return rank(a) - rank(b) })
	if !verbose {
		sorted = slices.DeleteFunc(sorted, isDetail)
	}
	width := 0
	for _, c := range sorted {
		width = max(width, len(c.Kind))
	}
	var lines []string
	for _, c := range sorted {
		line := fmt.Sprintf("%-*s %s", width, c.Kind, changeWords(c, verbose)) + changedFiles(c, changes, verbose)
		lines = append(lines, strings.TrimRight(printable(line), " "))
	}
	return lines
}

// isDetail says whether a change says no more than another: the values of PCR 11
// in the other banks are not the same if that in SHA-256 is not.
func isDetail(c inspect.Change) bool {
	return c.Kind == inspect.KindExtensionFile || strings.HasPrefix(c.Kind, "pcr11") && c.Subject != "sha256"
}

var signs = map[string]string{inspect.Added: "+", inspect.Removed: "-", inspect.Changed: "~"}

func changeWords(c inspect.Change, verbose bool) string {
	subject := c.Subject
	inner := "" // places, after the words
	switch {
	case c.Kind == "file" && len(c.Where) == 1 && c.Where[0] != "":
		subject = c.Where[0] + ": " + subject
	case len(c.Where) > 0 && (len(c.Where) > 1 || c.Where[0] != ""):
		inner = " (in " + strings.Join(c.Where, ", ") + ")"
	}
	old, new := shortDigests(c.Old, verbose), shortDigests(c.New, verbose)
	switch {
	case c.Renamed():
		return "~ " + strings.TrimSuffix(subject, c.Subject) + old + " -> " + new + inner
	case c.Change != inspect.Changed:
		return signs[c.Change] + " " + valueWords(c.Kind, subject, old+new) + inner
	case subject == "":
		return old + " -> " + new + inner
	case c.Kind == "cmdline":
		return "~ " + old + " -> " + new + inner
	}
	return "~ " + subject + " " + old + " -> " + new + inner
}

// valueWords is a subject with its value. Arguments have their names in it.
func valueWords(kind, subject, value string) string {
	if kind == "cmdline" {
		return value
	}
	return strings.TrimSpace(subject + " " + value)
}

var digestPattern = lazyregexp.New(`(sha256:)?([0-9a-f]{12})[0-9a-f]{52,}`)

// shortDigests leaves as much of digests as a person compares.
func shortDigests(text string, verbose bool) string {
	if verbose {
		return text
	}
	return digestPattern.ReplaceAllString(text, "$1$2")
}

// changedFiles counts what changed in a changed extension.
func changedFiles(c inspect.Change, all []inspect.Change, verbose bool) string {
	if c.Kind != "extension" || c.Change != inspect.Changed || verbose {
		return ""
	}
	n := 0
	for _, f := range all {
		if f.Kind == inspect.KindExtensionFile && strings.HasPrefix(f.Subject, c.Subject+": ") {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s changed, graft diff -v lists them)", count(n, "file"))
}
