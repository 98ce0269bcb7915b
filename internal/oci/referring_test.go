package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	registrytest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// packTwo writes an index of two platforms, and returns its source and digest.
func packTwo(t testing.TB, dest string) Result {
	t.Helper()
	images := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}, {Platform: linuxARM64, Tree: helloTree(t)}}
	res, err := Pack(t.Context(), images, dest, PackOptions{Name: "hello:1"})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

const testType = "application/vnd.example.signature"

func testArtifact(text string) Artifact {
	return Artifact{
		Type: testType, Annotations: map[string]string{"said": text},
		Blobs: []Blob{{MediaType: "text/plain", Annotations: map[string]string{"k": "v"}, Data: []byte(text)}},
	}
}

// silent is a registry without the referrers API.
func silent(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if strings.Contains(r.URL.Path, "/referrers/") {
		http.NotFound(w, r)
		return
	}
	next.ServeHTTP(w, r)
}

// referringPlaces are images with another name in each kind of place.
func referringPlaces(t testing.TB) map[string]string {
	t.Helper()
	quiet, quietHost := newMoody(t)
	quiet.mood = silent
	places := map[string]string{
		"registry":         newTestRegistry(t) + "/me/hello:1",
		"registry, no API": quietHost + "/me/hello:1",
		"layout":           "oci:" + filepath.Join(t.TempDir(), "l") + ":me/hello:1",
	}
	for _, src := range places {
		packTwo(t, src)
	}
	return places
}

// TestAttach attaches to an image in each kind of place, and finds it again.
func TestAttach(t *testing.T) {
	want := packTwo(t, filepath.Join(t.TempDir(), "x")).Digest
	for name, src := range referringPlaces(t) {
		t.Run(name, func(t *testing.T) {
			d := must(Resolve(t.Context(), src, Options{}))(t)
			if d.Digest != want || d.MediaType != string(types.OCIImageIndex) || !cmp.Equal(d.Platforms, []Platform{linuxAMD64, linuxARM64}) {
				t.Errorf("got %+v, want the index %s", d, want)
			}
			none := must(Referrers(t.Context(), src, Options{}))(t)
			if len(none) != 0 {
				t.Errorf("got %v of a new image", none)
			}
			first := must(Attach(t.Context(), src, testArtifact("one"), PackOptions{}))(t)
			again := must(Attach(t.Context(), d.Ref, testArtifact("one"), PackOptions{}))(t)
			if first != again {
				t.Errorf("the same artifact is %s and %s", first, again)
			}
			other := testArtifact("two")
			other.Type = "application/vnd.example.other"
			must(Attach(t.Context(), d.Ref, other, PackOptions{}))(t)
			wantReferrers(t, d.Ref, "one", "two")
			wantReferrers(t, src, "one", "two")
			if name != "registry" { // ggcr's registry takes the type from the config
				got := must(Referrers(t.Context(), d.Ref, Options{}, testType))(t)
				if len(got) != 1 || got[0].Digest != first || got[0].Type != testType || got[0].Subject != want {
					t.Errorf("of one type: got %+v", got)
				}
			}
		})
	}
}

// wantReferrers reads the referrers with their blobs.
func wantReferrers(t *testing.T, src string, want ...string) {
	t.Helper()
	found := must(Referrers(t.Context(), src, Options{}))(t)
	var got []string
	for _, a := range found {
		if a.Blobs[0].Data != nil {
			t.Error("its blob was read")
		}
		if err := a.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.Blobs[0].Annotations["k"] != "v" || a.Annotations["said"] != string(a.Blobs[0].Data) {
			t.Errorf("got %+v", a)
		}
		got = append(got, string(a.Blobs[0].Data))
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("%s: -want +got\n%s", src, diff)
	}
}

// TestAttachTagged adds to cosign's tags.
func TestAttachTagged(t *testing.T) {
	for name, src := range referringPlaces(t) {
		t.Run(name, func(t *testing.T) {
			if a := must(Tagged(t.Context(), src, "sig", Options{}))(t); a != nil {
				t.Errorf("got %v of a new image", a)
			}
			var last string
			for _, text := range []string{"one", "two", "one"} {
				last = must(AttachTagged(t.Context(), src, ".sig", testArtifact(text), PackOptions{}))(t)
			}
			a := must(Tagged(t.Context(), src, "sig", Options{}))(t)
			if a == nil || a.Digest != last {
				t.Fatalf("got %+v, want %s", a, last)
			}
			if err := a.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(a.Blobs) != 2 || string(a.Blobs[0].Data) != "one" || string(a.Blobs[1].Data) != "two" {
				t.Errorf("got %+v", a.Blobs)
			}
			opened(t, src, Options{}) // the layout still holds one image
			if path, ok := strings.CutSuffix(strings.TrimPrefix(src, "oci:"), ":me/hello:1"); ok && strings.HasPrefix(src, "oci:") {
				opened(t, path, Options{})
				if names := must(Names(t.Context(), path, Options{}))(t); len(names) != 1 || names[0].Name != "me/hello:1" {
					t.Errorf("got names %q", names)
				}
			}
		})
	}
}

