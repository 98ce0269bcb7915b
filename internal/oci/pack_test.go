package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/graftlinux/graft/internal/tree"
)

// TestRoundTrip writes an image to every place, reads it back, and lets ggcr
// judge it. The digest is the same everywhere.
func TestRoundTrip(t *testing.T) {
	host := newTestRegistry(t)
	want := listing(t, helloTree(t))
	for _, c := range []Compression{Gzip, Zstd, None} {
		for _, platforms := range [][]Platform{{linuxAMD64}, {linuxARM64}, {linuxAMD64, linuxARM64}} {
			t.Run(fmt.Sprintf("%s-%d", c, len(platforms)), func(t *testing.T) {
				var images []Packed
				for _, p := range platforms {
					images = append(images, Packed{Platform: p, Tree: helloTree(t)})
				}
				dir := t.TempDir()
				digest := ""
				for _, dest := range []string{filepath.Join(dir, "layout"), filepath.Join(dir, "hello.tar"), host + "/me/hello"} {
					res, err := Pack(t.Context(), images, dest, PackOptions{Name: "hello:1.0.0", Compression: c})
					if err != nil {
						t.Fatal(err)
					}
					if digest == "" {
						digest = res.Digest
					}
					if res.Digest != digest {
						t.Errorf("%s: got digest %s, want %s", dest, res.Digest, digest)
					}
					src := dest
					if res.Ref != "" {
						src = res.Name
					}
					for _, p := range platforms {
						img := opened(t, src, Options{Platform: p.String()})
						if diff := cmp.Diff(want, listing(t, treeOf(t, img))); diff != "" {
							t.Errorf("%s: -want +got\n%s", dest, diff)
						}
						if img.Platform() != p {
							t.Errorf("%s: got platform %v, want %v", dest, img.Platform(), p)
						}
						if len(platforms) == 1 && img.Digest() != digest {
							t.Errorf("%s: got digest %s, want %s", dest, img.Digest(), digest)
						}
					}
				}
				var opts []validate.Option
				if c != Gzip {
					opts = append(opts, validate.Fast) // ggcr unpacks gzip only
				}
				judge(t, dir, host+"/me/hello:1.0.0", digest, opts...)
			})
		}
	}
}

// judge lets go-containerregistry check every byte of what was written.
func judge(t *testing.T, dir, ref, digest string, opts ...validate.Option) {
	t.Helper()
	onDisk := must(ggcrlayout.ImageIndexFromPath(filepath.Join(dir, "layout")))(t)
	if err := validate.Index(onDisk, opts...); err != nil {
		t.Errorf("layout: %v", err)
	}
	tag := must(name.NewTag("hello:1.0.0"))(t)
	img, err := tarball.ImageFromPath(filepath.Join(dir, "hello.tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img, opts...); err != nil {
		t.Errorf("tarball: %v", err)
	}
	d := must(remote.Get(must(name.ParseReference(ref))(t)))(t)
	if d.Digest.String() != digest {
		t.Errorf("registry: got digest %s, want %s", d.Digest, digest)
	}
	if d.MediaType.IsIndex() {
		err = validate.Index(must(d.ImageIndex())(t), opts...)
	} else {
		err = validate.Image(must(d.Image())(t), opts...)
	}
	if err != nil {
		t.Errorf("registry: %v", err)
	}
}

// TestLayerGolden shows the tar of a layer, entry by entry, and pins its digest.
func TestLayerGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	opts := PackOptions{Compression: None, Epoch: time.Unix(1700000000, 5), Labels: map[string]string{"b": "2", "a": "1"}}
	res, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}}, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	img := opened(t, dir, Options{})
	blob := filepath.Join(dir, filepath.FromSlash(blobPath(img.parts.manifest.Layers[0].Digest)))
	f, err := os.Open(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := `manifest.yaml 0 644 59 0:0 1700000000
rootfs/ 5 755 0 0:0 1700000000
rootfs/usr/ 5 755 0 0:0 1700000000
rootfs/usr/local/ 5 755 0 0:0 1700000000
rootfs/usr/local/bin/ 5 755 0 0:0 1700000000
rootfs/usr/local/bin/hello 0 755 10000 0:0 1700000000 map[SCHILY.xattr.security.selinux:system_u:object_r:bin_t:s0]
rootfs/usr/local/bin/suid 0 5755 0 0:0 1700000000
rootfs/usr/local/lib/ 5 755 0 0:0 1700000000
rootfs/usr/local/lib/a 0 644 20 0:0 1700000000
rootfs/usr/local/lib/b 1 644 0 0:0 1700000000 -> rootfs/usr/local/lib/a
rootfs/usr/local/lib/link 2 777 0 0:0 1700000000 -> ../../../no/such/file
rootfs/usr/local/private/ 5 700 0 0:0 1700000000
rootfs/usr/local/share/ 5 755 0 0:0 1700000000
rootfs/usr/local/share/Grüße 0 600 2 0:0 1700000000 map[path:rootfs/usr/local/share/Grüße]
rootfs/usr/local/share/latin-? 0 644 9 0:0 1700000000 map[path:rootfs/usr/local/share/latin-?]
rootfs/usr/local/share/LONG 0 644 1 0:0 1700000000 map[path:rootfs/usr/local/share/LONG]
`
	got := strings.NewReplacer(strings.Repeat("long", 60), "LONG", "\xe4", "?").Replace(tarListing(t, f))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the layer: -want +got\n%s", diff)
	}
	if !img.Created().Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got created %v", img.Created())
	}
	if diff := cmp.Diff(opts.Labels, img.Labels()); diff != "" {
		t.Errorf("labels: -want +got\n%s", diff)
	}
	if want := "sha256:bfe746014699e9c28beb1ef8de005604c4e0af68c3a1de781c27f33b43898b25"; res.Digest != want {
		t.Errorf("got digest %s, want %s", res.Digest, want)
	}
}

