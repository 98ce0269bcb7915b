package testkit

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Catalog is a catalog of extensions as Talos has one for each of its releases,
// with all its images, in an OCI layout that is written here without graft.
type Catalog struct {
	// Registry of all images, "ghcr.io/siderolabs" if empty.
	Registry string
	// Version is that of Talos and the catalog's tag, "v1.12.0" if empty.
	Version string
	// Extensions is how many there are, called ext-000 and so on, of version
	// 1.0.<n>. Each tenth is for linux/amd64 alone, the others also for
	// linux/arm64.
	Extensions int
	// LayerSize is the number of bytes of each extension's layer that nothing
	// compresses. Layers are not compressed.
	LayerSize int
	// Signed gives each image a referrer of its index, one of its first
	// manifest, and cosign's tag .sig.
	Signed bool
}

// Name is that of the catalog image.
func (c Catalog) Name() string { return c.registry() + "/extensions:" + c.version() }

// Image is the name of an extension's image.
func (c Catalog) Image(i int) string { return fmt.Sprintf("%s/ext-%03d:1.0.%d", c.registry(), i, i) }

func (c Catalog) registry() string {
	if c.Registry == "" {
		return "ghcr.io/siderolabs"
	}
	return c.Registry
}

func (c Catalog) version() string {
	if c.Version == "" {
		return "v1.12.0"
	}
	return c.Version
}

// Write writes the layout to a new directory, and returns the lines of the
// catalog's image-digests. The same Catalog gives the same bytes.
func (c Catalog) Write(t testing.TB, dir string) []string {
	t.Helper()
	w := &layoutWriter{t: t, dir: dir}
	var lines []string
	var descriptions strings.Builder
	for i := range c.Extensions {
		root := c.extension(w, i)
		line := c.Image(i) + "@" + root.Digest
		lines = append(lines, line)
		fmt.Fprintf(&descriptions, "%s:\n  author: Test\n  description: |\n    [%s] Extension number %d\n", line, tiers[i%len(tiers)], i)
		w.name(root, c.Image(i))
		if c.Signed {
			c.sign(w, root, strings.TrimSuffix(c.Image(i), fmt.Sprintf(":1.0.%d", i)))
		}
	}
	catalog := w.image("amd64", map[string][]byte{
		"image-digests":     []byte(strings.Join(lines, "\n") + "\n"),
		"descriptions.yaml": []byte(descriptions.String()),
	})
	w.name(w.index(catalog), c.Name())
	w.finish()
	return lines
}

var tiers = []string{"core", "extra", "contrib"}

// extension writes one image and returns its index.
func (c Catalog) extension(w *layoutWriter, i int) entry {
	name := fmt.Sprintf("ext-%03d", i)
	manifest := fmt.Sprintf(`version: v1alpha1
metadata:
  name: %s
  version: 1.0.%d
  author: Test
  description: "[%s] Extension number %d"
  compatibility:
    talos:
      version: ">= v1.0.0"
`, name, i, tiers[i%len(tiers)], i)
	var platforms []entry
	for n, arch := range []string{"amd64", "arm64"} {
		if n == 1 && i%10 == 9 {
			break
		}
		data := make([]byte, c.LayerSize)
		rand.NewChaCha8(sha256.Sum256([]byte(name + arch))).Read(data)
		platforms = append(platforms, w.image(arch, map[string][]byte{
			"manifest.yaml":                          []byte(manifest),
			"rootfs/usr/local/share/" + name:         data,
			"rootfs/usr/local/etc/" + name + ".conf": []byte("name=" + name + "\n"),
		}))
	}
	return w.index(platforms...)
}

// sign attaches what looks like signatures.
func (c Catalog) sign(w *layoutWriter, root entry, repo string) {
	for _, subject := range []entry{root, root.children[0]} {
		w.list(w.artifact("application/vnd.example.signature", "signed "+subject.Digest, &subject))
	}
	tag := w.artifact("", "signed by tag "+root.Digest, nil)
	w.name(tag, repo+":"+strings.Replace(root.Digest, ":", "-", 1)+".sig")
}

// entry is a descriptor, as a layout's index.json and manifests have them.
type entry struct {
	MediaType    string            `json:"mediaType"`
	Size         int               `json:"size"`
	Digest       string            `json:"digest"`
	Platform     map[string]string `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`

	children []entry
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// layoutWriter writes an OCI layout.
type layoutWriter struct {
	t     testing.TB
	dir   string
	roots []entry
}

func (w *layoutWriter) file(name string, data []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		w.t.Fatal(err)
	}
}

func (w *layoutWriter) blob(mediaType string, data []byte) entry {
	w.t.Helper()
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	w.file("blobs/sha256/"+digest, data)
	return entry{MediaType: mediaType, Size: len(data), Digest: "sha256:" + digest}
}

func (w *layoutWriter) json(mediaType string, v any) entry {
	w.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.blob(mediaType, data)
}

// image writes an image of one layer with the given files.
func (w *layoutWriter) image(arch string, files map[string][]byte) entry {
	w.t.Helper()
	layer := w.blob("application/vnd.oci.image.layer.v1.tar", tarball(w.t, files))
	config := w.json("application/vnd.oci.image.config.v1+json", map[string]any{
		"os": "linux", "architecture": arch, "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	})
	m := w.json(manifestType, map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []entry{layer}})
	m.Platform = map[string]string{"os": "linux", "architecture": arch}
	return m
}

func tarball(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *layoutWriter) index(images ...entry) entry {
	w.t.Helper()
	e := w.json(indexType, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": images})
	e.children = images
	return e
}

// artifact writes a manifest with a text, which refers to its subject if it
// has one.
func (w *layoutWriter) artifact(artifactType, text string, subject *entry) entry {
	w.t.Helper()
	m := map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": w.blob("application/vnd.oci.empty.v1+json", []byte("{}")),
		"layers": []entry{w.blob("text/plain", []byte(text))},
	}
	if subject != nil {
		m["artifactType"] = artifactType
		m["subject"] = entry{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}
	}
	e := w.json(manifestType, m)
	e.ArtifactType = artifactType
	return e
}

// name lists an entry in index.json by a name, list without one.
func (w *layoutWriter) name(e entry, name string) {
	e.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
	w.list(e)
}

func (w *layoutWriter) list(e entry) {
	e.Platform = nil
	w.roots = append(w.roots, e)
}

func (w *layoutWriter) finish() {
	w.t.Helper()
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": w.roots})
	if err != nil {
		w.t.Fatal(err)
	}
	w.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	w.file("index.json", data)
}
