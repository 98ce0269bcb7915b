package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// TestRules runs every testdata/*.txtar: extensions, and what is found in them.
//
// The comment at the top has a directive per line (others are prose):
//
//	talos v1.9.0                    the version to check for
//	arch amd64                      the images' platform
//	ref a registry.example/a:1      the image name of extension a
//	base release 6.1.0              the kernel release of the base
//	base file usr/lib/libc.so.6     a file of the base
//	chmod 4755 a/rootfs/bin/x       mode bits of an entry, set-id included
//	symlink a/rootfs/x ../y         a symlink and its target
//	special a/rootfs/x fifo         a FIFO, char, block or socket
//	dir a/rootfs/usr/local          a directory
//	link a/rootfs/y rootfs/x        a hard link to an entry of a
//	problem a traversal ../x        what a tree could not hold
//	elf a/rootfs/x amd64 interp=/lib/ld.so needed=libc.so.6
//	module a/rootfs/… amd64 vermagic=6.1.0 [signed]
//
// The files' first path element is the extension's name, "want" holds the
// findings: severity, rule, extension, path and message. manifest.yaml and
// rootfs are added to an extension unless it has its own or the directive
// "bare a" is there.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	fired := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			c := parseCase(t, file)
			findings, err := Run(c.subjects(t), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, f := range findings {
				fired[f.Rule] = true
				fmt.Fprintf(&got, "%s %s %s:%s: %s\n", f.Severity, f.Rule, f.Source, f.Path, f.Message)
			}
			if d := cmp.Diff(c.want, got.String()); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
		})
	}
	for _, r := range Rules() {
		if !fired[r.Name] {
			t.Errorf("no case has a finding of the rule %s", r.Name)
		}
	}
}

// testCase is one txtar file.
type testCase struct {
	opts  Options
	arch  string
	refs  map[string]string
	bare  map[string]bool
	trees map[string]*tree.Tree
	notes map[string][]tree.Problem
	want  string
}

func parseCase(t *testing.T, file string) *testCase {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCase{refs: map[string]string{}, bare: map[string]bool{}, trees: map[string]*tree.Tree{}, notes: map[string][]tree.Problem{}}
	for _, f := range a.Files {
		if f.Name == "want" {
			c.want = string(f.Data)
			continue
		}
		c.put(t, f.Name, tree.File(0o644, f.Data))
	}
	for line := range strings.Lines(string(a.Comment)) {
		c.directive(t, strings.Fields(line))
	}
	return c
}

func (c *testCase) tree(name string) *tree.Tree {
	if c.trees[name] == nil {
		c.trees[name] = tree.New()
	}
	return c.trees[name]
}

func (c *testCase) put(t *testing.T, name string, n *tree.Node) {
	t.Helper()
	ext, p, _ := strings.Cut(name, "/")
	if err := c.tree(ext).Put(p, n); err != nil {
		t.Fatal(err)
	}
}

func (c *testCase) get(name string) *tree.Node {
	ext, p, _ := strings.Cut(name, "/")
	return c.tree(ext).Get(p)
}

func (c *testCase) base() *Base {
	if c.opts.Base == nil {
		c.opts.Base = &Base{Files: tree.New()}
	}
	return c.opts.Base
}

var specials = map[string]fs.FileMode{
	"fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket,
	"char": fs.ModeDevice | fs.ModeCharDevice, "block": fs.ModeDevice,
}

func (c *testCase) directive(t *testing.T, w []string) {
	t.Helper()
	if len(w) < 2 {
		return
	}
	var err error
	switch w[0] {
	case "talos":
		c.opts.Talos, err = extension.ParseVersion(w[1])
	case "arch":
		c.arch = w[1]
	case "bare":
		c.bare[w[1]] = true
		c.tree(w[1])
	case "ref":
		c.refs[w[1]] = w[2]
	case "base":
		if w[1] == "release" {
			c.base().Release = w[2]
			return
		}
		err = c.base().Files.Put(w[2], tree.File(0o755, nil))
	case "chmod":
		err = c.chmod(w[2], w[1])
	case "symlink":
		c.put(t, w[1], tree.Symlink(w[2]))
	case "special":
		c.put(t, w[1], &tree.Node{Mode: specials[w[2]] | 0o600})
	case "dir":
		c.put(t, w[1], tree.Dir(0o755))
	case "link":
		ext, _, _ := strings.Cut(w[1], "/")
		c.put(t, w[1], c.tree(ext).Get(w[2]))
	case "problem":
		c.tree(w[1])
		c.notes[w[1]] = append(c.notes[w[1]], tree.Problem{Path: w[3], Kind: tree.ProblemKind(w[2]), Detail: "the reader said so"})
	case "elf", "module":
		c.put(t, w[1], tree.File(0o755, elfFile(w[2], w[3:], w[0] == "module")))
	}
	if err != nil {
		t.Fatalf("%v: %v", w, err)
	}
}

func (c *testCase) chmod(name, octal string) error {
	bits, err := strconv.ParseUint(octal, 8, 12)
	n := c.get(name)
	if err != nil || n == nil {
		return fmt.Errorf("no such entry, or %w", err)
	}
	n.Mode = n.Mode.Type() | fs.FileMode(bits&0o777)
	for i, m := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if bits&(0o1000<<i) != 0 {
			n.Mode |= m
		}
	}
	return nil
}

func (c *testCase) subjects(t *testing.T) []Subject {
	t.Helper()
	var names []string
	for name := range c.trees {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []Subject
	for _, name := range names {
		facts, err := survey.Of(context.Background(), c.complete(t, name))
		if err != nil {
			t.Fatal(err)
		}
		facts.Problems = c.notes[name]
		// Facts are kept as JSON: what is lost there must not be missed.
		data, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		var kept survey.Facts
		if err := json.Unmarshal(data, &kept); err != nil {
			t.Fatal(err)
		}
		all = append(all, Subject{Source: name, Ref: c.refs[name], Arch: c.arch, Facts: &kept})
	}
	return all
}

// complete adds the manifest and a file to an extension that has none.
func (c *testCase) complete(t *testing.T, name string) *tree.Tree {
	t.Helper()
	tr := c.tree(name)
	if c.bare[name] {
		return tr
	}
	if tr.Get(extension.ManifestName) == nil {
		c.put(t, name+"/"+extension.ManifestName, tree.File(0o644, []byte(
			"version: v1alpha1\nmetadata:\n  name: "+name+"\n  version: \"1\"\n  author: A\n  description: D\n")))
	}
	if tr.Get(extension.RootfsName) == nil {
		c.put(t, path.Join(name, extension.RootfsName, "usr/local/share", name), tree.File(0o644, []byte(name)))
	}
	return tr
}

func TestSARIF(t *testing.T) {
	testkit.ValidSARIF(t, SARIF([]Finding{
		{Rule: rules[0].Name, Severity: Error, Source: "docker://registry.example:5000/a b", Path: "rootfs/usr", Message: "m", Mend: "n"},
		{Rule: rules[1].Name, Severity: Warning, Source: "./dir", Message: "m"},
	}, "v1.0.0"))
}
