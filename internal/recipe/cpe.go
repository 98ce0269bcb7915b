package recipe

import (
	"fmt"
	"strings"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

var (
	// A component of a formatted string: letters, digits, "_-." and anything
	// else behind a backslash; "*" and "?" are wildcards at either end (NIST IR
	// 7695, 6.2.3).
	cpeComponent = lazyregexp.New(`^(?:\*|-|(?:\*|\?+)?(?:[A-Za-z0-9._-]|\\[!-~])+(?:\*|\?+)?)$`)
	cpePart      = lazyregexp.New(`^[aho*-]$`)
	// The older URI form (NIST IR 7695, 6.1).
	cpeURI = lazyregexp.New(`^cpe:/[aho]?(?::[A-Za-z0-9._~%-]*){0,6}$`)
)

const cpeComponents = 11 // after "cpe:2.3:"

// CheckCPE says what is wrong with the name of a product in the Common
// Platform Enumeration, a formatted string ("cpe:2.3:a:vendor:product:…") or
// a URI ("cpe:/a:vendor:product").
func CheckCPE(name string) error {
	fields, ok := strings.CutPrefix(name, "cpe:2.3:")
	if !ok {
		if cpeURI.MatchString(name) {
			return nil
		}
		return fmt.Errorf("%q is no CPE: it begins neither with cpe:2.3: nor is it a cpe:/ URI", shorten(name))
	}
	all := splitCPE(fields)
	if len(all) != cpeComponents {
		return fmt.Errorf("%q is no CPE: it has %d parts after cpe:2.3: instead of %d", shorten(name), len(all), cpeComponents)
	}
	if !cpePart.MatchString(all[0]) {
		return fmt.Errorf("%q is no CPE: its kind is %q; known are a, h and o", shorten(name), all[0])
	}
	for _, c := range all[1:] {
		if !cpeComponent.MatchString(c) {
			return fmt.Errorf("%q is no CPE: in its part %q there is a character that needs a \\ before it", shorten(name), c)
		}
	}
	return nil
}

// splitCPE splits at the colons that have no backslash before them.
func splitCPE(s string) []string {
	var all []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			all = append(all, s[start:i])
			start = i + 1
		}
	}
	return append(all, s[start:])
}
