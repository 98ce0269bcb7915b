package inspect

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Change is one thing in which two reports differ.
type Change struct {
	Kind    string `json:"kind" yaml:"kind"`                           // base, kernel, extension, cmdline, file …
	Subject string `json:"subject,omitempty" yaml:"subject,omitempty"` // what of that kind
	Change  string `json:"change" yaml:"change"`                       // Added, Removed or Changed
	Old     string `json:"old,omitempty" yaml:"old,omitempty"`
	New     string `json:"new,omitempty" yaml:"new,omitempty"`
	// Where are the places with the change, such as partitions and profiles. It
	// is nil if nothing was changed otherwise: if these are all places with the
	// same thing or, of what was added or removed, with anything of the kind.
	Where []string `json:"where,omitempty" yaml:"where,omitempty"`
}

// What a Change is.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Renamed says whether it is the name that changed: Old and New are names.
func (c Change) Renamed() bool { return c.Change == Changed && c.Subject == c.Old }

// Report is what can be compared: an Extension, an *Initramfs or an *Asset.
type Report interface {
	kind() Kind
	facts() []fact
}

// Compare lists what changes from one report to another of the same kind. What
// is the same thing in both is decided by its name, in which versions do not
// count; order is none. Of what was added or removed as a whole the parts are
// not listed.
func Compare(from, to Report) ([]Change, error) {
	if from.kind() != to.kind() {
		return nil, fmt.Errorf("one is of the kind %s and the other %s: only two of one kind can be compared", from.kind(), to.kind())
	}
	c := comparison{places: map[string]map[string]bool{}, known: map[string]int{}, changes: []Change{}}
	c.level(from.facts(), to.facts(), nil)
	for i := range c.changes {
		change := &c.changes[i]
		places := c.places[change.Kind]
		if change.Change == Changed {
			places = c.places[fact{kind: change.Kind, subject: change.Subject}.key()]
		}
		everywhere := len(change.Where) == len(places) && change.Kind != kindFile
		if everywhere || slices.Equal(change.Where, []string{""}) {
			change.Where = nil
		}
	}
	return c.changes, nil
}

// fact is a thing in a report, and what belongs to it.
type fact struct {
	kind, subject string
	value         string   // for people
	more          []string // the same, of a thing with several values
	sum           string   // compared as well, and shown if all values are the same
	among         string   // the value only counts if this is the same
	place         string   // where the parts are, "" if that goes without saying
	parts         []fact
}

// version matches what does not make two names different.
var version = regexp.MustCompile(`v?\d+\.\d+\.\d+[-+~\w.]*`)

// key is the same for what is the same thing in two reports.
func (f fact) key() string { return f.kind + "\x00" + version.ReplaceAllString(f.subject, "*") }

func (f fact) equal(g fact) bool {
	return f.among != g.among || f.subject == g.subject && f.value == g.value && slices.Equal(f.more, g.more) && f.sum == g.sum
}

// text is all values.
func (f fact) text() string { return strings.Join(append([]string{f.value}, f.more...), ", ") }

// difference tells a fact from another one, by the values that are not equal.
func (f fact) difference(g fact) (from, to string) {
	if f.subject != g.subject {
		return f.subject, g.subject
	}
	if f.text() == g.text() {
		return f.sum, g.sum
	}
	if len(f.more) != len(g.more) {
		return f.text(), g.text()
	}
	var mine, others []string
	for i, v := range append([]string{f.value}, f.more...) {
		if other := append([]string{g.value}, g.more...)[i]; v != other {
			mine, others = append(mine, v), append(others, other)
		}
	}
	return strings.Join(mine, ", "), strings.Join(others, ", ")
}

// comparison is a list of changes in the making.
type comparison struct {
	changes []Change
	known   map[string]int             // where the same change is in the list
	places  map[string]map[string]bool // of each kind, and of each key
}

// level compares the facts in one place.
func (c *comparison) level(from, to []fact, where []string) {
	place := strings.Join(where, ": ")
	others := map[string][]fact{}
	for _, f := range to {
		others[f.key()] = append(others[f.key()], f)
		c.visit(f, place)
	}
	pairs, removed := pair(from, others)
	for _, f := range removed {
		c.visit(f, place)
		c.add(Change{Kind: f.kind, Subject: f.subject, Change: Removed, Old: f.text()}, place)
	}
	for _, p := range pairs {
		if !p[0].equal(p[1]) {
			old, new := p[0].difference(p[1])
			c.add(Change{Kind: p[0].kind, Subject: p[0].subject, Change: Changed, Old: old, New: new}, place)
		}
		inner := where
		if p[1].place != "" {
			inner = append(slices.Clone(where), p[1].place)
		}
		c.level(p[0].parts, p[1].parts, inner)
	}
	for _, f := range to {
		if slices.ContainsFunc(others[f.key()], func(o fact) bool { return o.equal(f) }) {
			c.add(Change{Kind: f.kind, Subject: f.subject, Change: Added, New: f.text()}, place)
		}
	}
}

// pair finds the other one for each fact, and takes it away from the others:
// an equal one, one of the same name, or the first of the same key.
func pair(from []fact, others map[string][]fact) (pairs [][2]fact, removed []fact) {
	rest := from
	for _, same := range []func(f, g fact) bool{
		fact.equal,
		func(f, g fact) bool { return f.subject == g.subject },
		func(f, g fact) bool { return true },
	} {
		removed = nil
		for _, f := range rest {
			group := others[f.key()]
			at := slices.IndexFunc(group, func(g fact) bool { return same(f, g) })
			if at < 0 {
				removed = append(removed, f)
				continue
			}
			pairs = append(pairs, [2]fact{f, group[at]})
			others[f.key()] = slices.Delete(slices.Clone(group), at, at+1)
		}
		rest = removed
	}
	return pairs, removed
}

// visit notes that there is something of a kind, and of a name, in a place.
func (c *comparison) visit(f fact, place string) {
	for _, key := range []string{f.kind, f.key()} {
		if c.places[key] == nil {
			c.places[key] = map[string]bool{}
		}
		c.places[key][place] = true
	}
}

// add notes a change, or one more place that has it.
func (c *comparison) add(change Change, place string) {
	key := strings.Join([]string{change.Kind, change.Subject, change.Change, change.Old, change.New}, "\x00")
	at, known := c.known[key]
	if !known {
		at = len(c.changes)
		c.known[key] = at
		c.changes = append(c.changes, change)
	}
	if w := &c.changes[at].Where; !slices.Contains(*w, place) {
		*w = append(*w, place)
	}
}
