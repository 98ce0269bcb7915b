package recipe

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

const (
	// maxValues bounds what is taken out of one file, which aliases make larger
	// than the file is.
	maxValues = 200_000
	// maxMerges bounds how deep "<<" may go.
	maxMerges = 32
)

// document is a YAML file that is being read. Texts keep the spelling that
// they have in the file: 1.10 is "1.10", and a date is its text.
type document struct {
	file   string
	text   []byte
	budget int
	report *findings
}

// fail notes what is wrong in a line.
func (d *document) fail(line int, format string, args ...any) {
	d.report.add(d.problem(line, format, args))
}

// warn notes what looks wrong in a line.
func (d *document) warn(line int, format string, args ...any) {
	d.report.warn(d.problem(line, format, args))
}

func (d *document) problem(line int, format string, args []any) Problem {
	return Problem{File: d.file, Line: line, Message: fmt.Sprintf(format, args...), Excerpt: excerpt(d.text, line)}
}

var yamlErrorForm = lazyregexp.New(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// parse gives the first document's content: nil if there is none, which the
// second result tells from an error.
func (d *document) parse() (root *yaml.Node, empty bool) {
	dec := yaml.NewDecoder(bytes.NewReader(d.text))
	var n yaml.Node
	err := dec.Decode(&n)
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	if err != nil {
		d.syntax(err)
		return nil, false
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.warn(max(more.Line, 0), "only the first YAML document is read, and there are more")
	}
	return n.Content[0], false
}

func (d *document) syntax(err error) {
	line, message := 0, err.Error()
	if m := yamlErrorForm.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	if line > 0 && strings.HasPrefix(message, "did not find expected") {
		line++ // yaml counts from 0 where its parser complains, from 1 where its scanner does
	}
	d.fail(line, "parsing YAML: %s", message)
}

// spend counts values. Past the budget nothing more is read.
func (d *document) spend(n *yaml.Node) bool {
	d.budget--
	if d.budget == 0 {
		d.fail(n.Line, "more than %d values, with those that aliases stand for", maxValues)
	}
	return d.budget > 0
}

// target is what a node or its alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for range maxMerges {
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kindName is what people call a node.
func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	return fmt.Sprintf("%q", shorten(n.Value))
}

func shorten(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// read takes a value of a file; what it is called, as "steps[0].env", is for
// messages.
type read func(n *yaml.Node, what string)

// pair is an entry of a map.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs are the entries of a map, with those that "<<" brings, which do not
// replace others.
func (d *document) pairs(n *yaml.Node, what string) []pair {
	var all []pair
	var merged []*yaml.Node
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content) && d.spend(n); i += 2 {
		key, value := target(n.Content[i]), n.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		name, ok := d.name(key, what)
		if !ok {
			continue
		}
		if line, twice := first[name]; twice {
			d.fail(n.Content[i].Line, "the key %q is there twice, first in line %d", join(what, name), line)
			continue
		}
		first[name] = n.Content[i].Line
		all = append(all, pair{name, n.Content[i], value})
	}
	for _, m := range merged {
		all = d.merge(all, m, what, 0)
	}
	return all
}

// name reads the key of an entry. One that is null does not count, as with bldr.
func (d *document) name(key *yaml.Node, what string) (string, bool) {
	if isNull(key) {
		d.warn(key.Line, "a key %s is empty: the entry is left out", within(what))
		return "", false
	}
	return d.scalar(key, "a key "+within(what))
}

// merge adds the entries of a map, or of each map in a list, that are not yet
// there.
func (d *document) merge(all []pair, n *yaml.Node, what string, depth int) []pair {
	n = target(n)
	if depth > maxMerges || !d.spend(n) {
		return all
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			all = d.merge(all, item, what, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content) && d.spend(n); i += 2 {
			key, value := target(n.Content[i]), n.Content[i+1]
			if key.Tag == "!!merge" {
				all = d.merge(all, value, what, depth+1)
			} else if name, ok := d.name(key, what); ok && !hasPair(all, name) {
				all = append(all, pair{name, n.Content[i], value})
			}
		}
	default:
		d.fail(n.Line, "<< %s takes a map or a list of maps, not %s", within(what), kindName(n))
	}
	return all
}

func hasPair(all []pair, name string) bool {
	return slices.ContainsFunc(all, func(p pair) bool { return p.name == name })
}

