package catalog

import (
	"fmt"
	"strings"
)

// Mirror says where images are that others know under another name: a catalog
// that was copied still names the registry that it is from.
type Mirror struct {
	From, To string // prefixes of repositories: a host, or a host and a path
}

// Mirrors are tried with the longest From first.
type Mirrors []Mirror

// ParseMirror reads FROM=TO, as "ghcr.io/siderolabs=localhost:5000/ext".
func ParseMirror(s string) (Mirror, error) {
	from, to, ok := strings.Cut(s, "=")
	m := Mirror{strings.TrimSuffix(from, "/"), strings.TrimSuffix(to, "/")}
	for _, side := range []string{m.From, m.To} {
		if !ok || side == "" || checkRepository(side+"/x") != nil {
			return Mirror{}, fmt.Errorf("%q is no mirror: wanted is FROM=TO, as in ghcr.io/siderolabs=localhost:5000/ext", s)
		}
	}
	return m, nil
}

// Map gives the name under which an image, with tag and digest or without, is to
// be found.
func (all Mirrors) Map(ref string) string {
	var best Mirror
	for _, m := range all {
		if len(m.From) > len(best.From) && below(ref, m.From) {
			best = m
		}
	}
	if best.From == "" {
		return ref
	}
	return best.To + ref[len(best.From):]
}

// below says whether a reference is prefix itself or in it.
func below(ref, prefix string) bool {
	rest, ok := strings.CutPrefix(ref, prefix)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], "/:@"))
}
