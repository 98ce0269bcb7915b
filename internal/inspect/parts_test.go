package inspect

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

const spdxDir = "usr/local/share/spdx/"

func document(name string) string {
	return `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"` + name + `","version":"1","purl":"pkg:golang/` + name + `@v1.0.0"}]}`
}

// initramfsOf is an initramfs with a base and layers, the last of which is damaged.
func initramfsOf(t testing.TB) []byte {
	t.Helper()
	base := squashed(t, map[string]string{"usr/lib/os-release": "PRETTY_NAME=\"Talos (v1.14.0)\"\nVERSION_ID=v1.14.0\n"})
	one := squashed(t, map[string]string{spdxDir + "a.cdx.json": document("example.org/a"), spdxDir + "b.cdx.json": document("example.org/b")})
	config := "layers:\n"
	var b bytes.Buffer
	w := cpio.NewWriter(&b)
	add := func(name string, data []byte) {
		t.Helper()
		err := w.WriteHeader(&cpio.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
		_, werr := w.Write(data)
		if err := errors.Join(err, werr); err != nil {
			t.Fatal(err)
		}
	}
	add("rootfs.sqsh", base)
	for i, l := range []struct {
		name string
		data []byte
	}{{"one", one}, {"again", one}, {"damaged", []byte("hsqs")}} {
		file := "00" + string(rune('0'+i)) + "." + l.name + ".sqsh"
		add(file, l.data)
		config += "  - image: " + file + "\n    metadata: {name: " + l.name + ", version: 1.0.0, author: A, description: D}\n"
	}
	add(extension.ConfigName, []byte(config))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParts(t *testing.T) {
	data := initramfsOf(t)
	parts := NewParts(testCache(t))
	a := must[*Asset](t)(Of(t.Context(), "x", bytes.NewReader(data), int64(len(data)), Options{Cache: parts.cache, Root: parts.Look(t.Context())}))
	var got []string
	for _, p := range parts.Of(a) {
		line := strings.TrimSpace(p.Name + " " + p.Version + " " + p.PURL)
		for _, b := range p.BOMs {
			line += " +" + b.Packages[0].Name
		}
		got = append(got, strings.Join(append([]string{line}, p.Problems...), "; "))
	}
	want := []string{
		"Talos v1.14.0 pkg:golang/github.com/siderolabs/talos@v1.14.0",
		"one 1.0.0 +example.org/a +example.org/b",
		"again 1.0.0 +example.org/a +example.org/b",
		"damaged 1.0.0; its squashfs could not be read: what is in it is not known",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !slices.ContainsFunc(a.Problems, func(p string) bool { return strings.Contains(p, "002.damaged.sqsh") }) {
		t.Errorf("the damaged layer is in no problem: %q", a.Problems)
	}
}

// TestRootFails: what goes wrong with who is shown a root is no problem of the asset.
func TestRootFails(t *testing.T) {
	data := initramfsOf(t)
	full := errors.New("no room")
	show := func(string, *tree.Tree) error { return full }
	if _, err := Of(t.Context(), "x", bytes.NewReader(data), int64(len(data)), Options{Cache: testCache(t), Root: show}); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

// TestTreeOf: a root is shown as it is, and its files can be read at any place.
func TestTreeOf(t *testing.T) {
	data := squashed(t, map[string]string{"usr/bin/tool": "0123456789"})
	root := must[*squashfs.Reader](t)(squashfs.NewReader(bytes.NewReader(data), int64(len(data))))
	shown := must[*tree.Tree](t)(newInspector(t.Context(), Options{Cache: testCache(t)}).treeOf(root))
	n := shown.Get("usr/bin/tool")
	if n == nil || n.Size != 10 || shown.Len() != 3 {
		t.Fatalf("got %+v of %d entries", n, shown.Len())
	}
	f := must[tree.Reader](t)(n.Open())
	defer f.Close()
	head, some := make([]byte, 2), make([]byte, 3)
	if _, err := io.ReadFull(f, head); err != nil || string(head) != "01" {
		t.Errorf("got %q, %v", head, err)
	}
	if _, err := f.ReadAt(some, 5); err != nil || string(some) != "567" {
		t.Errorf("got %q, %v", some, err)
	}
}
