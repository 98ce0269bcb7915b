package recipe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// Edit is a checksum that a source shall have.
type Edit struct {
	Use   Use
	Field string // of pkg.yaml: "sha256", "sha512" or "sum"
	New   string
}

// File is a file of the tree with its new text.
type File struct {
	Name string // relative to the root, with slashes
	Text []byte
}

// Checksum is the value of one of the fields that hold checksums.
func (s Source) Checksum(field string) string {
	switch field {
	case "sha256":
		return s.SHA256
	case "sha512":
		return s.SHA512
	case "sum":
		return s.Sum
	}
	return ""
}

// Rewrite gives the files whose text changes, by name. An old checksum is
// replaced wherever it stands in a Pkgfile, vars.yaml or pkg.yaml. An empty
// one, or one that only holds the place, is looked for where the source has it
// from. All else in the files stays as it is.
//
// The error names every checksum for which there is no place; the files have
// the others.
func (u *Update) Rewrite(ctx context.Context, edits []Edit) ([]File, error) {
	r := rewriter{update: u, replace: map[string]string{}, lines: map[spot]string{}}
	for _, e := range edits {
		if err := r.edit(ctx, e); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			r.errs = append(r.errs, fmt.Errorf("writing %s %s of %s: %w", e.Field, e.New, e.Use, err))
		}
	}
	return r.files(), errors.Join(r.errs...)
}

type rewriter struct {
	update  *Update
	replace map[string]string // old checksums by new ones
	lines   map[spot]string   // new values by place
	errs    []error
}

// spot is the value in a line of a file.
type spot struct {
	file string
	line int // from 0
}

func (r *rewriter) edit(ctx context.Context, e Edit) error {
	old := e.Use.Source.Checksum(e.Field)
	if old == e.New {
		return nil
	}
	if !isChecksum(e.Field, old) {
		return r.fill(ctx, e, old)
	}
	if other, ok := r.replace[old]; ok && other != e.New {
		return fmt.Errorf("another source has the same old checksum, and now has %s: they need variables of their own", other)
	}
	if !r.contains(old) {
		return fmt.Errorf("the old one, %s, stands as a whole in no %s, %s or %s", old, PkgfileName, VarsName, PackageName)
	}
	r.replace[old] = e.New
	return nil
}

// isChecksum tells a checksum from what only holds its place.
func isChecksum(field, s string) bool {
	if strings.Count(s, s[:min(1, len(s))]) == len(s) {
		return false // zeros, most likely
	}
	if field == "sum" {
		return checkSum(s) == nil && strings.Trim(s, "h1:A=") != ""
	}
	digits := map[string]int{"sha256": 64, "sha512": 128}[field]
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == digits
}

// names of the files that may be changed, sorted.
func (r *rewriter) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.update.files.texts)), func(name string) bool { return kindOf(name) == TemplateExt })
}

func (r *rewriter) contains(old string) bool {
	return slices.ContainsFunc(r.names(), func(name string) bool { return bytes.Contains(r.update.files.texts[name], []byte(old)) })
}

// fill finds the line that an empty checksum comes from.
func (r *rewriter) fill(ctx context.Context, e Edit, old string) error {
	var found bool
	for i, name := range PlatformNames() {
		if !slices.Contains(e.Use.Platforms, name) {
			continue
		}
		s, err := r.locate(ctx, e, old, i)
		if err != nil {
			return err
		}
		if other, ok := r.lines[s]; ok && other != e.New {
			return fmt.Errorf("line %d of %s would also have to be %s: the sources need variables of their own", s.line+1, s.file, other)
		}
		r.lines[s] = e.New
		found = true
	}
	if !found {
		return errors.New("it is for no platform")
	}
	return nil
}

// marker is a value that no file has.
const marker = "graft-looks-for-the-place-of-this"

// locate puts the marker into one line after the other that could be meant,
// until the source has it.
func (r *rewriter) locate(ctx context.Context, e Edit, old string, platform int) (spot, error) {
	p := r.update.sets[platform].Package(e.Use.Package)
	if p == nil {
		return spot{}, errors.New("there is no such package")
	}
	near := r.update.files.above(p.FileName)
	for _, name := range slices.Backward(near.names) {
		lines := bytes.Split(near.texts[name], []byte("\n"))
		for i := range lines {
			if !holds(lines[i], name, e.Field, old) {
				continue
			}
			changed := slices.Clone(lines)
			changed[i] = setValue(lines[i], marker)
			l, err := r.update.load(ctx, near.with(name, bytes.Join(changed, []byte("\n"))), PlatformNames()[platform], nil)
			if err != nil {
				return spot{}, err
			}
			if src, ok := sourceAt(l.set.Package(p.Name), e.Use.Step, e.Use.Index); ok && src.Checksum(e.Field) == marker {
				return spot{name, i}, nil
			}
		}
	}
	return spot{}, fmt.Errorf("%s has no line of its own for it, and no variable that it prints has", p.FileName)
}

