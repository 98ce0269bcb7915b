package kmod

import (
	"slices"
	"strings"
)

// aliasTable finds the modules whose alias pattern a device's alias matches. A
// kernel has tens of thousands of patterns, nearly all of which begin with the
// name of a bus and a colon, so they are kept by what is before the colon.
type aliasTable struct {
	byBus map[string][]aliasPattern
	count int
}

type aliasPattern struct {
	pattern string
	module  string
	order   int
}

// add notes a pattern. Those with unmatched brackets are passed over, as depmod
// does for its binary index.
func (t *aliasTable) add(pattern, module string) {
	pattern, ok := normalizeAlias(pattern)
	if !ok {
		return
	}
	if t.byBus == nil {
		t.byBus = map[string][]aliasPattern{}
	}
	bus := busOf(pattern)
	if strings.ContainsAny(bus, `*?[\`) {
		bus = ""
	}
	t.byBus[bus] = append(t.byBus[bus], aliasPattern{pattern, module, t.count})
	t.count++
}

func busOf(alias string) string {
	bus, _, _ := strings.Cut(alias, ":")
	return bus
}

// match returns the modules for a normalized alias in the order of their
// patterns, each once.
func (t *aliasTable) match(alias string) []string {
	var found []aliasPattern
	for _, bus := range slices.Compact([]string{"", busOf(alias)}) {
		for _, p := range t.byBus[bus] {
			if fnmatch(p.pattern, alias) {
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, func(a, b aliasPattern) int { return a.order - b.order })
	var names []string
	for _, p := range found {
		if !slices.Contains(names, p.module) {
			names = append(names, p.module)
		}
	}
	return names
}

// fnmatch reports whether a shell pattern matches all of s, like fnmatch(3)
// without flags: "*" and "?" match any byte, "/" too. It takes time in
// proportion to the product of the lengths, whatever the number of stars.
func fnmatch(pattern, s string) bool {
	retryPattern, retry := "", -1 // behind the last star, and where in s
	rest := s
	for {
		switch {
		case strings.HasPrefix(pattern, "*"):
			pattern = pattern[1:]
			retryPattern, retry = pattern, len(s)-len(rest)
			continue
		case pattern == "" && rest == "":
			return true
		case rest != "":
			if p, ok := matchByte(pattern, rest[0]); ok {
				pattern, rest = p, rest[1:]
				continue
			}
		}
		if retry < 0 || retry >= len(s) {
			return false
		}
		retry++
		pattern, rest = retryPattern, s[retry:]
	}
}

// matchByte matches one byte with the first element of a pattern and returns
// the rest of the pattern.
func matchByte(pattern string, c byte) (rest string, ok bool) {
	if pattern == "" {
		return "", false
	}
	switch pattern[0] {
	case '?':
		return pattern[1:], true
	case '[':
		if rest, match, ok := matchRange(pattern[1:], c); ok {
			return rest, match
		}
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	return pattern[1:], pattern[0] == c
}

// matchRange matches a byte with what follows "[". It is not ok without a "]",
// where "[" stands for itself.
func matchRange(pattern string, c byte) (rest string, match, ok bool) {
	negated := pattern != "" && (pattern[0] == '!' || pattern[0] == '^')
	if negated {
		pattern = pattern[1:]
	}
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == ']' && i > 0 {
			return pattern[i+1:], match != negated, true
		}
		low, high := pattern[i], pattern[i]
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		match = match || low <= c && c <= high
	}
	return "", false, false
}
