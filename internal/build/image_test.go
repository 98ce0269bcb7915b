package build

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// TestImageRefs takes images from wherever oci.Open does.
func TestImageRefs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct{ name, dest, ref, word string }{
		{"layout", "oci:" + dir + "/a", "oci:" + dir + "/a", "one"},
		{"layout and name", "oci:" + dir + "/a", "oci:" + dir + "/a:img:latest", "two"}, // the second of that name replaces the first
		{"an @ in the path", "oci:" + dir + "/x@y", "oci:" + dir + "/x@y", "three"},
		{"another content at a place with an @", "oci:" + dir + "/x@y", "oci:" + dir + "/x@y", "four"},
		{"tarball", dir + "/t.tar", dir + "/t.tar", "five"},
		{"relative layout", "oci:" + dir + "/tree/l", "oci:l", "relative"},
		{"relative tarball", dir + "/up.tar", "../up.tar", "up"},
		{"relative tarball in the tree", dir + "/tree/in.tar", "./in.tar", "in"},
		{"prefixed tarball", dir + "/t.tar", "oci-archive:" + dir + "/t.tar:img:latest", "six"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, "")
			s.root = filepath.Join(dir, "tree") // where relative paths count from
			s.write("-- Pkgfile --\nformat: v1alpha2\n" + data("p", "dependencies: [{image: '"+tt.ref+"'}]\nfinalize: [{from: /word, to: /}]\n"))
			s.cacheDir = filepath.Join(dir, "cache")
			tr := tree.New()
			if err := tr.Put("word", tree.File(0o644, []byte(tt.word))); err != nil {
				t.Fatal(err)
			}
			if _, err := oci.Pack(t.Context(), []oci.Packed{{Platform: amd64, Tree: tr}}, tt.dest, oci.PackOptions{Name: "img:latest"}); err != nil {
				t.Fatal(err)
			}
			s.want("p", "word -rw-r--r-- "+tt.word)
		})
	}
}

// TestImagePinned needs no image any more that a digest names and that is in the
// cache.
func TestImagePinned(t *testing.T) {
	t.Parallel()
	tr := tree.New()
	if err := tr.Put("word", tree.File(0o644, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	res, err := oci.Pack(t.Context(), []oci.Packed{{Platform: amd64, Tree: tr}}, "oci:"+dir, oci.PackOptions{Name: "img:latest"})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, data("p", "dependencies: [{image: 'oci:"+dir+"@"+res.Digest+"'}]\nfinalize: [{from: /word, to: /}]\n"))
	s.want("p", "word -rw-r--r-- x")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.want("p", "word -rw-r--r-- x")
	s.write(data("p", "dependencies: [{image: 'oci:"+dir+"@sha256:"+strings.Repeat("0", 64)+"'}]\nfinalize: [{from: /word, to: /}]\n"))
	s.wantError("p", "image oci:"+dir)
}

// TestImageSpecial takes images with fifos; devices, which nobody may make but
// root of the machine, stay out: sandboxes have their own.
func TestImageSpecial(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o660},
		{Name: "run/fifo", Typeflag: tar.TypeFifo, Mode: 0o600},
		{Name: "etc/owned", Typeflag: tar.TypeReg, Uid: 33, Gid: 44, Mode: 0o4640},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "special")
	out, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = out.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, data("p", "dependencies: [{image: 'oci:"+dir+"', to: /x}]\nfinalize: [{from: /x, to: /}]\n"))
	s.want("p", "dev drwxr-xr-x\netc drwxr-xr-x\netc/owned urw-r-----\nrun drwxr-xr-x\nrun/fifo prw-------")
}
