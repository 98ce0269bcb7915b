package recipe

import (
	"testing"
)

func TestSection2Pkgfile(t *testing.T) {
	t.Parallel()
	s := load(t, `-- Pkgfile --
# syntax = example.org/frontend:v1

format: v1alpha2
vars:
  A: text
  TEMPLATE: '{{ .ARCH }}'
  VENDOR: other
labels:
  org.opencontainers.image.source: https://example.org/{{ .A }}
-- p/pkg.yaml --
name: p
variant: scratch
`)
	equal(t, "Pkgfile", s.Pkgfile, Pkgfile{
		Format: "v1alpha2",
		Vars:   Variables{"A": "text", "TEMPLATE": "{{ .ARCH }}", "VENDOR": "other"},
		Labels: map[string]string{"org.opencontainers.image.source": "https://example.org/{{ .A }}"},
	})
	equal(t, "variables in templates", eval(t, s, "{{ .VENDOR }} {{ .TEMPLATE }}"), "other {{ .ARCH }}")
}

func TestSection2Format(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"format: v1alpha1\n": `Pkgfile:1: format is "v1alpha1"; supported is "v1alpha2"`,
		"vars: {}\n":         `format is ""; supported is "v1alpha2"`,
		"":                   `Pkgfile: it is empty; wanted is "format: v1alpha2"`,
		"# comment\n":        `Pkgfile: it is empty`,
		"- v1alpha2\n":       `the file must be a map, not a list`,
		"a: [\n":             `parsing YAML: `,
	} {
		s := loadWith(t, "-- Pkgfile --\n"+text, amd64)
		if len(s.Problems) == 0 {
			t.Errorf("%q: no problem", text)
			continue
		}
		checkMessages(t, text, s.Problems[:1], want)
	}
}

func TestSection2UnknownKeys(t *testing.T) {
	t.Parallel()
	checkWarnings(t, "-- Pkgfile --\nformat: v1alpha2\nvarz:\n  A: b\n",
		`Pkgfile:2: the key "varz" is not known and has no effect; did you mean vars?`)
}

// A tree without a Pkgfile can be looked at. Who builds sees it by the format.
func TestSection2NoPkgfile(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, "-- p/pkg.yaml --\nname: p\nvariant: scratch\n", "Pkgfile: there is none")
	equal(t, "format", s.Pkgfile.Format, "")
	equal(t, "packages", names(s.Packages), "p")
}

func TestSection2Scalars(t *testing.T) {
	t.Parallel()
	s := load(t, `-- Pkgfile --
format: v1alpha2
vars:
  DECIMAL: 1.10
  OCTAL: 010
  HEX: 0x10
  FLOAT: 1e3
  BOOL: true
  YES: yes
  NONE: null
  TILDE: ~
  NOTHING:
  DATE: 2020-01-01
  TIME: 2020-01-01T00:00:00Z
  BINARY: !!binary aGVsbG8=
  ANCHOR: &anchor anchored
  ALIAS: *anchor
  BLOCK: |
    two
    lines
  1: number as a name
  <<: {MERGED: merged, ANCHOR: not this}
labels: &labels
  a: 1
`)
	equal(t, "vars", s.Pkgfile.Vars, Variables{
		"DECIMAL": "1.10", "OCTAL": "010", "HEX": "0x10", "FLOAT": "1e3", "BOOL": "true", "YES": "yes",
		"NONE": "", "TILDE": "", "NOTHING": "", "DATE": "2020-01-01", "TIME": "2020-01-01T00:00:00Z",
		"BINARY": "hello", "ANCHOR": "anchored", "ALIAS": "anchored", "BLOCK": "two\nlines\n",
		"1": "number as a name", "MERGED": "merged",
	})
	equal(t, "labels", s.Pkgfile.Labels, map[string]string{"a": "1"})
}

func TestSection2WrongValues(t *testing.T) {
	t.Parallel()
	checkProblems(t, `-- Pkgfile --
format: v1alpha2
vars:
  LIST:
    - a
  MAP: {a: b}
  OK: ok
  OK: again
  BAD: !!binary "%"
  <<: text
`,
		"Pkgfile:4: vars.LIST must be text, not a list",
		"Pkgfile:5: vars.MAP must be text, not a map",
		`Pkgfile:7: the key "vars.OK" is there twice, first in line 6`,
		"Pkgfile:8: vars.BAD is no base64",
		`Pkgfile:9: << in vars takes a map or a list of maps, not "text"`)
}

func TestSection2Merges(t *testing.T) {
	t.Parallel()
	s := load(t, `-- Pkgfile --
format: v1alpha2
labels: &low {A: low, B: low, C: low}
vars:
  <<: [{A: first, D: "{{ }}"}, *low, {<<: *low, B: later, E: nested}]
  C: own
`)
	equal(t, "vars", s.Pkgfile.Vars, Variables{"A": "first", "B": "low", "C": "own", "D": "{{ }}", "E": "nested"})
}
