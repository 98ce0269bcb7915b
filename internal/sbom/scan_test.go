package sbom

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/spdx"

	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

func treeOf(t testing.TB, files map[string][]byte) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for name, data := range files {
		if err := tr.Put(name, tree.File(0o755, data)); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func scanned(t testing.TB, tr *tree.Tree, opts Options) (*Document, *spdx.Document) {
	t.Helper()
	opts.Name = "tool"
	d, err := Scan(context.Background(), tr, opts)
	if err != nil {
		t.Fatal(err)
	}
	return d, judge(t, d)
}

// toolInfo is build information as Go writes it.
const toolInfo = `path	example.org/tool/cmd/tool
mod	example.org/tool	(devel)	
dep	example.org/lib	v1.2.3	h1:lib=
dep	example.org/old	v1.0.0
=>	example.org/new	v2.0.0+incompatible	h1:new=
dep	example.org/local	v0.0.0
=>	../local	(devel)	
build	-compiler=gc
`

func TestScan(t *testing.T) {
	tr := treeOf(t, map[string][]byte{
		"manifest.yaml":                 []byte("version: v1alpha1\n"),
		"rootfs/usr/local/bin/tool":     goELF("go1.26.8 X:nocoverageredesign", toolInfo),
		"rootfs/usr/local/etc/empty":    nil,
		"rootfs/usr/local/lib/libc.so":  goELF("", ""),
		"rootfs/usr/local/share/\xff_a": []byte("x"),
	})
	for name, n := range map[string]*tree.Node{"rootfs/usr/local/bin/link": tree.Symlink("tool"), "rootfs/usr/local/bin/same": tr.Get("rootfs/usr/local/bin/tool")} {
		if err := tr.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	d, doc := scanned(t, tr, Options{
		Version: "1.0",
		Created: aDay,
		Debs: []Deb{
			{Name: "zlib1g", Version: "1:1.2.13.dfsg-1", Arch: "amd64", SHA256: sum256, Source: "zlib", SourceVersion: "1:1.2.13.dfsg-1", Suite: "bookworm"},
			{Name: "libc6", Version: "2.36-9", Arch: "amd64", SHA256: sum256},
		},
		Modules: []Module{{"example.org/tool", "v0.9.0", "h1:tool="}},
	})
	want := []string{
		"document DESCRIBES tool@1.0",
		"tool@1.0 GENERATED_FROM libc6@2.36-9",
		"tool@1.0 GENERATED_FROM zlib1g@1:1.2.13.dfsg-1",
		"tool@1.0 GENERATED_FROM example.org/tool@v0.9.0",
		"tool@1.0 CONTAINS ./manifest.yaml",
		"tool@1.0 CONTAINS ./rootfs/usr/local/bin/same",
		"tool@1.0 CONTAINS ./rootfs/usr/local/bin/tool",
		"tool@1.0 CONTAINS ./rootfs/usr/local/etc/empty",
		"tool@1.0 CONTAINS ./rootfs/usr/local/lib/libc.so",
		`tool@1.0 CONTAINS ./rootfs/usr/local/share/\xff_a`,
		"./rootfs/usr/local/bin/same GENERATED_FROM example.org/tool@v0.9.0",
		"example.org/tool@v0.9.0 DEPENDS_ON example.org/lib@v1.2.3",
		"example.org/tool@v0.9.0 DEPENDS_ON example.org/local",
		"example.org/tool@v0.9.0 DEPENDS_ON example.org/new@v2.0.0+incompatible",
		"example.org/tool@v0.9.0 DEPENDS_ON stdlib@1.26.8",
		"./rootfs/usr/local/bin/tool GENERATED_FROM example.org/tool@v0.9.0",
	}
	if d := cmp.Diff(want, relations(doc)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(d.Warnings) > 0 || doc.DocumentName != "tool-1.0" || doc.CreationInfo.Created != "2026-03-04T04:06:07Z" {
		t.Errorf("got the warnings %q, the name %s, the time %s", d.Warnings, doc.DocumentName, doc.CreationInfo.Created)
	}
	checkOrigins(t, doc)
	checkSums(t, doc, tr)
}

// checkOrigins looks at what is said of single modules.
func checkOrigins(t *testing.T, doc *spdx.Document) {
	t.Helper()
	for name, want := range map[string]string{
		"example.org/new":   "in the place of example.org/old v1.0.0",
		"example.org/local": "built from the directory ../local in the place of example.org/local v0.0.0",
		"example.org/lib":   "",
		"zlib1g":            "built package from: zlib 1:1.2.13.dfsg-1",
		"libc6":             "",
	} {
		if got := packageOf(t, doc, name).PackageSourceInfo; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	want := []string{"PACKAGE-MANAGER purl pkg:golang/example.org/new@v2.0.0%2Bincompatible", "OTHER go-sum h1:new="}
	if d := cmp.Diff(want, locators(packageOf(t, doc, "example.org/new"))); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// checkSums compares the files' digests, and the code of all of them, with what is in the tree.
func checkSums(t *testing.T, doc *spdx.Document, tr *tree.Tree) {
	t.Helper()
	var all []string
	for _, f := range doc.Files {
		data, err := tr.ReadFile(strings.Replace(strings.TrimPrefix(f.FileName, "./"), `\xff`, "\xff", 1), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha1.Sum(data)
		all = append(all, hex.EncodeToString(sum[:]))
		want := fmt.Sprintf("[{SHA1 %x} {SHA256 %x}]", sum, tr.Get(strings.Replace(f.FileName, `\xff`, "\xff", 1)).Sum())
		if got := fmt.Sprint(f.Checksums); got != want {
			t.Errorf("%s: got %s, want %s", f.FileName, got, want)
		}
		if binary := slices.Equal(f.FileTypes, []string{"BINARY"}); binary != bytes.HasPrefix(data, []byte("\x7fELF")) {
			t.Errorf("%s: got the types %v", f.FileName, f.FileTypes)
		}
	}
	slices.Sort(all)
	if want := fmt.Sprintf("%x", sha1.Sum([]byte(strings.Join(all, "")))); packageOf(t, doc, "tool").PackageVerificationCode.Value != want {
		t.Errorf("got the code %v, want %s", packageOf(t, doc, "tool").PackageVerificationCode, want)
	}
}

// TestScanReal reads a program of ours as it is released, without symbols, and once more
// as if the table of its sections had been taken off as well.
func TestScanReal(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("building a program takes seconds")
	}
	file := filepath.Join(t.TempDir(), "init")
	build := exec.Command(testkit.Judge(t, "go"), "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "github.com/graftlinux/graft/cmd/graft-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bare := slices.Clone(program)
	clear(bare[0x28:0x30]) // e_shoff
	clear(bare[0x3c:0x40]) // e_shnum, e_shstrndx
	for name, data := range map[string][]byte{"as it is": program, "bare": bare} {
		_, doc := scanned(t, treeOf(t, map[string][]byte{"rootfs/init": data}), Options{})
		packageOf(t, doc, "github.com/graftlinux/graft")
		if got, want := packageOf(t, doc, "stdlib").PackageVersion, strings.TrimPrefix(runtime.Version(), "go"); !strings.HasPrefix(want, got) || got == "" {
			t.Errorf("%s: got the toolchain %s, want %s", name, got, want)
		}
		lib := packageOf(t, doc, "golang.org/x/sys")
		refs := locators(lib)
		if lib.PackageVersion == "" || len(refs) != 2 || refs[0] != "PACKAGE-MANAGER purl pkg:golang/golang.org/x/sys@"+lib.PackageVersion || !strings.HasPrefix(refs[1], "OTHER go-sum h1:") {
			t.Errorf("%s: got %s %v", name, lib.PackageVersion, refs)
		}
	}
}

// TestScanPrograms: what build information may say.
func TestScanPrograms(t *testing.T) {
	many := strings.Repeat("dep\ta\tb\n", maxModules) + "dep\tc\tv1\n"
	long := strings.Repeat("x", maxText+1)
	for name, c := range map[string]struct {
		version, info string
		modules       []Module
		want          []string // relations below the extension's own
		warning       string
	}{
		"no module":     {"go1.22.1", "path\tcommand-line-arguments\ndep\texample.org/lib\tv1.0.0\n", nil, []string{"./f DEPENDS_ON example.org/lib@v1.0.0", "./f DEPENDS_ON stdlib@1.22.1"}, ""},
		"no info":       {"go1.9", "", nil, []string{"./f DEPENDS_ON stdlib@1.9"}, ""},
		"devel":         {"devel go1.27-abcdef Tue", "mod\tm\t(devel)\n", nil, []string{"./f GENERATED_FROM m", "m DEPENDS_ON stdlib@devel"}, ""},
		"two versions":  {"go1.26", "mod\tm\t(devel)\n", []Module{{"m", "v1", ""}, {"m", "v2", ""}}, []string{"./f GENERATED_FROM m", "m DEPENDS_ON stdlib@1.26"}, ""},
		"knows itself":  {"go1.26", "mod\tm\tv3\th1:x\n", []Module{{"m", "v1", ""}}, []string{"./f GENERATED_FROM m@v3", "m@v3 DEPENDS_ON stdlib@1.26"}, ""},
		"damaged":       {"go1.26", "mod\tonly two\n", nil, nil, ""},
		"no Go program": {"", "", nil, nil, ""},
		"many modules":  {"go1.26", many, nil, []string{"./f DEPENDS_ON a@b", "./f DEPENDS_ON stdlib@1.26"}, "not all modules of f are listed: it names more than 20000 modules"},
		"long name":     {"go1.26", "mod\tm\tv1\ndep\t" + long + "\tv1\n", nil, []string{"./f GENERATED_FROM m@v1", "m@v1 DEPENDS_ON stdlib@1.26"}, "not all modules of f are listed: a module without a name, or with one that is too long"},
		"long main":     {"go1.26", "mod\t" + long + "\tv1\n", nil, []string{"./f DEPENDS_ON stdlib@1.26"}, "not all modules of f are listed: the name of its main module is too long"},
	} {
		d, doc := scanned(t, treeOf(t, map[string][]byte{"f": goELF(c.version, c.info)}), Options{Modules: c.modules})
		var got []string
		for _, r := range relations(doc) {
			if !strings.HasPrefix(r, "tool ") && !strings.HasPrefix(r, "document ") {
				got = append(got, r)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
		if strings.Join(d.Warnings, "") != c.warning {
			t.Errorf("%s: got the warnings %q, want %q", name, d.Warnings, c.warning)
		}
	}
}

// TestScanSame: the order of what is given, the number of workers and the way in which a
// tree came to be do not matter; every content does.
func TestScanSame(t *testing.T) {
	files := map[string][]byte{}
	for i := range 50 {
		files[fmt.Sprintf("rootfs/usr/bin/f-%d", i)] = goELF("go1.26.8", fmt.Sprintf("mod\tm%d\tv1\ndep\tlib\tv%d\n", i%7, i%3))
	}
	opts := Options{Version: "1", Created: aDay, Debs: []Deb{{Name: "a", Version: "1"}, {Name: "b", Version: "1"}, {Name: "b", Version: "1", Suite: "sid"}, {Name: "b", Version: "1", Source: "c"}}, Modules: []Module{{"x", "v1", ""}, {"y", "v1", ""}}}
	want, doc := scanned(t, treeOf(t, files), opts)
	namespace := doc.DocumentNamespace
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	slices.Reverse(opts.Debs)
	slices.Reverse(opts.Modules)
	again, _ := scanned(t, treeOf(t, files), opts)
	if textOf(t, want) != textOf(t, again) {
		t.Error("the document changed")
	}
	files["rootfs/usr/bin/f-7"][40]++
	if _, doc := scanned(t, treeOf(t, files), opts); doc.DocumentNamespace == namespace {
		t.Error("another content has the same namespace")
	}
}

func TestScanFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.FromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Hash(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Scan(context.Background(), tr, Options{Name: "x"}); !errors.Is(err, tree.ErrChanged) || !strings.Contains(err.Error(), "reading f") {
		t.Errorf("a changed file: got %v", err)
	}
	if _, err := Scan(context.Background(), tree.New(), Options{}); err == nil {
		t.Error("no name: got no error")
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	tr = treeOf(t, map[string][]byte{"f": []byte("x")})
	if err := tr.Hash(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := Scan(canceled, tr, Options{Name: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
}

// TestScanEmpty: an extension without files has no code to stand for them.
func TestScanEmpty(t *testing.T) {
	_, doc := scanned(t, tree.New(), Options{})
	if doc.Packages[0].FilesAnalyzed || doc.CreationInfo.Created != "0001-01-01T00:00:00Z" {
		t.Errorf("got %+v", doc.Packages[0])
	}
}

// FuzzScan: whatever is in a file, the document is valid.
func FuzzScan(f *testing.F) {
	f.Add(goELF("go1.26.8", toolInfo), "rootfs/bin/a")
	f.Add(goELF("go1.26.8", ""), "a/\xff")
	f.Add(goELF("", ""), "x")
	f.Add([]byte("\x7fELF"), "x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		tr := tree.New()
		if tr.Put(name, tree.File(0o644, data)) != nil {
			return
		}
		scanned(t, tr, Options{Created: time.Unix(0, 0)})
	})
}
