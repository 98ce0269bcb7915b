package jsonpath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MaxLength bounds a template, in bytes: it comes from the node that is asked,
// and the longest one of Talos has 41.
const MaxLength = 1024

// Parse reads a template.
func Parse(template string) (*Path, error) {
	if len(template) > MaxLength {
		return nil, fmt.Errorf("parsing JSONPath: %d bytes, more than the %d that are allowed", len(template), MaxLength)
	}
	p, err := parse(template)
	if err != nil {
		return nil, fmt.Errorf("parsing JSONPath %q: %w", template, err)
	}
	return p, nil
}

func parse(template string) (*Path, error) {
	p := &Path{}
	for template != "" {
		before, rest, found := strings.Cut(template, "{")
		if before != "" {
			p.parts = append(p.parts, part{text: before})
		}
		if !found {
			break
		}
		end := closing(rest, '}')
		if end < 0 {
			return nil, errors.New("a { is never closed")
		}
		next, err := expression(strings.TrimSpace(rest[:end]))
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, next)
		template = rest[end+1:]
	}
	return p, nil
}

// closing finds the first end that stands outside of quotes, or gives -1.
func closing(s string, end byte) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == end:
			return i
		}
	}
	return -1
}

// expression parses what stands between braces.
func expression(s string) (part, error) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		text, err := quoted(s)
		return part{text: text}, err
	}
	steps, err := pathSteps(s)
	if err == nil && s == "" {
		err = errors.New("nothing stands between { and }")
	}
	return part{steps: steps}, err
}

// pathSteps parses a path such as "$.a[0].b" or "@".
func pathSteps(s string) ([]step, error) {
	steps := []step{}
	if s != "" && (s[0] == '$' || s[0] == '@') {
		s = s[1:]
	}
	for s != "" {
		next, rest, err := oneStep(s)
		if err != nil {
			return nil, err
		}
		steps, s = append(steps, next), rest
	}
	return steps, nil
}

func oneStep(s string) (next step, rest string, err error) {
	switch {
	case strings.HasPrefix(s, ".."):
		return nil, "", errors.New("recursive descent (..) is not supported")
	case s[0] == '.':
		return fieldStep(s[1:])
	case s[0] == '[':
		end := closing(s[1:], ']')
		if end < 0 {
			return nil, "", errors.New("a [ is never closed")
		}
		next, err = bracket(strings.TrimSpace(s[1 : 1+end]))
		return next, s[end+2:], err
	}
	return nil, "", fmt.Errorf("%q begins with neither . nor [", s)
}

func fieldStep(s string) (step, string, error) {
	end := strings.IndexAny(s, ".[ ()=!<>,\"'")
	if end < 0 {
		end = len(s)
	}
	switch name := s[:end]; name {
	case "":
		return nil, "", errors.New("a name is missing after a dot")
	case "*":
		return wildcard, s[end:], nil
	default:
		return field(name), s[end:], nil
	}
}

// bracket parses what stands between [ and ].
func bracket(s string) (step, error) {
	switch {
	case s == "*":
		return wildcard, nil
	case strings.HasPrefix(s, "?(") && strings.HasSuffix(s, ")"):
		return filterStep(s[2 : len(s)-1])
	case s != "" && (s[0] == '"' || s[0] == '\''):
		name, err := quoted(s)
		return field(name), err
	case strings.Contains(s, ":"):
		return sliceStep(s)
	}
	var indexes []int
	for _, number := range strings.Split(s, ",") {
		i, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil {
			return nil, fmt.Errorf("[%s] is no index, range, name or filter", s)
		}
		indexes = append(indexes, i)
	}
	return elements(indexes), nil
}

func sliceStep(s string) (step, error) {
	from, to, _ := strings.Cut(s, ":")
	lo, err := optionalInt(from)
	if err != nil {
		return nil, err
	}
	hi, err := optionalInt(to)
	if err != nil {
		return nil, err
	}
	return slice(lo, hi), nil
}

func optionalInt(s string) (*int, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	i, err := strconv.Atoi(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no number", s)
	}
	return &i, nil
}

// filterStep parses a condition such as `@.type=="Ready"`.
func filterStep(s string) (step, error) {
	path, op, wanted := s, "", ""
	for _, o := range []string{"==", "!="} {
		if before, after, found := strings.Cut(s, o); found {
			path, op, wanted = before, o, strings.TrimSpace(after)
			break
		}
	}
	steps, err := pathSteps(strings.TrimSpace(path))
	if err != nil {
		return nil, err
	}
	if op != "" {
		if wanted, err = literal(wanted); err != nil {
			return nil, err
		}
	}
	return filter(steps, op, wanted), nil
}

// literal gives the text that a string, number or boolean prints as.
func literal(s string) (string, error) {
	if s == "true" || s == "false" {
		return s, nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s, nil
	}
	return quoted(s)
}

func valuesByKey(m map[string]any) []any {
	out := make([]any, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[key])
	}
	return out
}
