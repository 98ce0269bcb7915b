package oci

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/graftlinux/graft/internal/tree"
)

// TestWantedDigest: what was resolved a moment ago is what is opened, or nothing
// is.
func TestWantedDigest(t *testing.T) {
	srv := httptest.NewServer(ggcrregistry.New())
	defer srv.Close()
	layout := "oci:" + filepath.Join(t.TempDir(), "layout")
	remote := strings.TrimPrefix(srv.URL, "http://") + "/me/x:v1"
	for _, dest := range []string{remote, layout} {
		var digests []string
		for _, text := range []string{"one", "two"} {
			if _, err := Pack(t.Context(), packed(t, text), dest, PackOptions{Name: "x:v1"}); err != nil {
				t.Fatal(err)
			}
			d, err := Resolve(t.Context(), dest, Options{})
			if err != nil {
				t.Fatal(err)
			}
			digests = append(digests, d.Digest)
			img, err := Open(t.Context(), dest, Options{Digest: d.Digest, Platform: "linux/arm64"})
			if err != nil {
				t.Fatalf("%s: %v", dest, err)
			}
			img.Close()
		}
		_, err := Open(context.Background(), dest, Options{Digest: digests[0]})
		if err == nil || !strings.Contains(err.Error(), "it is not "+digests[0]+", which it was a moment ago") {
			t.Errorf("%s was replaced: got %v", dest, err)
		}
	}
}

// packed is an image for two platforms, with a file in it.
func packed(t *testing.T, text string) []Packed {
	t.Helper()
	tr := helloTree(t)
	if err := tr.Put("text", tree.File(0o644, []byte(text))); err != nil {
		t.Fatal(err)
	}
	return []Packed{{Platform: linuxAMD64, Tree: tr}, {Platform: linuxARM64, Tree: tr}}
}
