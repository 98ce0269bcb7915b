// Package vuln finds known vulnerabilities of packages in a copy of an OSV database
// on disk, in the form in which those are exported: a zip per ecosystem, or the
// files of one. It needs no network.
//
// Open makes an index of the database once and keeps it in the cache: the second
// scan reads what it needs and no more. What it knows are modules of Go with the
// standard library ("Go"), packages of Debian ("Debian:12") and the Linux kernel
// ("Linux"); packages of other kinds are counted as Unmatched, never taken for
// clean.
//
// Which version is affected is decided as the OSV schema says it
// (https://ossf.github.io/osv-schema/, 1.7): by the list of versions, then by
// ranges. What several entries say of one vulnerability is one Finding, which
// statements of an OpenVEX document may suppress.
//
// It judges whole modules and packages, not whether the code at fault is called:
// that an entry for Go names symbols and platforms is not looked at.
package vuln

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/sbom"
)

// Level is how severe a vulnerability is.
type Level int

// The levels. Unrated is one that nobody rated, not one that is harmless.
const (
	Unrated Level = iota
	None
	Low
	Medium
	High
	Critical
)

var levelNames = []string{"unrated", "none", "low", "medium", "high", "critical"}

// Levels are the names of levels that ParseLevel reads, the least severe first.
func Levels() []string { return slices.Clone(levelNames[Low:]) }

// ParseLevel reads low, medium, high or critical.
func ParseLevel(s string) (Level, error) {
	if i := slices.Index(levelNames, s); i >= int(Low) {
		return Level(i), nil
	}
	return Unrated, fmt.Errorf("%q is none of %s", s, strings.Join(Levels(), ", "))
}

func (l Level) String() string { return levelNames[l] }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// AtLeast says whether a level reaches another. One that nobody rated may be any.
func (l Level) AtLeast(other Level) bool { return l == Unrated || l >= other }

// Subject is what is scanned, with its packages: an extension, or the base of a
// boot asset.
type Subject struct {
	Name     string
	Packages []sbom.Package
	// Identifiers are what OpenVEX documents may call it: package URLs, references
	// of images, "sha256:" digests. Those of a boot asset are its parts' as well.
	Identifiers []string
	// VEX are the documents that it brings along. They are heeded for its own packages
	// only, whatever products they name: nobody speaks for his neighbours.
	VEX []*VEX
	// Unlisted is why it is not known what it is made of, at most itself; "" if that is
	// known. It is told of in Report.NotScanned.
	Unlisted string
	// Base says that it is no extension, but what extensions are put on.
	Base bool
}

// Options are about one scan.
type Options struct {
	// Debian is the release, "12", of Debian packages that do not tell theirs.
	Debian string
	VEX    []*VEX // that are about all subjects
}

// Report is the outcome of a scan.
type Report struct {
	Packages   int         `json:"packages"`   // that were looked for
	Findings   []Finding   `json:"findings"`   // the most severe first
	Suppressed []Finding   `json:"suppressed"` // that a VEX statement says to be none
	Unmatched  []Unmatched `json:"unmatched"`  // packages that the database could not be asked about
	// NotScanned are the subjects of which no package is known: nobody looked at them.
	NotScanned []NotScanned `json:"notScanned"`
	// Guessed are Debian packages that do not name their source: they were looked for
	// under their own name, which may be that of another source or of none.
	Guessed  []string     `json:"guessed,omitempty"`
	Database DatabaseInfo `json:"database"`
	// Unused counts the VEX statements that were about nothing here.
	Unused int `json:"unusedStatements,omitempty"`
}

// DatabaseInfo says what a database has.
type DatabaseInfo struct {
	Entries    int            `json:"entries"`    // of ecosystems that are known
	Ecosystems map[string]int `json:"ecosystems"` // and of each
	Newest     time.Time      `json:"newest"`     // when the last one was changed
	// Unreadable counts ranges that cannot be read, as their versions cannot be compared
	// or nothing says where they begin. All versions are taken to be in them, from the
	// first that can be read as introduced on.
	Unreadable int `json:"unreadableRanges,omitempty"`
}

// Unmatched are packages that could not be looked for, and why.
type Unmatched struct {
	Package string `json:"package"` // name and version
	In      string `json:"in"`
	Reason  string `json:"reason"`
	// Ecosystem is that of the package if it is the database that has nothing of it: one
	// that has could be asked.
	Ecosystem string `json:"missingEcosystem,omitempty"`
}

// NotScanned is a subject that a scan has nothing to say of, and why.
type NotScanned struct {
	Source string `json:"source"`
	Why    string `json:"why"`
	// Base marks a base or a kernel: at most itself was looked for.
	Base bool `json:"base,omitempty"`
}

// Reason says what was not done, and why.
func (n NotScanned) Reason() string {
	if n.Base {
		return "at most itself was looked for: " + n.Why
	}
	return "it was not scanned: " + n.Why
}

// Unscanned are the extensions that nobody looked at.
func (r *Report) Unscanned() []NotScanned {
	return slices.DeleteFunc(slices.Clone(r.NotScanned), func(n NotScanned) bool { return n.Base })
}

// Unchecked are the packages without which a scan says too little to be relied on:
// those of ecosystems that the database does not have, and all of them if not a single
// one was looked for.
func (r *Report) Unchecked() []Unmatched {
	if r.Packages == 0 {
		return r.Unmatched
	}
	var list []Unmatched
	for _, u := range r.Unmatched {
		if u.Ecosystem != "" {
			list = append(list, u)
		}
	}
	return list
}

// Finding is a vulnerability of a package.
type Finding struct {
	ID       string   `json:"id"` // that of CVE, if there is one
	Aliases  []string `json:"aliases,omitempty"`
	Entries  []string `json:"entries"` // of the database that say so
	Related  []string `json:"related,omitempty"`
	Severity Level    `json:"severity"`
	Score    float64  `json:"score,omitempty"`  // of CVSS, 0 to 10
	Vector   string   `json:"vector,omitempty"` // that the score is of
	Summary  string   `json:"summary,omitempty"`
	URL      string   `json:"url,omitempty"`
	Package  string   `json:"package"`
	Version  string   `json:"version"`
	PURL     string   `json:"purl,omitempty"`
	Source   string   `json:"source,omitempty"` // of a Debian package, if it has another name
	In       []string `json:"in"`               // the subjects that have the package
	Fixed    string   `json:"fixed,omitempty"`  // the first version without it; "" if there is none
	VEX      *Verdict `json:"vex,omitempty"`
	// Unread are the entries with a range that could not be read: the version was taken
	// to be in it.
	Unread []string `json:"unreadRangesOf,omitempty"`
}

// Doubt is what a report says of a finding that rests on a range which could not be
// read, "" of others.
func (f Finding) Doubt() string {
	if len(f.Unread) == 0 {
		return ""
	}
	return "a range could not be read: taken as affected"
}

// compare puts the most severe first, then by name.
func (f Finding) compare(g Finding) int {
	return cmp.Or(cmp.Compare(g.Severity, f.Severity), cmp.Compare(g.Score, f.Score),
		cmp.Compare(f.Package, g.Package), cmp.Compare(f.Version, g.Version), cmp.Compare(f.ID, g.ID), cmp.Compare(f.PURL, g.PURL))
}
