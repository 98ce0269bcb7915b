package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func collect(t *testing.T, dir string, opts CollectOptions) Collected {
	t.Helper()
	c, err := Collect(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantCollected collects twice: what a dry run says is what is removed.
func wantCollected(t *testing.T, dir string, opts CollectOptions, want Collected) {
	t.Helper()
	for _, dry := range []bool{true, false} {
		opts.DryRun = dry
		if got := collect(t, dir, opts); got != want {
			t.Errorf("dry run %t: got %+v, want %+v", dry, got, want)
		}
	}
	if got := collect(t, dir, opts); got != (Collected{}) {
		t.Errorf("once more: got %+v, want nothing", got)
	}
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	image := c.image("image", nil) // two blobs
	c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	garbage := c.pushBlob(make([]byte, 1000))
	shared := c.pushBlob(make([]byte, 2000))
	begun := c.want(202, "POST", "blobs/uploads/", nil)
	c.want(202, "PATCH", c.location(begun), make([]byte, 300))
	other := &client{T: t, base: c.base, repo: "b"}
	other.want(201, "POST", "blobs/uploads/?from=a&mount="+string(shared.Digest), nil)
	config := other.pushBlob([]byte("{}"))
	other.pushManifest("v1", marshal(t, v1.Manifest{Config: config, Layers: []v1.Descriptor{shared}}), v1.MediaTypeImageManifest)

	wantCollected(t, dir, CollectOptions{Before: time.Now().Add(-time.Hour)}, Collected{})
	wantCollected(t, dir, CollectOptions{Before: soon()}, Collected{Blobs: 2, Uploads: 1, Bytes: 1300})
	c.want(404, "GET", "blobs/"+string(garbage.Digest), nil)
	c.want(404, "GET", "blobs/"+string(shared.Digest), nil)
	other.want(200, "GET", "blobs/"+string(shared.Digest), nil)
	c.want(404, "PATCH", c.location(begun), []byte("more"))
	c.want(200, "GET", "manifests/v1", nil)

	if err := Delete(dir, "a:v1"); err != nil {
		t.Fatal(err)
	}
	wantCollected(t, dir, CollectOptions{Before: soon()}, Collected{}) // it may be pinned
	c.want(200, "GET", "manifests/"+string(digest.FromBytes(image)), nil)
	size := int64(len(image) + len(`{"name":"image"}`) + len("layer of image"))
	wantCollected(t, dir, CollectOptions{Before: soon(), Untagged: true}, Collected{Manifests: 1, Blobs: 3, Repositories: 1, Bytes: size})
	c.want(404, "GET", "tags/list", nil)
	c.pushManifest("v1", c.image("image", nil), v1.MediaTypeImageManifest) // a repository that was removed
	checkStore(t, dir)
}

// TestCollectUntagged keeps what a tag leads to.
func TestCollectUntagged(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	push := func(name, tag string, subject *v1.Descriptor) v1.Descriptor {
		_, d := c.pushManifest(tag, c.image(name, func(m *v1.Manifest) { m.Subject = subject }), v1.MediaTypeImageManifest)
		return d
	}
	child := push("child", "", nil)
	signature := push("signature of the child", "", &child)
	about := push("about the signature", "", &signature)
	lost := push("lost", "", nil)
	lostSignature := push("signature of what is lost", "", &lost)
	orphan := push("of nothing", "", &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("nothing")})
	index := marshal(t, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{child}})
	c.pushManifest("index", index, v1.MediaTypeImageIndex)

	if got := collect(t, dir, CollectOptions{Before: soon(), Untagged: true}); got.Manifests != 3 {
		t.Errorf("got %+v, want 3 manifests", got)
	}
	for _, d := range []v1.Descriptor{child, signature, about} {
		c.want(200, "GET", "manifests/"+string(d.Digest), nil)
	}
	for _, d := range []v1.Descriptor{lost, lostSignature, orphan} {
		c.want(404, "GET", "manifests/"+string(d.Digest), nil)
	}
}

