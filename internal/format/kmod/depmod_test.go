package kmod

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree describes lib/modules/VERSION: modules and other files by path.
type tree struct {
	modules map[string]testModule
	files   map[string]string
}

const testVersion = "6.1.0-test"

// write makes the tree in a new base directory. The extension decides how a
// module is compressed.
func (tr tree) write(t testing.TB) (base string) {
	t.Helper()
	base = t.TempDir()
	write := func(path string, b []byte) {
		path = filepath.Join(base, "lib/modules", testVersion, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, m := range tr.modules {
		b := m.build()
		switch filepath.Ext(path) {
		case ".xz":
			b = xzip(b, 1)
		case ".zst":
			b = zst(b)
		}
		write(path, b)
	}
	for path, content := range tr.files {
		write(path, []byte(content))
	}
	return base
}

func (tr tree) dir(base string) string { return filepath.Join(base, "lib/modules", testVersion) }

// sampleTree has something of everything that depmod looks at.
var sampleTree = tree{
	modules: map[string]testModule{
		"kernel/core/alpha.ko": {
			modinfo: []string{"alias=pci:v00001234d*", "alias=pci:v00001234d0000[0-9]*", "alias=net-pf-10-proto-*", "softdep=pre: gamma post: late-one"},
			exports: []string{"alpha_get", "alpha_put"},
		},
		"kernel/core/beta-core.ko.xz": {
			modinfo: []string{"depends=alpha", "alias=bad[range", "alias=bad]range", "alias=char-major-10-229", "alias=devname:beta"},
			exports: []string{"beta_one", "beta_two", "beta_three"},
			needs:   []string{"alpha_get", "printk"},
		},
		"kernel/drivers/gamma.ko.zst": {
			modinfo: []string{"depends=beta-core,alpha", "alias=pci:v00001234d*", "alias=block-major-7-*", "softdep=omega", "softdep=pre: ignored"},
			exports: []string{"gamma"},
			needs:   []string{"beta_two", "alpha_put", "weak:beta_one", "weak:nowhere"},
		},
		"kernel/drivers/delta.ko": {
			modinfo: []string{"alias=devname:delta", "alias=block-major-7-0x", "depends=gone,builtin-one"},
			names:   []string{"delta_a", "delta_b"},
			needs:   []string{"gamma", "beta_three", ".alpha_get"},
		},
		"kernel/drivers/nonumber.ko":    {modinfo: []string{"alias=devname:nonumber", "alias=char-major-10-x"}},
		"extras/late-one.ko":            {modinfo: []string{"alias=late"}, needs: []string{"delta_a"}, exports: []string{"late_symbol"}},
		"extras/unlisted.ko":            {exports: []string{"late_symbol"}, needs: []string{"delta_b", "gamma"}},
		"extras/aaa.ko":                 {versions: []string{"module_layout", "alpha_get@other"}},
		"kernel/zeta.ko":                {needs: []string{"late_symbol"}},
		"build/ignored.ko":              {},
		"kernel/source/ignored.ko":      {},
		"kernel/drivers/net/eth.0.1.ko": {modinfo: []string{"alias=of:N*T*Cvendor,eth"}},
	},
	files: map[string]string{
		"modules.order": "kernel/drivers/gamma.ko\nkernel/core/alpha.ko\nkernel/core/beta-core.ko\nkernel/gone.ko\n" +
			"kernel/drivers/delta.ko\nkernel/drivers/nonumber.ko\nkernel/zeta.ko\nkernel/core/alpha.ko\n",
		"modules.builtin":         "kernel/fs/builtin-one.ko\nkernel/fs/builtin-two.ko\n0invalid\nkernel/fs/builtin-one.ko\n",
		"modules.builtin.modinfo": "builtin_one.license=GPL\x00builtin_one.alias=fs-one\x00builtin_two.alias=pci:v0000DEAD*\x00nodot\x00builtin_two.nokey\x00lost.alias=lost\x00builtin_two.alias=\x00builtin_two.alias=last",
	},
}

func (tr tree) with(files map[string]string, modules map[string]testModule) tree {
	merged := tree{map[string]testModule{}, map[string]string{}}
	for _, from := range []tree{tr, {modules, files}} {
		for path, m := range from.modules {
			merged.modules[path] = m
		}
		for path, content := range from.files {
			merged.files[path] = content
		}
	}
	return merged
}

func (tr tree) without(name string) tree {
	tr = tr.with(nil, nil)
	delete(tr.files, name)
	return tr
}

// TestDepmod compares with the real depmod on small trees.
func TestDepmod(t *testing.T) {
	twice := map[string]testModule{
		"extras/alpha.ko":       {exports: []string{"alpha_get"}, modinfo: []string{"alias=from-extras"}},
		"updates/dkms/gamma.ko": {exports: []string{"gamma"}, modinfo: []string{"alias=from-updates"}},
		"updates/beta_core.ko":  {exports: []string{"beta_one"}, modinfo: []string{"alias=from-updates"}},
	}
	for name, tr := range map[string]tree{
		"sample":            sampleTree,
		"no order":          sampleTree.without("modules.order"),
		"no builtin":        sampleTree.without("modules.builtin").without("modules.builtin.modinfo"),
		"order without end": sampleTree.with(map[string]string{"modules.order": "kernel/zeta.ko\nkernel/core/alpha.ko"}, nil),
		"same names":        sampleTree.with(nil, twice),
		"empty":             {files: map[string]string{"modules.order": "", "modules.builtin": "", "modules.builtin.modinfo": ""}},
	} {
		for _, search := range [][]string{nil, {"extras", "built-in"}, {"updates", "built-in"}, {"built-in", "extras", "updates"}, {"updates", "extras", "built-in"}} {
			t.Run(fmt.Sprint(name, search), func(t *testing.T) {
				compareDepmod(t, tr.write(t), testVersion, search...)
			})
		}
	}
}

// TestDepmodRandom compares with the real depmod on trees that nobody thought of.
func TestDepmodRandom(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			compareDepmod(t, randomTree(rand.New(rand.NewPCG(seed, 1))).write(t), testVersion)
		})
	}
}

