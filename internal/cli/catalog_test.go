package cli

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// runCatalog runs a command of graft catalog, and returns what it printed.
func runCatalog(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, conversation bytes.Buffer
	code = Run(t.Context(), append([]string{"catalog"}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &conversation})
	return code, out.String(), conversation.String()
}

// released is a registry with a release: the catalog v1.12.0, and extensions.
func released(t *testing.T) (host string, lines []string) {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	host = strings.TrimPrefix(srv.URL, "http://")
	var entries []catalog.Entry
	var listings []catalog.Listing
	for _, name := range []string{"gvisor", "v4l-uvc-drivers", "nebula"} {
		e, l := release(t, host, name)
		entries, listings = append(entries, e), append(listings, l...)
		lines = append(lines, e.Image.String())
	}
	tr, err := catalog.Write("v1.12.0", entries, listings)
	if err != nil {
		t.Fatal(err)
	}
	packBoth(t, tr, host+"/ext/extensions:v1.12.0")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("GRAFT_CATALOG", host+"/ext/extensions")
	return host, lines
}

func release(t *testing.T, host, name string) (catalog.Entry, []catalog.Listing) {
	t.Helper()
	tr := tree.New()
	for p, text := range map[string]string{
		"manifest.yaml":                "version: v1alpha1\nmetadata:\n  name: " + name + "\n  version: \"1\"\n  author: me\n  description: \"[extra] It is " + name + ".\"\n",
		"rootfs/usr/local/bin/" + name: name,
		"rootfs/usr/local/lib/same":    "same",
	} {
		if err := tr.Put(p, tree.File(0o644, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	res := packBoth(t, tr, host+"/ext/"+name+":1")
	img, err := catalog.ParseImage(host + "/ext/" + name + ":1@" + res.Digest)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := survey.Of(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	var built []catalog.Built
	var listings []catalog.Listing
	for _, p := range []string{"linux/amd64", "linux/arm64"} {
		built = append(built, catalog.Built{Platform: p, Digest: res.Digest, Size: res.Size, Facts: facts})
		listings = append(listings, catalog.NewListing(img.String(), p, facts))
	}
	e, err := catalog.NewEntry(img, "", "misc", built)
	if err != nil {
		t.Fatal(err)
	}
	return e, listings
}

func packBoth(t *testing.T, tr *tree.Tree, dest string) oci.Result {
	t.Helper()
	images := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: tr}, {Platform: oci.Platform{OS: "linux", Arch: "arm64"}, Tree: tr}}
	res, err := oci.Pack(t.Context(), images, dest, oci.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestCatalogRegistry is the day of somebody who needs an extension.
func TestCatalogRegistry(t *testing.T) {
	host, lines := released(t)
	for _, test := range []struct {
		args   []string
		code   int
		stdout string // a regular expression
		stderr string
	}{
		{[]string{"find", "gvisor", "--talos", "1.12.0"}, 0, "^" + regexp.QuoteMeta(lines[0]) + "\n$", "^$"},
		{[]string{"find", "gvisor"}, 2, "^$", "which version of Talos Linux is it for"},
		{[]string{"find", "gvisor", "--talos", "v1.11.0"}, 5, "^$", "opening the catalog " + host + "/ext/extensions:v1.11.0: .*MANIFEST_UNKNOWN.*\n  hint: the last that it has are v1.12.0\n$"},
		{[]string{"find", "gvisor", "--talos", " V1.12.0 "}, 0, "^.*/gvisor:1.*\n$", "^$"},
		{[]string{"find", "gvisor", "--talos", "latest"}, 2, "^$", `"latest" is no version of Talos Linux: .*\n  hint: the last that it has are v1.12.0\n`},
		{[]string{"lst"}, 2, "^$", `^graft: graft catalog has no command "lst"\n  hint: did you mean list\?\n`},
		{[]string{"nonsense"}, 2, "^$", `^graft: graft catalog has no command "nonsense"\n  hint: graft catalog --help lists all\n$`},
		{[]string{"show", "Gvisro", "--talos", "v1.12.0"}, 2, "^$", `there is no extension "Gvisro" .*\n  hint: did you mean gvisor\?`},
		{[]string{"find", "nebul.", "v4l-uvc", "--regexp", "--talos", "v1.12.0"}, 0, "^.*/nebula:1.*\n.*/v4l-uvc-drivers:1.*\n$", "^$"},
		{[]string{"find", "nebula", "v4l-uvc", "--talos", "v1.12.0"}, 0, "^.*/nebula:1.*\n.*/v4l-uvc-drivers:1.*\n$", "note: v4l-uvc is called v4l-uvc-drivers"},
		{[]string{"find", "nebul", "--talos", "v1.12.0"}, 2, "^$", `there is no extension "nebul" in .*\n  hint: did you mean nebula\?\n(.*\n)*.*--regexp`},
		{[]string{"find", "no.*thing", "--talos", "v1.12.0"}, 1, "^$", `no extension in the catalog .* matches "no\.\*thing"`},
		{[]string{"find", "", "--talos", "v1.12.0"}, 2, "^$", "argument 1 is empty"},
		{[]string{"find", "gvisor", "", "--regexp", "--talos", "v1.12.0"}, 2, "^$", "argument 2 is empty"},
		{[]string{"show", "", "--talos", "v1.12.0"}, 2, "^$", "argument 1 is empty"},
		{[]string{"duplicates", "", "--talos", "v1.12.0"}, 2, "^$", "argument 1 is empty"},
		{[]string{"diff", "v1.12.0", ""}, 2, "^$", "argument 2 is empty"},
		{[]string{"list", "--tier", "gold", "--talos", "v1.12.0"}, 2, "^$", `--tier "gold": there is no such tier`},
		{[]string{"list", "--tier", "core", "--talos", "v1.12.0"}, 0, "^NAME.*\n$", "no extension of .* matches"},
		{[]string{"list", "--catalog", host + "/ext/extensions:v1.12.0", "--talos", "v1.13.0"}, 2, "^$", "it is for Talos v1.12.0; wanted is v1.13.0"},
		{[]string{"find", "nothing", "gvisor", "--talos", "v1.12.0"}, 2, "^.*/gvisor:1.*\n$", `there is no extension "nothing"`},
		{[]string{"list", "--talos", "v1.12.0", "--category", "misc", "--tier", "extra"}, 0, "(?s)gvisor .*nebula .*v4l-uvc-drivers ", "^$"},
		{[]string{"list", "--talos", "v1.12.0", "-o", "wide"}, 0, "linux/amd64,linux/arm64", "^$"},
		{[]string{"list", "--catalog", host + "/ext/extensions:v1.12.0", "--catalog", host + "/ext/none:v1"}, 0, "gvisor", "warning: there is no catalog .*/ext/none:v1"},
		{[]string{"show", "gvisor", "--talos", "v1.12.0"}, 0, "(?s)Category: +misc.*linux/amd64 +sha256:.*linux/arm64 +sha256:", "^$"},
		{[]string{"show", host + "/ext/extensions:v1.12.0"}, 2, "^$", "it has no manifest.yaml: it is not an extension"},
		{[]string{"show", "gvisr", "--talos", "v1.12.0"}, 2, "^$", "did you mean gvisor"},
		{[]string{"diff", "v1.12.0", host + "/ext/extensions:v1.12.0", "--exit-code"}, 0, "^$", "there is no difference"},
		{[]string{"duplicates", "--talos", "v1.12.0"}, 1, "(?s)linux/amd64 +identical +/usr/local/lib/same .*linux/arm64 +identical", "2 overlaps, 2 of them identical"},
		{[]string{"duplicates", "--talos", "v1.12.0", "--pull"}, 1, "(?s)linux/amd64 +identical +/usr/local/lib/same .*linux/arm64 +identical", "2 overlaps"},
		{[]string{"duplicates", "gvisor", "--talos", "v1.12.0"}, 0, "^$", "no two extensions"},
		{[]string{"duplicates", host + "/ext/extensions:v1.12.0", "--platform", "linux/arm64"}, 1, "linux/arm64 +identical", "1 overlap,"},
	} {
		code, stdout, stderr := runCatalog(t, test.args...)
		if code != test.code || !regexp.MustCompile(test.stdout).MatchString(stdout) || !regexp.MustCompile(test.stderr).MatchString(stderr) {
			t.Errorf("%v: got %d\n%s\n%s", test.args, code, stdout, stderr)
		}
	}
}

// TestCatalogPinned takes names for image and build out of the catalog, and leaves
// the rest alone.
func TestCatalogPinned(t *testing.T) {
	host, lines := released(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("nebula", 0o755); err != nil {
		t.Fatal(err)
	}
	c := catalogs{talos: "v1.12.0"}
	s := Streams{Err: io.Discard}
	got, err := c.pinned(t.Context(), s, []string{"gvisor", "ext/v4l-uvc-drivers", "nebula", "./nebula", host + "/other", host + "/ext/gvisor", "x:1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{lines[0], lines[1], "nebula", "./nebula", host + "/other", lines[0], "x:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := c.pinned(t.Context(), s, []string{"other"}); exitCode(err) != exitInvalid {
		t.Errorf("got %v", err)
	}
	none := catalogs{refs: []string{"registry.invalid/never/asked"}}
	if _, err := none.pinned(t.Context(), s, []string{"./nebula", "x:1"}); err != nil {
		t.Errorf("no name, and yet: %v", err)
	}
}

// TestCatalogShowAttached lists what others attached to an image, in both forms.
func TestCatalogShowAttached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := filepath.Join(t.TempDir(), "layout")
	made := testkit.Catalog{Extensions: 2, Signed: true}
	made.Write(t, dir)
	code, stdout, stderr := runCatalog(t, "show", "oci:"+dir+":"+made.Image(1))
	if code != 0 {
		t.Fatal(stderr)
	}
	attached := regexp.MustCompile(`(?s)Attached, not verified\n.*`).FindString(stdout)
	if n := strings.Count(attached, "sha256:"); n != 3 || !strings.Contains(attached, " sig ") || strings.Count(attached, " linux/amd64 ") != 1 {
		t.Errorf("want a referrer of the index, one of the image for amd64, and a tag sig, got %d:\n%s", n, stdout)
	}
}

// TestCatalogComplete offers the names of a catalog that was read before, without
// asking its registry.
func TestCatalogComplete(t *testing.T) {
	host, _ := released(t)
	offered := func(args ...string) string {
		var out bytes.Buffer
		if code := Run(t.Context(), append([]string{"__complete"}, args...), Streams{Out: &out, Err: io.Discard}); code != 0 {
			t.Fatal(code)
		}
		return out.String()
	}
	if got := offered("catalog", "find", "ne"); strings.Contains(got, "nebula") {
		t.Errorf("a registry was asked: %s", got)
	}
	if code, _, stderr := runCatalog(t, "list", "--talos", "v1.12.0"); code != 0 {
		t.Fatal(stderr)
	}
	for _, args := range [][]string{
		{"catalog", "find", "ne"}, {"catalog", "show", "--talos", "v1.12.0", "ne"}, {"catalog", "duplicates", "ne"},
		{"image", "iso", "--extension", "ne"}, {"image", "iso", "--talos-version", "v1.12.0", "--extension", "ne"},
	} {
		if got := offered(args...); !strings.Contains(got, "nebula\tIt is nebula.\n") {
			t.Errorf("%v: got %q", args, got)
		}
	}
	for _, args := range [][]string{{"catalog", "find", "--talos", "v1.11.0", "ne"}, {"catalog", "find", "--catalog", host + "/ext/none:v1", "ne"}} {
		if got := offered(args...); strings.Contains(got, "nebula") {
			t.Errorf("%v: got %q", args, got)
		}
	}
}

// BenchmarkCatalogFind is graft catalog find, without the start of the process.
func BenchmarkCatalogFind(b *testing.B) {
	b.Setenv("XDG_CACHE_HOME", b.TempDir())
	dir := filepath.Join(b.TempDir(), "layout")
	made := testkit.Catalog{Extensions: 100}
	made.Write(b, dir)
	args := []string{"catalog", "find", "ext-042", "--catalog", "oci:" + dir + ":" + made.Name()}
	for b.Loop() {
		if code := Run(context.Background(), args, Streams{Out: io.Discard, Err: os.Stderr}); code != 0 {
			b.Fatal(code)
		}
	}
}
