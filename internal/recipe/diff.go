package recipe

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// maxDiff bounds the output of git diff that is read.
const maxDiff = 256 << 20

// diffParser goes through the lines of a unified diff.
type diffParser struct {
	header   string // "diff --git …" of the file
	file     string // "" if it defines no variables
	old, new int    // lines of the hunk that are still to come
	files    int
	found    []Variable
}

var (
	hunkForm     = lazyregexp.New(`^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@`)
	variableForm = lazyregexp.New(`^\+\s*["']?([^\s"'#:{}\[\]-][^\s"'#:{}\[\]]*)["']?\s*:(?:\s|$)`)
)

// parseDiff gives the variables in the lines that a diff adds, with the names of
// files as in the diff, without the "b/" before them.
func parseDiff(r io.Reader) ([]Variable, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDiff+1))
	if err != nil {
		return nil, fmt.Errorf("reading the diff: %w", err)
	}
	if len(text) > maxDiff {
		return nil, fmt.Errorf("reading the diff: it has more than the %d bytes that are allowed", maxDiff)
	}
	var p diffParser
	number := 0
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		number++
		if err := p.line(strings.TrimSuffix(string(line), "\r")); err != nil {
			return nil, fmt.Errorf("reading line %d of the diff: %w", number, err)
		}
	}
	if p.files == 0 && len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("reading the diff: this is no output of git diff: it names no file")
	}
	return p.found, nil
}

func (p *diffParser) line(s string) error {
	if p.old > 0 || p.new > 0 {
		return p.hunkLine(s)
	}
	switch {
	case strings.HasPrefix(s, "diff --git "):
		p.header, p.file = s, ""
		p.files++
	case strings.HasPrefix(s, "diff --cc "), strings.HasPrefix(s, "diff --combined "):
		return fmt.Errorf("this is the diff of a merge: give one between two states")
	case strings.HasPrefix(s, "+++ "):
		p.files++
		return p.name(strings.TrimPrefix(s, "+++ "))
	case strings.HasPrefix(s, "@@ "):
		return p.hunk(s)
	}
	return nil
}

// hunk reads how many lines a hunk has.
func (p *diffParser) hunk(s string) error {
	m := hunkForm.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%q is no head of a hunk", shorten(s))
	}
	for i, n := range []*int{&p.old, &p.new} {
		*n = 1
		if m[i+1] != "" {
			count, err := strconv.Atoi(m[i+1])
			if err != nil {
				return fmt.Errorf("%q is no head of a hunk: %w", shorten(s), err)
			}
			*n = count
		}
	}
	return nil
}

func (p *diffParser) hunkLine(s string) error {
	switch {
	case strings.HasPrefix(s, "+"):
		p.new--
		if m := variableForm.FindStringSubmatch(s); m != nil && p.file != "" {
			p.found = append(p.found, Variable{File: p.file, Name: m[1]})
		}
	case strings.HasPrefix(s, "-"):
		p.old--
	case strings.HasPrefix(s, `\`): // no newline at the end of the file
	case s == "", strings.HasPrefix(s, " "):
		p.old--
		p.new--
	default:
		return fmt.Errorf("%q is no line of a hunk", shorten(s))
	}
	return nil
}

// name takes the name of a file, as git writes it.
func (p *diffParser) name(s string) error {
	s = strings.TrimSuffix(s, "\t") // after a name with spaces
	header := p.header
	if strings.HasPrefix(s, `"`) {
		unquoted, err := strconv.Unquote(s)
		if err != nil {
			return fmt.Errorf("the name %s: %w", shorten(s), err)
		}
		header = strings.TrimSuffix(header, " "+s) + " " + unquoted
		header = strings.Replace(header, `diff --git "`, "diff --git ", 1)
		s = unquoted
	}
	if prefixed(header, s) {
		s = s[2:]
	}
	p.file = ""
	if base := path.Base(s); s != "/dev/null" && (base == PkgfileName || base == VarsName) {
		p.file = path.Clean(s)
	}
	return nil
}

// prefixed says whether a name has one of the prefixes a/ and b/, i/ and w/ …
// that git puts before names: those of the two names differ.
func prefixed(header, name string) bool {
	old, ok := strings.CutPrefix(header, "diff --git ")
	if !ok { // diff -u
		return strings.HasPrefix(name, "b/")
	}
	return len(name) > 2 && name[1] == '/' && strings.HasSuffix(old, " "+name) && len(old) > 2 && old[1] == '/' && old[0] != name[0]
}
