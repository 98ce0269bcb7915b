package recipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// drawn is a graph as lines.
func drawn(g *Graph) string {
	var b strings.Builder
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s %q %s\n", n.Kind, n.Label, n.ID)
	}
	for _, e := range g.Edges {
		arrow := "->"
		if e.Runtime {
			arrow = "=>"
		}
		fmt.Fprintf(&b, "%s %s %s\n", e.From, arrow, e.To)
	}
	return b.String()
}

const graphTree = pkgfile + `-- base/pkg.yaml --
name: base
variant: alpine
install: [make, bash]
dependencies:
  - image: example.org/tools:v1@sha256:abc
-- base/vars.yaml --
INTERNAL_PACKAGE: true
-- a/pkg.yaml --
name: a
variant: scratch
dependencies:
  - stage: base
  - stage: base
    to: /twice
  - stage: run
    runtime: true
  - image: example.org/tools:v1@sha256:def
-- run/pkg.yaml --
name: run
variant: scratch
install: [bash]
-- lost/pkg.yaml --
name: lost
variant: scratch
dependencies: [{stage: nowhere}]
-- all/pkg.yaml --
name: all
variant: scratch
dependencies: [{stage: a}, {stage: lost}]
-- all/vars.yaml --
GRAPH_IGNORE: "true"
-- user/pkg.yaml --
name: user
variant: scratch
dependencies: [{stage: all}]
`

func TestSection10Graph(t *testing.T) {
	t.Parallel()
	s := load(t, graphTree)
	for target, want := range map[string]string{
		"": `package "a" stage:a
internal "base" stage:base
package "lost" stage:lost
package "run" stage:run
package "user" stage:user
alpine "Alpine: bash" alpine:bash
alpine "Alpine: make" alpine:make
unknown "all" stage:all
alpine "alpine" alpine
image "example.org/tools:v1" image:example.org/tools:v1@sha256:abc
image "example.org/tools:v1" image:example.org/tools:v1@sha256:def
unknown "nowhere" stage:nowhere
stage:base -> stage:a
stage:run => stage:a
image:example.org/tools:v1@sha256:def -> stage:a
alpine -> stage:base
image:example.org/tools:v1@sha256:abc -> stage:base
alpine:make -> stage:base
alpine:bash -> stage:base
stage:nowhere -> stage:lost
alpine:bash -> stage:run
stage:all -> stage:user
`,
		"run": `package "run" stage:run
alpine "Alpine: bash" alpine:bash
alpine:bash -> stage:run
`,
	} {
		g, err := s.Graph(target)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "graph of "+target, drawn(g), want)
	}
}

func TestSection10GraphErrors(t *testing.T) {
	t.Parallel()
	s := load(t, graphTree)
	for target, want := range map[string]string{
		"lost": `drawing the graph of lost: there is no package "nowhere", needed along lost → nowhere`,
		"b":    `drawing the graph of b: there is no package "b"`,
		"user": "drawing the graph of user: package all is left out of graphs by its variable GRAPH_IGNORE: ",
		"all":  "drawing the graph of all: package all is left out of graphs by its variable GRAPH_IGNORE: ",
	} {
		if _, err := s.Graph(target); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Graph(%s) = %v, want %q", target, err, want)
		}
	}
}

// Only the word true hides a package.
func TestSection10GraphIgnore(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"true": 0, "yes": 1, "false": 1, "True": 1} {
		g, err := load(t, minimal+"-- p/vars.yaml --\nGRAPH_IGNORE: "+value+"\n").Graph("")
		if err != nil {
			t.Fatal(err)
		}
		equal(t, value, len(g.Nodes), want)
	}
}

// The names, their order and what is null are those of bldr's dump.
func TestSection10Dump(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+`-- b/pkg.yaml --
name: b
variant: scratch
steps:
  - sources: [{url: "https://example.org/<a>", destination: a, sha256: `+sha256Of+`, sha512: `+sha512Of+`}]
    build: [make]
finalize: [{from: /}]
-- b/x.tmpl --
hello
-- a/pkg.yaml --
name: a
variant: alpine
install: []
dependencies: [{stage: b, runtime: true}, {image: i}]
`)
	for _, p := range s.Packages {
		p.Context = Variables{"A": "1"}
	}
	const (
		b = `{"Pkg":{"TemplatedFiles":[{"Path":"x","Content":"aGVsbG8K"}],"Context":{"A":"1"},"Name":"b","Shell":"","BaseDir":"b","FileName":"b/pkg.yaml","BuildPlatform":"","Install":null,"Dependencies":null,` +
			`"Steps":[{"Env":null,"CachePaths":null,"TmpDir":"","Sources":[{"URL":"https://example.org/\u003ca\u003e","Destination":"a","SHA256":"S256","SHA512":"S512"}],"Prepare":null,"Build":["make"],"Install":null,"Test":null,` +
			`"SBOM":{"OutputPath":"","Name":"","Version":"","CPEs":null,"PURL":"","Licenses":null},"Network":0}],"Finalize":[{"From":"/","To":""}],"Variant":2},"Name":"b","Dependencies":null}`
		a = `{"Pkg":{"TemplatedFiles":null,"Context":{"A":"1"},"Name":"a","Shell":"","BaseDir":"a","FileName":"a/pkg.yaml","BuildPlatform":"","Install":[],` +
			`"Dependencies":[{"Image":"","Stage":"b","From":"","To":"","Platform":"","Runtime":true},{"Image":"i","Stage":"","From":"","To":"","Platform":"","Runtime":false}],` +
			`"Steps":null,"Finalize":null,"Variant":1},"Name":"a","Dependencies":NODES}`
		nested = `[{"Node":` + b + `,"Image":"","Stage":"b","From":"","To":"","Platform":"","Runtime":true},{"Node":null,"Image":"i","Stage":"","From":"","To":"","Platform":"","Runtime":false}]`
	)
	sums := strings.NewReplacer("S256", sha256Of, "S512", sha512Of)
	for target, want := range map[string]string{
		"":  "[" + strings.Replace(a, "NODES", "null", 1) + "," + b + "]\n",
		"a": "[" + strings.Replace(a, "NODES", nested, 1) + "," + b + "]\n",
		"b": "[" + b + "]\n",
	} {
		var out bytes.Buffer
		if err := s.Dump(&out, target); err != nil {
			t.Fatal(err)
		}
		equal(t, "dump of "+target, out.String(), sums.Replace(want))
	}
}

