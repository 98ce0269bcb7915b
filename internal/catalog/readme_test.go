package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/recipe"
)

// TestTable writes the tables of the trees of testdata/readme: the file want of each.
func TestTable(t *testing.T) {
	all, err := filepath.Glob("testdata/readme/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatal("no trees in testdata/readme", err)
	}
	for _, name := range all {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var want string
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				p := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			set, err := recipe.Load(t.Context(), dir, recipe.Options{Target: "linux/amd64", BuildArgs: map[string]string{"TAG": "VERSION"}})
			if err != nil || len(set.Problems) > 0 {
				t.Fatal(err, set.Problems)
			}
			got, err := Table(t.Context(), set, dir, ShelfOf(set))
			if err != nil {
				got = "error: " + strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
			}
			if diff := cmp.Diff(want, strings.ReplaceAll(got, nbsp, "_")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestShelf tells where images are by the label of a Pkgfile.
func TestShelf(t *testing.T) {
	for source, want := range map[string]string{
		"https://github.com/siderolabs/extensions":   "[ghcr.io/siderolabs/a](https://github.com/siderolabs/extensions/pkgs/container/a)",
		"https://github.com/Some/Extensions.git":     "[ghcr.io/some/a](https://github.com/Some/Extensions/pkgs/container/a)",
		"https://github.com/siderolabs":              "a",
		"https://github.com/siderolabs/a/tree/main":  "a",
		"https://git.example/siderolabs/extensions/": "a",
		"": "a",
	} {
		set := &recipe.Set{Pkgfile: recipe.Pkgfile{Labels: map[string]string{sourceLabel: source}}}
		if got := ShelfOf(set).image("a"); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
	if got, want := (Shelf{Registry: "registry.example/x", Source: "https://github.com/a/b"}).image("c"), "registry.example/x/c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestInsert replaces what is between markers, and nothing else.
func TestInsert(t *testing.T) {
	b, e := TableMarkers.Begin+"\n", TableMarkers.End+"\n"
	got, err := Insert([]byte("a\n"+b+"old\n"+e+"z"), TableMarkers, "new\n")
	if want := "a\n" + b + "new\n" + e + "z"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	again, err := Insert(got, TableMarkers, "new\n")
	if err != nil || string(again) != string(got) {
		t.Errorf("the second time: %q, %v", again, err)
	}
	for text, want := range map[string]string{
		"":                "0 times",
		b:                 "0 times",
		e + b:             "comes before",
		b + b + e:         "2 times",
		b + e + e:         "2 times",
		"x" + b[:20]:      "0 times",
		b[:30] + "\n" + e: "0 times",
	} {
		if _, err := Insert([]byte(text), TableMarkers, "new"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// TestLegend has a sign for each tier, and as many cells in each row.
func TestLegend(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(Legend()), "\n")
	for _, r := range rows {
		if strings.Count(r, "|") != len(tierSigns)+2 {
			t.Errorf("the row has another number of cells: %s", r)
		}
	}
	for tier, sign := range tierSigns {
		if !strings.Contains(rows[0], sign+nbsp+tier) {
			t.Errorf("%s is missing in %s", tier, rows[0])
		}
	}
}
