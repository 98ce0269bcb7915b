package recipe

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is what is wrong, or looks wrong, in a file of a tree.
type Problem struct {
	File string // relative to the root, with slashes
	// Line is counted from 1; 0 is the file as a whole. In pkg.yaml and
	// vars.yaml it is the line of the rendered text, unless the template itself
	// is wrong.
	Line    int
	Message string
	// Excerpt is the text around the line, with line numbers; may be "".
	Excerpt string
}

// String is "FILE:LINE: MESSAGE".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// findings are gathered while a tree is read.
type findings struct {
	problems, warnings []Problem
}

func (f *findings) add(p Problem)  { f.problems = append(f.problems, p) }
func (f *findings) warn(p Problem) { f.warnings = append(f.warnings, p) }

// sorted orders problems by file and line; those of one line stay as they came.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return slices.Compact(problems)
}

const (
	excerptLines = 2   // before and after the one that matters
	excerptWidth = 160 // of a line, in runes
)

// excerpt is the text around a line, which is marked.
func excerpt(text []byte, line int) string {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if line < 1 || line > len(lines) {
		return ""
	}
	var b strings.Builder
	for n := max(1, line-excerptLines); n <= min(len(lines), line+excerptLines); n++ {
		mark := " "
		if n == line {
			mark = ">"
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s %4d | %s", mark, n, printable(lines[n-1])), " ") + "\n")
	}
	return b.String()
}

// printable cuts a line and takes what could play with a terminal out of it.
func printable(line []byte) string {
	runes := []rune(string(line[:min(len(line), 4*excerptWidth)]))
	if len(runes) > excerptWidth {
		runes = append(runes[:excerptWidth], '…')
	}
	for i, r := range runes {
		switch {
		case r == '\t':
			runes[i] = ' '
		case !unicode.IsPrint(r):
			runes[i] = '·'
		}
	}
	return string(runes)
}
