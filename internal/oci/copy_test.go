package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/testkit"
)

// copyOne is CopyAll of one image.
func copyOne(ctx context.Context, src, dst string, opts CopyOptions) (Copied, error) {
	var got Copied
	told := opts.Copied
	opts.Copied = func(c Copied) {
		got = c
		if told != nil {
			told(c)
		}
	}
	err := CopyAll(ctx, []Route{{From: src, To: dst}}, opts)
	return got, err
}

// signedImage is an index with a referrer, a signature of that, one of the
// first platform, and cosign's tags.
func signedImage(t testing.TB, dest string) Descriptor {
	t.Helper()
	packTwo(t, dest)
	d := must(Resolve(t.Context(), dest, Options{}))(t)
	repo := strings.TrimSuffix(d.Ref, d.Digest)
	attested := must(Attach(t.Context(), d.Ref, testArtifact("attested"), PackOptions{}))(t)
	must(Attach(t.Context(), repo+attested, testArtifact("signed"), PackOptions{}))(t)
	platform := opened(t, dest, Options{}).Digest()
	must(Attach(t.Context(), repo+platform, testArtifact("platform"), PackOptions{}))(t)
	must(AttachTagged(t.Context(), dest, "sig", testArtifact("tagged"), PackOptions{}))(t)
	must(AttachTagged(t.Context(), repo+platform, "att", testArtifact("tagged platform"), PackOptions{}))(t)
	return d
}

// wantSigned compares an image with what signedImage made.
func wantSigned(t *testing.T, src string, want Descriptor) {
	t.Helper()
	d, err := Resolve(t.Context(), src, Options{})
	if err != nil {
		t.Error(err)
		return
	}
	if d.Digest != want.Digest || d.Size != want.Size {
		t.Errorf("%s: got %+v, want %+v", src, d, want)
	}
	repo := strings.TrimSuffix(d.Ref, d.Digest)
	wantReferrers(t, d.Ref, "attested")
	wantReferrers(t, repo+must(Referrers(t.Context(), d.Ref, Options{}))(t)[0].Digest, "signed")
	img := opened(t, src, Options{})
	if diff := cmp.Diff(listing(t, helloTree(t)), listing(t, treeOf(t, img))); diff != "" {
		t.Errorf("%s: -want +got\n%s", src, diff)
	}
	wantReferrers(t, repo+img.Digest(), "platform")
	wantTagged(t, d.Ref, "sig", "tagged")
	wantTagged(t, repo+img.Digest(), "att", "tagged platform")
}

func wantTagged(t *testing.T, src, suffix, want string) {
	t.Helper()
	a := must(Tagged(t.Context(), src, suffix, Options{}))(t)
	if a == nil {
		t.Errorf("%s has no .%s", src, suffix)
		return
	}
	if err := a.Read(t.Context()); err != nil || string(a.Blobs[0].Data) != want {
		t.Errorf("%s: got %q %v", src, a.Blobs[0].Data, err)
	}
}

// TestCopy goes from every place to every place.
func TestCopy(t *testing.T) {
	quiet, quietHost := newMoody(t)
	quiet.mood = silent
	host := newTestRegistry(t)
	dir := t.TempDir()
	first := host + "/me/hello:1"
	want := signedImage(t, first)
	from := map[string]string{"registry": first}
	for name, dest := range map[string]string{
		"no API":  quietHost + "/other/name:2",
		"layout":  "oci:" + filepath.Join(dir, "layout"),
		"archive": filepath.Join(dir, "a.tar"),
	} {
		got := must(copyOne(t.Context(), first, dest, CopyOptions{}))(t)
		if got.Digest != want.Digest || got.Manifests != 8 || got.Referring != 5 || got.Missing == 0 {
			t.Errorf("%s: got %+v", name, got)
		}
		wantSigned(t, dest, want)
		from[name] = dest
	}
	n := 0
	for _, src := range from {
		for _, dest := range []string{host + "/copy:N", quietHost + "/copy:N", "oci:" + t.TempDir() + ":me/hello:7", filepath.Join(t.TempDir(), "x.tar")} {
			n++
			dest = strings.Replace(dest, "copy:N", fmt.Sprintf("copy-%d:1", n), 1)
			must(copyOne(t.Context(), src, dest, CopyOptions{}))(t)
			wantSigned(t, dest, want)
		}
	}
}

