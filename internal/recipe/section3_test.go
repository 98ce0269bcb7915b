package recipe

import (
	"strings"
	"testing"
)

func TestSection31Builtins(t *testing.T) {
	t.Parallel()
	amd, arm := "x86_64-linux-musl", "aarch64-linux-musl"
	base := Variables{"LDFLAGS": "-s", "VENDOR": "talos", "SYSROOT": "/talos", "PATH": "/bin:/usr/bin:/sbin:/usr/sbin"}
	for _, tt := range []struct {
		build, target string
		want          Variables
	}{
		{"linux/amd64", "linux/amd64", Variables{
			"BUILD": amd, "HOST": amd, "ARCH": "x86_64", "TARGET": "x86_64-talos-linux-musl",
			"CFLAGS": "-O2 -g0 -march=x86-64-v2 -mtune=generic", "CXXFLAGS": "-O2 -g0 -march=x86-64-v2 -mtune=generic"}},
		{"linux/arm64", "linux/arm64", Variables{
			"BUILD": arm, "HOST": arm, "ARCH": "aarch64", "TARGET": "aarch64-talos-linux-musl", "CFLAGS": "-O2 -g0", "CXXFLAGS": "-O2 -g0"}},
		{"linux/amd64", "linux/arm64", Variables{
			"BUILD": amd, "HOST": amd, "ARCH": "aarch64", "TARGET": "aarch64-talos-linux-musl", "CFLAGS": "-O2 -g0", "CXXFLAGS": "-O2 -g0"}},
	} {
		got, err := Builtins(tt.build, tt.target)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, tt.build+" "+tt.target, got, merge(base, tt.want))
		s := loadWith(t, minimal, Options{Build: tt.build, Target: tt.target})
		equal(t, "variables of a package", s.Package("p").Context, merge(base, tt.want))
	}
}

func TestSection31NoToolchainAndNoOtherPlatform(t *testing.T) {
	t.Parallel()
	s := load(t, minimal)
	if _, ok := s.Package("p").Context["TOOLCHAIN"]; ok {
		t.Error("there is a variable TOOLCHAIN")
	}
	for _, o := range []Options{{Target: "linux/riscv64"}, {Target: "linux/amd64", Build: "darwin/arm64"}, {Target: "amd64"}} {
		if _, err := Load(t.Context(), tree(t, minimal), o); err == nil || !strings.Contains(err.Error(), "recipes know linux/amd64 and linux/arm64") {
			t.Errorf("Load(%v) = %v", o, err)
		}
	}
	if _, err := Builtins("linux/amd64", "linux/386"); err == nil {
		t.Error("there are variables for linux/386")
	}
}

func TestSection31Defaults(t *testing.T) {
	t.Parallel()
	host := HostPlatform().String()
	for _, tt := range []struct {
		o             Options
		build, target string
	}{
		{Options{}, host, host},
		{Options{Target: "linux/arm64"}, "linux/arm64", "linux/arm64"},
		{Options{Build: "linux/arm64", Target: "linux/amd64"}, "linux/arm64", "linux/amd64"},
		{Options{Build: "linux/arm64"}, "linux/arm64", host},
	} {
		build, target, err := tt.o.platforms()
		if err != nil || build != tt.build || target != tt.target {
			t.Errorf("%v: %s %s %v, want %s %s", tt.o, build, target, err, tt.build, tt.target)
		}
	}
}

func TestSection32BuildArguments(t *testing.T) {
	t.Parallel()
	s := loadWith(t, minimal, Options{BuildArgs: map[string]string{"TAG": "v1", "SOURCE_DATE_EPOCH": "0", "EMPTY": ""}})
	equal(t, "arguments", eval(t, s, "{{ .BUILD_ARG_TAG }} {{ .BUILD_ARG_SOURCE_DATE_EPOCH }} [{{ .BUILD_ARG_EMPTY }}] {{ .TAG }}"), "v1 0 [] <no value>")
}

func TestSection33Precedence(t *testing.T) {
	t.Parallel()
	o := Options{BuildArgs: map[string]string{"V": "argument", "W": "argument"}}
	levels := []string{
		"-- a/b/pkg.yaml --\nname: p\nvariant: scratch\n",
		"-- Pkgfile --\nformat: v1alpha2\nvars: {VENDOR: global, BUILD_ARG_V: global}\n",
		"-- vars.yaml --\nVENDOR: root\nROOT: seen\n",
		"-- a/vars.yaml --\nVENDOR: a\n",
		"-- a/b/vars.yaml --\nVENDOR: b\n",
	}
	want := []string{"talos argument argument", "global global argument", "root global argument", "a global argument", "b global argument"}
	archive := ""
	for i, level := range levels {
		archive += level
		s := loadWith(t, archive, o)
		equal(t, level, eval(t, s, "{{ .VENDOR }} {{ .BUILD_ARG_V }} {{ .BUILD_ARG_W }}"), want[i])
	}
}

