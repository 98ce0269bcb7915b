package deb

import (
	"maps"
	"slices"
	"strings"
)

// releases are Debian's, with their numbers by codename
// (https://www.debian.org/releases/). That which is never released has none.
var releases = map[string]string{
	"wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11",
	"bookworm": "12", "trixie": "13", "forky": "14", "duke": "15", "sid": "",
}

// Release is the number of the release with a codename, as "12" of bookworm and
// of the suites beside it, such as bookworm-security; "" of sid. Other names are
// not known.
func Release(suite string) (number string, known bool) {
	number, known = releases[Codename(suite)]
	return number, known
}

// Codename is that of the release that a suite belongs to: bookworm of
// bookworm-security.
func Codename(suite string) string {
	codename, _, _ := strings.Cut(suite, "-")
	return codename
}

// Codenames are those that Release knows.
func Codenames() []string { return slices.Sorted(maps.Keys(releases)) }