func tarListing(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %c %o %d %d:%d%s%s %d", h.Name, h.Typeflag, h.Mode, h.Size, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime.Unix())
		if h.Linkname != "" {
			fmt.Fprintf(&b, " -> %s", h.Linkname)
		}
		if len(h.PAXRecords) > 0 {
			fmt.Fprintf(&b, " %v", h.PAXRecords)
		}
		fmt.Fprintln(&b)
	}
}

// TestDeterministic packs a tree of many blocks with different numbers of cores.
func TestDeterministic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	tr := helloTree(t)
	if err := tr.Put("rootfs/big", tree.File(0o644, noise(3<<20+17))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Compression{Gzip, Zstd, None} {
		digest := ""
		for _, procs := range []int{1, 2, 5} {
			runtime.GOMAXPROCS(procs)
			res, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}}, filepath.Join(t.TempDir(), "l"), PackOptions{Compression: c})
			if err != nil {
				t.Fatal(err)
			}
			if digest == "" {
				digest = res.Digest
			}
			if res.Digest != digest {
				t.Errorf("%s with %d cores: got %s, want %s", c, procs, res.Digest, digest)
			}
		}
	}
}

// noise is data that compresses somewhat, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = "etaoin shrdlu\x00\xff\x7f"[x>>28]
	}
	return b
}

func TestAddToLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	pack := func(name, content string) {
		t.Helper()
		tr := helloTree(t)
		if err := tr.Put("rootfs/content", tree.File(0o644, []byte(content))); err != nil {
			t.Fatal(err)
		}
		if _, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}}, "oci:"+dir+":"+name, PackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pack("hello:1", "first")
	pack("hello:2", "second")
	pack("hello:1", "third")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { pack(fmt.Sprintf("other:%d", i), "many at once") })
	}
	wg.Wait()
	for name, want := range map[string]string{"hello:1": "third", "hello:2": "second", "other:7": "many at once"} {
		img := opened(t, "oci:"+dir+":"+name, Options{})
		if got, err := treeOf(t, img).ReadFile("rootfs/content", 100); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
		if img.Ref() != name {
			t.Errorf("got name %q, want %q", img.Ref(), name)
		}
	}
	idx := must(ggcrlayout.ImageIndexFromPath(dir))(t)
	if got := len(must(idx.IndexManifest())(t).Manifests); got != 10 {
		t.Errorf("got %d images, want 10", got)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	_, err := Open(t.Context(), dir, Options{})
	wantError(t, err, "several images", "oci:"+dir, "hello:1, hello:2, other:0")
	onlyFiles(t, dir, "blobs", "index.json", "oci-layout")
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("got error %q, want one with %q", err, p)
		}
	}
}

func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range must(os.ReadDir(dir))(t) {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in %s: -want +got\n%s", dir, diff)
	}
}

func TestPackErrors(t *testing.T) {
	special := helloTree(t)
	if err := special.Put("rootfs/dev/null", &tree.Node{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}); err != nil {
		t.Fatal(err)
	}
	shrunk := helloTree(t)
	if err := shrunk.Put("rootfs/shrunk", &tree.Node{Mode: 0o644, Size: 10, Content: tree.Bytes("five!")}); err != nil {
		t.Fatal(err)
	}
	grown := helloTree(t)
	if err := grown.Put("rootfs/grown", &tree.Node{Mode: 0o644, Size: 3, Content: tree.Bytes("five!")}); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.doc"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	one := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}}
	for _, tt := range []struct {
		name   string
		images []Packed
		dest   string
		opts   PackOptions
		want   []string
	}{
		{"special file", []Packed{{Platform: linuxAMD64, Tree: special}}, "x.tar", PackOptions{}, []string{"rootfs/dev/null", "special file"}},
		{"shrunk file", []Packed{{Platform: linuxAMD64, Tree: shrunk}}, "x.tar", PackOptions{}, []string{"rootfs/shrunk", "changed"}},
		{"grown file", []Packed{{Platform: linuxAMD64, Tree: grown}}, "x.tar", PackOptions{Compression: Zstd}, []string{"rootfs/grown", "changed"}},
		{"no platform", nil, "x.tar", PackOptions{}, []string{"no platform"}},
		{"a platform twice", append(one, one...), "x.tar", PackOptions{}, []string{"linux/amd64", "twice"}},
		{"not a layout", one, full, PackOptions{}, []string{"not empty"}},
		{"compressed tarball", one, "x.tar.gz", PackOptions{}, []string{"name it .tar"}},
		{"form to read only", one, "dir:x", PackOptions{}, []string{"only reads"}},
		{"bad name", one, "x.tar", PackOptions{Name: "Hello:1"}, []string{`"Hello:1"`}},
		{"name with a digest", one, "x.tar", PackOptions{Name: "hello@sha256:" + strings.Repeat("a", 64)}, []string{"digest"}},
		{"push by digest", one, "docker://h.example/x@sha256:" + strings.Repeat("a", 64), PackOptions{}, []string{"give it a tag"}},
		{"no such directory", one, "no/such/x.tar", PackOptions{}, []string{"no such file"}},
		{"empty destination", one, "", PackOptions{}, []string{"empty"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			dest := tt.dest
			if strings.HasSuffix(dest, ".tar") {
				dest = filepath.Join(dir, dest)
			}
			_, err := Pack(t.Context(), tt.images, dest, tt.opts)
			wantError(t, err, tt.want...)
			onlyFiles(t, dir)
		})
	}
}

