package cli

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/registry"
	"github.com/graftlinux/graft/internal/tree"
)

// rebuilt is a registry with the catalogs v1.12.0 and v1.13.0. nebula was built anew
// under the same tag for the second, so that the first lists an image without one.
func rebuilt(t *testing.T) (host, dir string, old catalog.Image) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	srv, err := registry.New(dir, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(srv)
	t.Cleanup(func() { web.Close(); srv.Close() })
	host = strings.TrimPrefix(web.URL, "http://")
	e, l := release(t, host, "nebula")
	publish := func(version string) {
		tr, err := catalog.Write(version, []catalog.Entry{e}, l)
		if err != nil {
			t.Fatal(err)
		}
		packBoth(t, tr, host+"/ext/extensions:"+version)
	}
	publish("v1.12.0")
	old = e.Image
	tr := tree.New()
	if err := tr.Put("manifest.yaml", tree.File(0o644, []byte("version: v1alpha1\nmetadata:\n  name: nebula\n  version: \"1\"\n  author: you\n"))); err != nil {
		t.Fatal(err)
	}
	e.Image.Digest = packBoth(t, tr, host+"/ext/nebula:1").Digest
	publish("v1.13.0")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return host, dir, old
}

func gc(t *testing.T, dir string, more ...string) (c registry.Collected, code int, stderr string) {
	t.Helper()
	var out, conversation bytes.Buffer
	args := append([]string{"registry", "gc", dir, "--older-than", "0s", "-o", "json"}, more...)
	code = Run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &conversation})
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, &out, &conversation)
	}
	return c, code, conversation.String()
}

// TestRegistryGCListed keeps what a catalog in the registry lists until that
// catalog is gone.
func TestRegistryGCListed(t *testing.T) {
	host, dir, old := rebuilt(t)
	pinned := host + "/ext/nebula@" + old.Digest
	signature := oci.Artifact{Type: "application/vnd.example.signature", Blobs: []oci.Blob{{MediaType: "text/plain", Data: []byte("signed")}}}
	if _, err := oci.Attach(t.Context(), pinned, signature, oci.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	exists := func() bool {
		_, found, err := oci.Exists(t.Context(), pinned, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, more := range [][]string{{"--dry-run"}, nil} {
		c, code, stderr := gc(t, dir, append(more, "--untagged")...)
		if code != 0 || c.Manifests != 0 || c.Listed != 4 || !exists() {
			t.Errorf("%v: got %d, %+v, want the index, its two images and the signature to stay\n%s", more, code, c, stderr)
		}
	}
	var out, conversation bytes.Buffer
	Run(t.Context(), []string{"registry", "gc", dir, "--untagged", "--older-than", "0s"}, Streams{Out: &out, Err: &conversation})
	if want := "4 manifests without a tag stay, as catalogs here list"; !strings.Contains(conversation.String(), want) {
		t.Errorf("got %s, want %s", &conversation, want)
	}
	if err := registry.Delete(dir, "ext/extensions:v1.12.0"); err != nil {
		t.Fatal(err)
	}
	if c, code, stderr := gc(t, dir, "--untagged"); code != 0 || c.Listed != 0 || c.Manifests < 5 || exists() {
		t.Errorf("without the catalog: got %d, %+v\n%s", code, c, stderr)
	}
}

// TestRegistryGCDamaged removes no manifest if a catalog cannot be read.
func TestRegistryGCDamaged(t *testing.T) {
	host, dir, _ := rebuilt(t)
	d, err := oci.Resolve(t.Context(), host+"/ext/extensions:v1.12.0", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(d.Ref, "@")
	images, err := registry.List(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		if i.Digest == digest && i.Tag != "" {
			damageLayers(t, filepath.Join(dir, "repositories", "ext+extensions"))
		}
	}
	c, code, stderr := gc(t, dir, "--untagged")
	if code != exitInvalid || c.Manifests != 0 || !strings.Contains(stderr, "no manifest was removed") {
		t.Errorf("got %d, %+v\n%s", code, c, stderr)
	}
	if _, code, stderr := gc(t, dir); code != 0 {
		t.Errorf("without --untagged: got %d\n%s", code, stderr)
	}
}

// damageLayers makes something else of all blobs of a layout that are not JSON.
func damageLayers(t *testing.T, layout string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs/sha256/*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, name := range blobs {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(data) {
			if err := os.WriteFile(name, bytes.Repeat([]byte("x"), len(data)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
