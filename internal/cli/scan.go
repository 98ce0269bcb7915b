package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/vuln"
)

func newScan(s Streams) *cobra.Command {
	var scan scanFlags
	cmd := &cobra.Command{
		Use:   "scan SRC|FILE|DIR... --db DIR",
		Short: "Find known vulnerabilities of what extensions and boot assets are made of",
		Long: `Find known vulnerabilities of what graft sbom lists: of Go modules and the standard
library of Go, of Debian packages, and of the Linux kernel. All it needs is a copy
of an OSV database in a directory, in the form in which that is exported: all.zip,
or ECOSYSTEM/all.zip for Go, Debian and Linux. Nothing is asked of the network but
images in registries.

An OpenVEX document says which of them are none, and why: one that is named with
--vex, that an extension has in /usr/local/share/vex, or that is attached to its
image. What was said last counts. What an extension says counts for that extension
only, never for the base or another one.

Packages that the database cannot be asked about are counted, as they are not
known to be clean; -v lists them. An extension of which no package is known, as it
has no SBOM and no program of Go, was not scanned: each of them is named. So are vulnerabilities that nobody rated: those
count as being of every level.

The exit code is 1 if there are findings of the level --fail-on or worse. Else it is
2 if an extension was not scanned, unless --allow-unscanned says that this will do;
and 2 if the database has nothing of an ecosystem that was found, or if not one
package could be looked for, unless --allow-unchecked does.

` + sourceHelp,
		Example: `  graft scan registry.example/gvisor:20250505.0 --db osv
  graft scan metal-amd64.iso --db osv --vex ours.openvex.json --fail-on high
  graft scan metal-amd64-uki.efi --db osv -o sarif >findings.sarif`,
		Args: cobra.MinimumNArgs(1),
	}
	scan.flags(cmd)
	format := formatFlag(cmd, "table", "json", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report, err := scan.run(cmd.Context(), s, args)
		if err != nil {
			return err
		}
		if err := printScan(s.Out, report, *format); err != nil {
			return err
		}
		return scan.verdict(s.Err, args, report)
	}
	return cmd
}

// scanFlags say what is scanned with what.
type scanFlags struct {
	sources        sources
	database       string
	vex            []string
	imageVEX       bool
	severity       level
	failOn         level
	allowUnchecked bool
	allowUnscanned bool
	debian         string
	verbose        bool
}

// level is a flag for a level of severity; without one, it is that below all others.
type level struct{ vuln.Level }

func (l *level) Type() string { return "LEVEL" }

func (l *level) String() string {
	if l.Level == vuln.Unrated {
		return ""
	}
	return l.Level.String()
}

func (l *level) Set(s string) (err error) {
	l.Level, err = vuln.ParseLevel(s)
	return err
}

func (f *scanFlags) flags(cmd *cobra.Command) {
	f.sources.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.database, "db", "", "directory with an OSV database")
	flags.StringArrayVar(&f.vex, "vex", nil, "OpenVEX document (can be repeated)")
	flags.BoolVar(&f.imageVEX, "image-vex", true, "heed what extensions say of themselves in OpenVEX documents")
	flags.BoolVar(&f.allowUnchecked, "allow-unchecked", false, "do not fail if the database has nothing of some of the packages")
	flags.BoolVar(&f.allowUnscanned, "allow-unscanned", false, "do not fail if nothing is known of what an extension is made of")
	flags.Var(&f.severity, "severity", "tell of findings of this level or worse only: "+strings.Join(vuln.Levels(), ", "))
	flags.Var(&f.failOn, "fail-on", "exit with 1 only if there are findings of this level or worse")
	flags.StringVar(&f.debian, "debian", "", "release of Debian, such as 12, of Debian packages that do not tell theirs")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "list the packages that could not be looked for")
	complete(cmd, "severity", vuln.Levels()...)
	complete(cmd, "fail-on", vuln.Levels()...)
	if err := errors.Join(cmd.MarkFlagRequired("db"), cmd.MarkFlagDirname("db"), cmd.MarkFlagFilename("vex", "json")); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