// randomTree makes modules of which each needs some with a smaller number.
func randomTree(r *rand.Rand) tree {
	tr := tree{map[string]testModule{}, map[string]string{"modules.builtin": "", "modules.builtin.modinfo": ""}}
	var order strings.Builder
	var exported []string
	for i := range 20 + r.IntN(200) {
		var m testModule
		for range r.IntN(6) {
			if len(exported) > 0 {
				m.needs = append(m.needs, exported[r.IntN(len(exported))])
			}
		}
		for n := range r.IntN(4) {
			m.exports = append(m.exports, fmt.Sprintf("sym%d_%x_%d", i, r.IntN(1<<20), n))
			m.modinfo = append(m.modinfo, fmt.Sprintf("alias=bus%d:v%04Xd*[%d-9]x?", r.IntN(3), r.IntN(1<<16), n))
		}
		exported = append(exported, m.exports...)
		path := fmt.Sprintf("kernel/d%d/mod-%x_%d.ko", r.IntN(5), r.IntN(1<<24), i)
		tr.modules[path] = m
		if r.IntN(4) > 0 {
			order.WriteString(path + "\n")
		}
	}
	tr.files["modules.order"] = order.String()
	return tr
}

// TestDepmodText shows what the text files look like.
func TestDepmodText(t *testing.T) {
	base := sampleTree.write(t)
	dir := sampleTree.dir(base)
	files, warnings, err := Depmod(readTree(t, dir), treeOptions(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f.Name, ".bin") {
			fmt.Fprintf(&got, "-- %s --\n%s", f.Name, f.Data)
		}
	}
	got.WriteString("-- warnings --\n")
	for _, w := range warnings {
		fmt.Fprintf(&got, "%s %s: %s\n", w.Kind, w.Module, w.Message)
	}
	want := readFile(t, "testdata/sample.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile("testdata/sample.txt", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("files differ from testdata/sample.txt; if that is meant, run with UPDATE_GOLDEN=1 (-want +got):\n%s", diff)
	}
}

// TestDepmodReproducible: neither the order of the modules nor the number of
// cores nor a cache in between matters.
func TestDepmodReproducible(t *testing.T) {
	base := sampleTree.write(t)
	dir := sampleTree.dir(base)
	modules, opts := readTree(t, dir), treeOptions(t, dir)
	want, warnings, err := Depmod(modules, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for i := range 20 {
		runtime.GOMAXPROCS(1 + i%2)
		rand.New(rand.NewPCG(uint64(i), 1)).Shuffle(len(modules), func(i, j int) { modules[i], modules[j] = modules[j], modules[i] })
		b, err := json.Marshal(modules)
		if err != nil {
			t.Fatal(err)
		}
		var cached []Module
		if err := json.Unmarshal(b, &cached); err != nil {
			t.Fatal(err)
		}
		got, again, err := Depmod(cached, opts)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("shuffle %d gives other files:\n%s", i, diff)
		}
		if diff := cmp.Diff(warnings, again); diff != "" {
			t.Fatalf("shuffle %d gives other warnings:\n%s", i, diff)
		}
	}
}

