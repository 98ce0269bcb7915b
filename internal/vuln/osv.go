package vuln

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// osvEntry is what is read of an entry (OSV schema 1.7).
type osvEntry struct {
	ID         string     `json:"id"`
	Modified   time.Time  `json:"modified"`
	Withdrawn  *time.Time `json:"withdrawn"`
	Aliases    []string   `json:"aliases"`
	Upstream   []string   `json:"upstream"`
	Summary    string     `json:"summary"`
	Details    string     `json:"details"`
	Severity   []severity `json:"severity"`
	References []struct {
		Type string `json:"type"`
		URL  string `json:"url"`
	} `json:"references"`
	Affected []osvAffected   `json:"affected"`
	Database json.RawMessage `json:"database_specific"`
}

type osvAffected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity []severity `json:"severity"`
	Versions []string   `json:"versions"`
	Ranges   []struct {
		Type   string              `json:"type"`
		Events []map[string]string `json:"events"`
	} `json:"ranges"`
	Ecosystem json.RawMessage `json:"ecosystem_specific"`
	Database  json.RawMessage `json:"database_specific"`
}

// severity is a vector of CVSS, or a rating in a word.
type severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// record is what the index has of an entry for one package.
type record struct {
	ID       string     `json:"id"`
	Modified time.Time  `json:"modified"`
	Aliases  []string   `json:"aliases,omitempty"`
	Upstream []string   `json:"upstream,omitempty"`
	Summary  string     `json:"summary,omitempty"`
	URL      string     `json:"url,omitempty"`
	Severity []severity `json:"severity,omitempty"`
	Rating   string     `json:"rating,omitempty"` // in the database's word
	Name     string     `json:"name"`             // of the package, as it is written
	Release  string     `json:"release,omitempty"`
	Versions []string   `json:"versions,omitempty"` // those that no range has
	Ranges   []span     `json:"ranges,omitempty"`
	Unread   []span     `json:"unread,omitempty"` // ranges that could not be read, as wide as they may be

	eco *ecosystem
}

// ecosystem is that of the record with the release, as it is written in entries.
func (r record) ecosystem() string {
	if r.Release == "" {
		return r.eco.name
	}
	return r.eco.name + ":" + r.Release
}

// span is a range of versions: what happens to the vulnerability in which.
type span []event

type event struct {
	Kind    eventKind `json:"k"`
	Version string    `json:"v"`
}

// eventKind is a name of an event in the schema.
type eventKind string

const (
	introduced   eventKind = "introduced"
	fixed        eventKind = "fixed"
	lastAffected eventKind = "last_affected"
	limit        eventKind = "limit"
)

var eventKinds = []eventKind{introduced, fixed, lastAffected, limit}

// errNoID is of a file that is no entry.
var errNoID = errors.New("it has no id: it is no entry of an OSV database")

// maxSummary is how much of a text a report shows.
const maxSummary = 300

func parseEntry(data []byte) (*osvEntry, error) {
	var e osvEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("reading it as an entry of an OSV database: %w", err)
	}
	if e.ID == "" {
		return nil, errNoID
	}
	return &e, nil
}

// records are what the entry says of packages of known ecosystems. The second
// result counts ranges that cannot be read.
func (e *osvEntry) records() (list []record, unreadable int) {
	base := record{
		ID: e.ID, Modified: e.Modified, Aliases: e.Aliases, Upstream: e.Upstream,
		Summary: e.summary(), URL: e.url(), Severity: e.Severity, Rating: rating(e.Database),
	}
	for _, a := range e.Affected {
		eco, release := ecosystemOf(a.Package.Ecosystem)
		if eco == nil || a.Package.Name == "" {
			continue
		}
		r := base
		r.Name, r.Release, r.eco = a.Package.Name, release, eco
		if len(a.Severity) > 0 {
			r.Severity = a.Severity
		}
		for _, specific := range []json.RawMessage{a.Database, a.Ecosystem} {
			if own := rating(specific); own != "" {
				r.Rating = own
			}
		}
		r.Ranges, r.Unread = a.spans(eco)
		unreadable += len(r.Unread)
		r.Versions = a.others(eco, r.Ranges)
		if len(r.Ranges)+len(r.Unread)+len(r.Versions) > 0 {
			list = append(list, r)
		}
	}
	return list, unreadable
}

