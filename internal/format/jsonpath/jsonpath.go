// Package jsonpath evaluates the JSONPath templates that resource definitions
// name for their table columns, such as "{.metadata.name}" or
// "{.conditions[?(@.type==\"Ready\")].status}", and prints the result as kubectl
// and talosctl do: several values are joined by a space, lists and maps are
// printed as JSON, what is missing prints as nothing.
//
// It implements what columns need: text, fields (.name, ['name']), elements
// ([2], [-1], [0:2], [0,2]), wildcards (.*, [*]) and filters that compare with == and
// != or ask whether a value is there. Ranges, recursive descent and ordering
// comparisons are refused by Parse. An index outside of a list is missing, not
// an error: one short list must not cost the whole table.
package jsonpath

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Path is a parsed template. It may be used by several goroutines.
type Path struct {
	parts []part
}

// part is either literal text or an expression.
type part struct {
	text  string
	steps []step // of an expression; never nil
}

// step takes the values that were found so far one level further down.
type step func(found []any) []any

// Text evaluates the template on a value made of map[string]any, []any and
// scalars, as YAML and JSON decoders give it.
func (p *Path) Text(value any) string {
	var b strings.Builder
	for _, part := range p.parts {
		if part.steps == nil {
			b.WriteString(part.text)
			continue
		}
		for i, v := range eval(part.steps, value) {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(text(v))
		}
	}
	return b.String()
}

// maxFound bounds the values that a step may pass on: no cell of a table has
// more, and a hostile "[0,0,0][0,0,0]..." on nested lists would multiply them.
const maxFound = 1000

func eval(steps []step, value any) []any {
	found := []any{value}
	for _, s := range steps {
		found = s(found)
		found = found[:min(len(found), maxFound)]
	}
	return found
}

// text prints one value.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case map[string]any, []any:
		return asJSON(v)
	default:
		return fmt.Sprint(v)
	}
}

func asJSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v) // a map whose keys are no strings: YAML allows it, JSON does not
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func each(found []any, f func(v any) []any) []any {
	var out []any
	for _, v := range found {
		out = append(out, f(v)...)
	}
	return out
}

func field(name string) step {
	return func(found []any) []any {
		return each(found, func(v any) []any {
			if m, ok := v.(map[string]any); ok {
				if child, ok := m[name]; ok {
					return []any{child}
				}
			}
			return nil
		})
	}
}

// wildcard takes every element of lists, and every value of maps by the order
// of their keys.
func wildcard(found []any) []any {
	return each(found, func(v any) []any {
		switch v := v.(type) {
		case []any:
			return v
		case map[string]any:
			return valuesByKey(v)
		}
		return nil
	})
}

// elements takes list elements by their indexes; a negative one counts from
// the end.
func elements(indexes []int) step {
	return func(found []any) []any {
		return each(found, func(v any) []any {
			list, _ := v.([]any)
			var out []any
			for _, i := range indexes {
				if i < 0 {
					i += len(list)
				}
				if i >= 0 && i < len(list) {
					out = append(out, list[i])
				}
			}
			return out
		})
	}
}

// slice takes list elements from..to, both optional, negative ones counting
// from the end.
func slice(from, to *int) step {
	return func(found []any) []any {
		return each(found, func(v any) []any {
			list, _ := v.([]any)
			lo, hi := bound(from, 0, len(list)), bound(to, len(list), len(list))
			if lo >= hi {
				return nil
			}
			return list[lo:hi]
		})
	}
}

func bound(at *int, otherwise, length int) int {
	if at == nil {
		return otherwise
	}
	i := *at
	if i < 0 {
		i += length
	}
	return min(max(i, 0), length)
}

// filter keeps the list elements whose value at path is (or, if negate, is
// not) what the text wanted says; without a comparison, those that have one.
func filter(path []step, op, wanted string) step {
	return func(found []any) []any {
		return each(found, func(v any) []any {
			list, _ := v.([]any)
			var out []any
			for _, item := range list {
				if holds(eval(path, item), op, wanted) {
					out = append(out, item)
				}
			}
			return out
		})
	}
}

func holds(values []any, op, wanted string) bool {
	if len(values) != 1 {
		return false
	}
	switch op {
	case "==":
		return text(values[0]) == wanted
	case "!=":
		return text(values[0]) != wanted
	}
	return true
}

// quoted reads a string in single or double quotes.
func quoted(s string) (string, error) {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return s[1 : len(s)-1], nil
	}
	if !strings.HasPrefix(s, `"`) {
		return "", fmt.Errorf("%q is not in quotes", s)
	}
	return strconv.Unquote(s)
}
