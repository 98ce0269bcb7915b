package registry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestConditions: of many who set a tag if it is still what they have read, one
// does; the others learn that it moved.
func TestConditions(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "a"}
	one := c.image("one", nil)
	put := func(data []byte, header, value string) response {
		r, err := c.try(http.MethodPut, "manifests/v1", data, "Content-Type", v1.MediaTypeImageManifest, header, value)
		if err != nil {
			t.Error(err)
		}
		return r
	}
	status := func(what string, r response, want int) {
		t.Helper()
		if r.StatusCode != want {
			t.Errorf("%s: got %s, want %d: %s", what, r.Status, want, r.body)
		}
	}
	status("a tag that is not there matches", put(one, "If-Match", "*"), 412)
	status("a new tag", put(one, "If-None-Match", "*"), 201)
	status("a new tag, again", put(one, "If-None-Match", "*"), 412)
	digest := c.want(200, "GET", "manifests/v1", nil).Header.Get("Docker-Content-Digest")

	others := make([][]byte, 10)
	for i := range others {
		others[i] = c.image(string(rune('a'+i)), nil)
	}
	var set atomic.Int32
	var g sync.WaitGroup
	for _, data := range others {
		g.Go(func() {
			if r := put(data, "If-Match", `"`+digest+`"`); r.StatusCode == 201 {
				set.Add(1)
			} else {
				status("a tag that moved", r, 412)
			}
		})
	}
	g.Wait()
	if set.Load() != 1 {
		t.Errorf("%d have replaced the same image", set.Load())
	}
	status("no condition", put(one, "X-None", ""), 201)
}
