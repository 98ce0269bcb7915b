package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestResolve finds extensions by all names that people have for them.
func TestResolve(t *testing.T) {
	c := &Catalog{Ref: "ghcr.io/siderolabs/extensions:v1.12.0", Entries: entries(t,
		"siderolabs/gvisor:1", "siderolabs/gvisor-debug:1", "siderolabs/v4l-uvc-drivers:1", "siderolabs/gasket:1",
		"siderolabs/nvidia-container-toolkit-lts:1", "siderolabs/nvidia-container-toolkit-production:1",
		"siderolabs/both:1", "acme/both:1", "siderolabs/twice:1", "siderolabs/twice:2")}
	for _, test := range []struct {
		name, want, renamed string
		near                []string
		ambiguous           int
	}{
		{name: "gvisor", want: "siderolabs/gvisor"},
		{name: "siderolabs/gvisor", want: "siderolabs/gvisor"},
		{name: "ghcr.io/siderolabs/gvisor", want: "siderolabs/gvisor"},
		{name: "acme/both", want: "acme/both"},
		{name: "v4l-uvc", want: "siderolabs/v4l-uvc-drivers", renamed: "v4l-uvc-drivers"},
		{name: "siderolabs/v4l-uvc", want: "siderolabs/v4l-uvc-drivers", renamed: "v4l-uvc-drivers"},
		{name: "gasket-driver", want: "siderolabs/gasket", renamed: "gasket"}, // an old catalog
		{name: "gasket", want: "siderolabs/gasket"},
		{name: "usb-modem"},
		{name: "visor", near: []string{"gvisor"}},
		{name: "gvizor", near: []string{"gvisor"}},
		{name: "siderolabs/gvisro", near: []string{"gvisor"}},
		{name: "nvidia-container-toolkit", near: []string{"nvidia-container-toolkit-lts", "nvidia-container-toolkit-production"}},
		{name: "somebody/gvisor", near: []string{"gvisor", "gvisor-debug"}},
		{name: "registry.example/siderolabs/gvisor", near: []string{"gvisor", "gvisor-debug"}},
		{name: "zzz"},
		{name: "both", ambiguous: 2},
		{name: "twice", ambiguous: 2},
	} {
		e, renamed, err := c.Resolve(test.name)
		var unknown *UnknownError
		var ambiguous *AmbiguousError
		switch {
		case errors.As(err, &ambiguous):
			if len(ambiguous.Images) != test.ambiguous {
				t.Errorf("%s: %v", test.name, err)
			}
		case errors.As(err, &unknown):
			if diff := cmp.Diff(test.near, unknown.Near); test.want != "" || test.ambiguous > 0 || len(test.near)+len(unknown.Near) > 0 && diff != "" {
				t.Errorf("%s: %v, near %s", test.name, err, diff)
			}
		case err != nil || e.Image.Path() != test.want || renamed != test.renamed:
			t.Errorf("%s: got %v, %q, %v; want %v, %q", test.name, e.Image, renamed, err, test.want, test.renamed)
		}
	}
}

// TestIsName tells names from references and paths.
func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{
		"gvisor": true, "siderolabs/gvisor": true, "ghcr.io/siderolabs/gvisor": true, "localhost:5000/ext/gvisor": true, "localhost/gvisor": true,
		"gvisor:1": false, "gvisor@sha256:00": false, "ghcr.io/siderolabs/gvisor:1": false, "localhost:5000/gvisor:1": false,
		"./gvisor": false, "../gvisor": false, "/gvisor": false, "gvisor/": false, "": false, ".": false, "oci:gvisor": false,
		"GVisor": false, "a b": false, "-x": false,
	} {
		if got := IsName(name); got != want {
			t.Errorf("IsName(%q) = %v, want %v", name, got, want)
		}
	}
}

// TestParseImage reads lines, and refuses what no registry has.
func TestParseImage(t *testing.T) {
	d := digest("x")
	for line, want := range map[string]Image{
		"ghcr.io/siderolabs/gvisor:1@" + d:     {"ghcr.io/siderolabs/gvisor", "1", d},
		"localhost:5000/gvisor@" + d:           {"localhost:5000/gvisor", "", d},
		"localhost:5000/a/b/c:v1.0-x_Y.z@" + d: {"localhost:5000/a/b/c", "v1.0-x_Y.z", d},
		"[::1]:5000/a:1@" + d:                  {"[::1]:5000/a", "1", d},
	} {
		got, err := ParseImage(line)
		if err != nil || got != want || got.String() != line {
			t.Errorf("%s: got %#v, %v", line, got, err)
		}
	}
	for _, line := range []string{
		"", "@", "@" + d, "gvisor:1@" + d, "ghcr.io/:1@" + d, "ghcr.io/a:@" + d, "ghcr.io/a:-@" + d, "ghcr.io/A:1@" + d,
		"ghcr.io/a//b:1@" + d, "ghcr.io/a/../b:1@" + d, "ghcr.io/.a:1@" + d, "ghcr.io/a:1@sha256:", "ghcr.io/a:1@" + d + "0",
		"ghcr.io/a:1@sha512:" + strings.Repeat("0", 128), "ghcr.io/a:1@" + strings.ToUpper(d), "ghcr.io/a:1@" + d + "@" + d,
		"https://ghcr.io/a:1@" + d, "ghcr.io/a b:1@" + d, "ghcr.io/a\n:1@" + d, "gh cr/a:1@" + d, "ghcr.io/" + strings.Repeat("a", 500) + ":1@" + d,
	} {
		if img, err := ParseImage(line); err == nil {
			t.Errorf("%q was taken as %#v", line, img)
		}
	}
}

