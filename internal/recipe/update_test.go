package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newUpdate(t testing.TB, archive string) *Update {
	t.Helper()
	u, err := NewUpdate(t.Context(), tree(t, archive), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// sums are different checksums that look real.
func sums(n int) (string, string) {
	return fmt.Sprintf("%064x", 0xabc000+n), fmt.Sprintf("%0128x", 0xdef000+n)
}

func source(url, sha256, sha512 string) string {
	return fmt.Sprintf("      - url: %s\n        destination: a%s\n        sha256: %s\n        sha512: %s\n", url, sha256[len(sha256)-min(2, len(sha256)):], sha256, sha512)
}

func stepsOf(sources ...string) string {
	return "finalize: [{from: /a}]\nsteps:\n  - sources:\n" + strings.Join(sources, "")
}

var updateTree = func() string {
	a256, a512 := sums(1)
	b256, b512 := sums(2)
	c256, c512 := sums(3)
	return `-- Pkgfile --
format: v1alpha2
vars:
  MIRROR: https://example.org # not a version
  BASE_VERSION: "1.2"
-- vars.yaml --
SHARED: v7
-- a/vars.yaml --
VERSION: 1.2.3
# {{ if eq .ARCH "aarch64" }}
SHA256: ` + a256 + ` # arm
SHA512: ` + a512 + `
# {{ else }}
SHA256: ` + b256 + `
SHA512: '` + b512 + `'
# {{ end }}
-- a/pkg.yaml --
name: a
variant: scratch
` + stepsOf(
		source("'{{ .MIRROR }}/a-{{ .VERSION }}-{{ .ARCH }}.tar'", "'{{ .SHA256 }}'", "'{{ .SHA512 }}'"),
		source("'https://example.org/fixed-{{ .SHARED }}'", c256, c512)) + `
-- b/pkg.yaml --
name: b
variant: scratch
` + stepsOf(source("'https://example.org/{{ .BASE_VERSION | replace \".\" \"_\" }}/{{ substr 0 1 .SHARED }}'", c256, c512),
		"      - module: example.org/b@v{{ .BASE_VERSION }}.0\n        destination: b\n        sum: "+sumOf+"\n",
		"      - deb: bash={{ .BASE_VERSION }}-1\n        destination: c\n        sha256: "+c256+"\n")
}()

func listed(uses []Use) []string {
	var all []string
	for _, u := range uses {
		all = append(all, fmt.Sprintf("%s %s%s%s %s", u, u.Source.URL, u.Source.Module, u.Source.Deb, strings.Join(u.Platforms, ",")))
	}
	return all
}

func TestSection10UpdateFindsSources(t *testing.T) {
	t.Parallel()
	u := newUpdate(t, updateTree)
	checkMessages(t, "problems", u.Problems)
	const both = " linux/amd64,linux/arm64"
	a := []string{
		"a: steps[0].sources[0] https://example.org/a-1.2.3-x86_64.tar linux/amd64",
		"a: steps[0].sources[0] https://example.org/a-1.2.3-aarch64.tar linux/arm64",
	}
	for _, tt := range []struct {
		file, name string
		want       []string
	}{
		{"a/vars.yaml", "VERSION", a},
		{"./a/vars.yaml", "VERSION", a},
		{"Pkgfile", "MIRROR", a},
		{"Pkgfile", "BASE_VERSION", []string{"b: steps[0].sources[0] https://example.org/1_2/v" + both, "b: steps[0].sources[1] example.org/b@v1.2.0" + both, "b: steps[0].sources[2] bash=1.2-1 linux/amd64", "b: steps[0].sources[2] bash=1.2-1 linux/arm64"}},
		{"vars.yaml", "SHARED", []string{"a: steps[0].sources[1] https://example.org/fixed-v7" + both, "b: steps[0].sources[0] https://example.org/1_2/v" + both}},
		{"a/vars.yaml", "SHA256", nil},
	} {
		v, err := u.Variable(tt.file, tt.name)
		if err != nil {
			t.Fatal(err)
		}
		uses, err := u.SourcesUsing(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, tt.file+" "+tt.name, listed(uses), tt.want)
	}
	for file, want := range map[string]string{
		"a/vars.yaml":  "finding the variable VERSON: a/vars.yaml does not define it; did you mean VERSION?",
		"no/vars.yaml": "finding the variable VERSON: the tree has no no/vars.yaml",
		"a/pkg.yaml":   "finding the variable VERSON: a/pkg.yaml is neither a Pkgfile nor a vars.yaml",
		"../Pkgfile":   "finding the variable VERSON: ../Pkgfile is neither",
	} {
		if _, err := u.Variable(file, "VERSON"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Variable(%s) = %v, want %s", file, err, want)
		}
	}
}

func TestUpdateSourcesOf(t *testing.T) {
	t.Parallel()
	u := newUpdate(t, updateTree)
	uses, err := u.SourcesOf("a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sources", listed(uses), []string{
		"a: steps[0].sources[0] https://example.org/a-1.2.3-x86_64.tar linux/amd64",
		"a: steps[0].sources[1] https://example.org/fixed-v7 linux/amd64,linux/arm64",
		"a: steps[0].sources[0] https://example.org/a-1.2.3-aarch64.tar linux/arm64",
	})
	var unknown *UnknownError
	if _, err := u.SourcesOf("a", "bb"); !errors.As(err, &unknown) || unknown.Name != "bb" {
		t.Errorf("SourcesOf = %v", err)
	}
}

// A change of the variable may change which sources there are.
func TestSection10UpdateConditionalSources(t *testing.T) {
	t.Parallel()
	a256, a512 := sums(1)
	u := newUpdate(t, "-- Pkgfile --\nformat: v1alpha2\nvars: {V: '1'}\n-- pkg.yaml --\nname: p\nvariant: scratch\n"+stepsOf(
		"      # {{ if eq .V \"1\" }}\n", source("https://example.org/one", a256, a512), "      # {{ else }}\n", source("https://example.org/two", a256, a512), "      # {{ end }}\n"))
	uses, err := u.SourcesUsing(t.Context(), Variable{"Pkgfile", "V"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sources", listed(uses), []string{"p: steps[0].sources[0] https://example.org/one linux/amd64,linux/arm64"})
}

func rewritten(t *testing.T, u *Update, edits ...Edit) (map[string]string, error) {
	t.Helper()
	files, err := u.Rewrite(t.Context(), edits)
	all := map[string]string{}
	for _, f := range files {
		all[f.Name] = string(f.Text)
	}
	return all, err
}

// changedLines are those of two texts that differ.
func changedLines(before, after string) []string {
	var all []string
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(a) != len(b) {
		return []string{fmt.Sprintf("%d lines instead of %d", len(a), len(b))}
	}
	for i := range a {
		if a[i] != b[i] {
			all = append(all, a[i])
		}
	}
	return all
}

func TestSection10UpdateRewrites(t *testing.T) {
	t.Parallel()
	u := newUpdate(t, updateTree)
	uses, err := u.SourcesUsing(t.Context(), Variable{"a/vars.yaml", "VERSION"}, Variable{"vars.yaml", "SHARED"})
	if err != nil {
		t.Fatal(err)
	}
	var edits []Edit
	byURL := map[string]string{}
	for i, use := range uses[:3] { // the last one has the checksums of another
		n256, n512 := sums(100 + i)
		byURL[use.Source.URL] = n256
		edits = append(edits, Edit{use, "sha256", n256}, Edit{use, "sha512", n512})
	}
	got, err := rewritten(t, u, edits...)
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string][]string{}
	for name, text := range got {
		changed[name] = changedLines(string(u.files.texts[name]), text)
	}
	equal(t, "files", len(got), 3)
	equal(t, "a/vars.yaml", len(changed["a/vars.yaml"]), 4)
	equal(t, "for arm", changed["a/vars.yaml"][0], "SHA256: "+byURL["https://example.org/a-1.2.3-aarch64.tar"]+" # arm")
	equal(t, "for amd", changed["a/vars.yaml"][2], "SHA256: "+byURL["https://example.org/a-1.2.3-x86_64.tar"])
	equal(t, "literal ones", len(changed["a/pkg.yaml"]), 2)
	equal(t, "wherever they stand", len(changed["b/pkg.yaml"]), 3)
}

func TestSection10UpdateConflicts(t *testing.T) {
	t.Parallel()
	u := newUpdate(t, updateTree)
	uses, err := u.SourcesUsing(t.Context(), Variable{"vars.yaml", "SHARED"})
	if err != nil {
		t.Fatal(err)
	}
	one, _ := sums(100)
	two, _ := sums(101)
	got, err := rewritten(t, u, Edit{uses[0], "sha256", one}, Edit{uses[1], "sha256", two}, Edit{uses[1], "sha512", uses[1].Source.SHA512})
	want := "writing sha256 " + two + " of b: steps[0].sources[0]: another source has the same old checksum, and now has " + one
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Rewrite = %v, want %s", err, want)
	}
	equal(t, "what could be written", len(got), 2)
}

func TestSection10UpdateFillsPlaces(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("0", 64)
	archive := `-- Pkgfile --
format: v1alpha2
vars:
  "QUOTED": "" # keep this
  UNUSED:
-- vars.yaml --
TODO_SHA: TODO  
-- p/vars.yaml --
V: "1"
# {{ if eq .ARCH "aarch64" }}
SHA256:
# {{ else }}
SHA256:   # of amd64
# {{ end }}
OTHER: ""
-- p/pkg.yaml --
name: p
variant: scratch
` + stepsOf(
		source("https://example.org/{{ .V }}-{{ .ARCH }}", "'{{ .SHA256 }}'", "'{{ .QUOTED }}'"),
		source("https://example.org/{{ .V }}", "'"+zeros+"'", "'{{ .TODO_SHA }}'"),
		"      - sha256:\n        url: https://example.org/x{{ .V }}\n        destination: a\n        sha512: \"\"\r\n",
		"      - {module: 'example.org/b@v{{ .V }}.0.0', destination: b, sum: ''}\n",
	)
	u := newUpdate(t, archive)
	uses, err := u.SourcesUsing(t.Context(), Variable{"p/vars.yaml", "V"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sources", listed(uses), []string{
		"p: steps[0].sources[0] https://example.org/1-x86_64 linux/amd64",
		"p: steps[0].sources[1] https://example.org/1 linux/amd64,linux/arm64",
		"p: steps[0].sources[2] https://example.org/x1 linux/amd64,linux/arm64",
		"p: steps[0].sources[3] example.org/b@v1.0.0 linux/amd64,linux/arm64",
		"p: steps[0].sources[0] https://example.org/1-aarch64 linux/arm64",
	})
	var edits []Edit
	for i, use := range uses {
		if use.Source.Module != "" {
			edits = append(edits, Edit{use, "sum", "h1:new"})
			continue
		}
		edits = append(edits, Edit{use, "sha256", fmt.Sprintf("new256-%d", i)})
		if i < 4 {
			edits = append(edits, Edit{use, "sha512", fmt.Sprintf("new512-%d", i)})
		}
	}
	got, err := rewritten(t, u, edits...)
	want := "writing sum h1:new of p: steps[0].sources[3]: p/pkg.yaml has no line of its own for it"
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Rewrite = %v, want %s", err, want)
	}
	equal(t, "changes", map[string][]string{
		"Pkgfile":     changedLines(string(u.files.texts["Pkgfile"]), got["Pkgfile"]),
		"vars.yaml":   changedLines(string(u.files.texts["vars.yaml"]), got["vars.yaml"]),
		"p/vars.yaml": changedLines(string(u.files.texts["p/vars.yaml"]), got["p/vars.yaml"]),
		"p/pkg.yaml":  changedLines(string(u.files.texts["p/pkg.yaml"]), got["p/pkg.yaml"]),
	}, map[string][]string{
		"Pkgfile":     {`  "QUOTED": "new512-0" # keep this`},
		"vars.yaml":   {"TODO_SHA: new512-1  "},
		"p/vars.yaml": {"SHA256: new256-4", "SHA256: new256-0   # of amd64"},
		"p/pkg.yaml":  {"        sha256: 'new256-1'", "      - sha256: new256-2", "        sha512: \"new512-2\"\r"},
	})
}

// Two platforms cannot have one line for two checksums.
func TestSection10UpdateOneLineForTwo(t *testing.T) {
	t.Parallel()
	u := newUpdate(t, "-- Pkgfile --\nformat: v1alpha2\nvars: {V: '1'}\n-- pkg.yaml --\nname: p\nvariant: scratch\n"+
		stepsOf(source("https://example.org/{{ .V }}-{{ .ARCH }}", "''", "''")))
	uses, err := u.SourcesUsing(t.Context(), Variable{"Pkgfile", "V"})
	if err != nil || len(uses) != 2 {
		t.Fatal(uses, err)
	}
	got, err := rewritten(t, u, Edit{uses[0], "sha256", "one"}, Edit{uses[1], "sha256", "two"})
	if err == nil || !strings.Contains(err.Error(), "line 8 of pkg.yaml would also have to be one") {
		t.Errorf("Rewrite = %v", err)
	}
	equal(t, "files", len(got), 1)
}

func TestSection10UpdateFromDiff(t *testing.T) {
	t.Parallel()
	const diff = `diff --git a/a/vars.yaml b/a/vars.yaml
index 1..2 100644
--- a/a/vars.yaml
+++ b/a/vars.yaml
@@ -1 +1 @@
-VERSION: 1.2.2
+VERSION: 1.2.3
diff --git a/README.md b/README.md
--- a/README.md
+++ b/README.md
@@ -1 +1 @@
-a
+SHARED: no variable
diff --git a/Pkgfile b/Pkgfile
--- a/Pkgfile
+++ b/Pkgfile
@@ -5 +5,2 @@ vars:
-  BASE_VERSION: "1.1"
+  BASE_VERSION: "1.2"
+  GONE: again
`
	u := newUpdate(t, updateTree)
	want := []Variable{{"a/vars.yaml", "VERSION"}, {"Pkgfile", "BASE_VERSION"}}
	got, err := u.Changed(strings.NewReader(diff))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "changed", got, want)

	u.prefix = "deep/recipes"
	got, err = u.Changed(strings.NewReader(strings.NewReplacer("a/a/", "a/deep/recipes/a/", "b/a/", "b/deep/recipes/a/", "b/Pkgfile", "b/other/Pkgfile").Replace(diff)))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "changed", got, want[:1])
}