// TestCopyAgain copies nothing that is there.
func TestCopyAgain(t *testing.T) {
	m, host := newMoody(t)
	src := host + "/me/hello:1"
	signedImage(t, src)
	dir := t.TempDir()
	for _, dest := range []string{newTestRegistry(t) + "/copy:1", filepath.Join(dir, "layout")} {
		first := must(copyOne(t.Context(), src, dest, CopyOptions{DryRun: true}))(t)
		second := must(copyOne(t.Context(), src, dest, CopyOptions{}))(t)
		if first != second || first.Missing == 0 {
			t.Errorf("got %+v, announced %+v", second, first)
		}
		m.requests = nil
		third := must(copyOne(t.Context(), src, dest, CopyOptions{}))(t)
		if third.Missing != 0 {
			t.Errorf("got %+v", third)
		}
		for _, r := range m.requests {
			if strings.HasPrefix(r, "POST") || strings.Contains(r, "GET /v2/me/hello/blobs") {
				t.Errorf("%s: again there is %s", dest, r)
			}
		}
	}
}

// TestCopyMounts sends no blob from one repository of a registry to another,
// unless the registry does not mount.
func TestCopyMounts(t *testing.T) {
	for _, mounts := range []bool{true, false} {
		m, host := newMoody(t)
		src := host + "/me/hello:1"
		want := signedImage(t, src)
		var mounted, sent atomic.Int32
		m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			blob := strings.HasPrefix(r.URL.Path, "/v2/other/hello/blobs/")
			switch {
			case blob && r.Method == http.MethodHead: // the repositories of this registry share blobs
				http.NotFound(w, r)
				return
			case blob && r.Method == http.MethodPost && r.URL.Query().Get("from") == "me/hello" && mounts:
				mounted.Add(1)
				w.WriteHeader(http.StatusCreated)
				return
			case blob && r.Method == http.MethodPost:
				r.URL.RawQuery = ""
			case blob && r.Method == http.MethodPut:
				sent.Add(1)
			}
			next.ServeHTTP(w, r)
		}
		must(copyOne(t.Context(), src, host+"/other/hello:1", CopyOptions{}))(t)
		if mounts != (sent.Load() == 0) || mounts != (mounted.Load() > 0) {
			t.Errorf("mounts %v: got %d mounted and %d sent", mounts, mounted.Load(), sent.Load())
		}
		m.feel(nil)
		wantSigned(t, host+"/other/hello:1", want)
	}
}

