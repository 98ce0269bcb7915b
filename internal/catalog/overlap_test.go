package catalog

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOverlaps finds what images share, and how it differs.
func TestOverlaps(t *testing.T) {
	file := func(p string, mode fs.FileMode, sum, target, label string) File {
		return File{Path: p, Mode: Mode(mode), Sum: sum, Target: target, Label: label}
	}
	a := []File{
		file("/usr", fs.ModeDir|0o755, "", "", ""), file("/usr/private", fs.ModeDir|0o700, "", "", ""),
		file("/usr/same", 0o644, "1", "", ""), file("/usr/content", 0o644, "1", "", ""), file("/usr/mode", 0o644, "1", "", ""),
		file("/usr/label", 0o644, "1", "", "x"), file("/usr/link", fs.ModeSymlink|0o777, "", "a", ""), file("/usr/type", 0o644, "1", "", ""),
		file("/usr/lib/modules/6.18/modules.dep", 0o644, "1", "", ""), file("/usr/lib/modules/6.18/kernel/snd-a.ko", 0o644, "1", "", ""),
		file("/usr/a", 0o644, "1", "", ""),
	}
	b := []File{
		file("/usr", fs.ModeDir|0o755, "", "", ""), file("/usr/private", fs.ModeDir|0o755, "", "", ""),
		file("/usr/same", 0o644, "1", "", ""), file("/usr/content", 0o644, "2", "", ""), file("/usr/mode", 0o755, "1", "", ""),
		file("/usr/label", 0o644, "1", "", "y"), file("/usr/link", fs.ModeSymlink|0o777, "", "b", ""), file("/usr/type", fs.ModeSymlink|0o777, "", "b", ""),
		file("/usr/lib/modules/6.18/modules.dep", 0o644, "2", "", ""), file("/usr/lib/modules/6.18/kernel/snd-a.ko", 0o644, "1", "", ""),
		file("/usr/b", 0o644, "1", "", ""),
	}
	c := []File{file("/usr/same", 0o600, "1", "", ""), file("/usr/content", 0o600, "1", "", "")}
	d := []File{file("/usr/lib/modules/6.18/kernel/snd-a.ko", 0o644, "1", "", "")}
	nameA, nameB, nameC := image(t, "siderolabs/a:1").String(), image(t, "siderolabs/b:1").String(), "./c"
	listings := []Listing{
		{nameA, "linux/amd64", a}, {nameB, "linux/amd64", b}, {nameC, "linux/amd64", c},
		{nameA, "linux/arm64", a}, {nameA, "linux/amd64", a}, {"d", "linux/arm64", d},
	}
	want := []Overlap{
		{"linux/amd64", "/usr/content", OtherFile, []string{nameC, nameA, nameB}},
		{"linux/amd64", "/usr/label", OtherLabel, []string{nameA, nameB}},
		{"linux/amd64", "/usr/lib/modules/6.18/kernel/snd-a.ko", Identical, []string{nameA, nameB}},
		{"linux/amd64", "/usr/link", OtherTarget, []string{nameA, nameB}},
		{"linux/amd64", "/usr/mode", OtherMode, []string{nameA, nameB}},
		{"linux/amd64", "/usr/private", OtherMode, []string{nameA, nameB}},
		{"linux/amd64", "/usr/same", OtherMode, []string{nameC, nameA, nameB}},
		{"linux/amd64", "/usr/type", OtherType, []string{nameA, nameB}},
		{"linux/arm64", "/usr/lib/modules/6.18/kernel/snd-a.ko", Identical, []string{"d", nameA}},
	}
	for range len(listings) { // whatever their order
		listings = append(listings[1:], listings[0])
		var o Overlaps
		for _, l := range listings {
			o.Add(l)
		}
		found, _, _ := o.Found(nil)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Fatal(diff)
		}
	}
	testExceptions(t, listings, len(want))
}

func testExceptions(t *testing.T, listings []Listing, all int) {
	for _, test := range []struct {
		exceptions string
		allowed    int
		unused     []int
	}{
		{"", 0, nil},
		{"- images: [a, b]\n  files: ['snd*.ko']\n", 1, nil},
		{"- images: [a, b, d]\n  files: ['snd*.ko']\n", 2, nil},
		{"- images: ['*']\n  files: ['snd*.ko']\n", 2, nil},
		{"- images: [siderolabs/a, ghcr.io/siderolabs/b]\n  files: [/usr/mode, usr/link, /usr/nothing]\n", 2, nil},
		{"- images: [a]\n  files: ['*']\n", 0, []int{0}},
		{"- images: [a, b]\n  files: ['*']\n- images: [x]\n  files: [y]\n", 6, []int{1}},
		{"- images: ['siderolabs/*', ./c]\n  files: ['/usr/*']\n", 7, nil},
	} {
		exceptions, err := ParseExceptions([]byte(test.exceptions))
		if err != nil {
			t.Fatal(err)
		}
		var o Overlaps
		for _, l := range listings {
			o.Add(l)
		}
		found, allowed, unused := o.Found(exceptions)
		if allowed != test.allowed || all-len(found) != allowed || !cmp.Equal(unused, test.unused) {
			t.Errorf("%s: %d allowed, %d found of %d, unused %v; want %d, %v", test.exceptions, allowed, len(found), all, unused, test.allowed, test.unused)
		}
	}
}

// TestParseExceptions refuses what would silently allow nothing.
func TestParseExceptions(t *testing.T) {
	for text, want := range map[string]string{
		"a: b":                                 "wanted is a list of {images, files}",
		"- images: [a]":                        "exception 1: it needs images and files",
		"- images: [a]\n  file: [b]":           "field file not found",
		"- images: [a]\n  files: ['[']":        "syntax error in pattern",
		"\t":                                   "found character that cannot start any token",
		strings.Repeat(" ", maxExceptions+1):   "more than the 1048576 that are allowed",
		"- {images: [a], files: [b]}\n- {a: b": "did not find expected",
	} {
		if _, err := ParseExceptions([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %q", text, err, want)
		}
	}
}

// TestMode is the same there and back, and refuses what is no mode.
func TestMode(t *testing.T) {
	for text, mode := range map[string]fs.FileMode{
		`"100644"`: 0o644, `"040755"`: fs.ModeDir | 0o755, `"120777"`: fs.ModeSymlink | 0o777, `"104755"`: fs.ModeSetuid | 0o755,
		`"041777"`: fs.ModeDir | fs.ModeSticky | 0o777, `"020600"`: fs.ModeDevice | fs.ModeCharDevice | 0o600,
	} {
		got, err := json.Marshal(Mode(mode))
		if err != nil || string(got) != text {
			t.Errorf("%v: got %s, %v; want %s", mode, got, err, text)
		}
		var back Mode
		if err := json.Unmarshal([]byte(text), &back); err != nil || back != Mode(mode) {
			t.Errorf("%s: got %v, %v; want %v", text, fs.FileMode(back), err, mode)
		}
	}
	for _, text := range []string{`"0644"`, `"100648"`, `""`, `"7100644"`, `"-1"`, `1`} {
		var m Mode
		if err := json.Unmarshal([]byte(text), &m); err == nil {
			t.Errorf("%s was taken as %v", text, fs.FileMode(m))
		}
	}
}
