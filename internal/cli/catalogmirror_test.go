package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/oci"
)

// mirrored runs graft catalog mirror, and returns the lines of its answer.
func mirrored(t *testing.T, args ...string) []mirroredImage {
	t.Helper()
	code, out, conversation := runCatalog(t, append([]string{"mirror", "-o", "json"}, args...)...)
	if code != exitOK {
		t.Fatalf("mirror %q: exit code %d\n%s", args, code, conversation)
	}
	var found []mirroredImage
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCatalogMirror goes the way across an air gap: from a registry into a
// directory, from there into a file, and from the file into another registry.
func TestCatalogMirror(t *testing.T) {
	host, lines := released(t)
	subject := lines[0]
	if _, err := oci.Attach(t.Context(), subject, oci.Artifact{Type: "application/x-signature", Blobs: []oci.Blob{{MediaType: "text/plain", Data: []byte("signed")}}}, oci.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	usb, file := filepath.Join(dir, "usb"), filepath.Join(dir, "all.tar")
	announced := mirrored(t, "--dry-run", "--talos", "v1.12.0", host+"/ext/extensions", usb)
	if _, err := os.Stat(usb); err == nil {
		t.Error("a dry run wrote something")
	}
	first := mirrored(t, host+"/ext/extensions:v1.12.0", usb)
	if len(first) != 4 || len(announced) != 4 {
		t.Fatalf("got %d images, announced %d", len(first), len(announced))
	}
	for i, f := range first {
		if f.Digest != announced[i].Digest || f.To != announced[i].To || f.Copied == 0 || f.Copied != announced[i].Copied {
			t.Errorf("got %+v, announced %+v", f, announced[i])
		}
	}
	if first[0].Referring != 1 || !strings.HasSuffix(first[3].To, "/ext/extensions:v1.12.0") {
		t.Errorf("got %+v", first)
	}
	for _, f := range mirrored(t, host+"/ext/extensions:v1.12.0", usb) {
		if f.Copied != 0 {
			t.Errorf("again: got %+v", f)
		}
	}
	mirrored(t, usb, file)
	far := host + "/far/away"
	for i, f := range mirrored(t, file, far) {
		if f.Digest != first[i].Digest || !strings.HasPrefix(f.To, far+"/") || f.Referring != first[i].Referring {
			t.Errorf("got %+v, want %+v", f, first[i])
		}
	}
	code, out, conversation := runCatalog(t, "find", "gvisor", "--catalog", far+"/extensions:v1.12.0", "--registry-mirror", host+"/ext="+far)
	if want := strings.Replace(lines[0], "/ext/", "/far/away/", 1) + "\n"; code != exitOK || out != want {
		t.Errorf("got %q %s, want %q", out, conversation, want)
	}
	found, err := oci.Referrers(t.Context(), strings.Replace(subject, "/ext/", "/far/away/", 1), oci.Options{})
	if err != nil || len(found) != 1 {
		t.Errorf("got %v %v", found, err)
	}
}

// TestCatalogMirrorClash refuses to give two images one name, and takes one that
// is listed twice once.
func TestCatalogMirrorClash(t *testing.T) {
	host, _ := released(t)
	dir := t.TempDir()
	if got := mirrored(t, host+"/ext/extensions:v1.12.0", host+"/ext/extensions:v1.12.0", filepath.Join(dir, "x")); len(got) != 4 {
		t.Errorf("got %+v", got)
	}
	m := mirroring{taken: map[string]string{}}
	var err error
	if m.depot, err = oci.ParseDepot(host + "/x"); err != nil {
		t.Fatal(err)
	}
	if err := m.add("a/gvisor:1@sha256:1", "a/gvisor:1", "a/"); err != nil {
		t.Fatal(err)
	}
	if err := m.add("b/gvisor:1@sha256:2", "b/gvisor:1", "b/"); err == nil || !strings.Contains(err.Error(), "would both be") {
		t.Errorf("got %v", err)
	}
}

func TestCatalogMirrorErrors(t *testing.T) {
	host, _ := released(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{dir}, exitInvalid, "requires at least 2 arg"},
		{[]string{dir, host + "/x:v1"}, exitInvalid, "has a tag or a digest"},
		{[]string{dir, "docker-archive:x.tar"}, exitInvalid, "docker-archive"},
		{[]string{host + "/ext/gvisor:1", filepath.Join(dir, "x")}, exitInvalid, "image-digests"},
		{[]string{host + "/ext/extensions", filepath.Join(dir, "x")}, exitInvalid, "--talos"},
		{[]string{host + "/ext/none:v1", filepath.Join(dir, "x")}, exitDependency, "NAME_UNKNOWN"},
		{[]string{"./none", filepath.Join(dir, "x")}, exitIO, "no such file"},
		{[]string{"nothere.tar", filepath.Join(dir, "x")}, exitIO, "no such file"},
		{[]string{"http://user:topsecret@" + host + "/ext/extensions:v1.12.0", filepath.Join(dir, "x")}, exitInvalid, "no room for a user"},
		{[]string{dir, filepath.Join(dir, "x")}, exitInvalid, "no OCI layout"},
		{[]string{"--platform", "linux/riscv64", host + "/ext/extensions:v1.12.0", filepath.Join(dir, "x")}, exitInvalid, "no image for linux/riscv64"},
		{[]string{"--platform", "linux/amd64", host + "/ext/extensions:v1.12.0", host + "/new"}, exitInvalid, "copy all platforms"},
	} {
		code, _, conversation := runCatalog(t, append([]string{"mirror"}, tt.args...)...)
		if code != tt.code || !strings.Contains(conversation, tt.want) {
			t.Errorf("%q: got code %d, want %d:\n%s", tt.args, code, tt.code, conversation)
		}
	}
}

// TestCatalogMirrorBack says what a mirror of one platform lacks, and how to copy
// what it has.
func TestCatalogMirrorBack(t *testing.T) {
	host, _ := released(t)
	part := filepath.Join(t.TempDir(), "part")
	mirrored(t, "--platform", "linux/amd64", host+"/ext/extensions:v1.12.0", part)
	code, _, conversation := runCatalog(t, "mirror", part, host+"/back")
	if code != exitInvalid || !strings.Contains(conversation, "lacks linux/arm64") || !strings.Contains(conversation, "hint: --platform linux/amd64") {
		t.Errorf("got code %d: %s", code, conversation)
	}
	mirrored(t, "--platform", "linux/amd64", part, filepath.Join(t.TempDir(), "again"))
}
