package recipe

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// costly are functions with which a template can take all the time and memory
// it wants; a fuzzer finds them at once.
var costly = regexp.MustCompile(`range|until|repeat|seq|gen|derive|indent|nindent|template|block|printf|add|mul|pow|encrypt|bcrypt|htpasswd|shuffle|wrap|regex|dig|deep|merge|list|append|cat|join|replace|toJson|toPretty|slice|plural|abbrev|ago|duration`)

func loadTexts(t testing.TB, texts map[string]string) *Set {
	t.Helper()
	f := &files{}
	for _, name := range []string{"Pkgfile", "vars.yaml", "p/vars.yaml", "p/pkg.yaml", "p/x.tmpl"} {
		if text, ok := texts[name]; ok {
			f.put(name, []byte(text))
		}
	}
	l, err := newLoader(amd64)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.load(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sound wants of any set what all that use it rely on.
func sound(t *testing.T, s *Set) {
	t.Helper()
	for _, p := range slices.Concat(s.Problems, s.Warnings) {
		if p.File == "" || p.Line < 0 || p.Message == "" || strings.Contains(p.String(), "%!") {
			t.Errorf("problem %#v", p)
		}
	}
	if err := s.Dump(io.Discard, ""); err != nil {
		t.Error(err)
	}
	for _, p := range s.Packages {
		if _, err := s.Closure(p.Name); err == nil {
			if _, _, err := s.Inputs(p); err != nil {
				t.Errorf("Inputs after Closure: %v", err)
			}
		}
		if p.Name == "" || s.Package(p.Name) != p {
			t.Errorf("package %#v", p)
		}
	}
	if _, err := s.Graph(""); err != nil {
		t.Error(err)
	}
}

func FuzzTree(f *testing.F) {
	f.Add("format: v1alpha2\nvars: {A: 1}\n", "B: '{{ .A }}'\n", "name: p\nvariant: scratch\ndependencies: [{stage: p}]\n", "{{ .X }}")
	f.Add("format: v1alpha2\nvars: &a {<<: *a}\n", "- x\n---\n", "name: {{ .NAME }}\nsteps: [{sources: [{}]}]\n", "{{ if eq .ARCH \"x\" }}{{ end }}")
	f.Add("format: v1alpha2\n", "", "name: p\nvariant: scratch\nsteps:\n  - sources: [{deb: a0=1, suite: trixie, extract: /}, {deb: b0=1, suite: stable-x}]\n", "")
	f.Add("", "", everything, "{{ .A | default \"x\" }}")
	f.Fuzz(func(t *testing.T, pkgfile, vars, pkg, tmpl string) {
		if all := pkgfile + vars + pkg + tmpl; costly.MatchString(all) || strings.Contains(all, "%!") {
			return // what is quoted would look like a format that went wrong
		}
		sound(t, loadTexts(t, map[string]string{"Pkgfile": pkgfile, "vars.yaml": vars, "p/pkg.yaml": pkg, "p/x.tmpl": tmpl}))
	})
}

// plainPackage is what the format's own tool decodes a pkg.yaml into, with the same
// YAML library.
type plainPackage struct {
	Name          string
	Shell         string
	Install       []string
	BuildPlatform string `yaml:"buildPlatform"`
	Dependencies  []struct {
		Image, Stage, From, To, Platform string
		Runtime                          bool
	}
	Steps []struct {
		Env        map[string]string
		CachePaths []string `yaml:"cachePaths"`
		Sources    []struct {
			URL, Destination, SHA256, SHA512 string
		}
		Prepare, Build, Install, Test []string
		SBOM                          struct {
			OutputPath          string `yaml:"outputPath"`
			Name, Version, PURL string
			CPEs, Licenses      []string
		}
	}
	Finalize []struct{ From, To string }
}

// likePlain is a package in that form.
func likePlain(t *testing.T, p *Package) *plainPackage {
	t.Helper()
	q := &plainPackage{Name: p.Name, Shell: p.Shell, Install: p.Install, BuildPlatform: p.BuildPlatform}
	type dependency = struct {
		Image, Stage, From, To, Platform string
		Runtime                          bool
	}
	for _, d := range p.Dependencies {
		q.Dependencies = append(q.Dependencies, dependency(d))
	}
	for _, f := range p.Finalize {
		q.Finalize = append(q.Finalize, f)
	}
	for _, s := range p.Steps {
		q.Steps = append(q.Steps, slices.Grow(q.Steps[:0:0], 1)[:1]...)
		step := &q.Steps[len(q.Steps)-1]
		step.Env, step.CachePaths, step.Prepare, step.Build, step.Install, step.Test = s.Env, s.CachePaths, s.Prepare, s.Build, s.Install, s.Test
		for _, src := range s.Sources {
			step.Sources = append(step.Sources, struct{ URL, Destination, SHA256, SHA512 string }{src.URL, src.Destination, src.SHA256, src.SHA512})
		}
		step.SBOM.OutputPath, step.SBOM.Name, step.SBOM.Version, step.SBOM.PURL = s.SBOM.OutputPath, s.SBOM.Name, s.SBOM.Version, s.SBOM.PURL
		step.SBOM.CPEs, step.SBOM.Licenses = s.SBOM.CPEs, s.SBOM.Licenses
	}
	return q
}

// What the library can decode by itself must be the same here.
func FuzzPackageAsDecodedByYAML(f *testing.F) {
	f.Add([]byte(strings.SplitN(everything, "\n", 2)[1]))
	f.Add([]byte("name: 010\nshell: 2020-01-01\ninstall: [1.10, ~, !!binary aGk=, yes, 0x1]\n"))
	f.Add([]byte("dependencies: [&a {image: x, runtime: yes}, {<<: *a, to: 1}, *a, ~]\nfinalize: []\nsteps: [{env: {<<: {a: 1}, b: 2, ?: 3}}, {}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want plainPackage
		if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&want); err != nil {
			return
		}
		d := &document{file: "pkg.yaml", text: text, budget: maxValues, report: &findings{}}
		p, _ := d.packageFile()
		if p == nil {
			t.Fatalf("problems %q, and yaml has none", messages(d.report.problems))
		}
		if diff := cmp.Diff(&want, likePlain(t, p), cmpopts.EquateEmpty()); diff != "" && !strings.Contains(string(text), "!") && !mergesNumbers(text) {
			t.Errorf("problems %q\n(-yaml +here):\n%s", messages(d.report.problems), diff)
		}
	})
}

// mergesNumbers: in a map with "<<" and keys such as 1 and true the library lets
// "<<" replace what the map itself says, which is wrong.
func mergesNumbers(text []byte) bool {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil {
		return false
	}
	var found func(n *yaml.Node) bool
	found = func(n *yaml.Node) bool {
		merges, numbers := false, false
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				merges = merges || c.Tag == "!!merge"
				numbers = numbers || target(c).Tag != "!!str" && c.Tag != "!!merge"
			}
			if found(c) {
				return true
			}
		}
		return merges && numbers
	}
	return found(&doc)
}

