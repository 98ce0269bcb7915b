package vuln

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/sbom"
)

// Scan looks for the packages of subjects. The same package in several subjects is one
// finding per vulnerability, unless a VEX statement is about some of them only.
func (db *DB) Scan(ctx context.Context, subjects []Subject, o Options) (*Report, error) {
	s := scan{db: db, options: o, report: &Report{Findings: []Finding{}, Suppressed: []Finding{}, Unmatched: []Unmatched{}, NotScanned: []NotScanned{}, Database: db.Info()}}
	s.gather(subjects)
	s.vex.statements = statementsOf(subjects, o.VEX)
	for _, key := range s.order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.look(s.packages[key]); err != nil {
			return nil, fmt.Errorf("looking for vulnerabilities of %s: %w", s.packages[key].Name, err)
		}
	}
	s.report.Packages = len(s.order)
	s.report.Unused = s.vex.unused()
	for _, list := range [][]Finding{s.report.Findings, s.report.Suppressed} {
		slices.SortFunc(list, Finding.compare)
	}
	return s.report, nil
}

// scan is one report in the making.
type scan struct {
	db       *DB
	options  Options
	report   *Report
	vex      exploitability
	packages map[string]*wanted
	order    []string // their keys
}

// wanted is a package to look for, and who has it.
type wanted struct {
	sbom.Package
	target
	in []*Subject
}

// gather brings the packages of subjects together, and tells those that cannot be
// looked for.
func (s *scan) gather(subjects []Subject) {
	s.packages = map[string]*wanted{}
	for i := range subjects {
		subject := &subjects[i]
		s.report.unscanned(subject)
		for _, p := range subject.Packages {
			t, reason := identify(p, s.options.Debian)
			var missing string
			if reason == "" && s.lacks(t) {
				missing = t.ecosystem()
				reason = "the database has no entries for " + missing
			}
			if reason != "" {
				s.report.Unmatched = append(s.report.Unmatched, Unmatched{strings.TrimSpace(p.Name + " " + p.Version), subject.Name, reason, missing})
				continue
			}
			key := strings.Join([]string{t.eco.name, t.release, t.name, t.version, p.Name, p.Version}, "\n")
			w, ok := s.packages[key]
			if !ok {
				w = &wanted{Package: p, target: t}
				s.packages[key], s.order = w, append(s.order, key)
				if t.guessed {
					s.report.Guessed = append(s.report.Guessed, strings.TrimSpace(p.Name+" "+p.Version))
				}
			}
			if !slices.Contains(w.in, subject) { // two may have the same name
				w.in = append(w.in, subject)
			}
		}
	}
}

// unscanned notes a subject that cannot be looked into.
func (r *Report) unscanned(s *Subject) {
	why := s.Unlisted
	if why == "" && len(s.Packages) == 0 {
		why = "no package of it is known"
	}
	one := NotScanned{Source: s.Name, Why: why, Base: s.Base}
	if why != "" && !slices.Contains(r.NotScanned, one) {
		r.NotScanned = append(r.NotScanned, one)
	}
}

// lacks says whether the database knows nothing of a whole ecosystem.
func (s *scan) lacks(t target) bool {
	for ecosystem := range s.report.Database.Ecosystems {
		name, release, _ := strings.Cut(ecosystem, ":")
		if name == t.eco.name && (release == "" || release == t.release) {
			return false
		}
	}
	return true
}

// look finds the vulnerabilities of a package.
func (s *scan) look(w *wanted) error {
	records, err := s.db.find(w.eco, w.name)
	if err != nil {
		return err
	}
	var hits []hit
	for _, r := range records {
		if r.Release != "" && r.Release != w.release {
			continue
		}
		if h, affected := r.affects(w.eco, w.version); affected {
			hits = append(hits, h)
		}
	}
	for _, group := range grouped(hits) {
		f := finding(w, group)
		s.report.add(s.vex.judge(f, w))
	}
	return nil
}

// affects says whether a version is affected, and which one is not any more. What can
// be read counts before what cannot.
func (r record) affects(eco *ecosystem, version string) (hit, bool) {
	has := func(s span) bool { return s.has(eco, version) }
	if i := slices.IndexFunc(r.Ranges, has); i >= 0 {
		return hit{record: r, fixed: r.Ranges[i].fixedAfter(eco, version)}, true
	}
	if slices.Contains(r.Versions, version) || eco == goModules && slices.Contains(r.Versions, strings.TrimPrefix(version, "v")) {
		return hit{record: r}, true
	}
	return hit{record: r, unread: true}, slices.ContainsFunc(r.Unread, has)
}

