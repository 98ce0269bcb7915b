package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/levenshtein"
)

// renamed are extensions whose image got another name, old and new: the factory
// of Talos takes both.
var renamed = [][2]string{
	{"gasket", "gasket-driver"},
	{"talos-vmtoolsd", "vmtoolsd-guest-agent"},
	{"usb-modem", "usb-modem-drivers"},
	{"v4l-uvc", "v4l-uvc-drivers"},
}

// otherName is what an extension was called before, or is called now; "" if it
// kept its name.
func otherName(name string) string {
	for _, r := range renamed {
		switch name {
		case r[0]:
			return r[1]
		case r[1]:
			return r[0]
		}
	}
	return ""
}

// IsName says whether a word names an extension for a catalog to resolve: it
// has neither tag nor digest, and could be the name of an image or the end of one,
// as "gvisor", "siderolabs/gvisor" and "ghcr.io/siderolabs/gvisor". A file may have such
// a name, too: the caller looks.
func IsName(s string) bool {
	host, rest, ok := strings.Cut(s, "/")
	if !ok {
		return extension.ValidName(s)
	}
	if strings.ContainsAny(host, ".:") || host == "localhost" {
		return checkRepository(s) == nil && !strings.ContainsAny(rest, ":@")
	}
	return checkRepository("x/"+s) == nil
}

// UnknownError says that a catalog has no such extension.
type UnknownError struct {
	Name    string
	Catalog string
	Near    []string // names that were perhaps meant, the most likely first
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no extension %q in the catalog %s", e.Name, e.Catalog)
}

// AmbiguousError says that a name could be several images.
type AmbiguousError struct {
	Name   string
	Images []Image
}

// Error implements error.
func (e *AmbiguousError) Error() string {
	var lines []string
	for _, i := range e.Images {
		lines = append(lines, i.String())
	}
	return fmt.Sprintf("%q could be %s", e.Name, strings.Join(lines, " or "))
}

// Resolve finds the one image that a name (see [IsName]) means. renamedTo is
// the name that it has in this catalog, if that is another one, else "". Errors
// are *UnknownError and *AmbiguousError.
func (c *Catalog) Resolve(name string) (e Entry, renamedTo string, err error) {
	found := c.Named(name)
	if len(found) == 0 {
		dir, base := splitName(name)
		if other := otherName(base); other != "" {
			if found = c.Named(dir + other); len(found) > 0 {
				renamedTo = found[0].Name()
			}
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, "", &UnknownError{Name: name, Catalog: c.Ref, Near: c.Near(name)}
	case 1:
		return found[0], renamedTo, nil
	}
	ambiguous := &AmbiguousError{Name: name}
	for _, e := range found {
		ambiguous.Images = append(ambiguous.Images, e.Image)
	}
	return Entry{}, "", ambiguous
}

func splitName(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/') + 1
	return name[:i], name[i:]
}

// Named are the entries whose repository is the name, or ends with it.
func (c *Catalog) Named(name string) []Entry {
	var found []Entry
	for _, e := range c.Entries {
		if endsWith(e.Image.Repository, name) || endsWith(e.Origin, name) {
			found = append(found, e)
		}
	}
	return found
}

// endsWith says whether the last elements of a repository are those of a name.
func endsWith(repository, name string) bool {
	return repository == name || strings.HasSuffix(repository, "/"+name)
}

// Near are names that differ little from one that there is not, or begin with it;
// the case of letters does not count.
func (c *Catalog) Near(name string) []string {
	const most = 3
	_, word := splitName(strings.ToLower(name))
	if len(word) > maxImage {
		return nil
	}
	limit := max(1, min(len(word)/3, 4))
	byDistance := make([][]string, limit+2)
	for _, e := range c.Sorted() {
		candidate := e.Name()
		switch d := levenshtein.Distance(word, candidate); {
		case d <= limit:
			byDistance[d] = append(byDistance[d], candidate)
		case len(word) > 3 && (strings.HasPrefix(candidate, word) || strings.HasPrefix(word, candidate)):
			byDistance[limit+1] = append(byDistance[limit+1], candidate)
		}
	}
	all := slices.Compact(slices.Concat(byDistance...))
	return all[:min(len(all), most)]
}