func TestSection10DumpOfNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := load(t, pkgfile).Dump(&out, ""); err != nil {
		t.Fatal(err)
	}
	equal(t, "dump", out.String(), "[]\n")
}

// What graft adds to a source is there only if it is used.
func TestSection10DumpOfAdditions(t *testing.T) {
	t.Parallel()
	s := load(t, withStep("sources:\n- module: a.org/b@v1.0.0\n  sum: "+sumOf+"\n  destination: b\n- deb: c0=1\n  suite: trixie\n  sha256: "+sha256Of+"\n  extract: /\n"))
	var out bytes.Buffer
	if err := s.Dump(&out, "p"); err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Pkg struct {
			Steps []struct{ Sources []map[string]any }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "source", got[0].Pkg.Steps[0].Sources[0], map[string]any{
		"URL": "", "Destination": "b", "SHA256": "", "SHA512": "", "Module": "a.org/b@v1.0.0", "Sum": sumOf})
	equal(t, "source", got[0].Pkg.Steps[0].Sources[1], map[string]any{
		"URL": "", "Destination": "", "SHA256": sha256Of, "SHA512": "", "Deb": "c0=1", "Suite": "trixie", "Extract": "/"})
}

// A template as that of the public tree's catalog.
func TestSection10DumpTemplate(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+`-- storage/a/pkg.yaml --
name: a
variant: scratch
dependencies: [{stage: b}]
-- storage/a/vars.yaml --
TIER: core
-- storage/a/manifest.yaml.tmpl --
metadata:
  description: |
    [{{ .TIER }}] says
    hello
-- b/pkg.yaml --
name: b
variant: scratch
-- b/vars.yaml --
INTERNAL_PACKAGE: true
`)
	var out bytes.Buffer
	const catalog = `{{ range . }}{{ if ne .Pkg.Context.INTERNAL_PACKAGE "true" }}{{ $n := . }}{{ range .Pkg.TemplatedFiles }}{{ $m := mustFromYAML (toString .Content) }}` +
		`{{ $n.Name }} {{ hasPrefix "storage/" $n.Pkg.BaseDir }} {{ regexReplaceAll "\\[.*\\] " $m.metadata.description "" }}{{ end }}{{ range .Dependencies }}{{ .Stage }}={{ .Node.Name }}{{ end }}{{ end }}{{ end }}`
	if err := s.DumpTemplate(&out, "a", "catalog.template", catalog); err != nil {
		t.Fatal(err)
	}
	equal(t, "catalog", out.String(), "a true says\nhello\nb=b")
	for text, want := range map[string]string{
		"{{ now }}":                       "parsing the template x: ",
		"{{ range . }}{{ .No }}{{ end }}": "rendering the template x: ",
		`{{ mustFromYAML "a: [" }}`:       "rendering the template x: ",
	} {
		if err := s.DumpTemplate(&out, "", "x", text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("DumpTemplate(%s) = %v, want %q", text, err, want)
		}
	}
}

// A package that many need is in a nested dump many times.
func TestSection10DumpIsBounded(t *testing.T) {
	t.Parallel()
	s := &Set{}
	for i := range 60 {
		p := &Package{Name: fmt.Sprintf("p%02d", i)}
		if i > 0 {
			below := Dependency{Stage: fmt.Sprintf("p%02d", i-1)}
			p.Dependencies = []Dependency{below, below}
		}
		s.Packages = append(s.Packages, p)
	}
	var out bytes.Buffer
	if err := s.Dump(&out, "p59"); err == nil || !strings.Contains(err.Error(), "more than 1000000 packages") {
		t.Errorf("Dump = %v", err)
	}
	if err := s.Dump(&out, ""); err != nil {
		t.Error(err)
	}
	if err := s.Dump(&out, "q"); err == nil || err.Error() != `dumping q: there is no package "q"` {
		t.Errorf("Dump = %v", err)
	}
}
