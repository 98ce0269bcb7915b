package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// digest is some digest, another one for each word.
func digest(word string) string {
	sum := sha256.Sum256([]byte(word))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// image is "siderolabs/gvisor:1" in ghcr.io, with some digest.
func image(t testing.TB, named string) Image {
	t.Helper()
	if strings.Count(named, "/") == 1 {
		named = "ghcr.io/" + named
	}
	img, err := ParseImage(named + "@" + digest(named))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// entries are of these images, with nothing else known.
func entries(t testing.TB, named ...string) []Entry {
	t.Helper()
	var all []Entry
	for _, n := range named {
		all = append(all, Entry{Image: image(t, n)})
	}
	return all
}

// extensionFacts are those of an extension with these files, by path on the node.
func extensionFacts(t testing.TB, name string, files map[string]string) *survey.Facts {
	t.Helper()
	tr := tree.New()
	manifest := fmt.Sprintf("version: v1alpha1\nmetadata:\n  name: %s\n  version: \"1\"\n  author: A. U. Thor\n"+
		"  description: |\n    [extra] This is %s,\n    of the tests.\n  compatibility:\n    talos:\n      version: \">= v1.5.0\"\n", name, name)
	put := func(p, content string) {
		if err := tr.Put(p, tree.File(0o644, []byte(content))); err != nil {
			t.Fatal(err)
		}
	}
	put("manifest.yaml", manifest)
	for p, content := range files {
		put("rootfs"+p, content)
	}
	facts, err := survey.Of(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// large is a catalog of n extensions for two platforms, with its listings.
func large(t testing.TB, n int) ([]Entry, []Listing) {
	t.Helper()
	var all []Entry
	var listings []Listing
	for i := range n {
		img := image(t, fmt.Sprintf("siderolabs/extension-%02d:%d.0", i, i))
		files := map[string]string{}
		for f := range 40 {
			files[fmt.Sprintf("/usr/local/lib/extension-%02d/file-%d", i, f)] = fmt.Sprint(i, f)
		}
		var built []Built
		for _, platform := range []string{"linux/amd64", "linux/arm64"} {
			facts := extensionFacts(t, img.Name(), files)
			built = append(built, Built{Platform: platform, Digest: digest(img.Name() + platform), Size: 1 << 20, Facts: facts})
			listings = append(listings, NewListing(img.String(), platform, facts))
		}
		e, err := NewEntry(img, "", "misc", built)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all, listings
}

// written is the tree of a catalog.
func written(t testing.TB, entries []Entry, listings []Listing) *tree.Tree {
	t.Helper()
	tr, err := Write("v1.12.0", entries, listings)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// newRegistry starts a registry; requests counts what it is asked.
func newRegistry(t testing.TB) (host string, requests func() int) {
	t.Helper()
	var count counter
	srv := httptest.NewServer(count.around(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), count.take
}

// push writes a catalog as a release does: for both platforms.
func push(t testing.TB, tr *tree.Tree, dest string) oci.Result {
	t.Helper()
	amd64, arm64 := oci.Platform{OS: "linux", Arch: "amd64"}, oci.Platform{OS: "linux", Arch: "arm64"}
	res, err := oci.Pack(t.Context(), []oci.Packed{{Platform: amd64, Tree: tr}, {Platform: arm64, Tree: tr}}, dest, oci.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// now is the time in tests.
var now = time.Unix(1_700_000_000, 0)

// options keep what they read in directories of the test.
func options(t testing.TB) Options {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Options{Cache: c, Memory: t.TempDir(), MaxAge: time.Hour, Now: now}
}
