package registry

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graftlinux/graft/internal/testkit"
)

// TestCrane pushes and pulls with the library of crane.
func TestCrane(t *testing.T) {
	srv := serve(t, t.TempDir(), Options{})
	host := strings.TrimPrefix(srv.URL, "http://")
	repo, err := name.NewRepository(host + "/crane/image")
	if err != nil {
		t.Fatal(err)
	}
	idx, err := random.Index(100_000, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(repo.Tag("v1"), idx); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(repo.Tag("v1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Error(err)
	}
	desc, err := remote.Head(repo.Tag("v1"))
	if err != nil {
		t.Fatal(err)
	}
	subject := mutate.Subject(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.test"), *desc).(ggcr.Image)
	digest, err := subject.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repo.Digest(digest.String()), subject); err != nil {
		t.Fatal(err)
	}
	referrers, err := remote.Referrers(repo.Digest(desc.Digest.String()), remote.WithFilter("artifactType", "application/vnd.example.test"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := referrers.IndexManifest(); err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest != digest {
		t.Errorf("got the referrers %+v, %v, want %s", m, err, digest)
	}
	other, err := name.NewTag(host + "/crane/copy:v2")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(other, pulled); err != nil { // which mounts
		t.Fatal(err)
	}
	registry := repo.Registry
	if got, err := remote.Catalog(t.Context(), registry); err != nil || !slices.Equal(got, []string{"crane/copy", "crane/image"}) {
		t.Errorf("got the catalog %q, %v", got, err)
	}
	if got, err := remote.List(repo, remote.WithPageSize(1)); err != nil || !slices.Equal(got, []string{"v1"}) {
		t.Errorf("got the tags %q, %v", got, err)
	}
	if err := remote.Delete(repo.Tag("v1")); err != nil {
		t.Error(err)
	}
}

// TestContainerd pulls as containerd does.
func TestContainerd(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "containerd/image"}
	image := c.image("image", nil)
	c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost))})
	ref, desc, err := resolver.Resolve(t.Context(), strings.TrimPrefix(c.base, "http://")+"/containerd/image:v1")
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := resolver.Fetcher(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(image, &m); err != nil {
		t.Fatal(err)
	}
	for _, d := range append([]v1.Descriptor{desc, m.Config}, m.Layers...) {
		r, err := fetcher.Fetch(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || d.Digest.Algorithm().FromBytes(data) != d.Digest {
			t.Errorf("%s: got %d bytes, %v", d.Digest, len(data), err)
		}
		r.Close()
	}
}

// pushRandom pushes an image with real layers, and returns its registry and
// reference.
func pushRandom(t *testing.T, dir string) (host, ref string) {
	t.Helper()
	host = strings.TrimPrefix(serve(t, dir, Options{}).URL, "http://")
	img, err := random.Image(300_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(host + "/tools/random:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	return host, tag.Name()
}

// TestSkopeo copies with skopeo, lists, deletes, and reads the directory of a
// repository as the OCI layout that it is.
func TestSkopeo(t *testing.T) {
	testkit.Judge(t, "skopeo")
	dir := t.TempDir()
	host, ref := pushRandom(t, dir)
	layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":v1"
	testkit.Run(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+ref, layout)
	testkit.Run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", layout, "docker://"+host+"/tools/pushed:v2")
	docker := "docker://" + host + "/tools/docker:v2"
	testkit.Run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "--format", "v2s2", layout, docker)
	inspect := testkit.Run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", docker)
	if !strings.Contains(inspect, dockerManifest) {
		t.Errorf("got %s, want a manifest of Docker", inspect)
	}
	digestOf := func(args ...string) string {
		return testkit.Run(t, "skopeo", append([]string{"inspect", "--format", "{{.Digest}}"}, args...)...)
	}
	want := digestOf("--tls-verify=false", "docker://"+host+"/tools/pushed:v2")
	if got := digestOf("oci:" + filepath.Join(dir, "repositories", "tools+pushed") + ":v2"); got != want {
		t.Errorf("the layout has the image %s, the registry %s", got, want)
	}
	if got := testkit.Run(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+host+"/tools/pushed"); !strings.Contains(got, `"v2"`) {
		t.Errorf("got the tags %s", got)
	}
	testkit.Run(t, "skopeo", "delete", "--tls-verify=false", "docker://"+host+"/tools/pushed:v2")
	checkStore(t, dir)
}

// TestPodman pulls into podman's storage, and pushes from it.
func TestPodman(t *testing.T) {
	testkit.Judge(t, "podman")
	if os.Getuid() != 0 {
		testkit.Absent(t, "podman's storage is used as root only")
	}
	dir, storage := t.TempDir(), t.TempDir()
	host, ref := pushRandom(t, dir)
	podman := func(args ...string) string {
		t.Helper()
		return testkit.Run(t, "podman", append([]string{"--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run"), "--storage-driver", "vfs", "--events-backend", "none"}, args...)...)
	}
	id := podman("pull", "-q", "--tls-verify=false", ref)
	podman("push", "-q", "--tls-verify=false", ref, host+"/tools/from-podman:v1")
	podman("rmi", "-a", "-f")
	if got := podman("pull", "-q", "--tls-verify=false", host+"/tools/from-podman:v1"); got != id {
		t.Errorf("got the image %s, want %s", got, id)
	}
	checkStore(t, dir)
}