func TestSection33VarsAreTemplates(t *testing.T) {
	t.Parallel()
	s := load(t, minimal+`-- vars.yaml --
A: root
-- p/vars.yaml --
A: own
FROM_ABOVE: '{{ .A }}-{{ .ARCH }}'
# {{ if eq .ARCH "x86_64" }}
SUM: amd64
# {{ else }}
SUM: arm64
# {{ end }}
`)
	equal(t, "values", eval(t, s, "{{ .A }} {{ .FROM_ABOVE }} {{ .SUM }}"), "own root-x86_64 amd64")
}

func TestSection33OwnEntriesAreNotSeen(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, minimal+"-- p/vars.yaml --\nA: a\nB: '{{ .A }}'\n", "p/vars.yaml:2: the variable A is not defined: <no value> is printed")
	equal(t, "B", eval(t, s, "{{ .B }}"), "<no value>")
}

func TestSection33EmptyAndBrokenVars(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "{}\n", "~\n"} {
		checkWarnings(t, minimal+"-- vars.yaml --\n"+text)
	}
	s := checkProblems(t, minimal+`-- vars.yaml --
- a list
-- a/vars.yaml --
A: {{ fail "on purpose" }}
-- b/vars.yaml --
A: 'unclosed
-- c/vars.yaml --
A: [1]
B: kept
-- c/pkg.yaml --
name: c
variant: scratch
-- d/vars.yaml --
text
`,
		`a/vars.yaml:1: rendering: at <fail "on purpose">: error calling fail: on purpose`,
		"b/vars.yaml:2: parsing YAML: found unexpected end of stream",
		"c/vars.yaml:1: A must be text, not a list",
		`d/vars.yaml:1: the file must be a map, not "text"`,
		"vars.yaml:1: the file must be a map, not a list")
	equal(t, "packages: loading goes on", names(s.Packages), "c p")
	equal(t, "what could be read", s.Package("c").Context["B"], "kept")
}

// Values are not handed on from templates to the environment and back.
func TestSection33StepEnvironmentIsNotSeen(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+"-- pkg.yaml --\nname: p\nvariant: scratch\nsteps:\n  - env: {SECRET: x}\nfinalize: [{from: /}]\n")
	equal(t, "SECRET", eval(t, s, "{{ .SECRET }}"), "<no value>")
}