func within(what string) string {
	if what == "" {
		return "at the top"
	}
	return "in " + what
}

func join(what, name string) string { return strings.TrimPrefix(what+"."+name, ".") }

// keys are those of a map, and where they are.
type keys struct {
	line int // of the map
	of   map[string]pair
}

// at is the line of a key, or of the map if it has no such key.
func (k keys) at(name string) int {
	if p, ok := k.of[name]; ok {
		return p.key.Line
	}
	return k.line
}

// has is true for a key whose value is not null.
func (k keys) has(name string) bool {
	p, ok := k.of[name]
	return ok && !isNull(target(p.value))
}

// object reads a map with the keys that are given; others are warned of. Null
// counts as a map without entries.
func (d *document) object(n *yaml.Node, what string, fields map[string]read) keys {
	at := keys{line: n.Line, of: map[string]pair{}}
	n = target(n)
	if isNull(n) || !d.spend(n) {
		return at
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, "%s must be a map, not %s", orTop(what), kindName(n))
		return at
	}
	for _, p := range d.pairs(n, what) {
		field, known := fields[p.name]
		if !known {
			d.warn(p.key.Line, "the key %q is not known and has no effect%s", join(what, p.name), hint(nearest(p.name, slices.Sorted(maps.Keys(fields)))))
			continue
		}
		at.of[p.name] = p
		field(p.value, join(what, p.name))
	}
	return at
}

func orTop(what string) string {
	if what == "" {
		return "the file"
	}
	return what
}

// items calls one with every item of a list; false means null or no list. Items
// that are null do not count, as with bldr.
func (d *document) items(n *yaml.Node, what string, one read) bool {
	n = target(n)
	if isNull(n) || !d.spend(n) {
		return false
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, "%s must be a list, not %s", what, kindName(n))
		return false
	}
	for i, item := range n.Content {
		where := fmt.Sprintf("%s[%d]", what, i)
		if isNull(target(item)) {
			d.warn(item.Line, "%s is empty and is left out", where)
			continue
		}
		one(item, where)
	}
	return true
}

// list reads a list of anything. An empty list is not nil, an absent one is.
func list[T any](d *document, into *[]T, one func(n *yaml.Node, what string) T) read {
	return func(n *yaml.Node, what string) {
		all := []T{}
		if d.items(n, what, func(n *yaml.Node, what string) { all = append(all, one(n, what)) }) {
			*into = all
		}
	}
}

// texts reads a list of strings.
func (d *document) texts(into *[]string) read {
	return list(d, into, func(n *yaml.Node, what string) string {
		s, _ := d.scalar(n, what)
		return s
	})
}

// string reads a text.
func (d *document) string(into *string) read {
	return func(n *yaml.Node, what string) { *into, _ = d.scalar(n, what) }
}

// dict reads a map of texts.
func (d *document) dict(into *map[string]string) read {
	return func(n *yaml.Node, what string) {
		n = target(n)
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			d.fail(n.Line, "%s must be a map, not %s", orTop(what), kindName(n))
			return
		}
		all := map[string]string{}
		for _, p := range d.pairs(n, what) {
			if value, ok := d.scalar(p.value, join(what, p.name)); ok {
				all[p.name] = value
			}
		}
		*into = all
	}
}

// bool reads true or false, in the words of YAML 1.1 too.
func (d *document) bool(into *bool) read {
	return func(n *yaml.Node, what string) {
		n = target(n)
		if !isNull(n) && d.spend(n) && n.Decode(into) != nil {
			d.fail(n.Line, "%s must be true or false, not %s", what, kindName(n))
		}
	}
}

// scalar reads a text with the spelling it has in the file; null is "".
func (d *document) scalar(n *yaml.Node, what string) (string, bool) {
	n = target(n)
	switch {
	case !d.spend(n):
		return "", false
	case isNull(n):
		return "", true
	case n.Kind != yaml.ScalarNode:
		d.fail(n.Line, "%s must be text, not %s", what, kindName(n))
		return "", false
	case n.Tag == "!!binary":
		return d.binary(n, what)
	}
	return n.Value, true
}

func (d *document) binary(n *yaml.Node, what string) (string, bool) {
	data, err := base64.StdEncoding.DecodeString(n.Value)
	if err != nil {
		d.fail(n.Line, "%s is no base64: %v", what, err)
		return "", false
	}
	return string(data), true
}