func TestGitPrefix(t *testing.T) {
	t.Parallel()
	dir := tree(t, "-- .git/HEAD --\n-- a/b/Pkgfile --\n-- c/.git --\ngitdir: x\n-- c/d/Pkgfile --\n")
	for root, want := range map[string]string{"": "", "a/b": "a/b", "c": "", "c/d": "d"} {
		equal(t, root, gitPrefix(filepath.Join(dir, root)), want)
	}
}

func TestUpdateOfAMissingTree(t *testing.T) {
	t.Parallel()
	if _, err := NewUpdate(t.Context(), filepath.Join(t.TempDir(), "no"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewUpdate = %v", err)
	}
}

func TestParseDiff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, diff string
		want       []Variable
	}{
		{"nothing", "", nil},
		{"a new file", "diff --git a/vars.yaml b/vars.yaml\nnew file mode 100644\n--- /dev/null\n+++ b/vars.yaml\n@@ -0,0 +1,5 @@\n+# A: comment\n+B: 1\n+  'C' : 2\n+- D: list\n+E:no\n", []Variable{{"vars.yaml", "B"}, {"vars.yaml", "C"}}},
		{"a removed file", "diff --git a/vars.yaml b/vars.yaml\n--- a/vars.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-A: 1\n", nil},
		{"with context", "diff --git a/vars.yaml b/vars.yaml\n--- a/vars.yaml\n+++ b/vars.yaml\n@@ -1,3 +1,3 @@\n A: 1\n-B: 1\n+B: 2\n C: 3\n\\ No newline at end of file\n", []Variable{{"vars.yaml", "B"}}},
		{"lines that look like heads", "diff --git a/vars.yaml b/vars.yaml\n--- a/vars.yaml\n+++ b/vars.yaml\n@@ -1,2 +1,2 @@\n--- a/b\n-x\n+++ b/Pkgfile\n+A: 1\n", []Variable{{"vars.yaml", "A"}}},
		{"a directory named b, no prefix", "diff --git b/vars.yaml b/vars.yaml\n--- b/vars.yaml\n+++ b/vars.yaml\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"b/vars.yaml", "A"}}},
		{"other prefixes", "diff --git i/x/vars.yaml w/x/vars.yaml\n--- i/x/vars.yaml\n+++ w/x/vars.yaml\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"x/vars.yaml", "A"}}},
		{"renamed", "diff --git a/x/vars.yaml b/y/vars.yaml\nsimilarity index 90%\nrename from x/vars.yaml\nrename to y/vars.yaml\n--- a/x/vars.yaml\n+++ b/y/vars.yaml\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"y/vars.yaml", "A"}}},
		{"a name with a space", "diff --git a/x y/vars.yaml b/x y/vars.yaml\n--- a/x y/vars.yaml\t\n+++ b/x y/vars.yaml\t\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"x y/vars.yaml", "A"}}},
		{"a quoted name", "diff --git \"a/\\303\\274/vars.yaml\" \"b/\\303\\274/vars.yaml\"\n--- \"a/\\303\\274/vars.yaml\"\n+++ \"b/\\303\\274/vars.yaml\"\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"ü/vars.yaml", "A"}}},
		{"of diff -u", "--- a/vars.yaml\n+++ b/vars.yaml\n@@ -1 +1 @@\n-A: 1\n+A: 2\n", []Variable{{"vars.yaml", "A"}}},
		{"Windows' lines", "diff --git a/vars.yaml b/vars.yaml\r\n--- a/vars.yaml\r\n+++ b/vars.yaml\r\n@@ -1 +1 @@\r\n-A: 1\r\n+A:\r\n", []Variable{{"vars.yaml", "A"}}},
		{"binary", "diff --git a/x b/x\nBinary files a/x and b/x differ\n", nil},
	} {
		got, err := parseDiff(strings.NewReader(tt.diff))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for text, want := range map[string]string{
		"hello\n":                   "this is no output of git diff",
		"+++ b/a\n@@ -1 @@\n":       `reading line 2 of the diff: "@@ -1 @@" is no head of a hunk`,
		"+++ b/a\n@@ -1 +1 @@\nx\n": `reading line 3 of the diff: "x" is no line of a hunk`,
		"+++ \"b/\\q\n":             "reading line 1 of the diff: the name",
		"diff --cc vars.yaml\n":     "reading line 1 of the diff: this is the diff of a merge",
		"+++ b/a\n@@ -1 +1,99999999999999999999 @@\n": "is no head of a hunk",
	} {
		if _, err := parseDiff(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseDiff(%q) = %v, want %q", text, err, want)
		}
	}
}
