package catalog

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/tree"
)

var update = flag.Bool("update", false, "write the goldens")

// small is a catalog with one of everything.
func small(t testing.TB) ([]Entry, []Listing) {
	t.Helper()
	var all []Entry
	var listings []Listing
	add := func(named, tier, category string, platforms []string, files map[string]string) {
		img := image(t, named)
		facts := extensionFacts(t, img.Name(), files)
		var built []Built
		for _, p := range platforms {
			built = append(built, Built{Platform: p, Digest: digest(named + p), Size: 1000, Facts: facts})
			listings = append(listings, NewListing(img.String(), p, facts))
		}
		e, err := NewEntry(img, tier, category, built)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	add("siderolabs/gvisor:20260905.0", "core", "container-runtime", []string{"linux/amd64", "linux/arm64"}, map[string]string{
		"/usr/local/bin/runsc":                    "#!runsc",
		"/usr/local/share/spdx/gvisor.spdx.json":  "{}",
		"/usr/local/share/spdx/other.txt":         "no SBOM",
		"/usr/local/etc/containers/gvisor.yaml":   "name: gvisor-service\n",
		"/usr/local/etc/containers/broken.yaml":   "\t",
		"/usr/local/etc/containers/README":        "no service",
		"/usr/lib/modules/6.18.45/extra/gv.ko.xz": "no module, but called so",
	})
	add("siderolabs/amd-ucode:20251111", "", "firmware", []string{"linux/amd64"}, map[string]string{"/usr/lib/firmware/amd-ucode/a.bin": "x"})
	all[1].Details.SignedBy = []string{"release@example.org"} // what a publisher adds
	return all, listings
}

// TestGolden shows the files of a catalog as they are written.
func TestGolden(t *testing.T) {
	all, listings := small(t)
	tr := written(t, all, listings)
	var b strings.Builder
	if err := tr.Walk(func(e tree.Entry) error {
		if e.Mode.IsDir() {
			return nil
		}
		data, err := tr.ReadFile(e.Path, 1<<20)
		b.WriteString("-- " + e.Path + " --\n" + string(data))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/catalog.txtar"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("go test -update writes %s anew (-want +got):\n%s", golden, diff)
	}
}

// TestRoundTrip reads what was written, and writes it again.
func TestRoundTrip(t *testing.T) {
	all, listings := small(t)
	tr := written(t, all, listings)
	c, err := Read(tr)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Catalog{Talos: "v1.12.0", Entries: all}, c); diff != "" {
		t.Error(diff)
	}
	reversed := []Listing{listings[2], listings[1], listings[0]}
	first, err := tr.Digest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := written(t, c.Entries, reversed).Digest(t.Context())
	if err != nil || first != second {
		t.Errorf("the same catalog has the digests %s and %s (%v)", first, second, err)
	}
}

// TestWriteErrors refuses what others could not read.
func TestWriteErrors(t *testing.T) {
	for _, test := range []struct {
		entries []Entry
		want    string
	}{
		{entries(t, "siderolabs/a:1", "siderolabs/a:2"), "ghcr.io/siderolabs/a is there twice"},
		{[]Entry{{Image: Image{Repository: "ghcr.io/a", Digest: digest("a")}}}, "has no tag"},
		{[]Entry{{Image: Image{Repository: "ghcr.io/../a", Tag: "1", Digest: digest("a")}}}, "cannot be in the name"},
		{[]Entry{{}}, "is no digest"},
		{[]Entry{{Image: image(t, "siderolabs/a:1"), Description: strings.Repeat("x", maxDescriptions)}}, "descriptions.yaml would have"},
	} {
		if _, err := Write("v1", test.entries, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// files is a tree of these files.
func files(t testing.TB, all map[string]string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for name, data := range all {
		if err := tr.Put(name, tree.File(0o644, []byte(data))); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// TestRead reads catalogs of others, old ones and hostile ones.
func TestRead(t *testing.T) {
	a, b := image(t, "siderolabs/a:1").String(), image(t, "registry.example:5000/x/y/b:v2-rc.1_x").String()
	untagged := "ghcr.io/siderolabs/c@" + digest("c")
	for _, test := range []struct {
		what     string
		files    map[string]string
		want     []Entry
		problems []string
	}{
		{
			what:  "image-digests alone, with what is to be ignored",
			files: map[string]string{DigestsName: "# a comment\n\n" + a + "\r\n  " + b + "\nghcr.io/siderolabs/x:1\n" + untagged},
			want:  []Entry{{Image: parse(t, a)}, {Image: parse(t, b)}, {Image: parse(t, untagged)}},
		},
		{
			what: "descriptions of some, with strange values",
			files: map[string]string{DigestsName: a + "\n" + b + "\n", DescriptionsName: a + ":\n  author: Me\n  description: |\n    [core] Two\n    lines.\n  more: 1\n" +
				b + ":\n  author: [a list]\n  description: 12\n? [x]\n: y\nsome: text\nunknown: {author: x}\n"},
			want:     []Entry{{Image: parse(t, a), Author: "Me", Description: "[core] Two\nlines.\n"}, {Image: parse(t, b), Description: "12"}},
			problems: []string{"descriptions.yaml, line 10: wanted is an image", "descriptions.yaml, line 12: wanted is an image"},
		},
		{
			what:     "bad digests and names, lines that are there twice",
			files:    map[string]string{DigestsName: a + "\n" + a + "\nx@y\nghcr.io/../../etc/passwd:1@" + digest("a") + "\nghcr.io/a:1@sha256:" + strings.Repeat("A", 64) + "\nghcr.io/a: 1@" + digest("a") + "\nghcr.io/a\x1b[31m:1@" + digest("a") + "\n" + strings.Repeat("x", 1000) + "@\n"},
			want:     []Entry{{Image: parse(t, a)}},
			problems: []string{"line 2: " + a + " is there twice", "line 3", "line 4: \"..\" in", "line 5", "line 6: \" 1\" is no tag", "line 7", "line 8: 1001 bytes"},
		},
		{
			what:     "descriptions that are no map",
			files:    map[string]string{DigestsName: a, DescriptionsName: "- a\n- b\n", DetailsName: "[]"},
			want:     []Entry{{Image: parse(t, a)}},
			problems: []string{"descriptions.yaml: it is no map", "catalog.json: json: cannot unmarshal"},
		},
		{
			what:     "descriptions that are no YAML, details of tomorrow",
			files:    map[string]string{DigestsName: a, DescriptionsName: "\t: {", DetailsName: `{"version":2,"images":[]}`},
			want:     []Entry{{Image: parse(t, a)}},
			problems: []string{"descriptions.yaml: yaml:", "catalog.json: its version is 2, this graft knows 1"},
		},
		{
			what:  "empty files",
			files: map[string]string{DigestsName: "", DescriptionsName: "", DetailsName: `{"version":1}`},
		},
		{
			what:  "a bomb of aliases",
			files: map[string]string{DigestsName: a, DescriptionsName: "x: &x {author: me}\n" + a + ": *x\n<<: *x\n"},
			want:  []Entry{{Image: parse(t, a)}}, problems: []string{"line 2: wanted", "line 3: wanted"},
		},
		{
			what:  "details of images that are not there",
			files: map[string]string{DigestsName: a, DetailsName: `{"version":1,"talos":"v1.12.0","images":[{"image":"x","tier":"core"},{"image":"` + a + `","tier":"extra","new":{}}]}`},
			want:  []Entry{{Image: parse(t, a), Details: &Details{Tier: "extra"}}},
		},
	} {
		c, err := Read(files(t, test.files))
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.Entries); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.what, diff)
		}
		if len(c.Problems) != len(test.problems) {
			t.Errorf("%s: problems %q, want %q", test.what, c.Problems, test.problems)
			continue
		}
		for i, want := range test.problems {
			if !strings.Contains(c.Problems[i], want) {
				t.Errorf("%s: problem %q, want %q", test.what, c.Problems[i], want)
			}
		}
	}
}

func parse(t testing.TB, line string) Image {
	t.Helper()
	img, err := ParseImage(line)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestReadErrors refuses what is no catalog, and what is too large for one.
func TestReadErrors(t *testing.T) {
	var many strings.Builder
	for i := range MaxEntries + 1 {
		many.WriteString(image(t, "siderolabs/"+strings.Repeat("a", 1+i/26/26)+string(rune('a'+i%26))+string(rune('a'+i/26%26))+":1").String() + "\n")
	}
	link := tree.New()
	if err := link.Put(DigestsName, tree.Symlink("/etc/passwd")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		tree *tree.Tree
		want string
	}{
		{tree.New(), "it is no catalog"},
		{link, "it is a symlink, not a file"},
		{files(t, map[string]string{DigestsName: strings.Repeat("\n", maxDigests+1)}), "more than the 2097152 that are allowed"},
		{files(t, map[string]string{DigestsName: many.String()}), "more than 4096 images"},
	} {
		if _, err := Read(test.tree); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	if _, err := Read(tree.New()); !errors.Is(err, ErrNoCatalog) {
		t.Errorf("got %v, want ErrNoCatalog", err)
	}
	bad := strings.Repeat("x@y\n", 1000)
	c, err := Read(files(t, map[string]string{DigestsName: bad}))
	if err != nil || len(c.Problems) != maxProblems+1 || !strings.Contains(c.Problems[maxProblems], "980 more") {
		t.Errorf("1000 bad lines: %v, %d problems", err, len(c.Problems))
	}
}

// TestHostileListings are refused with their line.
func TestHostileListings(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"{}\n{", "line 2: unexpected end"},
		{"[]", "line 1"},
		{strings.Repeat(" ", maxListing+1), "token too long"},
		{strings.Repeat(`{"files":[`+strings.Repeat("{},", 1<<19)+"{}]}\n", 2), "line 2: more than 1048576 files"},
	} {
		err := readListings(strings.NewReader(test.text), func(Listing) error { return nil })
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	stop := errors.New("stop")
	if err := readListings(strings.NewReader("{}"), func(Listing) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

// TestNewEntryErrors describes no image without a manifest.
func TestNewEntryErrors(t *testing.T) {
	img := image(t, "siderolabs/a:1")
	if _, err := NewEntry(img, "", "", nil); err == nil {
		t.Error("an image for no platform has been described")
	}
	facts := extensionFacts(t, "a", nil)
	facts.Manifest = []byte("\t")
	if _, err := NewEntry(img, "", "", []Built{{Facts: facts}}); err == nil || !strings.Contains(err.Error(), "describing ghcr.io/siderolabs/a:1@") {
		t.Errorf("got %v", err)
	}
}