// spans are the ranges in the order of their versions, and what became of those that
// cannot be read. Those of commits are not for packages.
func (a *osvAffected) spans(eco *ecosystem) (list, unread []span) {
	for _, r := range a.Ranges {
		if r.Type == "GIT" {
			continue
		}
		s := newSpan(r.Events)
		if s.readable(eco) {
			list = append(list, s.sorted(eco))
			continue
		}
		unread = append(unread, s.widest(eco))
	}
	return list, unread
}

func newSpan(events []map[string]string) (s span) {
	for _, e := range events {
		for _, kind := range eventKinds {
			if v, ok := e[string(kind)]; ok && !(kind == limit && v == "*") {
				s = append(s, event{kind, v})
			}
		}
	}
	return s
}

// readable says whether all versions can be compared, and there is a beginning, as the
// schema demands.
func (s span) readable(eco *ecosystem) bool {
	return slices.ContainsFunc(s, event.begins) &&
		!slices.ContainsFunc(s, func(e event) bool { return !e.first() && !eco.valid(e.Version) })
}

// widest is all that a range which cannot be read may have: everything from the first
// version on in which the vulnerability was introduced, or else everything.
func (s span) widest(eco *ecosystem) span {
	begins := slices.DeleteFunc(slices.Clone(s), func(e event) bool { return !e.begins() })
	if !begins.readable(eco) {
		return span{{introduced, "0"}}
	}
	return begins.sorted(eco)[:1]
}

func (s span) sorted(eco *ecosystem) span {
	slices.SortStableFunc(s, func(a, b event) int {
		switch {
		case a.first() && b.first():
			return 0
		case a.first():
			return -1
		case b.first():
			return 1
		}
		return eco.compare(a.Version, b.Version)
	})
	return s
}

func (e event) begins() bool { return e.Kind == introduced }

// first says whether an event is before all versions.
func (e event) first() bool { return e.Kind == introduced && e.Version == "0" }

// others are the versions of the list that are not in a range anyway.
func (a *osvAffected) others(eco *ecosystem, ranges []span) []string {
	var list []string
	for _, v := range a.Versions {
		if !eco.valid(v) || !slices.ContainsFunc(ranges, func(s span) bool { return s.has(eco, v) }) {
			list = append(list, v)
		}
	}
	return list
}

// has says whether a version is affected: the evaluation of the schema.
func (s span) has(eco *ecosystem, version string) bool {
	if !s.beforeLimit(eco, version) {
		return false
	}
	vulnerable := false
	for _, e := range s {
		order := eco.compare(version, e.Version)
		switch {
		case e.first(), e.Kind == introduced && order >= 0:
			vulnerable = true
		case e.Kind == fixed && order >= 0, e.Kind == lastAffected && order > 0:
			vulnerable = false
		}
	}
	return vulnerable
}

func (s span) beforeLimit(eco *ecosystem, version string) bool {
	limited := false
	for _, e := range s {
		if e.Kind == limit {
			limited = true
			if eco.compare(version, e.Version) < 0 {
				return true
			}
		}
	}
	return !limited
}

// fixedAfter is the first version of a range that mends one that it has.
func (s span) fixedAfter(eco *ecosystem, version string) string {
	for _, e := range s {
		if e.Kind == fixed && eco.compare(version, e.Version) < 0 {
			return e.Version
		}
	}
	return ""
}

func (e *osvEntry) summary() string {
	text := e.Summary
	if text == "" {
		text = e.Details
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > maxSummary {
		text = string(r[:maxSummary]) + " …"
	}
	return text
}

// url is where a person reads on.
func (e *osvEntry) url() string {
	for _, kind := range []string{"ADVISORY", "WEB", "REPORT"} {
		for _, r := range e.References {
			if r.Type == kind {
				return r.URL
			}
		}
	}
	return ""
}

// rating is what GitHub (severity) and Debian (urgency) call how severe it is.
func rating(specific json.RawMessage) string {
	var s struct {
		Severity any `json:"severity"`
		Urgency  any `json:"urgency"`
	}
	if len(specific) == 0 || json.Unmarshal(specific, &s) != nil {
		return ""
	}
	for _, word := range []any{s.Severity, s.Urgency} {
		if text, ok := word.(string); ok && levelOf(text) != Unrated {
			return text
		}
	}
	return ""
}
