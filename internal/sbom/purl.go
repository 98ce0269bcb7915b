package sbom

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// PURL is a package URL: what kind of package, which, and which version
// (https://github.com/package-url/purl-spec).
type PURL struct {
	Type       string // in lower case: "golang", "deb"
	Namespace  string // "debian"; of a Go module all but the last element of its path
	Name       string
	Version    string
	Qualifiers map[string]string // keys in lower case
	Subpath    string
}

var errPURL = errors.New("it is not of the form pkg:TYPE/NAME@VERSION")

// ParsePURL reads a package URL.
func ParsePURL(s string) (p PURL, err error) {
	rest, ok := strings.CutPrefix(s, "pkg:")
	if !ok {
		return p, fmt.Errorf("reading the package URL %.200q: %w", s, errPURL)
	}
	rest, p.Subpath, _ = strings.Cut(strings.TrimLeft(rest, "/"), "#")
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i > strings.LastIndexByte(rest, '/') {
		rest, p.Version = rest[:i], rest[i+1:]
	}
	kind, rest, ok := strings.Cut(strings.Trim(rest, "/"), "/")
	p.Type = strings.ToLower(kind)
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		p.Namespace, rest = rest[:i], rest[i+1:]
	}
	p.Name = rest
	if !ok || p.Type == "" || p.Name == "" {
		return p, fmt.Errorf("reading the package URL %.200q: %w", s, errPURL)
	}
	if err := errors.Join(unescape(&p.Namespace), unescape(&p.Name), unescape(&p.Version), unescape(&p.Subpath), p.qualify(query)); err != nil {
		return p, fmt.Errorf("reading the package URL %.200q: %w", s, err)
	}
	return p, nil
}

func unescape(s *string) (err error) {
	*s, err = url.PathUnescape(*s)
	return err
}

func (p *PURL) qualify(query string) error {
	for _, pair := range strings.Split(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if err := unescape(&value); err != nil {
			return err
		}
		if value == "" {
			continue
		}
		if p.Qualifiers == nil {
			p.Qualifiers = map[string]string{}
		}
		p.Qualifiers[strings.ToLower(key)] = value
	}
	return nil
}

// Path is the namespace and the name, as a Go module's path has them.
func (p PURL) Path() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}