// branch are the files that a pkg.yaml depends on.
type branch struct {
	names []string // from the root down
	texts map[string][]byte
}

func (f *files) above(pkg string) branch {
	b := branch{texts: map[string][]byte{}}
	add := func(name string) {
		if text, ok := f.texts[name]; ok {
			b.names = append(b.names, name)
			b.texts[name] = text
		}
	}
	add(pkg)
	for dir := path.Dir(pkg); ; dir = path.Dir(dir) {
		add(path.Join(dir, VarsName))
		if dir == "." {
			break
		}
	}
	add(PkgfileName)
	slices.Reverse(b.names)
	return b
}

// with is the branch as a tree, with another text for one file.
func (b branch) with(changed string, text []byte) *files {
	f := &files{}
	for _, name := range b.names {
		if name == changed {
			f.put(name, text)
		} else {
			f.put(name, b.texts[name])
		}
	}
	return f
}

// valueForm is a line with a key and a value: what is before the value, the
// key, the value, and what is behind it.
var valueForm = lazyregexp.New(`^([ \t]*(?:-[ \t]+)*["']?(\w[\w./-]*)["']?[ \t]*:)([ \t]+"[^"\\\r]*"|[ \t]+'[^'\r]*'|[ \t]+[^\s"'#&*!|>{}\[\]][^#\r]*?)?((?:[ \t]+#[^\r]*)?[ \t]*\r?)$`)

// matchValue takes a line apart as valueForm does; nil if it has no such form, a
// key with a quote on one side only, or is no UTF-8.
func matchValue(line []byte) [][]byte {
	at := valueForm.FindSubmatchIndex(line)
	if at == nil || !utf8.Valid(line) || quoteAt(line, at[4]-1) != quoteAt(line, at[5]) {
		return nil
	}
	return valueForm.FindSubmatch(line)
}

// quoteAt is the quote at a place, 0 if there is none.
func quoteAt(line []byte, i int) byte {
	if i >= 0 && i < len(line) && (line[i] == '"' || line[i] == '\'') {
		return line[i]
	}
	return 0
}

// holds says whether a line could be where a value comes from: one of a
// variable, or in a pkg.yaml the field itself.
func holds(line []byte, file, field, value string) bool {
	m := matchValue(line)
	if m == nil || kindOf(file) == PackageName && string(m[2]) != field {
		return false
	}
	return strings.Trim(strings.TrimSpace(string(m[3])), `"'`) == value
}

// setValue replaces the value in a line and keeps its quotes.
func setValue(line []byte, value string) []byte {
	m := matchValue(line)
	old := bytes.TrimLeft(m[3], " \t")
	space := m[3][:len(m[3])-len(old)]
	if len(space) == 0 {
		space = []byte(" ")
	}
	quote := ""
	if len(old) > 0 && (old[0] == '"' || old[0] == '\'') {
		quote = string(old[:1])
	}
	return slices.Concat(m[1], space, []byte(quote+value+quote), m[4])
}

// files applies all that was found.
func (r *rewriter) files() []File {
	var pairs []string
	for _, old := range slices.Sorted(maps.Keys(r.replace)) {
		pairs = append(pairs, old, r.replace[old])
	}
	replacer := strings.NewReplacer(pairs...)
	var changed []File
	for _, name := range r.names() {
		before := r.update.files.texts[name]
		after := []byte(replacer.Replace(string(r.fillLines(name, before))))
		if !bytes.Equal(before, after) {
			changed = append(changed, File{Name: name, Text: after})
		}
	}
	slices.SortFunc(changed, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return changed
}

func (r *rewriter) fillLines(name string, text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for s, value := range r.lines {
		if s.file == name {
			lines[s.line] = setValue(lines[s.line], value)
		}
	}
	return bytes.Join(lines, []byte("\n"))
}
