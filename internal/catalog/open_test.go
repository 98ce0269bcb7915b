package catalog

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// counter counts requests.
type counter struct{ n atomic.Int64 }

func (c *counter) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.n.Add(1)
		h.ServeHTTP(w, r)
	})
}

// take is how many there were since the last call.
func (c *counter) take() int { return int(c.n.Swap(0)) }

// lines are the images of a catalog.
func lines(c *Catalog) []string {
	var all []string
	for _, e := range c.Entries {
		all = append(all, e.Image.String())
	}
	return all
}

// TestOpen reads a catalog from everywhere it can be.
func TestOpen(t *testing.T) {
	host, _ := newRegistry(t)
	all, listings := large(t, 3)
	tr := written(t, all, listings)
	res := push(t, tr, host+"/me/extensions:v1.12.0")
	dir := t.TempDir()
	push(t, tr, "oci:"+dir+"/layout:extensions:v1.12.0")
	push(t, tr, dir+"/extensions.tar")
	for _, p := range []string{DigestsName, DescriptionsName} {
		data, err := tr.ReadFile(p, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		ref, pinned string
		details     bool
	}{
		{host + "/me/extensions", host + "/me/extensions@" + res.Digest, true},
		{host + "/me/extensions:v1.12.0", host + "/me/extensions@" + res.Digest, true},
		{"docker://" + host + "/me/extensions@" + res.Digest, host + "/me/extensions@" + res.Digest, true},
		{"oci:" + dir + "/layout", "oci:" + dir + "/layout@" + res.Digest, true},
		{"oci:" + dir + "/layout:extensions:v1.12.0", "oci:" + dir + "/layout@" + res.Digest, true},
		{dir + "/extensions.tar", "", true},
		{dir, dir, false},
	} {
		o := options(t)
		o.Talos = "1.12.0"
		for _, round := range []string{"first", "again"} {
			c, err := Open(t.Context(), []string{test.ref}, o)
			if err != nil {
				t.Errorf("%s, %s: %v", test.ref, round, err)
				continue
			}
			if test.pinned != "" && (len(c.Pinned) != 1 || c.Pinned[0] != test.pinned) {
				t.Errorf("%s is pinned as %v, want %s", test.ref, c.Pinned, test.pinned)
			}
			if len(c.Entries) != 3 || c.Entries[2].Image != all[2].Image || c.Entries[2].Description != all[2].Description {
				t.Errorf("%s, %s: got %v", test.ref, round, lines(c))
			}
			if got := c.Entries[0].Details != nil; got != test.details {
				t.Errorf("%s, %s: details: %v, want %v", test.ref, round, got, test.details)
			}
			if len(c.Problems) > 0 {
				t.Errorf("%s, %s: problems: %v", test.ref, round, c.Problems)
			}
		}
	}
}

// TestStrangers reads the catalog as consumers of the field do: go-containerregistry
// as crane export does, and skopeo.
func TestStrangers(t *testing.T) {
	host, _ := newRegistry(t)
	all, listings := large(t, 4)
	tr := written(t, all, listings)
	push(t, tr, host+"/me/extensions:v1.12.0")
	want, err := tr.ReadFile(DigestsName, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("crane export", func(t *testing.T) {
		ref, err := name.ParseReference(host + "/me/extensions:v1.12.0")
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		rc := mutate.Extract(img)
		defer rc.Close()
		if got := inTar(t, rc, DigestsName); got != string(want) {
			t.Errorf("crane export: image-digests:\n%s\nwant:\n%s", got, want)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		dir := t.TempDir()
		testkit.Run(t, "skopeo", "--insecure-policy", "--override-arch", "amd64", "copy", "--src-tls-verify=false",
			"docker://"+host+"/me/extensions:v1.12.0", "dir:"+dir)
		layers, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			if data, err := os.ReadFile(l); err == nil && bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
				if got := testkit.Run(t, "tar", "-xOzf", l, DigestsName); got != string(want) {
					t.Errorf("skopeo and tar: image-digests:\n%s\nwant:\n%s", got, want)
				}
				return
			}
		}
		t.Errorf("no layer in %v", layers)
	})
}

func inTar(t *testing.T, r io.Reader, name string) string {
	t.Helper()
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("no %s in the tar: %v", name, err)
		}
		if h.Name == name {
			data, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}

// TestRequests counts what a registry is asked.
func TestRequests(t *testing.T) {
	host, requests := newRegistry(t)
	all, _ := large(t, 2)
	res := push(t, written(t, all, nil), host+"/me/extensions:v1.12.0")
	o := options(t)
	open := func(ref string) {
		t.Helper()
		if _, err := Open(t.Context(), []string{ref}, o); err != nil {
			t.Fatal(err)
		}
	}
	requests()
	open(host + "/me/extensions@" + res.Digest)
	if n := requests(); n == 0 {
		t.Error("the first time nothing was asked")
	}
	open(host + "/me/extensions@" + res.Digest)
	if n := requests(); n != 0 {
		t.Errorf("a digest that is known: %d requests", n)
	}
	// This registry is on this machine: its tags are asked each time, but for no more.
	for range 2 {
		open(host + "/me/extensions:v1.12.0")
		if n := requests(); n == 0 || n > 2 {
			t.Errorf("a tag that is near: %d requests, want 1 and the greeting", n)
		}
	}
}

// TestMemory asks registries that are far away only if they were not asked lately. There is
// none in a test: that of TestRequests is known to Memory under another name, and
// every way there ends.
func TestMemory(t *testing.T) {
	host, _ := newRegistry(t)
	all, _ := large(t, 2)
	res := push(t, written(t, all, nil), host+"/me/extensions:v1.12.0")
	o := options(t)
	if _, err := Open(t.Context(), []string{host + "/me/extensions@" + res.Digest}, o); err != nil {
		t.Fatal(err)
	}
	const far = "registry.invalid/me/extensions:v1.12.0"
	pinnedRef := "registry.invalid/me/extensions@" + res.Digest
	for _, test := range []struct {
		what    string
		age     time.Duration
		pinned  string
		problem string // of the catalog
		err     bool
	}{
		{what: "lately", age: time.Minute, pinned: pinnedRef},
		{what: "long ago, and there is no way now", age: 2 * time.Hour, pinned: pinnedRef, problem: "is taken as it was at 2023-11-14 20:13:20 UTC"},
		{what: "in the future", age: -time.Minute, pinned: pinnedRef, problem: "is taken as it was at"},
		{what: "damaged", age: time.Minute, pinned: "registry.invalid/me/extensions@sha256:zz", err: true},
	} {
		o.Memory = t.TempDir()
		o.remember(remembered{far, test.pinned, o.Now.Add(-test.age)})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := Open(ctx, []string{far}, o)
		switch {
		case test.err && err == nil:
			t.Errorf("%s: no error", test.what)
		case test.err:
		case err != nil:
			t.Errorf("%s: %v", test.what, err)
		case !strings.Contains(strings.Join(c.Problems, "\n"), test.problem), test.problem == "" && len(c.Problems) > 0:
			t.Errorf("%s: problems %q, want %q", test.what, c.Problems, test.problem)
		}
	}
}

// TestExtra opens several catalogs.
func TestExtra(t *testing.T) {
	host, _ := newRegistry(t)
	push(t, written(t, entries(t, "siderolabs/a:1", "siderolabs/b:1"), nil), host+"/base:v1.12.0")
	push(t, written(t, entries(t, "registry.example/siderolabs/b:2", "siderolabs/c:1"), nil), host+"/extra:v1.12.0")
	o := options(t)
	o.Talos = "v1.12.0"
	c, err := Open(t.Context(), []string{host + "/base", host + "/extra", host + "/missing"}, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Entries {
		named, _, _ := strings.Cut(e.Image.String(), "@")
		got = append(got, named+" of "+strings.TrimPrefix(e.Catalog, host+"/"))
	}
	want := []string{"ghcr.io/siderolabs/a:1 of base:v1.12.0", "registry.example/siderolabs/b:2 of extra:v1.12.0", "ghcr.io/siderolabs/c:1 of extra:v1.12.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(c.Problems) != 1 || !strings.Contains(c.Problems[0], "/missing") {
		t.Errorf("problems: %q, want the catalog that there is not", c.Problems)
	}
	if _, err := Open(t.Context(), []string{host + "/missing", host + "/base"}, o); err == nil {
		t.Error("the first catalog is missing, and there is no error")
	}
	if _, err := Open(t.Context(), []string{host + "/base", "registry.invalid/extra"}, o); err == nil {
		t.Error("nobody knows what is in an extra catalog, and there is no error")
	}
}

// TestMirror reads a copied catalog, which names the registry that it is from.
func TestMirror(t *testing.T) {
	host, _ := newRegistry(t)
	push(t, written(t, entries(t, "siderolabs/a:1", "elsewhere/b:1"), nil), host+"/ext/extensions:v1.12.0")
	o := options(t)
	o.Talos = "v1.12.0"
	o.Mirrors = Mirrors{{"ghcr.io/siderolabs", host + "/ext"}}
	c, err := Open(t.Context(), []string{Default}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Entries[0].Image.Repository, host+"/ext/a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := c.Entries[0].Line(), image(t, "siderolabs/a:1").String(); got != want {
		t.Errorf("its line: got %s, want %s", got, want)
	}
	if got, want := c.Entries[1].Image.Repository, "ghcr.io/elsewhere/b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, name := range []string{"a", "siderolabs/a", "ghcr.io/siderolabs/a", host + "/ext/a"} {
		if e, _, err := c.Resolve(name); err != nil || e.Image != c.Entries[0].Image {
			t.Errorf("%s: got %v, %v", name, e.Image, err)
		}
	}
}

// TestVerify is asked before anything of a catalog is used, each time.
func TestVerify(t *testing.T) {
	host, requests := newRegistry(t)
	res := push(t, written(t, entries(t, "siderolabs/a:1"), nil), host+"/me/extensions:v1.12.0")
	o := options(t)
	var asked []string
	o.Verify = func(_ context.Context, ref string) error {
		asked = append(asked, ref)
		return nil
	}
	for range 2 {
		if _, err := Open(t.Context(), []string{host + "/me/extensions:v1.12.0"}, o); err != nil {
			t.Fatal(err)
		}
	}
	ref := host + "/me/extensions@" + res.Digest
	if diff := cmp.Diff([]string{ref, ref}, asked); diff != "" {
		t.Error(diff)
	}
	refused := errors.New("nobody signed it")
	fresh := options(t)
	fresh.Verify = func(context.Context, string) error { return refused }
	requests()
	if _, err := Open(t.Context(), []string{ref}, fresh); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	if n := requests(); n != 0 {
		t.Errorf("%d requests for a catalog that is refused", n)
	}
}

// TestOpenErrors says what is wrong, with what, and what to do.
func TestOpenErrors(t *testing.T) {
	host, _ := newRegistry(t)
	noCatalog := tree.New()
	if err := noCatalog.Put("manifest.yaml", tree.File(0o644, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	push(t, noCatalog, host+"/gvisor:1")
	for _, test := range []struct {
		refs  []string
		talos string
		want  string
	}{
		{nil, "", "none is named"},
		{[]string{host + "/gvisor"}, "", "which version of Talos"},
		{[]string{host + "/gvisor"}, "latest", `"latest" is no version of Talos Linux`},
		{[]string{host + "/gvisor:1"}, "", "reading the catalog " + host + "/gvisor:1: it is no catalog: it has no file image-digests"},
		{[]string{host + "/gvisor@sha256:12"}, "", `"sha256:12" is no digest`},
		{[]string{host + "/none:v1.12.0"}, "", "opening the catalog " + host + "/none:v1.12.0: resolving"},
		{[]string{"oci:" + t.TempDir()}, "", "reading the catalog"},
	} {
		o := options(t)
		o.Talos = test.talos
		_, err := Open(t.Context(), test.refs, o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.refs, err, test.want)
		}
	}
	var registry *oci.RegistryError
	if _, err := Open(t.Context(), []string{host + "/none:v1"}, options(t)); !errors.As(err, &registry) {
		t.Errorf("got %v, want an error of the registry", err)
	}
}

// TestListings are in the image, and bounded by what the catalog's reader keeps of them.
func TestListings(t *testing.T) {
	host, _ := newRegistry(t)
	all, listings := large(t, 3)
	push(t, written(t, all, listings), host+"/me/extensions:v1.12.0")
	o := options(t)
	c, err := Open(t.Context(), []string{host + "/me/extensions:v1.12.0"}, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = o.Listings(t.Context(), c, func(l Listing) error {
		got = append(got, fmt.Sprint(l.Image, l.Platform, len(l.Files)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, l := range listings {
		want = append(want, fmt.Sprint(l.Image, l.Platform, len(l.Files)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkOpen is what graft catalog find takes the second time.
func BenchmarkOpen(b *testing.B) {
	host, _ := newRegistry(b)
	all, listings := large(b, 100)
	res := push(b, written(b, all, listings), host+"/me/extensions:v1.12.0")
	o := options(b)
	for _, ref := range []string{host + "/me/extensions@" + res.Digest, host + "/me/extensions:v1.12.0"} {
		name := "digest"
		if strings.Contains(ref, ":v1") {
			name = "tag"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := Open(b.Context(), []string{ref}, o)
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := c.Resolve("extension-42"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestOtherVersion refuses a catalog whose tag, or who asks, says another version
// than the catalog does.
func TestOtherVersion(t *testing.T) {
	host, _ := newRegistry(t)
	all, listings := large(t, 1)
	tr := written(t, all, listings) // says v1.12.0
	dir := t.TempDir()
	for _, tag := range []string{"v1.12.0", "v1.13.0", "mine"} {
		push(t, tr, host+"/me/extensions:"+tag)
		push(t, tr, "oci:"+dir+":extensions:"+tag)
	}
	foreign := tree.New()
	if err := foreign.Put(DigestsName, tree.File(0o644, formatDigests(all))); err != nil {
		t.Fatal(err)
	}
	push(t, foreign, host+"/foreign/extensions:v1.13.0")
	for _, test := range []struct {
		ref, talos string
		ok         bool
	}{
		{host + "/me/extensions", "1.12.0", true},
		{host + "/me/extensions:v1.12.0", "", true},
		{host + "/me/extensions:mine", "", true},
		{host + "/me/extensions:mine", "v1.12.0", true},
		{host + "/foreign/extensions", "v1.13.0", true},
		{host + "/me/extensions", "v1.13.0", false},
		{host + "/me/extensions:v1.13.0", "", false},
		{host + "/me/extensions:mine", "v1.13.0", false},
		{host + "/me/extensions:v1.13.0", "v1.12.0", false},
		{"oci:" + dir + ":extensions:v1.13.0", "", false},
		{"oci:" + dir + ":extensions:mine", "v1.13.0", false},
		{"oci:" + dir + ":extensions:mine", "", true},
	} {
		o := options(t)
		o.Talos = test.talos
		for _, when := range []string{"first", "from the cache"} {
			_, err := Open(t.Context(), []string{test.ref}, o)
			var other *VersionError
			if test.ok && err != nil || !test.ok && (!errors.As(err, &other) || other.Says != "v1.12.0" || other.Wanted != "v1.13.0") {
				t.Errorf("%s for %q, %s: got %v", test.ref, test.talos, when, err)
			}
		}
	}
}

// TestChoose finds the catalog among the images of a mirror.
func TestChoose(t *testing.T) {
	all, listings := large(t, 1)
	mirror := func(dest string, named ...string) string {
		for _, n := range named {
			tr := written(t, all, listings)
			if _, tag := oci.CutTag(n); !isCatalogName(n) {
				tr = tree.New() // another one for each
				if err := tr.Put(n, tree.File(0o644, nil)); err != nil {
					t.Fatal(err)
				}
			} else if talosOf(n) != "" {
				var err error
				if tr, err = Write(tag, all, nil); err != nil {
					t.Fatal(err)
				}
			}
			push(t, tr, dest+":"+n)
		}
		return dest
	}
	dir := t.TempDir()
	one := mirror("oci:"+dir+"/one", "ghcr.io/me/gvisor:1", "ghcr.io/me/extensions:v1.12.0", "ghcr.io/me/extensions-extra:v1.12.0")
	two := mirror("oci:"+dir+"/two", "ghcr.io/me/gvisor:1", "ghcr.io/me/extensions:v1.12.0", "ghcr.io/me/extensions:v1.13.0")
	tar := "oci-archive:" + dir + "/mirror.tar"
	var routes []oci.Route
	for _, n := range []string{"ghcr.io/me/gvisor:1", "ghcr.io/me/extensions:v1.12.0"} {
		routes = append(routes, oci.Route{From: one + ":" + n, To: tar + ":" + n})
	}
	if err := oci.CopyAll(t.Context(), routes, oci.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	own := mirror("oci:"+dir+"/own", "ghcr.io/me/gvisor:1", "ghcr.io/me/extensions:mine")
	none := mirror("oci:"+dir+"/none", "ghcr.io/me/gvisor:1", "ghcr.io/me/nebula:1")
	for _, test := range []struct{ ref, talos, want, err string }{
		{one, "", one + ":ghcr.io/me/extensions:v1.12.0", ""},
		{dir + "/one", "1.12.0", one + ":ghcr.io/me/extensions:v1.12.0", ""},
		{dir + "/mirror.tar", "v1.12.0", tar + ":ghcr.io/me/extensions:v1.12.0", ""},
		{tar, "", tar + ":ghcr.io/me/extensions:v1.12.0", ""},
		{two, "v1.13.0", two + ":ghcr.io/me/extensions:v1.13.0", ""},
		{two + ":ghcr.io/me/extensions:v1.12.0", "", two + ":ghcr.io/me/extensions:v1.12.0", ""},
		{own, "v1.12.0", own + ":ghcr.io/me/extensions:mine", ""},
		{two, "", "", "it holds 2 catalogs: choose one, as in " + two + ":ghcr.io/me/extensions:v1.12.0; there is ghcr.io/me/extensions:v1.12.0, ghcr.io/me/extensions:v1.13.0"},
		{one, "v1.13.0", "", "it holds 0 catalogs for Talos v1.13.0"},
		{none, "v1.12.0", "", "it holds several images"},
		{one, "new", "", `"new" is no version of Talos`},
	} {
		o := options(t)
		o.Talos = test.talos
		c, err := Open(t.Context(), []string{test.ref}, o)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s for %q: got %v, want %s", test.ref, test.talos, err, test.err)
			}
		case err != nil:
			t.Errorf("%s for %q: %v", test.ref, test.talos, err)
		case c.Ref != test.want || len(c.Entries) != 1:
			t.Errorf("%s for %q: got %s", test.ref, test.talos, c.Ref)
		}
	}
}
