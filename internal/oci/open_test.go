package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/tree"
)

// paths lists a tree: directories with a slash, symlinks with their target,
// files with their content.
func paths(t testing.TB, tr *tree.Tree) []string {
	t.Helper()
	var got []string
	err := tr.Walk(func(e tree.Entry) error {
		switch {
		case e.Path == ".":
		case e.Mode.IsDir():
			got = append(got, e.Path+"/")
		case e.Target != "":
			got = append(got, e.Path+" -> "+e.Target)
		default:
			data, err := tr.ReadFile(e.Path, 1<<20)
			got = append(got, e.Path+": "+string(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// threeLayers is an image as a Dockerfile of several lines makes it.
func threeLayers(t testing.TB, p Platform, media types.MediaType) v1.Image {
	return imageOf(t, p, media,
		packedLayer(t, tarOf(t,
			entry{name: "manifest.yaml", content: "old"},
			entry{name: "rootfs/"},
			entry{name: "rootfs/gone", content: "x"},
			entry{name: "rootfs/opaque/"},
			entry{name: "rootfs/opaque/below", content: "x"},
			entry{name: "rootfs/kept", content: p.Arch},
		), Gzip),
		packedLayer(t, tarOf(t,
			entry{name: "manifest.yaml", content: "new"},
			entry{name: "rootfs/.wh.gone"},
			entry{name: "rootfs/opaque/"},
			entry{name: "rootfs/opaque/.wh..wh..opq"},
			entry{name: "rootfs/opaque/above", content: "y"},
		), Zstd),
		packedLayer(t, tarOf(t, entry{name: "./rootfs/link", target: "kept"}), None),
	)
}

func threeLayersPaths(p Platform) []string {
	return []string{"manifest.yaml: new", "rootfs/", "rootfs/kept: " + p.Arch, "rootfs/link -> kept", "rootfs/opaque/", "rootfs/opaque/above: y"}
}

// TestBuilders reads what others build, from every place it can be in.
func TestBuilders(t *testing.T) {
	host := newTestRegistry(t)
	for _, media := range []types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2} {
		img := threeLayers(t, linuxARM64, media)
		digest := must(img.Digest())(t).String()
		dir := t.TempDir()
		path := must(ggcrlayout.Write(filepath.Join(dir, "layout"), empty.Index))(t)
		if err := path.AppendImage(img, ggcrlayout.WithAnnotations(map[string]string{refNameAnnotation: "v1"})); err != nil {
			t.Fatal(err)
		}
		ref := must(name.ParseReference(host + "/three:v1"))(t)
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ src, ref string }{
			{filepath.Join(dir, "layout"), "v1"},
			{"oci:" + filepath.Join(dir, "layout"), "v1"},
			{"oci:" + filepath.Join(dir, "layout") + ":v1", "v1"},
			{"oci:" + filepath.Join(dir, "layout") + "@" + digest, "v1"},
			{ref.String(), ref.String()},
			{"docker://" + ref.String(), ref.String()},
			{ref.String() + "@" + digest, ref.String() + "@" + digest},
		} {
			img := opened(t, tt.src, Options{})
			if img.Digest() != digest {
				t.Errorf("%s: got digest %s, want %s", tt.src, img.Digest(), digest)
			}
			if img.Ref() != tt.ref {
				t.Errorf("%s: got ref %q, want %q", tt.src, img.Ref(), tt.ref)
			}
			if img.Platform() != linuxARM64 {
				t.Errorf("%s: got platform %v", tt.src, img.Platform())
			}
			if got := img.Labels()["alpha.talos.dev/version"]; got != "v1.12.0" {
				t.Errorf("%s: got label %q", tt.src, got)
			}
			if img.Layers() != 3 || img.Size() == 0 {
				t.Errorf("%s: got %d layers of %d bytes", tt.src, img.Layers(), img.Size())
			}
			if diff := cmp.Diff(threeLayersPaths(linuxARM64), paths(t, treeOf(t, img))); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.src, diff)
			}
		}
	}
}

// TestDockerArchive reads old and new tarballs of docker save, and ggcr's.
func TestDockerArchive(t *testing.T) {
	img := threeLayers(t, linuxAMD64, types.DockerManifestSchema2)
	tag := must(name.NewTag("ghcr.io/me/three:v1"))(t)
	crane := filepath.Join(t.TempDir(), "crane.tar")
	if err := tarball.WriteToFile(crane, tag, img); err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	for what, src := range map[string]string{
		"of crane":               crane,
		"of crane, by prefix":    "docker-archive:" + crane,
		"of crane, by name":      "docker-archive:" + crane + ":ghcr.io/me/three:v1",
		"docker save before 25":  writeTestFile(t, "old.tar", dockerSave(t, img, false)),
		"docker save since 25":   writeTestFile(t, "new.tar", dockerSave(t, img, true)),
		"compressed as a whole":  writeTestFile(t, "new.tar.zst", compressed(t, dockerSave(t, img, true), Zstd)),
		"old, by its new prefix": "docker-archive:" + writeTestFile(t, "old", dockerSave(t, img, false)),
	} {
		t.Run(what, func(t *testing.T) {
			got := opened(t, src, Options{})
			if diff := cmp.Diff(threeLayersPaths(linuxAMD64), paths(t, treeOf(t, got))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if got.Ref() != tag.Name() {
				t.Errorf("got ref %q, want %q", got.Ref(), tag.Name())
			}
			if !strings.HasPrefix(got.Digest(), "sha256:") {
				t.Errorf("got digest %q", got.Digest())
			}
			digests[got.Digest()] = true
		})
	}
	if len(digests) != 3 { // crane's is compressed, old and new ones differ in the config's media type
		t.Errorf("got digests %v, want 3", digests)
	}
	_, err := Open(t.Context(), "docker-archive:"+crane+":three:v2", Options{})
	wantError(t, err, `no image "three:v2"`, "ghcr.io/me/three:v1")
}

func compressed(t testing.TB, data []byte, c Compression) []byte {
	t.Helper()
	r := must(packedLayer(t, data, c).Compressed())(t)
	return must(readAll(r))(t)
}

// dockerSave writes an image as docker save does: uncompressed layers, one of
// them as a symlink to an equal one; since version 25 as an OCI layout, too.
func dockerSave(t testing.TB, img v1.Image, oci bool) []byte {
	t.Helper()
	config := must(img.RawConfigFile())(t)
	d := dockerEntry{Config: sum(config).Hex + ".json", RepoTags: []string{"ghcr.io/me/three:v1"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: bytesBlob(types.DockerConfigJSON, config).Descriptor}
	entries := []entry{{name: d.Config, content: string(config)}}
	for i, l := range must(img.Layers())(t) {
		r, _, err := unpack(must(l.Compressed())(t))
		data := must(readAll(r))(t)
		if err != nil {
			t.Fatal(err)
		}
		b := bytesBlob(types.DockerUncompressedLayer, data)
		m.Layers = append(m.Layers, b.Descriptor)
		path := fmt.Sprintf("%s/layer.tar", b.Digest.Hex)
		if oci {
			path = blobPath(b.Digest)
		}
		if i == 1 && !oci {
			entries = append(entries, entry{name: "same/layer.tar", content: string(data)}, entry{name: path, target: "../same/layer.tar"})
		} else {
			entries = append(entries, entry{name: path, content: string(data)})
		}
		d.Layers = append(d.Layers, path)
	}
	if oci {
		manifest := must(json.Marshal(m))(t)
		root := embedded(types.OCIManifestSchema1, manifest)
		root.Data = nil
		root.Annotations = map[string]string{containerdAnnotation: "ghcr.io/me/three:v1", refNameAnnotation: "v1"}
		index := must(json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{root}}))(t)
		entries = append(entries, entry{name: blobPath(root.Digest), content: string(manifest)},
			entry{name: blobPath(m.Config.Digest), content: string(config)},
			entry{name: indexFile, content: string(index)}, entry{name: layoutFile, content: layoutVersion})
	}
	docker := must(json.Marshal([]dockerEntry{d}))(t)
	return tarOf(t, append(entries, entry{name: dockerManifestFile, content: string(docker)})...)
}

// TestNoImageYet reads what becomes an image only later.
func TestNoImageYet(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/hello")); err != nil {
		t.Fatal(err)
	}
	plain := tarOf(t, entry{name: "./"}, entry{name: "./manifest.yaml", content: testManifest}, entry{name: "./rootfs/"}, entry{name: "./rootfs/hello", content: "hello\n"})
	want := []string{"manifest.yaml: " + testManifest, "rootfs/", "rootfs/hello: hello\n"}
	for _, src := range []string{
		dir, "dir:" + dir,
		writeTestFile(t, "plain.tar", plain),
		"tar:" + writeTestFile(t, "plain", plain),
		writeTestFile(t, "plain.tar.gz", compressed(t, plain, Gzip)),
		writeTestFile(t, "plain.tar.zst", compressed(t, plain, Zstd)),
	} {
		img := opened(t, src, Options{})
		if diff := cmp.Diff(want, paths(t, treeOf(t, img))); diff != "" {
			t.Errorf("%s: -want +got\n%s", src, diff)
		}
		if img.Ref() != "" || img.Digest() != "" || img.Platform() != (Platform{}) || img.Labels() != nil {
			t.Errorf("%s: got %q, %q, %v, %v, want nothing", src, img.Ref(), img.Digest(), img.Platform(), img.Labels())
		}
	}
}

// TestPlatforms takes the image for a platform out of indexes.
func TestPlatforms(t *testing.T) {
	variant := Platform{"linux", "arm64", "v9"}
	amd, arm, armV9 := threeLayers(t, linuxAMD64, types.OCIManifestSchema1), threeLayers(t, linuxARM64, types.OCIManifestSchema1),
		imageOf(t, variant, types.OCIManifestSchema1, packedLayer(t, tarOf(t, entry{name: "v9"}), Gzip))
	attestation := forPlatform(imageOf(t, Platform{}, types.OCIManifestSchema1), Platform{"unknown", "unknown", ""})
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	artifact := mutate.IndexAddendum{Add: mutate.ConfigMediaType(imageOf(t, Platform{}, types.OCIManifestSchema1), "application/vnd.example+json")}
	both := indexOf(forPlatform(amd, linuxAMD64), attestation, forPlatform(armV9, variant), forPlatform(arm, linuxARM64), artifact)
	unsaid := indexOf(mutate.IndexAddendum{Add: amd}, mutate.IndexAddendum{Add: arm})
	for _, tt := range []struct {
		name  string
		index v1.ImageIndex
		want  string // platform
		image v1.Image
		err   string
	}{
		{"the default", both, "", amd, ""},
		{"said", both, "linux/arm64", arm, ""},
		{"with a variant", both, "linux/arm64/v9", armV9, ""},
		{"missing", both, "linux/s390x", nil, "no image for linux/s390x; there is linux/amd64, linux/arm64, linux/arm64/v9"},
		{"nested", indexOf(mutate.IndexAddendum{Add: indexOf(mutate.IndexAddendum{Add: both})}), "linux/arm64", arm, ""},
		{"too deep", indexOf(mutate.IndexAddendum{Add: indexOf(mutate.IndexAddendum{Add: indexOf(mutate.IndexAddendum{Add: indexOf(mutate.IndexAddendum{Add: both})})})}), "", nil, "too many indexes"},
		{"descriptors that say nothing", unsaid, "linux/arm64", arm, ""},
		{"the only one", indexOf(forPlatform(arm, linuxARM64), attestation), "linux/amd64", arm, ""},
		{"none", indexOf(attestation), "", nil, "there is none"},
		{"bad", both, "linux", nil, `parsing platform "linux"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			must(ggcrlayout.Write(dir, indexOf(mutate.IndexAddendum{Add: tt.index})))(t)
			img, err := Open(t.Context(), dir, Options{Platform: tt.want})
			if tt.err != "" {
				wantError(t, err, tt.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if want := must(tt.image.Digest())(t).String(); img.Digest() != want {
				t.Errorf("got %s for %v, want %s", img.Digest(), img.Platform(), want)
			}
		})
	}
}

// TestChoice takes one of several images of a layout.
func TestChoice(t *testing.T) {
	amd, arm := threeLayers(t, linuxAMD64, types.OCIManifestSchema1), threeLayers(t, linuxARM64, types.OCIManifestSchema1)
	other := imageOf(t, linuxAMD64, types.OCIManifestSchema1, packedLayer(t, tarOf(t, entry{name: "other"}), Gzip))
	named := func(img v1.Image, key, value string) mutate.IndexAddendum {
		a := mutate.IndexAddendum{Add: img}
		if value != "" {
			a.Descriptor.Annotations = map[string]string{key: value}
		}
		return a
	}
	for _, tt := range []struct {
		name, choice string
		images       []mutate.IndexAddendum
		want         v1.Image
		ref          string
		err          string
	}{
		{"by tag", ":v1", []mutate.IndexAddendum{named(amd, refNameAnnotation, "v1"), named(other, refNameAnnotation, "v2")}, amd, "v1", ""},
		{"by name", ":ghcr.io/me/x:v2", []mutate.IndexAddendum{named(amd, refNameAnnotation, "v1"), named(other, containerdAnnotation, "ghcr.io/me/x:v2")}, other, "ghcr.io/me/x:v2", ""},
		{"by digest", "@" + must(amd.Digest())(t).String(), []mutate.IndexAddendum{named(amd, "", ""), named(other, "", "")}, amd, "", ""},
		{"not said", "", []mutate.IndexAddendum{named(amd, refNameAnnotation, "v1"), named(other, refNameAnnotation, "v2")}, nil, "", "several images: choose one, as in oci:LAYOUT:v2; there is v1, v2"},
		{"not there", ":v3", []mutate.IndexAddendum{named(amd, refNameAnnotation, "v1")}, nil, "", `no image "v3"; there is v1`},
		{"two names of one", "", []mutate.IndexAddendum{named(amd, refNameAnnotation, "v1"), named(amd, refNameAnnotation, "v2")}, amd, "v1", ""},
		{"platforms without an index", "", []mutate.IndexAddendum{named(arm, "", ""), named(amd, "", "")}, amd, "", ""},
		{"nameless for one platform", "", []mutate.IndexAddendum{named(amd, "", ""), named(other, "", "")}, nil, "", "several images for linux/amd64"},
		{"empty", "", nil, nil, "", "no image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			must(ggcrlayout.Write(dir, indexOf(tt.images...)))(t)
			img, err := Open(t.Context(), "oci:"+dir+tt.choice, Options{})
			if tt.err != "" {
				wantError(t, err, strings.ReplaceAll(tt.err, "LAYOUT", dir))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if want := must(tt.want.Digest())(t).String(); img.Digest() != want || img.Ref() != tt.ref {
				t.Errorf("got %s %q, want %s %q", img.Digest(), img.Ref(), want, tt.ref)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir, file := t.TempDir(), writeTestFile(t, "x", []byte("no tar at all, but long enough to be mistaken for something else"))
	xz := writeTestFile(t, "x.tar.xz", []byte("\xfd7zXZ\x00\x00\x04"))
	plain := writeTestFile(t, "plain.tar", tarOf(t, entry{name: "manifest.yaml"}))
	fifoDir := filepath.Join(t.TempDir(), "fifo")
	makeFIFO(t, fifoDir)
	for _, tt := range []struct {
		src  string
		want []string
	}{
		{"", []string{"empty name"}},
		{"./no/such", []string{"opening ./no/such: no such file or directory"}},
		{"no/such/", []string{"opening no/such/: no such file or directory"}},
		{"no/such.tar", []string{"opening no/such.tar: no such file or directory"}},
		{"no/such.tar.gz", []string{"opening no/such.tar.gz: no such file or directory"}},
		{"no-such.yaml", []string{"opening no-such.yaml: no such file or directory"}},
		{"docker://127.0.0.1:1/no/such.tar", []string{"registry 127.0.0.1:1"}},
		{"oci:" + dir + "x", []string{"no such file"}},
		{"No/Such", []string{"no such file", "registry", `"No/Such"`}},
		{file, []string{file, "image tarball or a plain tar"}},
		{xz, []string{"xz", "decompress it first"}},
		{writeTestFile(t, "empty", nil), []string{"empty tar"}},
		{writeTestFile(t, "x.gz", []byte("\x1f\x8b\x08")), []string{"gzip"}},
		{"oci:" + file, []string{"not a directory"}},
		{"dir:" + file, []string{"not a directory"}},
		{"tar:" + dir, []string{"not a tarball"}},
		{"oci:" + dir, []string{"index.json"}},
		{"oci-archive:" + plain, []string{"index.json", "not in the tarball"}},
		{"docker-archive:" + plain, []string{"manifest.json", "not in the tarball"}},
		{plain + ":v1", []string{"plain tar"}},
		{dir + ":v1", []string{"not an OCI layout"}},
		{fifoDir, []string{"not a regular file"}},
	} {
		_, err := Open(t.Context(), tt.src, Options{})
		if err == nil {
			t.Errorf("%s: got no error, want one with %q", tt.src, tt.want)
			continue
		}
		wantError(t, err, tt.want...)
	}
}

// TestHostile reads images that lie. Each starts as a good one.
func TestHostile(t *testing.T) {
	good := tarOf(t, entry{name: "rootfs/file", content: "content"})
	other := tarOf(t, entry{name: "rootfs/file", content: "CONTENT"})
	gz := must(readAll(must(packedLayer(t, good, Gzip).Compressed())(t)))(t)
	for _, tt := range []struct {
		name  string
		spoil func(h *hostile)
		want  []string
	}{
		{"nothing", func(h *hostile) {}, nil},
		{"a layer's content", func(h *hostile) { h.layers[0].data = other }, []string{"layer 1 of 1", "content has the digest"}},
		{"a compressed layer's content", func(h *hostile) {
			h.layers[0].data = gz
			h.layers[0].desc = bytesBlob(types.OCILayer, gz).Descriptor
			h.layers[0].data = slices.Clone(gz)
			h.layers[0].data[len(gz)-9] ^= 1
		}, []string{"content has the digest"}},
		{"a layer that is shorter", func(h *hostile) { h.layers[0].desc.Size++ }, []string{"ends after"}},
		{"a layer that is longer", func(h *hostile) { h.layers[0].desc.Size-- }, []string{"longer than"}},
		{"a negative size", func(h *hostile) { h.layers[0].desc.Size = -1 }, []string{"size of -1"}},
		{"a wrong diff ID", func(h *hostile) { h.diffIDs[0] = sum([]byte("x")) }, []string{"config says sha256:2d71"}},
		{"a missing layer", func(h *hostile) { h.layers[0].data = nil }, []string{"no such file"}},
		{"a truncated tar", func(h *hostile) { h.setLayer(types.OCIUncompressedLayer, good[:515]) }, []string{"unpacking layer 1", "EOF"}},
		{"garbage", func(h *hostile) { h.setLayer(types.OCIUncompressedLayer, []byte(strings.Repeat("garbage!", 200))) }, []string{"unpacking layer 1", "tar"}},
		{"garbage after gzip", func(h *hostile) {
			h.setLayer(types.OCILayer, append(slices.Clone(gz), "garbage"...))
			h.diffIDs[0] = sum(good)
		}, []string{"unpacking it"}},
		{"xz", func(h *hostile) { h.setLayer(types.OCILayer, []byte("\xfd7zXZ\x00\x00\x04")) }, []string{"xz"}},
		{"a zstd window of 2 GiB", func(h *hostile) {
			h.setLayer(types.OCILayerZStd, []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"))
		}, []string{"window"}},
		{"a foreign layer", func(h *hostile) { h.layers[0].desc.MediaType = types.DockerForeignLayer }, []string{"layer 1 is foreign"}},
		{"a layer of another type", func(h *hostile) { h.layers[0].desc.MediaType = "application/wasm" }, []string{"application/wasm", "no container image"}},
		{"more layers than diff IDs", func(h *hostile) { h.diffIDs = nil }, []string{"1 layers, the config 0"}},
		{"too many layers", func(h *hostile) {
			for range maxLayers {
				h.layers, h.diffIDs = append(h.layers, h.layers[0]), append(h.diffIDs, h.diffIDs[0])
			}
		}, []string{"257 layers"}},
		{"an artifact", func(h *hostile) { h.configType = "application/vnd.cncf.helm.config.v1+json" }, []string{"helm", "no container image"}},
		{"a config that is no JSON", func(h *hostile) { h.config = []byte("{") }, []string{"config"}},
		{"a config that is huge", func(h *hostile) { h.config = make([]byte, MaxManifest+1) }, []string{"config", "allowed"}},
		{"a manifest that is huge", func(h *hostile) { h.manifestSize = MaxManifest + 1 }, []string{"manifest", "allowed"}},
		{"a manifest that is no JSON", func(h *hostile) { h.manifest = []byte("[1") }, []string{"parsing manifest"}},
		{"schema 1", func(h *hostile) { h.manifestType = types.DockerManifestSchema1Signed }, []string{"schema 1"}},
		{"an index that is a manifest", func(h *hostile) { h.manifestType = types.OCIImageIndex }, []string{"there is none"}},
		{"a digest that climbs", func(h *hostile) { h.replace = [2]string{"sha256:", "sha256:../../"} }, []string{"index.json", "non-hex"}},
		{"an unknown digest algorithm", func(h *hostile) { h.replace = [2]string{"sha256:", "md5:"} }, []string{"index.json", "md5"}},
		{"no index.json", func(h *hostile) { h.replace = [2]string{"{", "]"} }, []string{"index.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHostile(good)
			tt.spoil(h)
			img, err := Open(t.Context(), "oci:"+h.write(t), Options{SpoolDir: t.TempDir()})
			if err == nil {
				defer img.Close()
				_, err = img.Tree(t.Context())
			}
			if tt.want == nil && err == nil {
				return
			}
			wantError(t, err, tt.want...)
		})
	}
}

// hostile is an OCI layout of one image, every part of which can be spoiled.
type hostile struct {
	layers       []hostileLayer
	diffIDs      []v1.Hash
	config       []byte // if it is not to be made of diffIDs
	configType   types.MediaType
	manifest     []byte // if it is not to be made of the layers
	manifestType types.MediaType
	manifestSize int64
	replace      [2]string // in index.json
}

type hostileLayer struct {
	desc v1.Descriptor
	data []byte
}

func newHostile(layer []byte) *hostile {
	h := &hostile{configType: types.OCIConfigJSON, manifestType: types.OCIManifestSchema1, diffIDs: make([]v1.Hash, 1), layers: make([]hostileLayer, 1)}
	h.setLayer(types.OCIUncompressedLayer, layer)
	return h
}

func (h *hostile) setLayer(t types.MediaType, data []byte) {
	h.layers[0] = hostileLayer{bytesBlob(t, data).Descriptor, data}
	h.diffIDs[0] = sum(data)
}

func (h *hostile) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, l := range h.layers {
		m.Layers = append(m.Layers, l.desc)
		if l.data != nil {
			put(blobPath(l.desc.Digest), l.data)
		}
	}
	config := h.config
	if config == nil {
		config = must(json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: h.diffIDs}}))(t)
	}
	m.Config = bytesBlob(h.configType, config).Descriptor
	put(blobPath(m.Config.Digest), config)
	manifest := h.manifest
	if manifest == nil {
		manifest = must(json.Marshal(m))(t)
	}
	d := bytesBlob(h.manifestType, manifest).Descriptor
	put(blobPath(d.Digest), manifest)
	if h.manifestSize != 0 {
		d.Size = h.manifestSize
	}
	index := string(must(json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{d}}))(t))
	if h.replace[0] != "" {
		index = strings.ReplaceAll(index, h.replace[0], h.replace[1])
	}
	put(indexFile, []byte(index))
	return dir
}

// TestBomb lowers the budget, for 16 GiB would take a while.
func TestBomb(t *testing.T) {
	bomb := packedLayer(t, make([]byte, 10<<20), Gzip)
	dir := filepath.Join(t.TempDir(), "layout")
	must(ggcrlayout.Write(dir, indexOf(mutate.IndexAddendum{Add: imageOf(t, linuxAMD64, types.OCIManifestSchema1, bomb, bomb)})))(t)
	img := opened(t, dir, Options{})
	img.spool.left.Store(15 << 20)
	_, err := img.Tree(t.Context())
	wantError(t, err, "more than 16 GiB")
}

// TestEmbeddedManifest reads an image whose manifest is in its descriptor.
func TestEmbeddedManifest(t *testing.T) {
	img := imageOf(t, linuxAMD64, types.OCIManifestSchema1, static.NewLayer(tarOf(t, entry{name: "f", content: "x"}), types.OCIUncompressedLayer))
	raw := must(img.RawManifest())(t)
	for _, tt := range []struct {
		data []byte
		want string
	}{{raw, ""}, {append([]byte(" "), raw[1:]...), "content has the digest"}} {
		dir := filepath.Join(t.TempDir(), "layout")
		must(ggcrlayout.Write(dir, indexOf(mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Data: tt.data}})))(t)
		got, err := Open(t.Context(), dir, Options{})
		if tt.want != "" {
			wantError(t, err, tt.want)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"f: x"}, paths(t, treeOf(t, got))); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		got.Close()
	}
}
