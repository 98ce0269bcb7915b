package recipe

import (
	"fmt"
	"strings"
	"testing"
)

// everything is a pkg.yaml with every key that the format's own tool knows.
var everything = fmt.Sprintf(`-- all/pkg.yaml --
name: all
variant: alpine
shell: /bin/bash
install: [bash, make]
buildPlatform: linux/amd64
dependencies:
  - stage: base
    from: /a
    to: /b
    platform: linux/arm64
    runtime: true
  - image: example.org/image:v1@sha256:%[1]s
steps:
  - sources:
      - url: https://example.org/a.tar.gz
        destination: a.tar.gz
        sha256: %[1]s
        sha512: %[2]s
    env:
      A: 1.10
    cachePaths: [/.cache]
    network: default
    prepare: [one, "two\n"]
    build: [three]
    install: [four]
    test: [five]
    sbom:
      outputPath: /rootfs/usr/share/spdx/all.spdx.json
      name: other
      version: 1.0
      cpes: ["cpe:2.3:a:vendor:product:1.0:*:*:*:*:*:*:*"]
      purl: pkg:generic/all@1.0
      licenses: [Apache-2.0]
  - network: host
  - network: none
  - {}
finalize:
  - from: /rootfs
    to: /rootfs
  - from: /
-- base/pkg.yaml --
name: base
variant: scratch
`, sha256Of, sha512Of)

func TestSection4EveryKey(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, pkgfile+everything)
	p := s.Package("all")
	p.Context = nil
	equal(t, "package", p, &Package{
		Name: "all", Variant: Alpine, Shell: "/bin/bash", BaseDir: "all", FileName: "all/pkg.yaml",
		BuildPlatform: "linux/amd64", Install: []string{"bash", "make"},
		Dependencies: []Dependency{
			{Stage: "base", From: "/a", To: "/b", Platform: "linux/arm64", Runtime: true},
			{Image: "example.org/image:v1@sha256:" + sha256Of},
		},
		Steps: []Step{
			{
				Sources:    []Source{{URL: "https://example.org/a.tar.gz", Destination: "a.tar.gz", SHA256: sha256Of, SHA512: sha512Of}},
				Env:        map[string]string{"A": "1.10"},
				CachePaths: []string{"/.cache"}, Network: NetworkDefault,
				Prepare: []string{"one", "two\n"}, Build: []string{"three"}, Install: []string{"four"}, Test: []string{"five"},
				SBOM: SBOM{
					OutputPath: "/rootfs/usr/share/spdx/all.spdx.json", Name: "other", Version: "1.0",
					CPEs: []string{"cpe:2.3:a:vendor:product:1.0:*:*:*:*:*:*:*"}, PURL: "pkg:generic/all@1.0", Licenses: []string{"Apache-2.0"},
				},
			},
			{Network: NetworkHost}, {Network: NetworkNone}, {},
		},
		Finalize: []Finalize{{From: "/rootfs", To: "/rootfs"}, {From: "/"}},
	})
}

func TestSection4Defaults(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"", "shell:\n", "shell: ''\n"} {
		s := load(t, minimal+shell)
		equal(t, "shell", s.Package("p").ShellOrDefault(), "/bin/sh")
	}
	s := load(t, minimal+"shell: /bin/bash\n")
	equal(t, "shell", s.Package("p").ShellOrDefault(), "/bin/bash")
	equal(t, "words", []string{Alpine.String(), Scratch.String(), NetworkNone.String(), NetworkDefault.String(), NetworkHost.String()},
		[]string{"alpine", "scratch", "none", "default", "host"})
}

// No steps and no finalize gives an empty image.
func TestSection4EmptyPackage(t *testing.T) {
	t.Parallel()
	checkWarnings(t, minimal)
	checkWarnings(t, minimal+"steps: []\nfinalize: []\n")
	checkWarnings(t, minimal+"finalize: [{from: /, to: /}]\n")
}

