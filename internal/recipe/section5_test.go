package recipe

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// stages makes a tree of packages out of lines "NAME: DEPENDENCY …", in which a
// dependency is {…} of YAML or the name of a stage.
func stages(lines ...string) string {
	archive := pkgfile
	for _, line := range lines {
		name, deps, _ := strings.Cut(line, ":")
		archive += fmt.Sprintf("-- %s/pkg.yaml --\nname: %s\nvariant: scratch\ndependencies:\n", name, name)
		for dep := range strings.SplitSeq(strings.TrimSpace(deps), " ") {
			if strings.HasPrefix(dep, "{") {
				archive += "  - " + strings.ReplaceAll(strings.ReplaceAll(dep, ":", ": "), ",", ", ") + "\n"
			} else if dep != "" {
				archive += "  - stage: " + dep + "\n"
			}
		}
	}
	return archive
}

func inputsOf(t testing.TB, s *Set, name string) ([]string, []Problem) {
	t.Helper()
	list, warnings, err := s.Inputs(s.Package(name))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, in := range list {
		text := strings.TrimSpace(fmt.Sprintf("%s%s %s>%s %s", in.Image, in.Stage, in.From, in.To, in.Platform))
		if in.Via != "" {
			text += " via " + in.Via
		}
		all = append(all, text)
	}
	return all, warnings
}

func TestSection5Collecting(t *testing.T) {
	t.Parallel()
	s := load(t, stages(
		"a: {image:first} b c",
		"b: {stage:d,runtime:true} {stage:e} {image:i,runtime:true,to:/i}",
		"c: {stage:f,runtime:true,from:/x,to:/y}",
		"d: {stage:g,runtime:true} {stage:h}",
		"e: {stage:h,runtime:true}", "f:", "g:", "h:"))
	got, warnings := inputsOf(t, s, "a")
	equal(t, "inputs", got, []string{"first >", "b >", "d > via b", "g > via d", "i >/i via b", "c >", "f /x>/y via c"})
	checkMessages(t, "warnings", warnings)
}

func TestSection5Repeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		tree []string
		want []string
	}{
		{"the first stays", []string{"a: b c b", "b:", "c:"}, []string{"b >", "c >"}},
		{"own and carried", []string{"a: b c", "b: {stage:c,runtime:true}", "c:"}, []string{"b >", "c > via b"}},
		{"runtime says nothing about files", []string{"a: {stage:b,runtime:true} b", "b:"}, []string{"b >"}},
		{"to is literal", []string{"a: b {stage:b,to:/}", "b:"}, []string{"b >", "b >/"}},
		{"from / is the default", []string{"a: b {stage:b,from:/}", "b:"}, []string{"b >"}},
		{"the platform's default", []string{"a: b {stage:b,platform:linux/amd64}", "b:"}, []string{"b >"}},
		{"other to", []string{"a: {image:i,to:/a} {image:i,to:/b}"}, []string{"i >/a", "i >/b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, warnings := inputsOf(t, load(t, stages(tt.tree...)), "a")
			equal(t, "inputs", got, tt.want)
			checkMessages(t, "warnings", warnings)
		})
	}
}

// The format's own tool drops the second one without a word.
func TestSection5RepeatsThatAreNone(t *testing.T) {
	t.Parallel()
	s := load(t, stages("a: {stage:q,from:/one} {stage:q,from:/two} r {image:i} {image:i,platform:linux/arm64}", "q:", "r: {stage:q,from:/three,runtime:true}"))
	got, warnings := inputsOf(t, s, "a")
	equal(t, "inputs", got, []string{"q /one>", "q /two>", "r >", "q /three> via r", "i >", "i > linux/arm64"})
	checkMessages(t, "warnings", warnings,
		"a/pkg.yaml:5: package a takes q twice, from /one and from /two: both are kept",
		"r/pkg.yaml:4: package a takes q twice, from /one and from /three",
		"a/pkg.yaml:8: package a takes i twice, for linux/amd64 and for linux/arm64")
}

