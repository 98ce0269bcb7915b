package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/levenshtein"
)

// What an Error is: see errors.Is.
var (
	// ErrInvalid says that a profile makes no sense.
	ErrInvalid = errors.New("invalid profile")
	// ErrUnsupported says that a profile makes sense, and nothing but that graft
	// cannot do it.
	ErrUnsupported = errors.New("unsupported profile")
)

// Problem is one thing that is wrong with a profile.
type Problem struct {
	// Key is the path of what is wrong, as in output.imageOptions.diskSize.
	Key string
	// Line is that of the key, counted from 1; 0 is not known.
	Line    int
	Message string
	// Unsupported tells what graft cannot do from what makes no sense.
	Unsupported bool
}

// String is "line LINE: KEY: MESSAGE" with what is known of it.
func (p Problem) String() string {
	s := p.Message
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Error is all that is wrong with a profile. It is ErrUnsupported if every
// problem is of that kind, and ErrInvalid otherwise.
type Error struct{ Problems []Problem }

// Error lists the problems, each on a line of its own if there are several.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "the profile: " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the profile has %d problems:", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Is makes errors.Is know the two kinds.
func (e *Error) Is(target error) bool {
	unsupported := !slices.ContainsFunc(e.Problems, func(p Problem) bool { return !p.Unsupported })
	return target == ErrUnsupported && unsupported || target == ErrInvalid && !unsupported
}

// problems are gathered while a profile is looked at.
type problems []Problem

func (ps *problems) invalid(key, format string, args ...any) {
	*ps = append(*ps, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (ps *problems) unsupported(key, format string, args ...any) {
	*ps = append(*ps, Problem{Key: key, Message: fmt.Sprintf(format, args...), Unsupported: true})
}

func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return &Error{ps}
}

// maxWord bounds words that are compared, in bytes.
const maxWord = 64

// suggest is a question for the candidate that is nearest to a word, or nothing
// if none is near.
func suggest(word string, candidates []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, least := "", max(1, (len(word)+1)/3)+1
	for _, c := range candidates {
		if n := levenshtein.Distance(strings.ToLower(word), strings.ToLower(c)); n < least {
			best, least = c, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// oneOf checks a word against all that it can be; empty is allowed.
func oneOf[T ~string](ps *problems, key string, word T, allowed ...T) bool {
	if word == "" || slices.Contains(allowed, word) {
		return true
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	ps.invalid(key, "%q is none of %s%s", shorten(string(word)), strings.Join(words, ", "), suggest(string(word), words))
	return false
}