// TestAttachInParallel loses nothing, though the fall-back tag is one manifest.
func TestAttachInParallel(t *testing.T) {
	for name, src := range referringPlaces(t) {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			var want []string
			client := NewClient()
			for i := range 20 {
				want = append(want, fmt.Sprint(i))
				wg.Go(func() {
					if _, err := Attach(t.Context(), src, testArtifact(fmt.Sprint(i)), PackOptions{Client: client}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			wantReferrers(t, src, want...)
		})
	}
}

// pagedReferrers answers with one referrer a page, as the specification allows.
type pagedReferrers struct {
	http.Handler
	pages  []v1.Descriptor
	ignore bool // the filter
	next   string
}

func (p *pagedReferrers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/referrers/") {
		p.Handler.ServeHTTP(w, r)
		return
	}
	n := 0
	fmt.Sscan(r.URL.Query().Get("page"), &n)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if n < len(p.pages) {
		if want := r.URL.Query().Get("artifactType"); want == "" || p.ignore || want == p.pages[n].ArtifactType {
			index.Manifests = append(index.Manifests, p.pages[n])
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, p.next, r.URL.Path, n+1))
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex)+"; charset=utf-8")
	_ = json.NewEncoder(w).Encode(index)
}

func TestReferrerPages(t *testing.T) {
	p := &pagedReferrers{Handler: registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(p)
	defer srv.Close()
	src := strings.TrimPrefix(srv.URL, "http://") + "/hello:1"
	packTwo(t, src)
	for i := range 5 {
		a := testArtifact(fmt.Sprint(i))
		a.Type = fmt.Sprint("application/x-", i)
		digest := must(Attach(t.Context(), src, a, PackOptions{}))(t)
		d := must(Resolve(t.Context(), strings.TrimSuffix(src, ":1")+"@"+digest, Options{}))(t)
		h := must(v1.NewHash(digest))(t)
		p.pages = append(p.pages, v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: d.Size, ArtifactType: a.Type})
	}
	wantReferrers(t, src, "0", "1", "2", "3", "4")
	for _, p.ignore = range []bool{false, true} {
		if got := must(Referrers(t.Context(), src, Options{}, "application/x-3"))(t); len(got) != 1 || got[0].Annotations["said"] != "3" {
			t.Errorf("got %+v", got)
		}
	}
	p.next = "http://registry.example"
	_, err := Referrers(t.Context(), src, Options{})
	wantError(t, err, "finding what refers to "+src, "another host")

	p.next, p.pages = "", slices.Repeat(p.pages, 1000) // as good as endless
	_, err = Referrers(t.Context(), src, Options{})
	wantError(t, err, "more than 1000")
}

// TestReferrersThatLie are lists whose entries are not what they say.
func TestReferrersThatLie(t *testing.T) {
	p := &pagedReferrers{Handler: registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(p)
	defer srv.Close()
	src := strings.TrimPrefix(srv.URL, "http://") + "/hello:1"
	res := packTwo(t, src)
	other := must(Resolve(t.Context(), src, Options{}))(t)
	h := must(v1.NewHash(res.Digest))(t)
	gone := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	for _, tt := range []struct {
		entry v1.Descriptor
		want  string
	}{
		{v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: other.Size}, `refers to "" and not to`},
		{v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: 3}, "longer than the 3 bytes"},
		{v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: -3}, "size of -3"},
		{v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: 1 << 40}, "are allowed"},
		{v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: gone, Size: 3}, ""},
	} {
		p.pages = []v1.Descriptor{tt.entry}
		got, err := Referrers(t.Context(), src, Options{})
		if tt.want == "" {
			if err != nil || len(got) != 0 {
				t.Errorf("got %v %v", got, err)
			}
			continue
		}
		wantError(t, err, tt.want)
	}
}

func TestArtifactLimits(t *testing.T) {
	src := newTestRegistry(t) + "/hello:1"
	packTwo(t, src)
	must(Attach(t.Context(), src, testArtifact("x"), PackOptions{}))(t)
	a := must(Referrers(t.Context(), src, Options{}))(t)[0]
	for _, tt := range []struct {
		size int64
		n    int
		want string
	}{{MaxArtifactBlob + 1, 1, "33554432 are allowed"}, {-1, 1, "-1 bytes"}, {MaxArtifactBlob, 5, "134217728 are allowed"}, {1 << 20, 1, "1 bytes of it"}} {
		b := a.Blobs[0]
		b.Size = tt.size
		a.Blobs = nil
		for range tt.n {
			a.Blobs = append(a.Blobs, b)
		}
		wantError(t, a.Read(t.Context()), tt.want)
	}
}

// TestAttachNowhere are subjects that cannot be attached to.
func TestAttachNowhere(t *testing.T) {
	dir := t.TempDir()
	packTwo(t, filepath.Join(dir, "x.tar"))
	for _, tt := range []struct{ src, want string }{
		{filepath.Join(dir, "x.tar"), "a tarball is only read"},
		{newTestRegistry(t) + "/none:1", "NAME_UNKNOWN"},
		{dir, "no OCI layout"},
	} {
		_, err := Attach(t.Context(), tt.src, testArtifact("x"), PackOptions{})
		wantError(t, err, tt.want)
	}
	if got := must(Referrers(t.Context(), filepath.Join(dir, "x.tar"), Options{}))(t); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestNames(t *testing.T) {
	ctx := context.Background()
	for name, src := range referringPlaces(t) {
		t.Run(name, func(t *testing.T) {
			if _, ok, err := Exists(ctx, src, Options{}); !ok || err != nil {
				t.Errorf("got %v %v", ok, err)
			}
			if _, ok, err := Exists(ctx, strings.Replace(src, ":1", ":3", 1), Options{}); ok || err != nil {
				if name != "layout" || ok {
					t.Errorf("got %v %v, want it to be free", ok, err)
				}
			}
			if name == "layout" {
				return
			}
			repo := strings.TrimSuffix(src, ":1")
			if tags := must(Tags(ctx, repo, Options{}))(t); !cmp.Equal(tags, []string{"1"}) {
				t.Errorf("got %q", tags)
			}
			if tags := must(Tags(ctx, repo+"/none", Options{}))(t); tags != nil {
				t.Errorf("got %q", tags)
			}
		})
	}
}