// With a buildPlatform it is open which platform is meant if none is said.
func TestSection5RepeatsInACrossBuild(t *testing.T) {
	t.Parallel()
	s := load(t, minimal+"buildPlatform: linux/arm64\ndependencies: [{image: i}, {image: i, platform: linux/amd64}, {image: i}]\n")
	got, warnings := inputsOf(t, s, "p")
	equal(t, "inputs", got, []string{"i >", "i > linux/amd64"})
	checkMessages(t, "warnings", warnings, "package p takes i twice, for the platform of the build and for linux/amd64")
}

func TestSection5InputErrors(t *testing.T) {
	t.Parallel()
	s := load(t, stages("a: b", "b: {stage:c,runtime:true}", "c: {stage:b,runtime:true}", "d: e", "e: {stage:nowhere,runtime:true}", "f: {stage:f}"))
	for name, want := range map[string]string{
		"a": "packages depend on each other: b → c → b",
		"d": `there is no package "nowhere", needed along d → e → nowhere`,
		"f": "packages depend on each other: f → f",
	} {
		if _, _, err := s.Inputs(s.Package(name)); err == nil || err.Error() != want {
			t.Errorf("Inputs(%s) = %v, want %s", name, err, want)
		}
	}
}

func TestSection5Closure(t *testing.T) {
	t.Parallel()
	s := load(t, stages("a: b {image:i} c", "b: d", "c: d", "d:", "unrelated: a"))
	for _, tt := range []struct{ names, want string }{
		{"a", "d b c a"}, {"c b", "d c b"}, {"d d", "d"}, {"", ""},
	} {
		got, err := s.Closure(strings.Fields(tt.names)...)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, tt.names, names(got), tt.want)
	}
}

// Graph errors appear only for the target that is asked for; at load there is
// a warning.
func TestSection5ClosureErrors(t *testing.T) {
	t.Parallel()
	s := load(t, stages("good:", "top: middle", "middle: {stage:lo}", "low:", "x: y", "y: z", "z: y"))
	checkMessages(t, "warnings", s.Warnings, `middle/pkg.yaml:4: package middle depends on "lo", and there is no such package; did you mean low?`)
	if _, err := s.Closure("good"); err != nil {
		t.Error(err)
	}
	var unknown *UnknownError
	_, err := s.Closure("good", "top")
	if !errors.As(err, &unknown) {
		t.Fatalf("Closure = %v, want an UnknownError", err)
	}
	equal(t, "unknown", unknown, &UnknownError{Name: "lo", Chain: []string{"top", "middle"}, Near: []string{"low"}})
	equal(t, "message", err.Error(), `there is no package "lo", needed along top → middle → lo; did you mean low?`)

	var cycle *CycleError
	_, err = s.Closure("x")
	if !errors.As(err, &cycle) {
		t.Fatalf("Closure = %v, want a CycleError", err)
	}
	equal(t, "message", err.Error(), "packages depend on each other: y → z → y")

	_, err = s.Closure("godo")
	equal(t, "message", err.Error(), `there is no package "godo"; did you mean good?`)
}

func TestNear(t *testing.T) {
	t.Parallel()
	s := &Set{}
	for _, name := range strings.Fields("gvisor gvisor-debug nebula nvme-cli nfs") {
		s.Packages = append(s.Packages, &Package{Name: name})
	}
	for name, want := range map[string]string{
		"gvisr": "gvisor", "gvisor-": "gvisor gvisor-debug", "nvme": "nvme-cli", "nsf": "nfs", "nf": "nfs", "something": "", "": "",
	} {
		equal(t, name, strings.Join(s.Near(name), " "), want)
	}
	if s.Package("nfs") == nil || s.Package("nf") != nil {
		t.Error("Package does not find what there is")
	}
}
