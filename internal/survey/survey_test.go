package survey

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/tree"
)

// surveyOf surveys a tree of these files.
func surveyOf(t *testing.T, files map[string][]byte) *Facts {
	t.Helper()
	tr := tree.New()
	for name, data := range files {
		if err := tr.Put(name, tree.File(0o755, data)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Of(context.Background(), tr)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBinary surveys the test's own program: a real ELF file.
func TestBinary(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skipf("there is no /proc: %v", err)
	}
	f := surveyOf(t, map[string][]byte{
		"rootfs/usr/local/bin/self":         self,
		"rootfs/usr/local/share/text":       []byte("no ELF, but long enough to be looked at: 0123456789 0123456789"),
		"rootfs/usr/lib/firmware/self.elf":  self, // firmware is for another CPU, whatever its format
		"rootfs/usr/local/share/elf-prefix": append([]byte("\x7fELF"), make([]byte, 100)...),
	})
	if len(f.Binaries) != 2 {
		t.Fatalf("got %+v, want two", f.Binaries)
	}
	b := f.Binaries[0]
	if b.Path != "rootfs/usr/local/bin/self" || b.Error != "" || b.Arch == "" || b.Type == "" {
		t.Errorf("got %+v", b)
	}
	if f.Binaries[1].Error == "" {
		t.Errorf("a file that only begins as ELF: got %+v", f.Binaries[1])
	}
}

// TestKinds: what a file is, is told by its place.
func TestKinds(t *testing.T) {
	for p, want := range map[string]kind{
		"rootfs/usr/lib/modules/6.1.0/extras/a.ko":       isModule,
		"rootfs/lib/modules/6.1.0/a.ko.xz":               isModule,
		"rootfs/usr/lib/modules/6.1.0/modules.dep":       isData,
		"rootfs/usr/lib/firmware/x/y":                    isData,
		"rootfs/usr/local/etc/containers/x.yaml":         isService,
		"rootfs/usr/local/etc/containers/x/y.yaml":       isOther,
		"rootfs/usr/local/lib/modules/6.1.0/extras/a.ko": isOther,
		"usr/lib/firmware/x":                             isOther,
	} {
		release, got := classify(p)
		if got != want || want == isModule && release != "6.1.0" {
			t.Errorf("%s: got %v of %q, want %v", p, got, release, want)
		}
	}
}

// TestFactsRoundTrip: a cache keeps facts as JSON, and a tree can be made of them.
func TestFactsRoundTrip(t *testing.T) {
	tr := tree.New()
	file := tree.File(0o4755, []byte("x"))
	file.Label = "label"
	for name, n := range map[string]*tree.Node{"manifest.yaml": tree.File(0o644, []byte("m")), "rootfs/b": file, "rootfs/a": file, "rootfs/l": tree.Symlink("a")} {
		if err := tr.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Of(context.Background(), tr)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var kept Facts
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, &kept); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	again, err := kept.Tree()
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	err = again.Walk(func(e tree.Entry) error {
		if e.Path != "." {
			entry := entryOf(e)
			for _, k := range kept.Entries { // contents are not in the facts, their sums are
				if k.Path == e.Path {
					entry.Sum = k.Sum
				}
			}
			entries = append(entries, entry)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(kept.Entries, entries); d != "" {
		t.Errorf("the tree of the facts (-want +got):\n%s", d)
	}
	if kept.Size() != 2 {
		t.Errorf("got %d bytes, want 2: a hard link counts once", kept.Size())
	}
}

func TestReadOSRelease(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want OSRelease
	}{
		{"none", fstest.MapFS{}, OSRelease{}},
		{"Talos", fstest.MapFS{"usr/lib/os-release": file("NAME=\"Talos\"\nID=talos\nVERSION_ID=v1.9.2\nPRETTY_NAME=\"Talos (v1.9.2)\"\n")}, OSRelease{"Talos (v1.9.2)", "v1.9.2"}},
		{"no version in the first", fstest.MapFS{"usr/lib/os-release": file("NAME=A\n"), "etc/os-release": file("NAME=B\nVERSION_ID='1'")}, OSRelease{"B", "1"}},
		{"too long", fstest.MapFS{"etc/os-release": file("VERSION_ID=1\n" + strings.Repeat("#", maxOSRelease))}, OSRelease{}},
	} {
		if got := ReadOSRelease(c.root); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
