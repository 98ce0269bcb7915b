package recipe

import (
	"strings"

	"github.com/graftlinux/graft/internal/levenshtein"
)

// Near are names of packages that somebody may have meant who wrote a name
// that there is not, the most likely first; three at most.
func (s *Set) Near(name string) []string {
	names := make([]string, 0, len(s.Packages))
	for _, p := range s.Packages {
		names = append(names, p.Name)
	}
	return nearest(name, names)
}

// nearest are the candidates that differ least from a word, if they differ
// little.
func nearest(word string, candidates []string) []string {
	const most = 3
	var found [most][]string
	limit := 2
	if len(word) < 4 {
		limit = 1
	}
	for _, c := range candidates {
		if n := distance(word, c, limit); n <= limit {
			found[n] = append(found[n], c)
		} else if len(word) > 3 && strings.HasPrefix(c, word) {
			found[most-1] = append(found[most-1], c)
		}
	}
	var all []string
	for _, names := range found {
		all = append(all, names...)
	}
	return all[:min(len(all), most)]
}

// hint makes a question of near names, or nothing.
func hint(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// distance is the number of bytes to insert, delete or replace to get from one
// word to the other, or more than limit if it is more than that.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return limit + 1
	}
	return levenshtein.Distance(a, b)
}