// TestCollectListed keeps what a tagged image lists, and what belongs to that.
func TestCollectListed(t *testing.T) {
	dir := t.TempDir()
	base := serve(t, dir, Options{}).URL
	c, other := &client{T: t, base: base, repo: "a"}, &client{T: t, base: base, repo: "b"}
	_, listed := c.pushManifest("", c.image("listed", nil), v1.MediaTypeImageManifest)
	_, signature := c.pushManifest("", c.image("signature", func(m *v1.Manifest) { m.Subject = &listed }), v1.MediaTypeImageManifest)
	_, lost := c.pushManifest("", c.image("lost", nil), v1.MediaTypeImageManifest)
	other.pushManifest("v1", other.image("catalog", nil), v1.MediaTypeImageManifest)
	other.pushManifest("", other.image("untagged, and not asked", nil), v1.MediaTypeImageManifest)

	broken := errors.New("it is broken")
	opts := CollectOptions{Before: soon(), Untagged: true, Lists: func(context.Context, string, Image) ([]string, error) { return nil, broken }}
	if got, err := Collect(t.Context(), dir, opts); !errors.Is(err, broken) || got.Manifests != 0 {
		t.Errorf("got %+v, %v, want no manifest to be removed", got, err)
	}
	var asked []string
	opts.Lists = func(_ context.Context, layout string, i Image) ([]string, error) {
		if _, err := os.Stat(filepath.Join(layout, "oci-layout")); err != nil {
			t.Error(err)
		}
		asked = append(asked, i.Repository+":"+i.Tag)
		return []string{string(listed.Digest), string(digest.FromString("nowhere")), "nonsense"}, nil
	}
	if got := collect(t, dir, opts); got.Manifests != 2 || got.Listed != 2 {
		t.Errorf("got %+v, want 2 manifests removed and 2 kept", got)
	}
	if want := []string{"b:v1"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	for _, d := range []v1.Descriptor{listed, signature} {
		c.want(200, "GET", "manifests/"+string(d.Digest), nil)
	}
	c.want(404, "GET", "manifests/"+string(lost.Digest), nil)
}

// TestCollectDamaged leaves a repository alone that it does not understand.
func TestCollectDamaged(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(repo, digest.Digest) error
	}{
		{"an index", func(r repo, _ digest.Digest) error {
			return os.WriteFile(r.indexPath(), []byte(`{"manifests":[`), 0o644)
		}},
		{"a manifest", func(r repo, d digest.Digest) error {
			return errors.Join(os.Remove(r.blobPath(d)), os.WriteFile(r.blobPath(d), []byte("[]"), 0o644))
		}},
		{"a missing manifest", func(r repo, d digest.Digest) error { return os.Remove(r.blobPath(d)) }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			dir := t.TempDir()
			c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "damaged"}
			_, m := c.pushManifest("v1", c.image("image", nil), v1.MediaTypeImageManifest)
			blob := c.pushBlob([]byte("needed by who knows whom"))
			fine := &client{T: t, base: c.base, repo: "fine"}
			fine.pushBlob([]byte("garbage"))
			if err := damage.do(newStore(dir).repo("damaged"), m.Digest); err != nil {
				t.Fatal(err)
			}
			got, err := Collect(t.Context(), dir, CollectOptions{Before: soon()})
			if err == nil || got.Blobs != 1 {
				t.Errorf("got %+v, %v, want one blob of the other repository, and an error", got, err)
			}
			c.want(200, "GET", "blobs/"+string(blob.Digest), nil)
		})
	}
}