// TestCopyRepairs replaces a damaged blob of a layout.
func TestCopyRepairs(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	want := signedImage(t, "oci:"+src+":me/hello:1")
	must(copyOne(t.Context(), src, dst, CopyOptions{}))(t)
	blobs, err := filepath.Glob(filepath.Join(dst, "blobs/sha256/*"))
	if err != nil || len(blobs) < 10 {
		t.Fatal(blobs, err)
	}
	for _, b := range blobs {
		if err := os.Remove(b); err != nil { // it is a hard link
			t.Fatal(err)
		}
		if err := os.WriteFile(b, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(copyOne(t.Context(), src, dst, CopyOptions{}))(t)
	wantSigned(t, "oci:"+dst+":me/hello:1", want)
	left, _ := filepath.Glob(filepath.Join(dst, "blobs/sha256/.*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	// And a source that is damaged is refused, by name.
	for _, b := range blobs {
		data := must(os.ReadFile(b))(t)
		if !bytes.HasPrefix(data, []byte("{")) {
			damaged := filepath.Join(src, "blobs/sha256", filepath.Base(b))
			if err := os.WriteFile(damaged, append([]byte("x"), data[1:]...), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(dst); err != nil {
				t.Fatal(err)
			}
			for _, dest := range []string{dst, dst + ".tar", newTestRegistry(t) + "/x:1"} {
				_, err = copyOne(t.Context(), src, dest, CopyOptions{})
				wantError(t, err, "copying "+src, filepath.Base(b), "digest")
			}
			if _, err := os.Stat(dst + ".tar"); err == nil {
				t.Error("the tarball is there")
			}
			return
		}
	}
	t.Fatal("no blob is large enough")
}

// TestCopyPlatforms takes a part of an index.
func TestCopyPlatforms(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	want := signedImage(t, "oci:"+src+":me/hello:1")
	for _, dest := range []string{dst, dst + ".tar"} {
		got := must(copyOne(t.Context(), src, dest, CopyOptions{Platforms: []string{"linux/amd64"}}))(t)
		if got.Digest != want.Digest || got.Manifests != 7 {
			t.Errorf("got %+v", got)
		}
		wantSigned(t, dest, want)
		_, err := Open(t.Context(), dest, Options{Platform: "linux/arm64"})
		wantError(t, err, "sha256:")
	}
	_, err := copyOne(t.Context(), src, dst, CopyOptions{Platforms: []string{"linux/riscv64"}})
	wantError(t, err, "has no image for linux/riscv64")
	_, err = copyOne(t.Context(), src, dst, CopyOptions{Platforms: []string{"amd64"}})
	wantError(t, err, "parsing platform")
	_, err = copyOne(t.Context(), src, newTestRegistry(t)+"/x:1", CopyOptions{Platforms: []string{"linux/amd64"}})
	wantError(t, err, "takes no index without all of its images")
}

// TestCopyNames is about destinations.
func TestCopyNames(t *testing.T) {
	dir := t.TempDir()
	host := newTestRegistry(t)
	bare := filepath.Join(dir, "bare")
	if _, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}}, bare, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := copyOne(t.Context(), bare, host+"/x", CopyOptions{})
	wantError(t, err, "give the destination a tag")
	_, err = copyOne(t.Context(), bare, "docker-archive:"+filepath.Join(dir, "x.tar"), CopyOptions{})
	wantError(t, err, "docker-archive cannot keep")
	got := must(copyOne(t.Context(), bare, host+"/x:3", CopyOptions{}))(t)
	must(copyOne(t.Context(), host+"/x:3@"+got.Digest, filepath.Join(dir, "l"), CopyOptions{}))(t)
	if names := must(Names(t.Context(), filepath.Join(dir, "l"), Options{}))(t); len(names) != 1 || names[0].Name != host+"/x:3" {
		t.Errorf("got %q", names)
	}
	must(copyOne(t.Context(), filepath.Join(dir, "l"), host+"/y", CopyOptions{}))(t)
	if tags := must(Tags(t.Context(), host+"/y", Options{}))(t); !cmp.Equal(tags, []string{"3"}) {
		t.Errorf("got %q", tags)
	}
	for _, tt := range []struct{ src, dst, want string }{
		{filepath.Join(dir, "none"), filepath.Join(dir, "y"), "no such file"},
		{host + "/none:1", filepath.Join(dir, "y"), "NAME_UNKNOWN"},
		{host + "/x:4", filepath.Join(dir, "y"), "MANIFEST_UNKNOWN"},
		{dir, filepath.Join(dir, "y"), "no OCI layout"},
		{bare, dir, "not empty and no OCI layout"},
		{bare, "", "empty name"},
	} {
		_, err := copyOne(t.Context(), tt.src, tt.dst, CopyOptions{})
		wantError(t, err, "copying "+tt.src, tt.want)
	}
}

// testCatalog writes a catalog, and the routes of all its images to a
// destination that name makes.
func testCatalog(t testing.TB, c testkit.Catalog, dest func(name string) string) []Route {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "catalog")
	c.Write(t, dir)
	var routes []Route
	for _, n := range must(Names(t.Context(), dir, Options{}))(t) {
		routes = append(routes, Route{From: n.Source, To: dest(n.Name)})
	}
	return routes
}

var extName = regexp.MustCompile(`ext(ensions|-\d+):.*$`)

// TestCopyAll takes a catalog through three places.
func TestCopyAll(t *testing.T) {
	host := newTestRegistry(t)
	dir := t.TempDir()
	routes := testCatalog(t, testkit.Catalog{Extensions: 20, LayerSize: 1000, Signed: true}, func(name string) string {
		return host + "/mirror/" + filepath.Base(name)
	})
	if len(routes) != 21 {
		t.Fatalf("got %d routes", len(routes))
	}
	for i, to := range []func(name string) string{
		func(name string) string { return host + "/mirror/" + name },
		func(name string) string { return "oci:" + dir + "/layout:" + name },
		func(name string) string { return "oci-archive:" + dir + "/x.tar:" + name },
		func(name string) string { return host + "/back/" + name },
	} {
		for j, r := range routes {
			if i > 0 {
				routes[j].From = r.To
			}
			routes[j].To = to(extName.FindString(r.To))
		}
		var order []string
		err := CopyAll(t.Context(), routes, CopyOptions{Copied: func(c Copied) {
			order = append(order, c.To)
			if catalog := strings.Contains(c.To, "extensions"); catalog != (c.Referring == 0) || !catalog && c.Referring != 3 {
				t.Errorf("got %+v", c)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(order) || len(order) != 21 || !strings.Contains(order[20], "extensions") {
			t.Errorf("got %q", order)
		}
	}
}

// tolerant takes indexes whose images it lacks, as some registries do.
func tolerant() func(w http.ResponseWriter, r *http.Request, next http.Handler) {
	var mu sync.Mutex
	taken := map[string][]byte{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		data := taken[r.URL.Path]
		switch {
		case r.Method == http.MethodPut && r.Header.Get("Content-Type") == string(types.OCIImageIndex):
			taken[r.URL.Path], _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusCreated)
		case data != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			w.Write(data)
		default:
			next.ServeHTTP(w, r)
		}
	}
}

// TestCopySparse copies what a copy of one platform has left.
func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	src, sparse := filepath.Join(dir, "src"), filepath.Join(dir, "sparse")
	want := signedImage(t, src)
	m, host := newMoody(t)
	m.mood = tolerant()
	for _, from := range []string{sparse, sparse + ".tar"} {
		must(copyOne(t.Context(), src, from, CopyOptions{Platforms: []string{"linux/amd64"}}))(t)
		_, err := copyOne(t.Context(), from, host+"/x:1", CopyOptions{})
		wantError(t, err, "mirrored with --platform", "lacks linux/arm64", "has linux/amd64")
		got := must(copyOne(t.Context(), from, host+"/x:1", CopyOptions{Platforms: []string{"linux/amd64"}}))(t)
		if got.Digest != want.Digest {
			t.Errorf("got %+v", got)
		}
		opened(t, host+"/x:1", Options{Platform: "linux/amd64"})
		_, err = copyOne(t.Context(), from, newTestRegistry(t)+"/x:1", CopyOptions{Platforms: []string{"linux/amd64"}})
		wantError(t, err, "takes no index without all of its images")
	}
}

// TestEmptyIndex wants the index of an empty layout to have a list.
func TestEmptyIndex(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	if err := (layoutDest{dir: dir}).begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data := must(os.ReadFile(filepath.Join(dir, indexFile)))(t); !strings.Contains(string(data), `"manifests":[]`) {
		t.Errorf("got %s", data)
	}
}

// TestCopyMoves gives a name of a layout to another image. The one that had it
// stays listed, with what refers to it, and can be copied by its digest.
func TestCopyMoves(t *testing.T) {
	host := newTestRegistry(t)
	src := host + "/me/hello:1"
	first := signedImage(t, src)
	layout := filepath.Join(t.TempDir(), "l")
	dest := "oci:" + layout + ":" + src
	if got := must(copyOne(t.Context(), src, dest, CopyOptions{}))(t); got.Before != "" {
		t.Errorf("got %+v", got)
	}
	second := must(Pack(t.Context(), packed(t, "new"), src, PackOptions{}))(t)
	for _, dry := range []bool{true, false} {
		got := must(copyOne(t.Context(), src, dest, CopyOptions{DryRun: dry}))(t)
		if got.Before != first.Digest || got.Digest != second.Digest {
			t.Errorf("dry run %v: got %+v, want it to be instead of %s", dry, got, first.Digest)
		}
	}
	if got := must(copyOne(t.Context(), src, dest, CopyOptions{}))(t); got.Before != "" {
		t.Errorf("again: got %+v", got)
	}
	names := must(Names(t.Context(), layout, Options{}))(t)
	if len(names) != 2 || names[0].Name != src || names[0].Digest != second.Digest || names[1].Name != "" || names[1].Digest != first.Digest {
		t.Errorf("got %+v", names)
	}
	other := newTestRegistry(t)
	for _, to := range []string{other + "/copy", "oci:" + filepath.Join(t.TempDir(), "l") + ":" + src, "oci-archive:" + filepath.Join(t.TempDir(), "x.tar") + ":" + src} {
		var got Copied
		err := CopyAll(t.Context(), []Route{{From: "oci:" + layout + "@" + first.Digest, To: to, Untagged: true}}, CopyOptions{Copied: func(c Copied) { got = c }})
		if err != nil || got.Referring != 5 || !strings.HasSuffix(got.To, "@"+first.Digest) {
			t.Errorf("%s: got %+v %v", to, got, err)
			continue
		}
		wantSigned(t, got.To, first)
	}
	if tags := must(Tags(t.Context(), other+"/copy", Options{}))(t); slices.ContainsFunc(tags, func(tag string) bool { return !strings.HasPrefix(tag, "sha256-") }) {
		t.Errorf("got tags %q", tags)
	}
	// The first one gets its name back.
	back := Route{From: "oci:" + layout + "@" + first.Digest, To: dest}
	if err := CopyAll(t.Context(), []Route{back}, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	names = must(Names(t.Context(), layout, Options{}))(t)
	if len(names) != 2 || names[0].Digest != first.Digest || names[0].Name != src || names[1].Digest != second.Digest {
		t.Errorf("got %+v", names)
	}
}

// TestCopyMovesTag says what a tag in a registry was of, also where the registry
// does not answer HEAD with a digest.
func TestCopyMovesTag(t *testing.T) {
	m, host := newMoody(t)
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		for key, values := range rec.Header() {
			if key != "Docker-Content-Digest" {
				w.Header()[key] = values
			}
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	}
	first := must(Pack(t.Context(), packed(t, "old"), host+"/a:1", PackOptions{}))(t)
	second := must(Pack(t.Context(), packed(t, "new"), host+"/b:1", PackOptions{}))(t)
	must(copyOne(t.Context(), host+"/a:1", host+"/c:1", CopyOptions{}))(t)
	for _, dry := range []bool{true, false} {
		got := must(copyOne(t.Context(), host+"/b:1", host+"/c:1", CopyOptions{DryRun: dry}))(t)
		if got.Before != first.Digest || got.Digest != second.Digest {
			t.Errorf("dry run %v: got %+v", dry, got)
		}
	}
}
