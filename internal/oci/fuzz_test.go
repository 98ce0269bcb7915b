package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/tree"
)

// memory is a layout whose files are in memory.
type memory map[string][]byte

func (m memory) open(name string) (*fileBlob, error) {
	data, ok := m[name]
	if !ok {
		return nil, errors.New("no such file")
	}
	return &fileBlob{io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), io.NopCloser(nil)}, nil
}

// add puts a blob in its place and returns its descriptor.
func (m memory) add(t types.MediaType, data []byte) v1.Descriptor {
	d := bytesBlob(t, data).Descriptor
	m[blobPath(d.Digest)] = data
	return d
}

// FuzzLayout reads a layout with any index.json, index, manifest, config and
// layer. Each is found by its right digest, so that none shields another.
func FuzzLayout(f *testing.F) {
	layer := tarOf(f, entry{name: "rootfs/x", content: "x"}, entry{name: "rootfs/.wh.y"})
	config := must(json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{DiffIDs: []v1.Hash{sum(layer)}}}))(f)
	manifest := must(json.Marshal(v1.Manifest{SchemaVersion: 2, Config: v1.Descriptor{MediaType: types.OCIConfigJSON}, Layers: []v1.Descriptor{{MediaType: types.OCILayer}}}))(f)
	index := must(json.Marshal(v1.IndexManifest{Manifests: []v1.Descriptor{{MediaType: types.OCIManifestSchema1}, {Platform: linuxARM64.descriptor()}}}))(f)
	top := must(json.Marshal(v1.IndexManifest{Manifests: []v1.Descriptor{{MediaType: types.OCIImageIndex, Annotations: imageName{"a:1", "a:1", "1"}.annotations()}}}))(f)
	for _, c := range []Compression{Gzip, Zstd, None} {
		f.Add(top, index, manifest, config, compressed(f, layer, c))
	}
	f.Fuzz(func(t *testing.T, top, index, manifest, config, layer []byte) {
		m := memory{}
		m[indexFile] = spliced(top, m.add("", spliced(index, m.add("", spliced(manifest, m.add("", config), m.add("", layer))))))
		o := opener{spool: newSpool(t.TempDir()), platform: defaultPlatform}
		defer o.spool.Close()
		img, err := o.openLayout(t.Context(), m)
		if err != nil {
			return
		}
		img.spool.left.Store(1 << 20)
		img.Ref()
		img.Platform()
		if _, err := img.Tree(t.Context()); err != nil {
			return
		}
	})
}

// spliced gives the descriptors of a document, which is any JSON, the digests
// and sizes of what they shall point to. What is no such document stays as it is.
// The seeds have ":" for digests: that is how the zero Hash is encoded.
func spliced(doc []byte, to ...v1.Descriptor) []byte {
	var m struct {
		v1.IndexManifest
		Config *v1.Descriptor  `json:"config,omitempty"`
		Layers []v1.Descriptor `json:"layers,omitempty"`
	}
	if json.Unmarshal(bytes.ReplaceAll(doc, []byte(`"digest":":"`), []byte(`"digest":"`+sum(nil).String()+`"`)), &m) != nil {
		return doc
	}
	point := func(d *v1.Descriptor, to v1.Descriptor) { d.Digest, d.Size = to.Digest, to.Size }
	for i := range m.Manifests {
		point(&m.Manifests[i], to[0])
	}
	if m.Config != nil {
		point(m.Config, to[0])
	}
	for i := range m.Layers {
		point(&m.Layers[i], to[len(to)-1])
	}
	out, err := json.Marshal(m)
	if err != nil {
		return doc
	}
	return out
}

// FuzzTarball opens any file as an image tarball, or as what it may be.
func FuzzTarball(f *testing.F) {
	img := threeLayers(f, linuxAMD64, types.OCIManifestSchema1)
	for _, oci := range []bool{false, true} {
		data := dockerSave(f, img, oci)
		f.Add(data)
		f.Add(compressed(f, data, Zstd))
	}
	f.Add(tarOf(f, entry{name: "manifest.yaml", content: testManifest}))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := tree.FromTar(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		o := opener{source: source{path: "x.tar"}, spool: newSpool(t.TempDir()), platform: defaultPlatform}
		defer o.spool.Close()
		img, err := o.openTarball(t.Context(), tr)
		if err != nil {
			return
		}
		img.spool.left.Store(1 << 20)
		if tr, err := img.Tree(t.Context()); err == nil {
			_ = tr.Walk(func(tree.Entry) error { return nil })
		}
	})
}

// FuzzReferring reads what registries and layouts say about referrers.
func FuzzReferring(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:aa","size":-1}]}`), `</v2/x?n=1>; rel="next"`)
	f.Add([]byte(`{"layers":[{"size":1,"digest":"sha256:`+strings.Repeat("a", 64)+`"}],"subject":{}}`), `<//other/x>; rel=next`)
	f.Add([]byte(`{"manifests":[{"mediaType":"x"}],"config":null,"blobs":[{}]}`), `<`)
	f.Fuzz(func(t *testing.T, data []byte, link string) {
		if found, err := parseReferrers(data); err == nil && len(found) > maxReferrers {
			t.Error("too many referrers")
		}
		if a, err := parseArtifact(data); err == nil && len(a.Blobs) > maxLayers {
			t.Error("too many blobs")
		}
		if d, err := described(data); err == nil {
			if m, err := fallbackWith(&d, d); err == nil && m == nil {
				t.Error("a list that has itself")
			}
			if _, added, err := extended(&d, Artifact{}); err == nil && added {
				t.Error("nothing was added")
			}
			w := &loading{copier: &copier{}, cargo: &cargo{}, seen: map[v1.Hash]bool{}}
			if err := w.parts(t.Context(), v1.Descriptor{Data: []byte(`{"layers":` + string(data) + `}`)}, maxCopyDepth); err == nil && layersSize(w.blobs) < 0 {
				t.Error("a negative size")
			}
		}
		u := &url.URL{Scheme: "https", Host: "registry.example", Path: "/v2/x"}
		if next, err := nextPage(u, http.Header{"Link": {link}}); err == nil && next != nil && next.Host != u.Host {
			t.Errorf("%q leads to %s", link, next)
		}
	})
}