func TestSection34Functions(t *testing.T) {
	t.Parallel()
	s := load(t, minimal)
	for text, want := range map[string]string{
		`{{ default "d" .X }} {{ ternary 1 2 true }} {{ replace "." "-" "1.2" }} {{ substr 0 3 "abcdef" }}`: "d 1 1-2 abc",
		`{{ trimPrefix "v" "v1" }}{{ nindent 2 "a" }}`:                                                      "1\n  a",
		`{{ (list 1 2) }} {{ dict "a" 1 }} {{ index (splitList "." "1.2.3") 1 }}`:                           "[1 2] map[a:1] 2",
		`{{ b64enc "a" }} {{ sha256sum "a" | trunc 8 }}`:                                                    "YQ== ca978112",
		`{{ regexReplaceAll "[0-9]" "a1b2" "" }} {{ semverCompare ">=1.2" "1.3.0" }}`:                       "ab true",
		`{{ (semver "1.2.3").Minor }} {{ empty "" }} {{ coalesce "" "x" }}`:                                 "2 true x",
		`{{ hasPrefix "a" "ab" }} {{ untitle "Ab" }} {{ atoi "3" | add 1 }} {{ until 3 }}`:                  "true ab 4 [0 1 2]",
		`{{ osBase "/a/b" }} {{ cat "a" "b" }} {{ indent 1 "x" }} {{ printf "%05d" 7 }}`:                    "b a b  x 00007",
		`{{ define "t" }}[{{ . }}]{{ end }}{{ template "t" "x" }}`:                                          "[x]",
	} {
		equal(t, text, eval(t, s, text), want)
	}
	for _, name := range strings.Fields("genCA genPrivateKey derivePassword shuffle ago toDate") {
		if _, err := newTemplate("x", "{{ "+name+" }}", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range strings.Fields("env expandenv getHostByName now date htmlDate uuidv4 randAlpha randAlphaNum randBytes toYaml fromYaml include tpl mustFromYAML " + witness) {
		if _, err := newTemplate("x", "{{ "+name+" }}", nil); err == nil {
			t.Errorf("there is a function %s", name)
		}
	}
}

func TestSection34Undefined(t *testing.T) {
	t.Parallel()
	s := load(t, minimal)
	for text, want := range map[string]string{
		`{{ .X }}`:                            "<no value>",
		`{{ .X | default "d" }}`:              "d",
		`{{ ne .X "" }} {{ eq .X "" }}`:       "true false",
		`{{ .X.Y }}`:                          "<no value>",
		`{{ if .X }}set{{ else }}no{{ end }}`: "no",
	} {
		equal(t, text, eval(t, s, text), want)
	}
	if _, err := Eval(`{{ replace .X "a" "b" }}`, s.Package("p")); err == nil || !strings.Contains(err.Error(), "invalid value; expected string") {
		t.Errorf("a function that wants a string: %v", err)
	}
}

func TestSection34UndefinedWarnings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, template string
		want           []string
	}{
		{"printed", "{{ .X }}\n{{ .ARCH }} {{ .X }} {{ .Y }}", []string{"1: the variable X is not", "2: the variable X is not", "2: the variable Y is not"}},
		{"a field", "{{ .X.Y }}", []string{"1: the variable X is not defined: <no value> is printed"}},
		{"from the top", "{{ range list 1 2 }}{{ $.X }}{{ end }}", []string{"1: the variable X is not"}},
		{"within a function", "{{ printf \"a-%v\" .X }}", []string{"1: the variable X is not defined: a-<nil> is printed"}},
		{"in brackets", "{{ (.X) }}", []string{"1: the variable X is not"}},
		{"through a variable", "{{ $v := .X }}{{ $v }}", []string{"1: the variable $v is not"}},
		{"in a definition", "{{ define \"t\" }}\n{{ .X }}{{ end }}{{ template \"t\" . }}", []string{"2: the variable X is not"}},
		{"in else and with", "{{ if .X }}{{ else }}{{ .X }}{{ end }}\n{{ with 1 }}{{ $.Y }}{{ end }}", []string{"1: the variable X", "2: the variable Y"}},
		{"asked for", `{{ if .X }}{{ .X }}{{ end }}{{ .X | default "d" }}{{ default "" .X }}{{ with .X }}{{ . }}{{ end }}`, nil},
		{"compared", `{{ if eq .X "a" }}a{{ else if ne .X "b" }}b{{ end }}{{ eq .X "" }}`, nil},
		{"not reached", `{{ if false }}{{ .X }}{{ end }}`, nil},
		{"the words themselves", "<no value> {{ .ARCH }} <nil>", nil},
		{"a value with the words", "{{ .WORDS }}", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := load(t, minimal+"-- Pkgfile --\nformat: v1alpha2\nvars: {WORDS: <no value>}\n-- p/x.tmpl --\n"+tt.template)
			checkMessages(t, "warnings", s.Warnings, tt.want...)
		})
	}
}

func TestSection34WarningHasPlaceAndExcerpt(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+"-- pkg.yaml --\nname: p\nvariant: scratch\n# {{ .BUILD_ARG_TAG }}\ninstall: []\n")
	equal(t, "warnings", s.Warnings, []Problem{{
		File: "pkg.yaml", Line: 3,
		Message: "the variable BUILD_ARG_TAG is not defined: <no value> is printed",
		Excerpt: "     1 | name: p\n     2 | variant: scratch\n>    3 | # {{ .BUILD_ARG_TAG }}\n     4 | install: []\n",
	}})
}

// Conditions in comments are the usual way to have conditional YAML.
func TestSection34ConditionsInComments(t *testing.T) {
	t.Parallel()
	const archive = pkgfile + `-- pkg.yaml --
name: p
variant: scratch
dependencies:
  # {{ if eq .ARCH "aarch64" }}
  - image: arm
  # {{ else }}
  - image: amd
  # {{ end }}
`
	for target, want := range map[string]string{"linux/amd64": "amd", "linux/arm64": "arm"} {
		s := loadWith(t, archive, Options{Target: target})
		equal(t, target, s.Package("p").Dependencies, []Dependency{{Image: want}})
	}
}

// Eval knows Sprig, too, which the format's own tool does not.
func TestSection34Eval(t *testing.T) {
	t.Parallel()
	p := load(t, minimal).Package("p")
	out, err := Eval(`{{ .VENDOR | upper }}`, p)
	if err != nil || out != "TALOS" {
		t.Errorf("Eval = %q, %v", out, err)
	}
	for text, want := range map[string]string{
		"{{":                 "parsing the template for package p: template: template:1: ",
		"{{ fail .VENDOR }}": "rendering the template for package p: template: template:1:3: ",
	} {
		if _, err := Eval(text, p); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Eval(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestRenderedTextIsBounded(t *testing.T) {
	t.Parallel()
	checkProblems(t, minimal+"-- p/x.tmpl --\n{{ range until 40 }}{{ repeat 1048576 \"x\" }}{{ end }}",
		"p/x.tmpl: rendering: the text becomes longer than 33554432 bytes")
}
