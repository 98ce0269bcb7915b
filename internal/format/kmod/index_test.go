package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// indexed writes a tree and what Depmod makes of it.
func indexed(t testing.TB, tr tree) (base string, x *Index) {
	t.Helper()
	base = tr.write(t)
	return base, index(t, tr.dir(base))
}

func index(t testing.TB, dir string) *Index {
	t.Helper()
	files, _, err := Depmod(readTree(t, dir), treeOptions(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x, err := LoadIndex(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// modprobe returns what modprobe would load from the files that we wrote, each
// path once.
func modprobe(t testing.TB, base, version, name string) []string {
	t.Helper()
	out := testkit.Run(t, "modprobe", "-d", base, "-S", version, "-C", t.TempDir(), "--show-depends", name)
	dir := filepath.Join(base, "lib/modules", version) + "/"
	var paths []string
	for line := range strings.Lines(out) {
		if path, ok := strings.CutPrefix(line, "insmod "); ok {
			path = strings.TrimPrefix(strings.TrimSpace(path), dir)
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func resolvePaths(t testing.TB, x *Index, name string) []string {
	t.Helper()
	loads, err := x.Resolve(name)
	if err != nil {
		t.Error(err)
	}
	var paths []string
	for _, l := range loads {
		paths = append(paths, l.Path)
	}
	return paths
}

func TestIndexAgreesWithModprobe(t *testing.T) {
	base, x := indexed(t, sampleTree)
	for _, name := range []string{
		"alpha", "beta-core", "beta_core", "gamma", "delta", "nonumber", "late_one", "unlisted", "zeta", "eth",
		"pci:v00001234d00005678", "net-pf-10-proto-132", "late", "fs-one", "builtin_one", "of:N*T*Cvendor,eth",
		"pci:v0000DEADd00000001",
	} {
		if diff := cmp.Diff(modprobe(t, base, testVersion, name), resolvePaths(t, x, name)); diff != "" {
			t.Errorf("%s: files differ (-modprobe +ours):\n%s", name, diff)
		}
	}
}

func TestIndexAgreesWithModprobeRealTrees(t *testing.T) {
	for _, tree := range moduleTrees(t) {
		base, version := scratch(t, tree)
		x := index(t, filepath.Join(base, "lib/modules", version))
		names := []string{"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", "virtio:d00000001v00001AF4", "fs-ext4", "crypto-crc32c", "cpu:type:x86,ven0000fam0006mod008F:feature:,0001,"}
		all := make([]string, 0, len(x.modules))
		for name := range x.modules {
			all = append(all, name)
		}
		slices.Sort(all)
		for i := 0; i < len(all); i += 29 {
			names = append(names, all[i])
		}
		for name := range x.softdeps {
			names = append(names, name)
		}
		for _, name := range names {
			if diff := cmp.Diff(modprobe(t, base, version, name), resolvePaths(t, x, name)); diff != "" {
				t.Errorf("%s: %s: files differ (-modprobe +ours):\n%s", version, name, diff)
			}
		}
	}
}

// TestResolve shows order and which steps may fail.
func TestResolve(t *testing.T) {
	_, x := indexed(t, sampleTree.with(nil, map[string]testModule{
		"kernel/soft.ko":   {modinfo: []string{"alias=net-pf-1-*"}, needs: []string{"middle"}},
		"kernel/middle.ko": {exports: []string{"middle"}, modinfo: []string{"softdep=pre: before nothing"}},
		"kernel/before.ko": {},
	}))
	for name, want := range map[string][]Load{
		// gamma is a soft dependency of alpha, and needs it.
		"alpha": {
			{Name: "alpha", Path: "kernel/core/alpha.ko"},
			{Name: "beta_core", Path: "kernel/core/beta-core.ko.xz", Optional: true},
			{Name: "gamma", Path: "kernel/drivers/gamma.ko.zst", Optional: true},
			{Name: "delta", Path: "kernel/drivers/delta.ko", Optional: true},
			{Name: "late_one", Path: "extras/late-one.ko", Optional: true},
		},
		"net-pf-1-soft": {
			{Name: "before", Path: "kernel/before.ko", Optional: true},
			{Name: "middle", Path: "kernel/middle.ko"},
			{Name: "soft", Path: "kernel/soft.ko"},
		},
		"builtin_one": nil,
	} {
		got, err := x.Resolve(name)
		if err != nil {
			t.Errorf("Resolve(%q): %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Resolve(%q) differs (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"nothing", "pci:v0000FFFF", "", "bad[range", "bad]range"} {
		if loads, err := x.Resolve(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Resolve(%q): got %v, %v, want ErrNotFound", name, loads, err)
		}
	}
}

func TestLoadIndexRefuses(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no modules.dep", nil, "modules.dep: file does not exist"},
		{"no colon", map[string]string{"modules.dep": "a.ko\n"}, `modules.dep: line 1: "a.ko": want a path, a colon`},
		{"absolute", map[string]string{"modules.dep": "\n/etc/a.ko:\n"}, `line 2: "/etc/a.ko"`},
		{"dotdot", map[string]string{"modules.dep": "a.ko: ../../b.ko\n"}, `"../../b.ko": want the path of a module`},
		{"no module", map[string]string{"modules.dep": "a.ko: passwd\n"}, `"passwd"`},
		{"alias", map[string]string{"modules.dep": "", "modules.alias": "alias x\n"}, `modules.alias: line 1: "alias x"`},
		{"softdep", map[string]string{"modules.dep": "", "modules.softdep": "softdep\n"}, "modules.softdep: line 1"},
		{"long line", map[string]string{"modules.dep": strings.Repeat("x", maxIndexLine+1)}, "token too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadIndex(mapFS(tt.files))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func mapFS(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func TestFnmatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"abc", "abc", true},
		{"abc", "abcd", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*c", "abbc", true},
		{"a*c", "abbd", false},
		{"a*b*c", "axbybzc", true},
		{"a*b*c", "axbybz", false},
		{"**a", "bba", true},
		{"?", "x", true},
		{"?", "", false},
		{"a?c", "a/c", true},
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[!a-c]x", "dx", true},
		{"[^a-c]x", "ax", false},
		{"[]]x", "]x", true},
		{"[a-]", "-", true},
		{"[a", "[a", true},
		{"[a", "a", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`\`, `\`, true},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", true},
		{"input:b*v*p*e*_e*1,*k*", "input:b0011v0001p0001eAB41_e0,1,4,k71", true},
		{strings.Repeat("*a", 50) + "b", strings.Repeat("a", 10000), false},
	}
	for _, tt := range tests {
		if got := fnmatch(tt.pattern, tt.s); got != tt.want {
			t.Errorf("fnmatch(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n", "alias pci:v*d[0-9]* a\nalias x b\n", "softdep a pre: b post: x\nsoftdep b pre: a\n", "a.alias=y\x00", "x")
	f.Add("a.ko:\n", "alias * a\nalias ** a\n", "softdep a pre: *\n", "", "[a-z]")
	f.Fuzz(func(t *testing.T, dep, alias, softdep, builtin, name string) {
		x, err := LoadIndex(mapFS(map[string]string{
			"modules.dep": dep, "modules.alias": alias, "modules.softdep": softdep, "modules.builtin.modinfo": builtin,
		}))
		if err != nil {
			return
		}
		loads, err := x.Resolve(name)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, l := range loads {
			if seen[l.Path] || l.Path == "" {
				t.Errorf("Resolve(%q): bad or double path %q", name, l.Path)
			}
			seen[l.Path] = true
		}
	})
}

// BenchmarkLookup matches a PCI device with all aliases of a kernel.
func BenchmarkLookup(b *testing.B) {
	for _, tree := range moduleTrees(b) {
		base, version := scratch(b, tree)
		x := index(b, filepath.Join(base, "lib/modules", version))
		b.Run(version, func(b *testing.B) {
			b.ReportMetric(float64(x.aliases.count), "aliases")
			for b.Loop() {
				if got := x.Lookup("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"); fmt.Sprint(got) != "[e1000]" && version == "6.1.0-56-amd64" {
					b.Fatalf("got %v", got)
				}
			}
		})
	}
}
