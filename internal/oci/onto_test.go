package oci

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/tree"
)

// baseOf is an image of another builder: two layers, a program that it runs,
// history with an empty layer in between.
func baseOf(t *testing.T) v1.Image {
	t.Helper()
	lower := packedLayer(t, tarOf(t, entry{name: "usr/bin/installer", content: "program"}), Gzip)
	upper := packedLayer(t, tarOf(t, entry{name: "usr/install/amd64/vmlinuz", content: "kernel"}), Gzip)
	img := imageOf(t, linuxAMD64, types.DockerManifestSchema2, lower, upper)
	cf := must(img.ConfigFile())(t).DeepCopy()
	cf.Config.Entrypoint = []string{"/bin/installer"}
	cf.Config.Env = []string{"PATH=/bin"}
	cf.History = []v1.History{{CreatedBy: "COPY installer"}, {CreatedBy: "ENTRYPOINT", EmptyLayer: true}, {CreatedBy: "COPY assets"}}
	return must(mutate.ConfigFile(img, cf))(t)
}

// TestOnto puts a layer on an image: what the image is stays, and what is on
// top is there, in every place, with and without a cache.
func TestOnto(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "base")
	p := must(ggcrlayout.Write(src, indexOf()))(t)
	if err := p.AppendImage(baseOf(t)); err != nil {
		t.Fatal(err)
	}
	host := newTestRegistry(t)
	top := tree.New()
	if err := top.Put("usr/install/amd64/vmlinuz.efi", tree.File(0o644, []byte("uki"))); err != nil {
		t.Fatal(err)
	}
	c := must(cache.Open(filepath.Join(dir, "cache")))(t)
	digest := ""
	for i, dest := range []string{"oci:" + filepath.Join(dir, "out"), filepath.Join(dir, "out.tar"), host + "/installer:v1"} {
		base := opened(t, src, Options{})
		opts := PackOptions{Name: "installer:v1", Labels: map[string]string{"a": "b"}}
		if i > 0 {
			opts.Cache = c
		}
		res, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: top, On: &Below{Image: base, Layers: 1}}}, dest, opts)
		if err != nil {
			t.Fatal(err)
		}
		if digest == "" {
			digest = res.Digest
		}
		if res.Digest != digest {
			t.Errorf("%s: got digest %s, want %s", dest, res.Digest, digest)
		}
		src := strings.TrimPrefix(dest, "oci:")
		got := listing(t, treeOf(t, opened(t, src, Options{})))
		for _, want := range []string{"usr/bin/installer", "usr/install/amd64/vmlinuz.efi"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %s:\n%s", dest, want, got)
			}
		}
		if strings.Contains(got, "vmlinuz ") || strings.HasSuffix(strings.TrimSpace(got), "vmlinuz") {
			t.Errorf("%s has a file of the layer that was to go:\n%s", dest, got)
		}
	}
	checkOnto(t, filepath.Join(dir, "out.tar"))
}

// checkOnto reads the tarball as docker load does.
func checkOnto(t *testing.T, file string) {
	t.Helper()
	tag := must(name.NewTag("installer:v1"))(t)
	img := must(tarball.ImageFromPath(file, &tag))(t)
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	cf := must(img.ConfigFile())(t)
	var history []string
	for _, h := range cf.History {
		history = append(history, h.CreatedBy)
	}
	if d := cmp.Diff([]string{"COPY installer", "ENTRYPOINT", "graft pack"}, history); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/bin/installer"}, cf.Config.Entrypoint); d != "" {
		t.Errorf("entrypoint (-want +got):\n%s", d)
	}
	want := map[string]string{"alpha.talos.dev/version": "v1.12.0", "a": "b"}
	if d := cmp.Diff(want, cf.Config.Labels); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
}

func TestOntoRefused(t *testing.T) {
	dir := opened(t, t.TempDir(), Options{})
	_, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: tree.New(), On: &Below{Image: dir}}}, filepath.Join(t.TempDir(), "x.tar"), PackOptions{})
	if err == nil || !strings.Contains(err.Error(), "no image that a layer could be put on") {
		t.Errorf("got %v", err)
	}
}
