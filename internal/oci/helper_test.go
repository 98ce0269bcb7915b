package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	registrytest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/tree"
)

// TestMain makes retries quick.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killMe); dir != "" {
		packForever(dir)
	}
	backoff = time.Millisecond
	os.Exit(m.Run())
}

var linuxAMD64 = Platform{OS: "linux", Arch: "amd64"}
var linuxARM64 = Platform{OS: "linux", Arch: "arm64"}

const testManifest = `version: v1alpha1
metadata:
  name: hello
  version: 1.0.0
`

// helloTree has one of everything that a layer must keep.
func helloTree(t testing.TB) *tree.Tree {
	t.Helper()
	tr := tree.New()
	shared := tree.File(0o644, []byte("one file, two names\n"))
	labelled := tree.File(0o755, bytes.Repeat([]byte("#!/bin/sh\n"), 1000))
	labelled.Label = "system_u:object_r:bin_t:s0"
	suid := tree.File(0o755, nil)
	suid.Mode |= os.ModeSetuid | os.ModeSticky
	for _, f := range []struct {
		path string
		node *tree.Node
	}{
		{"manifest.yaml", tree.File(0o644, []byte(testManifest))},
		{"rootfs", tree.Dir(0o755)},
		{"rootfs/usr/local/bin/hello", labelled},
		{"rootfs/usr/local/bin/suid", suid},
		{"rootfs/usr/local/lib/a", shared},
		{"rootfs/usr/local/lib/b", shared},
		{"rootfs/usr/local/lib/link", tree.Symlink("../../../no/such/file")},
		{"rootfs/usr/local/private", tree.Dir(0o700)},
		{"rootfs/usr/local/share/Grüße", tree.File(0o600, []byte("ä"))},
		{"rootfs/usr/local/share/latin-\xe4", tree.File(0o644, []byte("no UTF-8\n"))},
		{"rootfs/usr/local/share/" + strings.Repeat("long", 60), tree.File(0o644, []byte("x"))},
	} {
		if err := tr.Put(f.path, f.node); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// listing is a tree as text: what two of them must have in common.
func listing(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	if err := tr.Hash(t.Context()); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	_ = tr.Walk(func(e tree.Entry) error {
		if e.Path != "." {
			fmt.Fprintln(&b, e.Line())
		}
		return nil
	})
	return b.String()
}

// opened is an image that is closed when the test ends.
func opened(t testing.TB, src string, opts Options) *Image {
	t.Helper()
	img, err := Open(t.Context(), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	})
	return img
}

func treeOf(t testing.TB, img *Image) *tree.Tree {
	t.Helper()
	tr, err := img.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// newTestRegistry starts a registry and returns its host and port.
func newTestRegistry(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// entry is a line of a layer under test: a directory if the name ends in a
// slash, a symlink if it has a target, a whiteout by its name.
type entry struct {
	name, content, target string
	typ                   byte
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Linkname: e.target, Typeflag: e.typ}
		switch {
		case e.typ != 0:
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case e.target != "":
			h.Typeflag = tar.TypeSymlink
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packedLayer is a layer of the given tar, compressed as c says.
func packedLayer(t testing.TB, data []byte, c Compression) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w, err := c.writer(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return diffLayer{static.NewLayer(b.Bytes(), c.mediaType()), sum(data)}
}

// diffLayer has the diff ID that static layers lack.
type diffLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l diffLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// imageOf makes an image of a builder that is not graft.
func imageOf(t testing.TB, p Platform, media types.MediaType, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := must(mutate.AppendLayers(empty.Image, layers...))(t)
	cf := must(img.ConfigFile())(t).DeepCopy()
	cf.OS, cf.Architecture, cf.Variant = p.OS, p.Arch, p.Variant
	cf.Config.Labels = map[string]string{"alpha.talos.dev/version": "v1.12.0"}
	img = must(mutate.ConfigFile(img, cf))(t)
	img = mutate.MediaType(img, media)
	if media == types.DockerManifestSchema2 {
		return mutate.ConfigMediaType(img, types.DockerConfigJSON)
	}
	return mutate.ConfigMediaType(img, types.OCIConfigJSON)
}

func indexOf(images ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), images...)
}

func forPlatform(img mutate.Appendable, p Platform) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p.descriptor()}}
}

func writeTestFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func readAll(r io.ReadCloser) ([]byte, error) {
	defer r.Close()
	return io.ReadAll(r)
}

// makeFIFO makes a layout whose index.json is a pipe that nobody writes to.
func makeFIFO(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, indexFile), 0o666); err != nil {
		t.Fatal(err)
	}
}