// Problems of one pkg.yaml, with their lines.
func TestSection4Validation(t *testing.T) {
	t.Parallel()
	const ok = "name: p\nvariant: scratch\n"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"pkg.yaml: it is empty"}},
		{"a comment", "# only\n", []string{"pkg.yaml: it is empty"}},
		{"null", "~\n", []string{"pkg.yaml:1: name is missing", "pkg.yaml:1: variant is missing: alpine or scratch"}},
		{"a list", "- a\n", []string{"pkg.yaml:1: the file must be a map, not a list", "name is missing", "variant is missing"}},
		{"no name", "variant: alpine\n", []string{"pkg.yaml:1: name is missing"}},
		{"empty name", "variant: alpine\nname: ''\n", []string{"pkg.yaml:2: name is missing"}},
		{"no variant", "name: p\n", []string{"pkg.yaml:1: variant is missing: alpine or scratch"}},
		{"null variant", "name: p\nvariant:\n", []string{"pkg.yaml:2: variant is missing: alpine or scratch"}},
		{"unknown variant", "name: p\nvariant: debian\n", []string{`pkg.yaml:2: variant is "debian"; known are alpine, scratch`}},
		{"unknown network", ok + "steps:\n  - network: all\nfinalize: [{}]\n", []string{`pkg.yaml:4: steps[0].network is "all"; known are default, host, none`}},
		{"no finalize", ok + "steps:\n  - {}\n", []string{"pkg.yaml:1: there are steps but no finalize"}},
		{"empty finalize", ok + "steps:\n  - {}\nfinalize: []\n", []string{"pkg.yaml:5: there are steps but no finalize"}},
		{"no dependency", ok + "dependencies:\n  - from: /\n  - {}\n", []string{
			"pkg.yaml:4: dependencies[0] has neither stage nor image", "pkg.yaml:5: dependencies[1] has neither"}},
		{"two dependencies", ok + "dependencies:\n  - stage: a\n    image: b\n", []string{"pkg.yaml:4: dependencies[0] has both stage and image"}},
		{"text for a list", ok + "install: bash\n", []string{`pkg.yaml:3: install must be a list, not "bash"`}},
		{"text for a phase", ok + "finalize: [{}]\nsteps:\n  - prepare: make\n", []string{`pkg.yaml:5: steps[0].prepare must be a list, not "make"`}},
		{"list for a text", ok + "shell: [a]\n", []string{"pkg.yaml:3: shell must be text, not a list"}},
		{"map in a list", ok + "install:\n  - a: b\n", []string{"pkg.yaml:4: install[0] must be text, not a map"}},
		{"no truth", ok + "dependencies:\n  - image: a\n    runtime: perhaps\n", []string{`pkg.yaml:5: dependencies[0].runtime must be true or false, not "perhaps"`}},
		{"a step that is none", ok + "finalize: [{}]\nsteps:\n  - make\n", []string{`pkg.yaml:5: steps[0] must be a map, not "make"`}},
		{"twice", ok + "name: q\n", []string{`pkg.yaml:3: the key "name" is there twice, first in line 1`}},
		{"twice deep", ok + "finalize: [{}]\nsteps:\n  - env:\n      A: 1\n      A: 2\n", []string{`pkg.yaml:7: the key "steps[0].env.A" is there twice`}},
		{"no YAML", ok + "steps: [\n", []string{"pkg.yaml:4: parsing YAML: "}},
		{"bad indentation", ok + "install:\n  - a\n b\n", []string{"pkg.yaml:5: parsing YAML: "}},
		{"two colons", ok + "install: [a]\nshell: a: b\n", []string{"pkg.yaml:4: parsing YAML: mapping values are not allowed in this context"}},
		{"no template", ok + "\n{{ if }}\n", []string{"pkg.yaml:4: rendering: missing value for if"}},
		{"unknown function", ok + "# {{ now }}\n", []string{`pkg.yaml:3: rendering: function "now" not defined`}},
		{"no name of a variable", ok + "finalize: [{}]\nsteps:\n  - env: {A=B: c}\n", []string{`steps[0].env has "A=B", which cannot be`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkProblems(t, pkgfile+"-- pkg.yaml --\n"+tt.text, tt.want...)
		})
	}
}

// Lines are those of the rendered text, which is what the excerpt shows.
func TestSection4LinesOfRenderedText(t *testing.T) {
	t.Parallel()
	s := checkProblems(t, pkgfile+`-- p/pkg.yaml --
name: p
variant: scratch
install:
{{- range list "a" "b" "c" }}
  - {{ . }}
{{- end }}
shell: []
finalize: []
`, "p/pkg.yaml:7: shell must be text, not a list")
	equal(t, "excerpt", s.Problems[0].Excerpt, "     5 |   - b\n     6 |   - c\n>    7 | shell: []\n     8 | finalize: []\n")
}

// All problems of all files are there in one run, by file.
func TestSection4AllProblemsOfAllFiles(t *testing.T) {
	t.Parallel()
	checkProblems(t, `-- Pkgfile --
format: v2
-- b/pkg.yaml --
name: b
shell: []
dependencies:
  - {}
-- a/pkg.yaml --
variant: x
-- a/vars.yaml --
[]
-- c/x.tmpl --
x
`,
		`Pkgfile:1: format is "v2"`,
		"a/pkg.yaml:1: variant is",
		"a/pkg.yaml:1: name is missing",
		"a/vars.yaml:1: the file must be a map",
		"b/pkg.yaml:1: variant is missing",
		"b/pkg.yaml:2: shell must be text",
		"b/pkg.yaml:4: dependencies[0] has neither",
		"c/x.tmpl: a template belongs to a package")
}

func TestSection4UnknownKeys(t *testing.T) {
	t.Parallel()
	checkWarnings(t, pkgfile+`-- pkg.yaml --
name: p
variant: scratch
dependencis: []
dependencies:
  - image: a
    form: /a
steps:
  - script: a
    sources:
      - url: https://example.org/a
        destination: a
        sha256: `+sha256Of+`
        sha512: `+sha512Of+`
        md5: b
    sbom: {outputPath: /a, licence: a}
finalize:
  - form: /
    7: seven
`,
		`pkg.yaml:3: the key "dependencis" is not known and has no effect; did you mean dependencies?`,
		`pkg.yaml:6: the key "dependencies[0].form" is not known and has no effect; did you mean from?`,
		`pkg.yaml:8: the key "steps[0].script" is not known and has no effect`,
		`pkg.yaml:14: the key "steps[0].sources[0].md5" is not`,
		`pkg.yaml:15: the key "steps[0].sbom.licence" is not known and has no effect; did you mean licenses?`,
		`pkg.yaml:17: the key "finalize[0].form"`,
		`pkg.yaml:18: the key "finalize[0].7"`)
}

