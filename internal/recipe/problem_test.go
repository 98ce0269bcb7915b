package recipe

import (
	"strings"
	"testing"
)

func TestProblemString(t *testing.T) {
	t.Parallel()
	equal(t, "with a line", Problem{File: "a/pkg.yaml", Line: 3, Message: "m"}.String(), "a/pkg.yaml:3: m")
	equal(t, "without", Problem{File: "a/pkg.yaml", Message: "m"}.String(), "a/pkg.yaml: m")
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	text := []byte("a\n\nc\n" + strings.Repeat("ü", 500) + "\n\xff\n")
	for line, want := range map[int]string{
		0: "", 6: "", -1: "",
		1: ">    1 | a\n     2 |\n     3 | c\n",
		5: "     3 | c\n     4 | " + strings.Repeat("ü", excerptWidth) + "…\n>    5 | \ufffd\n",
	} {
		equal(t, "excerpt", excerpt(text, line), want)
	}
}

// Two loads of a tree give the same in every respect.
func TestLoadIsDeterministic(t *testing.T) {
	t.Parallel()
	files := map[string]string{"p/x.tmpl": "{{ .Z }}{{ .Y }}{{ .X }}", "Pkgfile": "format: v1alpha2\nvars: {A: [], B: {}, C: []}\n",
		"p/pkg.yaml": "name: p\nvariant: scratch\nq: 1\nr: 2\ns: 3\ninstall: [{}, {}]\nsteps: [{env: {a=: 1, b=: 2, c=: 3}}]\n"}
	first := loadTexts(t, files)
	for range 20 {
		again := loadTexts(t, files)
		equal(t, "problems", again.Problems, first.Problems)
		equal(t, "warnings", again.Warnings, first.Warnings)
	}
}
