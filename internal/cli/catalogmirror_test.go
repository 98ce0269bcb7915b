package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
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

// TestCatalogMirrorPlan takes an image that is listed twice once, and gives a name
// that two have to the last one.
func TestCatalogMirrorPlan(t *testing.T) {
	host, _ := released(t)
	if got := mirrored(t, host+"/ext/extensions:v1.12.0", host+"/ext/extensions:v1.12.0", filepath.Join(t.TempDir(), "x")); len(got) != 4 {
		t.Errorf("got %+v", got)
	}
	to := "docker://" + host + "/x/gvisor:1"
	route := func(from string, untagged bool) oci.Route { return oci.Route{From: from, To: to, Untagged: untagged} }
	for _, tt := range []struct {
		name string
		add  [][2]string // source and digest
		want []oci.Route
	}{
		{"one digest of two sources", [][2]string{{"a@1", "1"}, {"b@1", "1"}}, []oci.Route{route("a@1", false)}},
		{"two digests", [][2]string{{"a@1", "1"}, {"b@2", "2"}}, []oci.Route{route("a@1", true), route("b@2", false)}},
		{"the first again", [][2]string{{"a@1", "1"}, {"b@2", "2"}, {"a@1", "1"}}, []oci.Route{route("a@1", false), route("b@2", true)}},
	} {
		var conversation bytes.Buffer
		m := mirroring{streams: Streams{Err: &conversation}}
		var err error
		if m.depot, err = oci.ParseDepot(host + "/x"); err != nil {
			t.Fatal(err)
		}
		for _, a := range tt.add {
			if err := m.add(a[0], "a/gvisor:1", a[1], "a/"); err != nil {
				t.Fatal(err)
			}
		}
		m.shared()
		if diff := cmp.Diff(tt.want, m.routes); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
		if got := strings.Count(conversation.String(), "gets no name"); got != len(tt.want)-1 {
			t.Errorf("%s: got %q", tt.name, conversation.String())
		}
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
		{[]string{"./none", filepath.Join(dir, "x")}, exitInvalid, "no such file"},
		{[]string{"nothere.tar", filepath.Join(dir, "x")}, exitInvalid, "no such file"},
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

// TestCatalogNearby takes images from where their catalog is.
func TestCatalogNearby(t *testing.T) {
	host, lines := released(t)
	stick := filepath.Join(t.TempDir(), "stick")
	mirrored(t, host+"/ext/extensions:v1.12.0", stick)
	mirrored(t, host+"/ext/extensions:v1.12.0", stick+".tar")
	_, digest, _ := strings.Cut(lines[0], "@")
	for _, tt := range []struct{ catalog, source, want string }{
		{stick, "gvisor", "oci:" + stick + ":" + lines[0]},
		{"oci:" + stick + ":" + host + "/ext/extensions:v1.12.0", "gvisor", "oci:" + stick + ":" + lines[0]},
		{stick + ".tar", "gvisor", "oci-archive:" + stick + ".tar:" + lines[0]},
		{stick, host + "/ext/gvisor:1", host + "/ext/gvisor:1"},
		{host + "/ext/extensions:v1.12.0", "gvisor", lines[0]},
	} {
		c := catalogs{refs: []string{tt.catalog}}
		got, err := c.pinned(t.Context(), Streams{Err: io.Discard}, []string{tt.source})
		if err != nil || len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s of %s: got %q %v, want %q", tt.source, tt.catalog, got, err, tt.want)
			continue
		}
		img, err := oci.Open(t.Context(), got[0], oci.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		img.Close()
		if d, err := oci.Resolve(t.Context(), got[0], oci.Options{}); err != nil || d.Digest != digest {
			t.Errorf("%s: got %+v %v", got[0], d, err)
		}
	}
}

// TestCatalogMirrorLeftBehind leaves out, with a note, what lost its name and is in
// no catalog any more.
func TestCatalogMirrorLeftBehind(t *testing.T) {
	host, lines := released(t)
	stick := filepath.Join(t.TempDir(), "stick")
	_, digest, _ := strings.Cut(lines[1], "@")
	name := "oci:" + stick + ":" + host + "/ext/other:1"
	for _, from := range []string{lines[0], lines[1]} {
		if err := oci.CopyAll(t.Context(), []oci.Route{{From: from, To: name}}, oci.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	code, _, conversation := runCatalog(t, "mirror", stick, host+"/none")
	if code != exitInvalid || !strings.Contains(conversation, "has no name") {
		t.Errorf("without a catalog: got code %d: %s", code, conversation)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(empty, "image-digests"), []byte(lines[1]+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.FromDir(empty)
	if err != nil {
		t.Fatal(err)
	}
	packBoth(t, tr, "oci:"+stick+":"+host+"/ext/extensions:v1.13.0")
	code, _, conversation = runCatalog(t, "mirror", stick, host+"/some")
	if code != exitOK || !strings.Contains(conversation, "note: 1 images in "+stick+" have no name") {
		t.Errorf("got code %d: %s", code, conversation)
	}
	d, err := oci.Resolve(t.Context(), host+"/some/other:1", oci.Options{})
	if err != nil || d.Digest != digest {
		t.Errorf("got %+v %v", d, err)
	}
}