func (f *scanFlags) run(ctx context.Context, s Streams, args []string) (_ *vuln.Report, err error) {
	var o vuln.Options
	o.Debian = f.debian
	for _, name := range f.vex {
		v, err := readVEX(name)
		if err != nil {
			return nil, inputError(err)
		}
		o.VEX = append(o.VEX, v)
	}
	c, err := openCache(f.sources.cacheDir)
	if err != nil {
		return nil, err
	}
	db, err := vuln.Open(ctx, f.database, c)
	if errors.Is(err, vuln.ErrNoDatabase) {
		return nil, withCode(exitInvalid, err, "an OSV database is exported as all.zip, for all ecosystems or for each in a directory of its name")
	}
	if err != nil {
		return nil, inputError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	bills, err := readBills(ctx, &f.sources, args)
	if err != nil {
		return nil, err
	}
	tellProblems(s.Err, bills)
	if err := allKnown(bills); err != nil {
		return nil, err
	}
	subjects := subjectsOf(bills)
	if f.imageVEX {
		ownVEX(s.Err, bills, subjects)
	}
	report, err := db.Scan(ctx, subjects, o)
	if err != nil {
		return nil, err
	}
	tellDatabase(s.Err, report, time.Now())
	tellUnread(s.Err, report)
	report.Findings = slices.DeleteFunc(report.Findings, func(v vuln.Finding) bool { return !v.Severity.AtLeast(f.severity.Level) })
	return report, nil
}

// allKnown refuses what would be reported on without having been read.
func allKnown(bills []bill) error {
	for _, b := range bills {
		for _, p := range b.parts {
			if p.Unknown {
				return withCode(exitInvalid, fmt.Errorf("scanning %s: the extension %s could not be read", b.source, p.Name), "graft inspect "+b.source+" says what is wrong")
			}
		}
	}
	return nil
}

func readVEX(name string) (*vuln.VEX, error) {
	data, err := readInput(nil, name, vuln.MaxVEX)
	if err != nil {
		return nil, err
	}
	return vuln.ReadVEX(name, data)
}

// ownVEX gives each subject the documents that it carries itself. One that cannot be
// read suppresses nothing, and is told of.
func ownVEX(w io.Writer, bills []bill, subjects []vuln.Subject) {
	i := 0
	for _, b := range bills {
		for _, p := range b.parts {
			for _, name := range slices.Sorted(maps.Keys(p.VEX)) {
				v, err := vuln.ReadVEX(p.Name+": "+name, p.VEX[name])
				if err != nil {
					fmt.Fprintf(w, "graft: warning: %s\n", printable(err.Error()))
					continue
				}
				subjects[i].VEX = append(subjects[i].VEX, v)
			}
			i++
		}
	}
}

// subjectsOf are the parts of sources with their packages: one for each, in order.
func subjectsOf(bills []bill) []vuln.Subject {
	var all []vuln.Subject
	for _, b := range bills {
		for _, p := range b.parts {
			v := vuln.Subject{Name: b.source, Base: p.Purpose != purposeExtension, Identifiers: append([]string{p.Name}, b.identifiers...), Packages: sbom.Merge(p.Subject).Packages}
			v.Unlisted = unlisted(p, len(v.Packages)-1)
			if len(b.Parts) > 0 { // of a boot asset
				v.Name += ": " + p.Name
			}
			if p.Digest != "" {
				v.Identifiers = append(v.Identifiers, p.Digest)
			}
			if own := v.Packages[0]; own.PURL == "" && len(own.CPEs) == 0 { // the extension is no package of its own
				v.Packages = v.Packages[1:]
			}
			all = append(all, v)
		}
	}
	return all
}

// unlisted is why nothing is known of what a part is made of, "" if it has packages
// besides its own. A kernel is all of one piece.
func unlisted(p inspect.Part, others int) string {
	isKernel := p.Digest == "" && p.Purpose == purposeBase
	switch {
	case others > 0, isKernel && len(p.CPEs) > 0:
		return ""
	case isKernel:
		return "its version is not known"
	case len(p.Problems) > 0:
		return "nothing that could be read in it lists packages"
	}
	return "it has no SBOM that lists packages, and no program of Go"
}

// oldDatabase is when a database is said to be old: those that are exported change
// every day.
const oldDatabase = 14 * 24 * time.Hour

func tellDatabase(w io.Writer, r *vuln.Report, now time.Time) {
	d := r.Database
	if d.Entries > 0 && now.Sub(d.Newest) > oldDatabase {
		fmt.Fprintf(w, "graft: warning: the newest entry of the database is of %s: get a new copy\n", d.Newest.UTC().Format(time.DateOnly))
	}
	if d.Unreadable > 0 {
		fmt.Fprintf(w, "graft: warning: %s of the database cannot be read: taken as affected\n", count(d.Unreadable, "range"))
	}
	if r.Unused > 0 {
		fmt.Fprintf(w, "%s about nothing that was found\n", count(r.Unused, "VEX statement"))
	}
	if n := len(r.Guessed); n > 0 {
		fmt.Fprintf(w, "%s without the name of its source: looked for by its own\n", count(n, "Debian package"))
	}
}

// tellUnread names the entries that count, though nobody can say whether they should.
func tellUnread(w io.Writer, r *vuln.Report) {
	told := map[string]bool{}
	for _, f := range slices.Concat(r.Findings, r.Suppressed) {
		for _, id := range f.Unread {
			text := fmt.Sprintf("%s, %s %s: %s", id, f.Package, f.Version, f.Doubt())
			if !told[text] {
				told[text] = true
				fmt.Fprintf(w, "graft: warning: %s\n", printable(text))
			}
		}
	}
}

func printScan(w io.Writer, r *vuln.Report, format string) error {
	switch format {
	case "json":
		return printJSON(w, r)
	case "sarif":
		return printJSON(w, vuln.SARIF(r, version()))
	}
	if len(r.Findings) > 0 {
		t := newTable(w, "SEVERITY", "VULNERABILITY", "PACKAGE", "VERSION", "FIXED", "IN", "SUMMARY")
		for _, f := range r.Findings {
			t.row(severityWords(f), printable(f.ID), printable(packageWords(f)), printable(f.Version), printable(cmp.Or(f.Fixed, "-")),
				printable(strings.Join(f.In, ", ")), printable(summaryWords(f)))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	rows := [][]string{{"VULNERABILITY", "PACKAGE", "VERSION", "WHY", "SAID BY"}}
	for _, f := range r.Suppressed {
		rows = append(rows, []string{f.ID, f.Package, f.Version, f.VEX.Reason(), f.VEX.Document})
	}
	return section(w, "Suppressed by VEX", someRows(rows))
}

func severityWords(f vuln.Finding) string {
	if f.Score > 0 {
		return fmt.Sprintf("%s %.1f", f.Severity, f.Score)
	}
	return f.Severity.String()
}

func packageWords(f vuln.Finding) string {
	if f.Source != "" {
		return f.Package + " (" + f.Source + ")"
	}
	return f.Package
}

// summaryWords are what a row has room for, with what VEX says of it and whether it
// is sure.
func summaryWords(f vuln.Finding) string {
	text := f.Summary
	if doubt := f.Doubt(); doubt != "" {
		text = doubt + ": " + text
	}
	if f.VEX != nil {
		text = f.VEX.Reason() + ": " + text
	}
	const room = 60
	if r := []rune(text); len(r) > room {
		return string(r[:room-1]) + "…"
	}
	return text
}

// verdict sums up for people, and makes findings the command's error; without any, it
// is what was not checked.
func (f *scanFlags) verdict(w io.Writer, args []string, r *vuln.Report) error {
	worst, unrated := 0, 0
	for _, v := range r.Findings {
		if v.Severity.AtLeast(f.failOn.Level) {
			worst++
		}
		if v.Severity == vuln.Unrated {
			unrated++
		}
	}
	fmt.Fprintf(w, "%s looked for: %s (%d unrated), %d suppressed\n", count(r.Packages, "package"), count(len(r.Findings), "finding"), unrated, len(r.Suppressed))
	f.tellUnmatched(w, r)
	tellUnscanned(w, r)
	if worst > 0 {
		return errSaid
	}
	if err := unscanned(args, r); err != nil && !f.allowUnscanned {
		return err
	}
	if f.allowUnchecked {
		return nil
	}
	return f.unchecked(args, r)
}

func tellUnscanned(w io.Writer, r *vuln.Report) {
	for _, n := range r.NotScanned {
		fmt.Fprintf(w, "graft: warning: %s: %s\n", printable(n.Source), printable(n.Reason()))
	}
}

// unscanned is the error of a scan that did not see all extensions.
func unscanned(args []string, r *vuln.Report) error {
	var names []string
	for _, n := range r.Unscanned() {
		names = append(names, n.Source)
	}
	if len(names) == 0 {
		return nil
	}
	err := fmt.Errorf("scanning %s: nothing is known of what %s is made of", printable(strings.Join(args, ", ")), printable(strings.Join(names, ", ")))
	return withCode(exitInvalid, err, "an SBOM tells: in its /usr/local/share/spdx, or attached to its image", "--allow-unscanned accepts that")
}

// unchecked is the error of a scan that says too little to pass: a gate that lets
// through what nobody looked at is none.
func (f *scanFlags) unchecked(args []string, r *vuln.Report) error {
	list := r.Unchecked()
	if len(list) == 0 {
		return nil
	}
	missing := map[string]bool{}
	for _, u := range list {
		if u.Ecosystem != "" {
			missing[u.Ecosystem] = true
		}
	}
	err := fmt.Errorf("scanning %s: not one package could be looked for", strings.Join(args, ", "))
	if r.Packages > 0 {
		err = fmt.Errorf("scanning %s: %s could not be looked for", strings.Join(args, ", "), count(len(list), "package"))
	}
	hints := []string{"--allow-unchecked accepts that"}
	if len(missing) > 0 {
		has := cmp.Or(strings.Join(slices.Sorted(maps.Keys(r.Database.Ecosystems)), ", "), "nothing that graft scans")
		hint := fmt.Sprintf("the database %s has %s; wanted as well: %s", f.database, has, strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
		hints = append([]string{printable(hint)}, hints...)
	}
	return withCode(exitInvalid, err, hints...)
}

// tellUnmatched counts the packages that could not be looked for, by why.
func (f *scanFlags) tellUnmatched(w io.Writer, r *vuln.Report) {
	reasons, warning := map[string]int{}, map[string]string{}
	for _, u := range r.Unmatched {
		reasons[u.Reason]++
	}
	for _, u := range r.Unchecked() {
		warning[u.Reason] = "graft: warning: "
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(w, "%s%s not looked for: %s\n", warning[reason], count(reasons[reason], "package"), printable(reason))
		if reason == vuln.NoRelease {
			fmt.Fprintln(w, "  hint: --debian 12 says it")
		}
		for _, u := range r.Unmatched {
			if f.verbose && u.Reason == reason {
				fmt.Fprintf(w, "  %s in %s\n", printable(u.Package), printable(u.In))
			}
		}
	}
}
