package sbom

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/tree"
)

// rootOf is a root filesystem of files of testdata and of texts.
func rootOf(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	root := tree.New()
	for name, text := range files {
		data := []byte(text)
		if from, ok := strings.CutPrefix(text, "testdata/"); ok {
			var err error
			if data, err = os.ReadFile("testdata/" + from); err != nil {
				t.Fatal(err)
			}
		}
		if err := root.Put(name, tree.File(0o644, data)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCollect(t *testing.T) {
	found, err := Collect(t.Context(), rootOf(t, map[string]string{
		"usr/local/share/spdx/b.spdx.json": "testdata/bldr.spdx.json",
		"usr/local/share/spdx/a.cdx.json":  "testdata/syft.cdx.json",
		"usr/share/spdx/base.spdx.json":    "testdata/syft.spdx.json",
		"usr/local/share/spdx/README":      "testdata/syft.spdx.json",
		"usr/local/share/spdx/x.spdx.json": "no document",
		"usr/local/share/vex/v.json":       "{}",
		"usr/bin/script":                   "#!/bin/sh\n",
		"usr/bin/short":                    "\x7fE",
		"usr/bin/c":                        "\x7fELF but no more",
	}), "hello", "1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"usr/share/spdx/base.spdx.json", "usr/local/share/spdx/a.cdx.json", "usr/local/share/spdx/b.spdx.json"}, found.Documents); d != "" {
		t.Error(d)
	}
	if len(found.BOMs) != 3 || len(found.Programs) != 0 {
		t.Errorf("got %d BOMs, and the programs %v", len(found.BOMs), found.Programs)
	}
	for _, b := range found.BOMs {
		if len(b.Files) > 0 {
			t.Errorf("%s has files", b.Name)
		}
	}
	if len(found.Problems) != 1 || !strings.Contains(found.Problems[0], "reading usr/local/share/spdx/x.spdx.json: it is neither") {
		t.Errorf("got the problems %q", found.Problems)
	}
	if d := cmp.Diff(map[string][]byte{"usr/local/share/vex/v.json": []byte("{}")}, found.VEX); d != "" {
		t.Error(d)
	}
}

// TestCollectPrograms: a program is read if no document lists it. In documents of
// images its path begins with rootfs.
func TestCollectPrograms(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"listed":   {"usr/local/bin/hello", nil},
		"unlisted": {"usr/local/bin/tool", []string{"usr/local/bin/tool"}},
	} {
		root := rootOf(t, map[string]string{"usr/local/share/spdx/hello.spdx.json": "testdata/contents.spdx.json"})
		if err := root.Put(c.path, tree.File(0o755, data)); err != nil {
			t.Fatal(err)
		}
		found, err := Collect(t.Context(), root, "hello", "1")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, found.Programs); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		merged := Merge(Subject{Package: Package{Name: "hello"}, BOMs: found.BOMs})
		toolchain := slices.ContainsFunc(merged.Packages, func(p Package) bool { return p.Name == "stdlib" && p.Version != "1.26.1" })
		if toolchain != (c.want != nil) {
			t.Errorf("%s: the toolchain's version is there: %v", name, toolchain)
		}
	}
}

func TestCollectEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Collect(ctx, rootOf(t, map[string]string{"a": "b"}), "hello", "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// TestCollectMany: no more documents are read than there may be.
func TestCollectMany(t *testing.T) {
	files := map[string]string{}
	for i := range maxDocuments + 10 {
		files["usr/share/vex/"+strings.Repeat("x", 1+i%200)+strings.Repeat("y", i/200)+".json"] = "{}"
	}
	found, err := Collect(t.Context(), rootOf(t, files), "hello", "1")
	if err != nil {
		t.Fatal(err)
	}
	if len(found.VEX) != maxDocuments || len(found.Problems) != 1 || !strings.Contains(found.Problems[0], "too many documents") {
		t.Errorf("got %d documents, and the problems %q", len(found.VEX), found.Problems)
	}
}
