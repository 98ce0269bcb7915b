package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize of a profile in bytes: an embedded machine configuration with large
// manifests in it fits.
const MaxSize = 4 << 20

// maxProblems bounds what is told of one document.
const maxProblems = 50

// Parse reads a profile. It is strict: a key that there is not is an error.
// Errors are *Error, with all that is wrong with the document's form; whether
// its values make sense is for Resolve.
func Parse(data []byte) (Profile, error) {
	var p Profile
	if len(data) > MaxSize {
		return p, &Error{problems{{Message: fmt.Sprintf("it has %d bytes, more than the %d that are allowed", len(data), MaxSize)}}}
	}
	root, err := document(data)
	if err != nil {
		return p, &Error{yamlProblems(err)}
	}
	k := keyChecker{seen: map[visit]bool{}}
	k.check(root, reflect.TypeFor[Profile](), "")
	if err := root.Decode(&p); err != nil {
		k.found = append(k.found, yamlProblems(err)...)
	}
	slices.SortStableFunc(k.found, func(a, b Problem) int { return a.Line - b.Line })
	return p, k.found[:min(len(k.found), maxProblems)].err()
}

// document gives the only document in data.
func document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root, more yaml.Node
	err := dec.Decode(&root)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: a profile is one YAML document, and here begins another", max(more.Line, 1))
	}
	if root.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("line 1: it is no mapping of keys to values")
	}
	return root.Content[0], nil
}

var yamlLine = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// yamlProblems takes the errors of the YAML library apart.
func yamlProblems(err error) problems {
	texts := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		texts = te.Errors
	}
	var ps problems
	for _, text := range texts {
		m := yamlLine.FindStringSubmatch(text)
		line, _ := strconv.Atoi(m[1])
		if line > 0 && strings.HasPrefix(m[2], "did not find expected") {
			line++ // the library's parser counts from 0, its scanner from 1
		}
		ps = append(ps, Problem{Line: line, Message: strings.TrimPrefix(m[2], "yaml: ")})
	}
	return ps
}

// keyChecker compares the keys of a document with the fields of a type.
type keyChecker struct {
	found problems
	seen  map[visit]bool // aliases make one node many, so each is looked at once
}

type visit struct {
	node *yaml.Node
	as   reflect.Type
}

func (k *keyChecker) check(n *yaml.Node, t reflect.Type, prefix string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if k.seen[visit{n, t}] || len(k.found) >= maxProblems {
		return
	}
	k.seen[visit{n, t}] = true
	switch {
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		k.mapping(n, t, prefix)
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, item := range n.Content {
			k.check(item, t.Elem(), fmt.Sprintf("%s[%d]", strings.TrimSuffix(prefix, "."), i)+".")
		}
	}
}

func (k *keyChecker) mapping(n *yaml.Node, t reflect.Type, prefix string) {
	known := fields(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" { // its keys belong to this mapping
			k.merged(value, t, prefix)
			continue
		}
		field, ok := known[key.Value]
		if ok {
			k.check(value, field, prefix+key.Value+".")
			continue
		}
		names := make([]string, 0, len(known))
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		k.found = append(k.found, Problem{Key: prefix + shorten(key.Value), Line: key.Line, Message: "there is no such key" + suggest(key.Value, names)})
	}
}

// merged checks what "<<" brings in: a mapping or a list of them.
func (k *keyChecker) merged(n *yaml.Node, t reflect.Type, prefix string) {
	if n.Kind != yaml.SequenceNode {
		k.check(n, t, prefix)
		return
	}
	for _, item := range n.Content {
		k.check(item, t, prefix)
	}
}

// fields are the keys that a struct has in YAML.
func fields(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			name = strings.ToLower(f.Name) // as the library does
		}
		known[name] = f.Type
	}
	return known
}

func shorten(s string) string {
	if len(s) > maxWord {
		return s[:maxWord] + "…"
	}
	return s
}