// TestCollectBesidePushes spares next to nothing for its youth while images are
// pushed: many pushes fail, but no image that was acknowledged loses anything.
// The longer it takes, the more is spared, so that some pushes come through on
// any machine.
func TestCollectBesidePushes(t *testing.T) {
	dir := t.TempDir()
	base := serve(t, dir, Options{}).URL
	kept := &promises{content: map[string][]byte{}}
	start, enough := time.Now(), func() bool { return len(kept.images()) >= 50 }
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for !enough() {
				age := rand.N(10*time.Millisecond + time.Since(start)/4)
				if _, err := Collect(t.Context(), dir, CollectOptions{Before: time.Now().Add(-age), Untagged: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for worker := range 20 {
		all.Go(func() {
			for n := 0; !enough(); n++ {
				c := &client{T: t, base: base, repo: fmt.Sprintf("beside/r%d", (worker+n)%4)}
				c.pushPromises(kept, fmt.Sprintf("%d-%d", worker, n))
			}
		})
	}
	all.Wait()
	for path, want := range kept.images() {
		(&client{T: t, base: base}).wantContent(path, want)
	}
	checkStore(t, dir)
}

// images are the promises that are manifests.
func (p *promises) images() map[string][]byte {
	p.Lock()
	defer p.Unlock()
	found := map[string][]byte{}
	for path, data := range p.content {
		if parsePath(path).kind == manifests {
			found[path] = data
		}
	}
	return found
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "b/c"}
	image := c.image("image", nil)
	_, m := c.pushManifest("v2", image, v1.MediaTypeImageManifest)
	c.pushManifest("v10", image, v1.MediaTypeImageManifest)
	index := marshal(t, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{m, m}})
	c.pushManifest("index", index, v1.MediaTypeImageIndex)
	signature := c.image("signature", func(s *v1.Manifest) { s.Subject, s.ArtifactType = &m, "application/vnd.example.signature" })
	c.pushManifest("", signature, v1.MediaTypeImageManifest)
	other := &client{T: t, base: c.base, repo: "a"}
	other.pushManifest("v1", other.image("image", nil), v1.MediaTypeImageManifest)

	got, err := List(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(image) + len(`{"name":"image"}`) + len("layer of image"))
	want := []struct {
		name, tag, kind, subject string
		size                     int64
	}{
		{"a", "v1", "image", "", size},
		{"b/c", "index", "index", "", size + int64(len(index))},
		{"b/c", "v10", "image", "", size},
		{"b/c", "v2", "image", "", size},
		{"b/c", "", "application/vnd.example.signature", string(m.Digest), int64(len(signature) + len(`{"name":"signature"}`) + len("layer of signature"))},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v, want %d images", got, len(want))
	}
	for i, w := range want {
		if g := got[i]; g.Repository != w.name || g.Tag != w.tag || g.Type != w.kind || g.Subject != w.subject || g.Size != w.size {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	_, m := c.pushManifest("v1", c.image("image", nil), v1.MediaTypeImageManifest)
	for _, ref := range []string{"a:v2", "b:v1", "a@" + string(digest.FromString("x"))} {
		if err := Delete(dir, ref); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v, want ErrUnknown", ref, err)
		}
	}
	for _, ref := range []string{"a", "", "../a:v1", "a:", "a@sha256:1", "localhost:5000/a:v1"} {
		if err := Delete(dir, ref); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("%q: got %v, want an error that it is no reference", ref, err)
		}
	}
	if err := Delete(dir, "a@"+string(m.Digest)); err != nil {
		t.Fatal(err)
	}
	c.want(404, "GET", "manifests/v1", nil)
}

func TestNoRegistry(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "letter.txt")
	if err := os.WriteFile(file, []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, file} {
		if _, err := New(d, Options{}); err == nil {
			t.Errorf("%s: became a registry", d)
		}
		if _, err := List(t.Context(), d); !errors.Is(err, ErrNoRegistry) {
			t.Errorf("%s: got %v, want ErrNoRegistry", d, err)
		}
	}
	missing := filepath.Join(dir, "missing")
	if _, err := New(missing, Options{ReadOnly: true}); !errors.Is(err, ErrNoRegistry) {
		t.Errorf("got %v, want ErrNoRegistry", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a read-only server made a directory")
	}
}