func TestDepmodCycle(t *testing.T) {
	tr := sampleTree.with(nil, map[string]testModule{
		"kernel/loop/one.ko":   {exports: []string{"one"}, needs: []string{"two", "alpha_get"}},
		"kernel/loop/two.ko":   {exports: []string{"two"}, needs: []string{"three"}},
		"kernel/loop/three.ko": {exports: []string{"three"}, needs: []string{"one", "tail"}},
		"kernel/loop/tail.ko":  {exports: []string{"tail"}},
		"kernel/loop/user.ko":  {needs: []string{"one"}},
	})
	base := tr.write(t)
	_, _, err := Depmod(readTree(t, tr.dir(base)), treeOptions(t, tr.dir(base)))
	var cycle *CycleError
	if !errors.As(err, &cycle) {
		t.Fatalf("got %v, want a CycleError", err)
	}
	i := slices.Index(cycle.Modules, "one")
	if i < 0 {
		t.Fatalf("cycle %v: want one, two, three", cycle.Modules)
	}
	got := slices.Concat(cycle.Modules[i:], cycle.Modules[:i])
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Errorf("cycle differs (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(err.Error(), "computing module dependencies: the modules need each other: ") {
		t.Errorf("got %q", err)
	}
}

func TestDepmodRefusesPaths(t *testing.T) {
	for _, path := range []string{"", "/kernel/a.ko", "kernel/../a.ko", "../a.ko", "kernel/a b.ko", "kernel/a:b.ko", "kernel/a.o", "kernel/\n.ko", "kernel/é.ko"} {
		if _, _, err := Depmod([]Module{{Path: path}}, Options{}); err == nil {
			t.Errorf("path %q: got no error", path)
		}
	}
}

func TestSearchPath(t *testing.T) {
	tests := []struct {
		search    searchPath
		path, old string
		want      bool
	}{
		{searchPath{"updates"}, "updates/a.ko", "kernel/a.ko", true},
		{searchPath{"updates"}, "kernel/a.ko", "updates/a.ko", false},
		{searchPath{"updates"}, "kernel/b/a.ko", "kernel/a.ko", false},
		{searchPath{"extras", "built-in"}, "extras/a.ko", "kernel/a.ko", true},
		{searchPath{"extras", "built-in"}, "updates/a.ko", "extras/a.ko", false},
		{searchPath{"built-in", "extras"}, "extras/a.ko", "kernel/a.ko", false},
		{searchPath{"built-in", "extras"}, "kernel/a.ko", "extras/a.ko", true},
		{searchPath{"a", "b", "built-in"}, "a/x.ko", "b/x.ko", true},
		{searchPath{"a", "b", "built-in"}, "b/x.ko", "a/x.ko", false},
		{searchPath{"up"}, "updates/a.ko", "kernel/a.ko", false},
	}
	for _, tt := range tests {
		if got := tt.search.replaces(tt.path, tt.old); got != tt.want {
			t.Errorf("search %v: %s replaces %s: got %v, want %v", tt.search, tt.path, tt.old, got, tt.want)
		}
	}
}

func FuzzBuiltinModinfo(f *testing.F) {
	f.Add([]byte(sampleTree.files["modules.builtin.modinfo"]), []byte(sampleTree.files["modules.builtin"]))
	f.Fuzz(func(t *testing.T, modinfo, builtin []byte) {
		files, _, err := Depmod(nil, Options{Builtin: builtin, BuiltinModinfo: modinfo, Order: builtin})
		if err != nil || len(files) != 10 {
			t.Errorf("got %d files, %v", len(files), err)
		}
	})
}

// BenchmarkReadInfo reads all modules of a kernel.
func BenchmarkReadInfo(b *testing.B) {
	for _, dir := range moduleTrees(b) {
		b.Run(filepath.Base(dir), func(b *testing.B) {
			var modules []Module
			for b.Loop() {
				modules = readTree(b, dir)
			}
			b.ReportMetric(float64(len(modules)), "modules")
		})
	}
}

// BenchmarkDepmod computes all files from the facts of all modules of a kernel.
func BenchmarkDepmod(b *testing.B) {
	for _, dir := range moduleTrees(b) {
		b.Run(filepath.Base(dir), func(b *testing.B) {
			modules, opts := readTree(b, dir), treeOptions(b, dir)
			for b.Loop() {
				if _, _, err := Depmod(modules, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