func TestSection4FirstDocumentOnly(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"---\nname: q\n", "---\n", "---\n[\n"} {
		s := load(t, minimal+more)
		equal(t, "packages", names(s.Packages), "p")
		if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Message, "only the first YAML document is read") {
			t.Errorf("%q: warnings %q", more, messages(s.Warnings))
		}
	}
	checkWarnings(t, minimal+"...\n")
}

func TestSection4EmptyKeys(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, minimal+"finalize: [{from: /, to: /}]\nsteps:\n  - env: {A: b, ~: c, <<: {?: d, E: f}}\n",
		"p/pkg.yaml:5: a key in steps[0].env is empty: the entry is left out")
	equal(t, "env", s.Package("p").Steps[0].Env, map[string]string{"A": "b", "E": "f"})
}

func TestSection4EmptyItems(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, minimal+"install: [a, ~]\ndependencies:\n  -\n  - image: i\n",
		"p/pkg.yaml:3: install[1] is empty and is left out", "p/pkg.yaml:5: dependencies[0] is empty and is left out")
	equal(t, "install", s.Package("p").Install, []string{"a"})
	equal(t, "dependencies", s.Package("p").Dependencies, []Dependency{{Image: "i"}})
}

func TestSection4Merges(t *testing.T) {
	t.Parallel()
	s := checkWarnings(t, pkgfile+`-- pkg.yaml --
name: p
variant: scratch
dependencies:
  - &a {image: a, from: /a}
  - <<: *a
    to: /b
  - *a
finalize: [{from: /, to: &to /}, {from: *to}]
`)
	equal(t, "dependencies", s.Package("p").Dependencies, []Dependency{{Image: "a", From: "/a"}, {Image: "a", From: "/a", To: "/b"}, {Image: "a", From: "/a"}})
}

func TestSection4Bombs(t *testing.T) {
	t.Parallel()
	bomb := "install: &a [" + strings.Repeat("x, ", 1000) + "x]\nsteps:\n  - &s {prepare: *a, build: *a, install: *a}\n" + strings.Repeat("  - *s\n", 200) + "finalize: [{}]\n"
	s := loadWith(t, minimal+bomb, amd64)
	if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Message, "more than 200000 values") {
		t.Errorf("problems %q", messages(s.Problems))
	}
	checkProblems(t, minimal+"install: &a [*a]\n", "install[0] must be text, not a list")
	checkProblems(t, minimal+"finalize: [&a {<<: *a}]\n")
	loadWith(t, minimal+"install: "+strings.Repeat("[", 20000)+"\n", amd64)
}

func TestSection41TwoOfOneName(t *testing.T) {
	t.Parallel()
	s := checkProblems(t, minimal+"-- a/q/pkg.yaml --\nname: p\nvariant: alpine\n", `p/pkg.yaml: two packages are named "p": this one in p and one in a/q`)
	equal(t, "the first stays", s.Package("p").BaseDir, "a/q")
}

func TestSection4CheckedBeyondTheFormat(t *testing.T) {
	t.Parallel()
	checkWarnings(t, pkgfile+`-- pkg.yaml --
name: Not An Image
variant: scratch
buildPlatform: linux/riscv64
dependencies:
  - stage: bsae
  - image: a
    platform: windows/amd64
    from: a
    to: b
steps:
  - cachePaths: [cache]
    sbom: {version: "1", cpes: [cpe:1]}
finalize:
  - from: rootfs
    to: b/c
-- b/pkg.yaml --
name: base
variant: scratch
`,
		`pkg.yaml:1: the name "Not An Image" cannot be that of an image`,
		`pkg.yaml:3: buildPlatform is "linux/riscv64", which cannot be built`,
		`pkg.yaml:5: package Not An Image depends on "bsae", and there is no such package; did you mean base?`,
		`pkg.yaml:7: dependencies[1].platform is "windows/amd64"`,
		`pkg.yaml:8: dependencies[1].from is "a", a relative path`,
		`pkg.yaml:9: dependencies[1].to is "b", a relative path`,
		"pkg.yaml:11: steps[0].cachePaths has no effect: the step has no scripts",
		`pkg.yaml:11: steps[0].cachePaths is "cache", a relative path`,
		"pkg.yaml:12: steps[0].sbom has no outputPath, so no document is written",
		`pkg.yaml:12: steps[0].sbom.cpes[0]: "cpe:1" is no CPE`,
		`pkg.yaml:14: finalize[0].from is "rootfs", a relative path`,
		`pkg.yaml:15: finalize[0].to is "b/c", a relative path`)
}