func FuzzDiff(f *testing.F) {
	f.Add("diff --git a/vars.yaml b/vars.yaml\n--- a/vars.yaml\n+++ b/vars.yaml\n@@ -1 +1 @@\n-A: 1\n+A: 2\n")
	f.Add("diff --git \"a/\\303\\274/Pkgfile\" \"b/\\303\\274/Pkgfile\"\n+++ \"b/\\303\\274/Pkgfile\"\n@@ -0,0 +1,2 @@\n+A: 1\n+\"B\": 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseDiff(strings.NewReader(text))
		if err != nil && found != nil {
			t.Error("variables and an error")
		}
		for _, v := range found {
			if kind := kindOf("x/" + v.File); v.Name == "" || kind != VarsName && kindOf(v.File[strings.LastIndex(v.File, "/")+1:]) != PkgfileName {
				t.Errorf("variable %#v", v)
			}
		}
	})
}

// A new value is put into a line so that YAML reads that value, and nothing else
// changes.
func FuzzSetValue(f *testing.F) {
	f.Add("A: 1 # comment")
	f.Add("  - sha256: \"\"\r")
	f.Add("'k' :\tx y  ")
	f.Add("'k :\tx ' :\tx y")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\n\u0085\u2028\u2029") || matchValue([]byte(line)) == nil {
			return
		}
		var before, after yaml.Node
		if yaml.Unmarshal([]byte(line), &before) != nil {
			return
		}
		if err := yaml.Unmarshal(setValue([]byte(line), "new"), &after); err != nil {
			t.Fatal(err)
		}
		b, a := &before, &after
		for a.Kind != yaml.ScalarNode && len(a.Content) > 0 && len(a.Content) == len(b.Content) {
			a, b = a.Content[len(a.Content)-1], b.Content[len(b.Content)-1]
		}
		if a.Value != "new" {
			t.Errorf("%q became %q", line, setValue([]byte(line), "new"))
		}
	})
}