// hit is a record that is about a package's version.
type hit struct {
	record
	fixed  string
	unread bool // by a range that could not be read
}

// names are those of the one vulnerability that a record is about: its own, its
// aliases, and what it was made of if that is one.
func (h hit) names() []string {
	names := append([]string{h.ID}, h.Aliases...)
	if len(h.Upstream) == 1 {
		names = append(names, h.Upstream[0])
	}
	return names
}

// group are the hits that are about one vulnerability.
type group struct {
	hits    []hit
	names   []string
	related []string // advisories that are about it and others
}

// grouped brings together what is about one vulnerability. An advisory about several,
// such as a DSA, is no finding of its own where all of them are.
func grouped(hits []hit) []group {
	var groups []group
	var advisories []hit
	for _, h := range hits {
		if len(h.Upstream) > 1 {
			advisories = append(advisories, h)
			continue
		}
		groups = join(groups, h)
	}
	for _, h := range advisories {
		if !related(groups, h) {
			groups = append(groups, group{hits: []hit{h}, names: []string{h.ID}, related: h.Upstream})
		}
	}
	return groups
}

// join puts a hit into the group that it shares a name with: it may make one of
// several.
func join(groups []group, h hit) []group {
	own := group{hits: []hit{h}, names: h.names()}
	rest := groups[:0]
	for _, g := range groups {
		if !slices.ContainsFunc(g.names, func(n string) bool { return slices.Contains(own.names, n) }) {
			rest = append(rest, g)
			continue
		}
		own.hits = append(own.hits, g.hits...)
		own.names = append(own.names, g.names...)
	}
	return append(rest, own)
}

// related notes an advisory with the vulnerabilities that it is about, if each of them
// was found.
func related(groups []group, h hit) bool {
	var of []int
	for _, name := range h.Upstream {
		i := slices.IndexFunc(groups, func(g group) bool { return slices.Contains(g.names, name) })
		if i < 0 {
			return false
		}
		of = append(of, i)
	}
	for _, i := range of {
		groups[i].related = append(groups[i].related, h.ID)
	}
	return true
}

// finding tells of a vulnerability what its entries say.
func finding(w *wanted, g group) Finding {
	slices.SortFunc(g.hits, func(a, b hit) int { return cmp.Compare(a.ID, b.ID) })
	names := slices.SortedFunc(slices.Values(g.names), compareID)
	names = slices.Compact(names)
	related := slices.Sorted(slices.Values(g.related))
	f := Finding{
		ID: names[0], Aliases: names[1:], Related: slices.Compact(related),
		Package: w.Name, Version: w.Version, PURL: w.PURL,
	}
	if w.eco == debian && w.target.name != w.Name {
		f.Source = w.target.name
	}
	var records []record
	for _, h := range g.hits {
		records = append(records, h.record)
		f.Entries = append(f.Entries, h.ID)
		f.Summary, f.URL = cmp.Or(f.Summary, h.Summary), cmp.Or(f.URL, h.URL)
		if h.fixed != "" && (f.Fixed == "" || w.eco.compare(h.fixed, f.Fixed) > 0) {
			f.Fixed = h.fixed // until none of the entries has it
		}
		if h.unread {
			f.Unread = append(f.Unread, h.ID)
		}
	}
	f.Entries, f.Unread = slices.Compact(f.Entries), slices.Compact(f.Unread)
	f.rate(records)
	for _, in := range w.in {
		f.In = append(f.In, in.Name)
	}
	return f
}

// idOrder is that of databases, the one that people know best first.
var idOrder = []string{"CVE-", "GO-", "GHSA-", "DSA-", "DLA-"}

func compareID(a, b string) int {
	rank := func(id string) int {
		i := slices.IndexFunc(idOrder, func(prefix string) bool { return strings.HasPrefix(id, prefix) })
		if i < 0 {
			return len(idOrder)
		}
		return i
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func (r *Report) add(findings []Finding) {
	for _, f := range findings {
		if f.VEX != nil && f.VEX.Suppresses() {
			r.Suppressed = append(r.Suppressed, f)
			continue
		}
		r.Findings = append(r.Findings, f)
	}
}
