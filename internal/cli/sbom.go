package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/sbom"
)

const (
	formatSPDX      = "spdx-json"
	formatCycloneDX = "cyclonedx-json"
)

func newSBOM(s Streams) *cobra.Command {
	var src sources
	var file string
	cmd := &cobra.Command{
		Use:   "sbom SRC|FILE|DIR...",
		Short: "Say what extensions and boot assets are made of, as one SBOM",
		Long: `Say what extensions and boot assets are made of, as one document of SPDX 2.3 or
CycloneDX 1.6: the base with its kernel, each extension, and the Go modules and
Debian packages in them. For a boot asset, whatever graft inspect knows will do.

It brings together what extensions say of themselves in
/usr/local/share/spdx/*.spdx.json and what is attached to their images in the
registry. Programs of Go that no document lists are read themselves.

The same inputs give the same document, to the bit. Its time is SOURCE_DATE_EPOCH
(seconds), or 1970.

` + sourceHelp,
		Example: `  graft sbom registry.example/gvisor:20250505.0 >gvisor.spdx.json
  graft sbom metal-amd64.iso -o cyclonedx-json --file metal-amd64.cdx.json
  graft sbom metal-amd64-uki.efi -o table`,
		Args: cobra.MinimumNArgs(1),
	}
	src.flags(cmd)
	cmd.Flags().StringVar(&file, "file", "", "write the document to this file, not to the standard output")
	format := formatFlag(cmd, formatSPDX, formatCycloneDX, "table")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		created, err := sourceDateEpoch()
		if err != nil {
			return err
		}
		bills, err := readBills(cmd.Context(), &src, args)
		if err != nil {
			return err
		}
		tellProblems(s.Err, bills)
		if file == "" {
			return writeSBOM(s, s.Out, subjectOf(bills), created, *format)
		}
		return atomicfile.Write(file, func(f *os.File) error { return writeSBOM(s, f, subjectOf(bills), created, *format) })
	}
	return cmd
}

// subjectOf is that of one document: the source, or all of them under a name.
func subjectOf(bills []bill) sbom.Subject {
	if len(bills) == 1 {
		return bills[0].Subject
	}
	all := sbom.Subject{Package: sbom.Package{Name: "bundle"}}
	for _, b := range bills {
		all.Parts = append(all.Parts, b.Subject)
	}
	return all
}

// tellProblems says what could not be read, and which programs had to be.
func tellProblems(w io.Writer, bills []bill) {
	for _, b := range bills {
		for _, p := range b.parts {
			for _, text := range p.Problems {
				fmt.Fprintf(w, "graft: warning: %s: %s\n", printable(p.Name), printable(text))
			}
			if p.Programs > 0 {
				fmt.Fprintf(w, "%s: no document lists %s: looked into\n", printable(p.Name), count(p.Programs, "Go program"))
			}
		}
	}
}

func writeSBOM(s Streams, w io.Writer, of sbom.Subject, created time.Time, format string) error {
	by := sbom.Creator{Tool: "graft-" + version()}
	write := sbom.SPDX
	switch format {
	case "table":
		return printBOM(w, of)
	case formatCycloneDX:
		write = sbom.CycloneDX
	}
	doc, err := write(of, created, by)
	if err != nil {
		return err
	}
	for _, text := range doc.Warnings {
		fmt.Fprintf(s.Err, "graft: warning: %s\n", printable(text))
	}
	_, err = doc.WriteTo(w)
	return err
}

// printBOM prints a line per package, and what has it.
func printBOM(w io.Writer, of sbom.Subject) error {
	b := sbom.Merge(of)
	names := map[string]string{}
	for _, p := range b.Packages {
		names[p.ID] = p.Name
	}
	users := map[string][]string{}
	for _, r := range b.Relations {
		if !slices.Contains(users[r.To], names[r.From]) {
			users[r.To] = append(users[r.To], names[r.From])
		}
	}
	t := newTable(w, "PACKAGE", "VERSION", "LICENSE", "OF", "URL")
	for _, p := range b.Packages {
		of := users[p.ID]
		if len(of) > 2 {
			of = []string{of[0], fmt.Sprintf("and %d others", len(of)-1)}
		}
		t.row(printable(p.Name), printable(p.Version), printable(p.License), printable(strings.Join(of, ", ")), printable(p.PURL))
	}
	return t.flush()
}
