package recipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bldrEnv names the format's own tool, siderolabs/bldr v0.6.3.
const bldrEnv = "GRAFT_TEST_BLDR"

// bldr runs the format's own tool in a tree.
func bldr(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(os.Getenv(bldrEnv), args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bldr %s: %v\n%s", args, err, &stderr)
	}
	return out
}

// TestJudgeBldr asks bldr what it reads in trees that have no additions of ours
// and use no quirk that is mended here.
func TestJudgeBldr(t *testing.T) {
	if os.Getenv(bldrEnv) == "" {
		t.Skip(bldrEnv + " names no bldr to compare with")
	}
	quarter := synthetic(30)
	for name, dir := range map[string]string{
		"every key": tree(t, pkgfile+everything+"-- all/files/x.tmpl --\n{{ .ARCH }} {{ .X }}\n"),
		"synthetic": writeTree(t, quarter),
		"graph":     tree(t, strings.Replace(graphTree, "user/pkg.yaml", "user/recipe.txt", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(t.Context(), dir, Options{BuildArgs: map[string]string{"TAG": "v1"}})
			if err != nil {
				t.Fatal(err)
			}
			compareDumps(t, s, dir, "")
			compareGraphs(t, s, dir)
			for _, p := range s.Packages {
				if _, err := s.Closure(p.Name); err == nil && len(p.Dependencies) < 3 {
					compareDumps(t, s, dir, p.Name)
				}
			}
			p := s.Packages[0]
			const text = "{{ .ARCH }} {{ .VERSION }} {{ .BUILD_ARG_TAG }} {{ .NOT_THERE }}"
			ours, err := Eval(text, p)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "eval", ours, string(bldr(t, dir, "eval", "-t", p.Name, "--build-arg", "TAG=v1", text)))
		})
	}
}

func compareDumps(t *testing.T, s *Set, dir, target string) {
	t.Helper()
	args := []string{"dump", "--build-arg", "TAG=v1"}
	if target != "" {
		args = append(args, "-t", target)
	}
	var ours bytes.Buffer
	if err := s.Dump(&ours, target); err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(ours.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(bldr(t, dir, args...), &want); err != nil {
		t.Fatal(err)
	}
	equal(t, fmt.Sprintf("dump %q", target), got, want)
}

var (
	dotNode = regexp.MustCompile(`(?m)^\s*(n\d+)\s*\[.*label="([^"]*)"`)
	dotEdge = regexp.MustCompile(`(?m)^\s*(n\d+)\s*->\s*(n\d+)(.*)$`)
)

// compareGraphs compares the edges, by labels and whether they are of the runtime.
func compareGraphs(t *testing.T, s *Set, dir string) {
	t.Helper()
	dot := string(bldr(t, dir, "graph", "--build-arg", "TAG=v1"))
	labels := map[string]string{}
	for _, m := range dotNode.FindAllStringSubmatch(dot, -1) {
		labels[m[1]] = m[2]
	}
	var want []string
	for _, m := range dotEdge.FindAllStringSubmatch(dot, -1) {
		want = append(want, edgeText(labels[m[1]], labels[m[2]], strings.Contains(m[3], "forestgreen")))
	}
	g, err := s.Graph("")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Nodes {
		labels[n.ID] = n.Label
	}
	var got []string
	for _, e := range g.Edges {
		got = append(got, edgeText(labels[e.From], labels[e.To], e.Runtime))
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(t, "edges", slices.Compact(got), slices.Compact(want))
}

func edgeText(from, to string, runtime bool) string {
	return fmt.Sprintf("%s -> %s %t", from, to, runtime)
}
