package oci

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// skopeo runs the judge and returns its answer.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(testkit.Judge(t, "skopeo"), append([]string{"--insecure-policy", "--override-os=linux", "--override-arch=amd64"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// TestSkopeo lets skopeo read what graft writes, and graft what skopeo writes.
func TestSkopeo(t *testing.T) {
	host := newTestRegistry(t)
	dir := t.TempDir()
	layout, file, ref := "oci:"+filepath.Join(dir, "layout")+":hello:1.0.0", filepath.Join(dir, "hello.tar"), host+"/me/hello:1.0.0"
	one := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}}
	var digest string
	for _, dest := range []string{layout, file, ref} {
		res, err := Pack(t.Context(), one, dest, PackOptions{Name: "hello:1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		digest = res.Digest
	}
	for _, src := range []string{layout, "oci-archive:" + file + ":hello:1.0.0", "docker://" + ref} {
		var got struct{ Digest, Architecture string }
		if err := json.Unmarshal(skopeo(t, "inspect", "--tls-verify=false", src), &got); err != nil {
			t.Fatal(err)
		}
		if got.Digest != digest || got.Architecture != "amd64" {
			t.Errorf("%s: got %+v, want %s", src, got, digest)
		}
	}
	want := listing(t, helloTree(t))
	for _, src := range []string{"docker-archive:" + file + ":hello:1.0.0", "docker-archive:" + file, "docker://" + ref} {
		for _, to := range []string{"oci:", "docker-archive:", "oci-archive:"} {
			dest := to + filepath.Join(t.TempDir(), "copy") + ":me/hello:2"
			skopeo(t, "copy", "--src-tls-verify=false", src, dest)
			img := opened(t, dest, Options{})
			if diff := cmp.Diff(want, listing(t, treeOf(t, img))); diff != "" {
				t.Errorf("%s to %s: -want +got\n%s", src, to, diff)
			}
			if !strings.HasSuffix(img.Ref(), "me/hello:2") {
				t.Errorf("%s to %s: got name %q", src, to, img.Ref())
			}
		}
	}
}

// TestSkopeoKeepsDigest copies an index of two platforms around, byte for byte.
func TestSkopeoKeepsDigest(t *testing.T) {
	host := newTestRegistry(t)
	dir := t.TempDir()
	images := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}, {Platform: linuxARM64, Tree: helloTree(t)}}
	res, err := Pack(t.Context(), images, filepath.Join(dir, "hello.tar"), PackOptions{Name: "hello:1", Compression: Zstd})
	if err != nil {
		t.Fatal(err)
	}
	skopeo(t, "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci-archive:"+filepath.Join(dir, "hello.tar")+":hello:1", "docker://"+host+"/copy:1")
	skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://"+host+"/copy:1", "oci:"+filepath.Join(dir, "layout")+":copy:1")
	img := opened(t, host+"/copy@"+res.Digest, Options{Platform: "linux/arm64"})
	again := opened(t, filepath.Join(dir, "layout"), Options{Platform: "linux/arm64"})
	if img.Digest() != again.Digest() {
		t.Errorf("got %s, want %s", again.Digest(), img.Digest())
	}
}
