package oci

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit"
)

// buildCrane builds crane, of the version that go.mod names for its library.
func buildCrane(t *testing.T) func(args ...string) string {
	t.Helper()
	file := testkit.GoProgram(t, ".", "github.com/google/go-containerregistry/cmd/crane")
	return func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(testkit.Run(t, file, append([]string{"--insecure"}, args...)...))
	}
}

// TestStrangersReadCopies lets skopeo and crane read what Copy has written, and
// Copy read what they have.
func TestStrangersReadCopies(t *testing.T) {
	crane := buildCrane(t)
	host, dir := newTestRegistry(t), t.TempDir()
	src := host + "/me/hello:1"
	want := signedImage(t, src)
	layout, archive := "oci:"+filepath.Join(dir, "l")+":me/hello:1", "oci-archive:"+filepath.Join(dir, "a.tar")+":me/hello:1"
	must(copyOne(t.Context(), src, layout, CopyOptions{}))(t)
	must(copyOne(t.Context(), layout, archive, CopyOptions{}))(t)
	must(copyOne(t.Context(), archive, host+"/back/hello:1", CopyOptions{}))(t)
	for _, from := range []string{layout, archive, "docker://" + host + "/back/hello:1"} {
		var got struct{ Architecture string }
		if err := json.Unmarshal(skopeo(t, "inspect", "--tls-verify=false", from), &got); err != nil || got.Architecture != "amd64" {
			t.Errorf("%s: got %+v %v", from, got, err)
		}
		to := host + "/skopeo/" + strings.SplitN(from, ":", 2)[0] + ":1"
		skopeo(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", from, "docker://"+to)
		if got := crane("digest", to); got != want.Digest {
			t.Errorf("%s: after skopeo it is %s, want %s", from, got, want.Digest)
		}
	}
	crane("validate", "--remote", host+"/back/hello:1")
	crane("copy", host+"/back/hello:1", host+"/crane/hello:1")
	if d := must(Resolve(t.Context(), host+"/crane/hello:1", Options{}))(t); d.Digest != want.Digest {
		t.Errorf("after crane it is %s, want %s", d.Digest, want.Digest)
	}
	// One platform, as crane and skopeo write layouts.
	for _, write := range []func(dir string){
		func(dir string) { crane("pull", "--format=oci", src, dir) },
		func(dir string) {
			skopeo(t, "copy", "--all", "--src-tls-verify=false", "docker://"+src, "oci:"+dir+":me/hello:1")
		},
		func(dir string) {
			skopeo(t, "copy", "--all", "--src-tls-verify=false", "docker://"+src, "oci-archive:"+dir+":me/hello:1")
		},
	} {
		theirs := filepath.Join(t.TempDir(), "theirs")
		write(theirs)
		got := must(copyOne(t.Context(), theirs, filepath.Join(t.TempDir(), "x.tar"), CopyOptions{}))(t)
		if got.Digest != want.Digest {
			t.Errorf("got %+v, want %s", got, want.Digest)
		}
	}
	if tags := crane("ls", host+"/back/hello"); !strings.Contains(tags, ".sig") || !strings.Contains(tags, ".att") {
		t.Errorf("got tags %q", tags)
	}
}

// TestPodmanLoads lets podman take an image out of an archive.
func TestPodmanLoads(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "a.tar")
	signedImage(t, "oci:"+filepath.Join(dir, "l")+":me/hello:1")
	must(copyOne(t.Context(), filepath.Join(dir, "l"), archive, CopyOptions{}))(t)
	store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver=vfs"}
	out := testkit.Run(t, "podman", append(store, "pull", "--quiet", "oci-archive:"+archive+":me/hello:1")...)
	if id := strings.TrimSpace(out); len(id) != 64 {
		t.Errorf("got %q", out)
	}
}
