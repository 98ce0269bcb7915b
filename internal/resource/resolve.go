package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/levenshtein"
)

// AmbiguousTypeError says that a name stands for several types.
type AmbiguousTypeError struct {
	Name  string
	Types []string // sorted
}

func (e *AmbiguousTypeError) Error() string {
	return fmt.Sprintf("resource type %q is ambiguous: it may be %s", e.Name, strings.Join(e.Types, " or "))
}

// UnknownTypeError says that a node knows no type of that name.
type UnknownTypeError struct {
	Name    string
	Nearest []string // names that look like it, the best first
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("resource type %q is not known to the node", printable(e.Name))
}

// Resolve finds the type that a person means: its full name, an alias, its
// singular or plural, in any case, as talosctl does. Beyond that, the name in the
// column TYPE of a table is understood.
func Resolve(defs []Definition, name string) (Definition, error) {
	matched := matching(defs, func(d Definition) bool {
		return strings.EqualFold(d.ID(), name) || slices.ContainsFunc(d.AllAliases, func(a string) bool {
			return strings.EqualFold(a, name)
		})
	})
	if len(matched) == 0 {
		matched = matching(defs, func(d Definition) bool { return strings.EqualFold(d.DisplayType, name) })
	}
	switch len(matched) {
	case 0:
		return Definition{}, &UnknownTypeError{Name: name, Nearest: nearest(defs, name)}
	case 1:
		return matched[0], nil
	}
	var types []string
	for _, d := range matched {
		types = append(types, printable(d.ID()))
	}
	slices.Sort(types)
	return Definition{}, &AmbiguousTypeError{Name: name, Types: types}
}

func matching(defs []Definition, match func(Definition) bool) []Definition {
	var found []Definition
	for _, d := range defs {
		if match(d) {
			found = append(found, d)
		}
	}
	return found
}

const (
	// maxSuggestions is how many names are worth reading.
	maxSuggestions = 3
	// maxSuggested is the length, in bytes, above which names are not compared.
	maxSuggested = 80
)

// nearest finds names that differ little from a misspelt one: by at most a
// third of its letters, or because they begin with it.
func nearest(defs []Definition, name string) []string {
	type candidate struct {
		name     string
		distance int
	}
	name = strings.ToLower(name)
	var found []candidate
	for _, d := range defs {
		best := candidate{distance: len(name)/3 + 1}
		for _, alias := range d.AllAliases {
			alias = strings.ToLower(printable(alias))
			if distance := differ(name, alias); distance < best.distance {
				best = candidate{alias, distance}
			}
		}
		if best.name != "" {
			found = append(found, best)
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range found[:min(len(found), maxSuggestions)] {
		names = append(names, c.name)
	}
	return names
}

// differ is the number of letters to insert, remove or exchange; a name
// that is only cut short differs by one.
func differ(a, b string) int {
	if max(len(a), len(b)) > maxSuggested {
		return maxSuggested
	}
	if len(a) > 2 && strings.HasPrefix(b, a) {
		return 1
	}
	return levenshtein.Distance(a, b)
}