// TestPackCanceled wants nothing to be left behind, wherever it is stopped.
func TestPackCanceled(t *testing.T) {
	tr := helloTree(t)
	if err := tr.Put("rootfs/big", tree.File(0o644, noise(4<<20))); err != nil {
		t.Fatal(err)
	}
	for _, dest := range []string{"x.tar", "layout"} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Pack(ctx, []Packed{{Platform: linuxAMD64, Tree: tr}}, filepath.Join(dir, dest), PackOptions{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		onlyFiles(t, dir)
	}
}

func TestDestination(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("dir.example", 0o777); err != nil {
		t.Fatal(err)
	}
	hello := imageName{"hello:1", "docker.io/library/hello:1", "1"}
	for dest, want := range map[string]destination{
		"x.tar":                           archiveDest{"x.tar", hello},
		"./x.tar":                         archiveDest{"./x.tar", hello},
		"oci-archive:x":                   archiveDest{"x", hello},
		"docker-archive:x:ghcr.io/me/b:2": archiveDest{"x", imageName{"ghcr.io/me/b:2", "ghcr.io/me/b:2", "2"}},
		"oci:x":                           layoutDest{"x", hello},
		"oci:x:b":                         layoutDest{"x", imageName{"b:latest", "docker.io/library/b:latest", "latest"}},
		"out/layout":                      layoutDest{"out/layout", hello},
		"layout":                          layoutDest{"layout", hello},
		"./ghcr.io/x":                     layoutDest{"./ghcr.io/x", hello},
		"/abs/x":                          layoutDest{"/abs/x", hello},
		"dir.example":                     layoutDest{"dir.example", hello},
		"ghcr.io":                         layoutDest{"ghcr.io", hello},
		"ghcr.io/me/x":                    pushTo("ghcr.io/me/x:1"),
		"ghcr.io/me/x:v2":                 pushTo("ghcr.io/me/x:v2"),
		"localhost/x":                     pushTo("localhost/x:1"),
		"localhost:5000/x":                pushTo("localhost:5000/x:1"),
		"docker://me/x":                   pushTo("index.docker.io/me/x:1"),
	} {
		got, err := parseDest(dest, PackOptions{Name: "hello:1"})
		if err != nil {
			t.Errorf("%s: %v", dest, err)
			continue
		}
		if p, ok := got.(push); ok {
			got = pushTo(p.tag.Name())
		}
		if got != want {
			t.Errorf("%s: got %#v, want %#v", dest, got, want)
		}
	}
}

// pushTo stands for a push: only where it goes is compared.
type pushTo string

func (pushTo) write(context.Context, *artifact) (Result, error) { return Result{}, nil }

func TestReplaceEntry(t *testing.T) {
	d := func(name, content string) v1.Descriptor {
		e := v1.Descriptor{Digest: sum([]byte(content))}
		if name != "" {
			e.Annotations = map[string]string{refNameAnnotation: name}
		}
		return e
	}
	for _, tt := range []struct {
		name      string
		old, want []v1.Descriptor
		new       v1.Descriptor
	}{
		{"first", nil, []v1.Descriptor{d("a", "1")}, d("a", "1")},
		{"in its place", []v1.Descriptor{d("a", "1"), d("b", "2")}, []v1.Descriptor{d("a", "3"), d("b", "2")}, d("a", "3")},
		{"all of the name", []v1.Descriptor{d("a", "1"), d("b", "2"), d("a", "4")}, []v1.Descriptor{d("a", "3"), d("b", "2")}, d("a", "3")},
		{"nameless ones stay", []v1.Descriptor{d("", "1")}, []v1.Descriptor{d("", "1"), d("", "2")}, d("", "2")},
		{"nameless once", []v1.Descriptor{d("", "1"), d("a", "1")}, []v1.Descriptor{d("", "1"), d("a", "1")}, d("", "1")},
	} {
		if diff := cmp.Diff(tt.want, replaceEntry(tt.old, tt.new)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}
