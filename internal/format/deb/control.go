package deb

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Control names a package: the fields of its control file that identify it.
type Control struct {
	Package      string
	Version      string // [epoch:]upstream[-revision]
	Architecture string // of Debian: amd64, arm64, all
	// Source and SourceVersion are the source package that it was built from: its
	// own name and version, unless the field Source says others.
	Source, SourceVersion string
}

// ReadControl reads a package as far as its control file.
func ReadControl(r io.Reader) (Control, error) {
	_, c, err := open(r)
	if err != nil {
		return c, fmt.Errorf("reading Debian package: %w", err)
	}
	return c, nil
}

// parseControl reads "Field: value" lines; lines that begin with a space
// continue a field, and none of those wanted here has them.
func parseControl(text string) (Control, error) {
	var c Control
	var source string
	fields := map[string]*string{"package": &c.Package, "version": &c.Version, "architecture": &c.Architecture, "source": &source}
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
	c.Source, c.SourceVersion = c.Package, c.Version
	if source != "" {
		if err := c.setSource(source); err != nil {
			return c, fmt.Errorf("the field Source of the control file is %.200q: %w", source, err)
		}
	}
	return c, nil
}

var errSource = errors.New("wanted is a name, and a version in parentheses if it differs")

// setSource reads "name" or "name (version)" (deb-control(5)).
func (c *Control) setSource(field string) error {
	name, version, hasVersion := strings.Cut(field, "(")
	c.Source = strings.TrimRightFunc(name, unicode.IsSpace)
	if hasVersion {
		inside, ok := strings.CutSuffix(version, ")")
		if c.SourceVersion = strings.TrimSpace(inside); !ok || !isWord(c.SourceVersion) {
			return errSource
		}
	}
	if !isWord(c.Source) {
		return errSource
	}
	return nil
}

// isWord says whether a value could be a name or a version: printable, and
// without spaces and parentheses.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '(' || r == ')' })
}
