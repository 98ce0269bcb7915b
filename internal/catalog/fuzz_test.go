package catalog

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/tree"
)

// FuzzRead reads any files as a catalog. What it makes of them can be written, and
// is then the same when it is read again.
func FuzzRead(f *testing.F) {
	line := image(f, "siderolabs/a:1").String()
	f.Add(line, line+":\n  author: me\n  description: |\n    x\n", `{"version":1,"images":[{"image":"`+line+`","tier":"core"}]}`)
	f.Add(line+"\n"+line, "&a [*a, *a]", `{"version":1,"talos":"v1.12.0","images":[{}]}`)
	f.Add("@", "? x\n: y", "{")
	f.Add("ghcr.io/a@"+digest("a"), "{}", "null")
	f.Fuzz(func(t *testing.T, digests, descriptions, details string) {
		tr := tree.New()
		for name, data := range map[string]string{DigestsName: digests, DescriptionsName: descriptions, DetailsName: details} {
			if err := tr.Put(name, tree.File(0o644, []byte(data))); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Read(tr)
		if err != nil {
			return
		}
		again, err := Write(c.Talos, c.Entries, nil)
		if err != nil {
			return // an image without a tag, a repository that is there twice
		}
		c2, err := Read(again)
		if err != nil {
			t.Fatal(err)
		}
		c.Problems = nil
		if diff := cmp.Diff(c, c2); diff != "" && !strings.ContainsAny(digests+descriptions+details, "\x00\r\ufeff\u2028\u2029\u0085") && valid(descriptions+details) {
			t.Error(diff)
		}
	})
}

// valid says whether a text is one that YAML and JSON keep as it is.
func valid(s string) bool { return strings.ToValidUTF8(s, "") == s }

// FuzzParseImage reads any line; what is an image has one form.
func FuzzParseImage(f *testing.F) {
	f.Add("ghcr.io/siderolabs/gvisor:1@" + digest("x"))
	f.Add("[::1]:5000/a@" + digest("x"))
	f.Fuzz(func(t *testing.T, line string) {
		img, err := ParseImage(line)
		if err != nil {
			return
		}
		if img.String() != line || strings.ContainsAny(line, " \n\t\x1b") || strings.Contains(line, "..") && strings.Contains(line, "/..") {
			t.Errorf("%q is taken as %#v", line, img)
		}
		IsName(line)
	})
}

// FuzzListings reads any lines, and writes what they say as it was read.
func FuzzListings(f *testing.F) {
	golden, err := os.ReadFile("testdata/catalog.txtar")
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := bytes.Cut(golden, []byte("--\n"))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	f.Add(first)
	f.Add([]byte(`{"image":"x","files":[{"path":"/","mode":"040755"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var all []Listing
		if err := readListings(bytes.NewReader(data), func(l Listing) error {
			all = append(all, l)
			return nil
		}); err != nil {
			return
		}
		var o Overlaps
		for _, l := range all {
			o.Add(l)
		}
		o.Found(nil)
		written, err := formatListings(all)
		if err != nil {
			t.Fatal(err)
		}
		var again []Listing
		if err := readListings(bytes.NewReader(written), func(l Listing) error {
			again = append(again, l)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, again); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzParseExceptions reads any text; its patterns can be used.
func FuzzParseExceptions(f *testing.F) {
	f.Add("- images: [a, b]\n  files: ['snd*.ko', /usr/x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseExceptions([]byte(text))
		if err != nil {
			return
		}
		for _, e := range all {
			e.allows(Overlap{Path: "/usr/x", Images: []string{"ghcr.io/siderolabs/a:1", "./b"}})
		}
	})
}

// FuzzInsert keeps all that is not between the markers.
func FuzzInsert(f *testing.F) {
	f.Add("a\n"+TableMarkers.Begin+"\nold\n"+TableMarkers.End+"\nz", "new\n")
	f.Fuzz(func(t *testing.T, page, text string) {
		got, err := Insert([]byte(page), TableMarkers, text)
		if err != nil || strings.Contains(text, "<!--") {
			return
		}
		again, err := Insert(got, TableMarkers, text)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q, then %q (%v)", got, again, err)
		}
	})
}
