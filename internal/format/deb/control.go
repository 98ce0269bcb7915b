package deb

import (
	"fmt"
	"strings"
)

// Control names a package: the fields of its control file that identify it.
type Control struct {
	Package      string
	Version      string // [epoch:]upstream[-revision]
	Architecture string // of Debian: amd64, arm64, all
}

// parseControl reads "Field: value" lines; lines that begin with a space
// continue a field, and none of those wanted here has them.
func parseControl(text string) (Control, error) {
	var c Control
	fields := map[string]*string{"package": &c.Package, "version": &c.Version, "architecture": &c.Architecture}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		if field := fields[strings.ToLower(name)]; ok && field != nil {
			*field = strings.TrimSpace(value)
		}
	}
	if c.Package == "" || c.Version == "" || c.Architecture == "" {
		return c, fmt.Errorf("the control file lacks Package, Version or Architecture (has %q, %q, %q)",
			c.Package, c.Version, c.Architecture)
	}
	return c, nil
}