// TestMirrors replaces prefixes, the longest that fits.
func TestMirrors(t *testing.T) {
	var all Mirrors
	for _, text := range []string{"ghcr.io=mirror.example", "ghcr.io/siderolabs/=localhost:5000/ext", "docker.io/a=ghcr.io"} {
		m, err := ParseMirror(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	for ref, want := range map[string]string{
		"ghcr.io/siderolabs/gvisor:1": "localhost:5000/ext/gvisor:1",
		"ghcr.io/siderolabs2/gvisor":  "mirror.example/siderolabs2/gvisor",
		"ghcr.io/x@sha256:00":         "mirror.example/x@sha256:00",
		"ghcr.io.example/x":           "ghcr.io.example/x",
		"docker.io/a:1":               "ghcr.io:1",
		"quay.io/x":                   "quay.io/x",
	} {
		if got := all.Map(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
	for _, text := range []string{"", "=", "a=", "=b", "a", "a b=c", "a/../b=c", "a=b c"} {
		if m, err := ParseMirror(text); err == nil {
			t.Errorf("%q was taken as %v", text, m)
		}
	}
}

// TestDiff compares catalogs of two releases.
func TestDiff(t *testing.T) {
	with := func(e Entry, compatibility, tier string) Entry {
		e.Details = &Details{Compatibility: compatibility, Tier: tier}
		return e
	}
	older := &Catalog{Talos: "v1.11.0", Entries: entries(t, "siderolabs/same:1", "siderolabs/gone:1", "siderolabs/newer:1",
		"siderolabs/v4l-uvc:v1.11.0", "siderolabs/zfs:2.3-v1.11.0", "siderolabs/btrfs:v1.11.0", "siderolabs/rebuilt:1", "siderolabs/moved:1")}
	newer := &Catalog{Talos: "v1.12.0", Entries: entries(t, "registry.example/siderolabs/same:1", "siderolabs/new:1", "siderolabs/newer:2",
		"siderolabs/v4l-uvc-drivers:v1.12.0", "siderolabs/zfs:2.4-v1.12.0", "siderolabs/btrfs:v1.12.0", "siderolabs/rebuilt:1", "siderolabs/moved:1")}
	newer.Entries[0].Image.Digest = older.Entries[0].Image.Digest // in a mirror
	newer.Entries[6].Image.Digest = digest("another")
	older.Entries[7], newer.Entries[7] = with(older.Entries[7], ">= v1.5.0", "core"), with(newer.Entries[7], ">= v1.12.0", "extra")
	was, is := func(i int) string { return older.Entries[i].Image.Digest }, func(i int) string { return newer.Entries[i].Image.Digest }
	want := []Change{
		{Rebuilt, "btrfs", "v1.11.0", "v1.12.0", was(5), is(5)},
		{Removed, "gone", "1", "", was(1), ""},
		{Kind: Compatibility, Name: "moved", Old: ">= v1.5.0", New: ">= v1.12.0"},
		{Kind: Tier, Name: "moved", Old: "core", New: "extra"},
		{Added, "new", "", "1", "", is(1)},
		{NewVersion, "newer", "1", "2", was(2), is(2)},
		{Rebuilt, "rebuilt", "1", "1", was(6), is(6)},
		{Rebuilt, "v4l-uvc-drivers", "v1.11.0", "v1.12.0", was(3), is(3)},
		{Kind: Renamed, Name: "v4l-uvc-drivers", Old: "v4l-uvc", New: "v4l-uvc-drivers"},
		{NewVersion, "zfs", "2.3-v1.11.0", "2.4-v1.12.0", was(4), is(4)},
	}
	if diff := cmp.Diff(want, Diff(older, newer)); diff != "" {
		t.Error(diff)
	}
	if got := Diff(older, older); len(got) > 0 {
		t.Errorf("a catalog differs from itself: %v", got)
	}
}

// TestNear guesses what was meant by words with swapped letters, or capitals.
func TestNear(t *testing.T) {
	c := &Catalog{Entries: entries(t, "me/alpha:1", "me/nebula:1", "me/beta:1")}
	for word, want := range map[string]string{
		"alhpa": "alpha", "alpah": "alpha", "Alpha": "alpha", "NEBUAL": "nebula", "me/Nebula": "nebula", "Neb": "", "btea": "beta", "x.*": "",
		strings.Repeat("alpha", 1000): "",
	} {
		if got := strings.Join(c.Near(word), " "); got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
}

// TestVersion takes what people write for the version of Talos.
func TestVersion(t *testing.T) {
	for word, want := range map[string]string{
		"v1.14.0": "v1.14.0", "1.14.0": "v1.14.0", "V1.14.0": "v1.14.0", " v1.14.0\n": "v1.14.0", "v1.15.0-alpha.1": "v1.15.0-alpha.1",
		"latest": "", "vv1.14.0": "", "v": "", "Vnext": "", "v-1.0.0": "", "v1.x": "",
	} {
		got, err := Version(word)
		var bad *BadVersionError
		if got != want || (err != nil) != (want == "") || err != nil && !errors.As(err, &bad) {
			t.Errorf("%q: got %q, %v, want %q", word, got, err, want)
		}
	}
	if _, err := Version(" "); !errors.Is(err, ErrNoVersion) {
		t.Errorf("got %v, want ErrNoVersion", err)
	}
}
