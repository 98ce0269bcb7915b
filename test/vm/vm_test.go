// Package vm boots what graft makes under a real kernel in QEMU and asks both
// sides: a probe inside of the machine, and "graft get" outside of it.
package vm

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/qemu"
	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/testkit/guest"
	"github.com/graftlinux/graft/internal/tree"
)

// api is the port of a node's API.
const api = 50000

// TestBoot boots the base alone, then with extensions.
func TestBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	guest.KernelPackage(t)
	testkit.Judge(t, "qemu-system-x86_64")
	daemon := program(t, "./cmd/graftd")
	t.Run("reference base", func(t *testing.T) {
		base := guest.NewBase(t, rootWith(t, map[string]*tree.Node{"usr/sbin/init": daemon}))
		testReferenceBase(t, base)
	})
	probe := program(t, "./test/vm/probe")
	base := guest.NewBase(t, rootWith(t, map[string]*tree.Node{"usr/sbin/init": probe, "usr/sbin/graftd": daemon}))
	t.Run("no extension", func(t *testing.T) { testNoExtension(t, base) })
	t.Run("extensions", func(t *testing.T) { testExtensions(t, base) })
	t.Run("40 layers", func(t *testing.T) { testManyLayers(t, base) })
	t.Run("damaged layer", func(t *testing.T) { testDamagedLayer(t, base) })
	for _, p := range pipelines {
		t.Run("upstream "+p.name, func(t *testing.T) { testUpstream(t, base, p) })
	}
}

func program(t *testing.T, pkg string) *tree.Node {
	t.Helper()
	n, err := refbase.Program(guest.Program(t, pkg))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func rootWith(t *testing.T, files map[string]*tree.Node) *tree.Tree {
	t.Helper()
	root := tree.New()
	for name, n := range files {
		if err := root.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// withExtensions makes an initramfs of the base and extensions.
func withExtensions(t *testing.T, base *guest.Base, exts []ext) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "initramfs.xz")
	args := []string{
		"image", "initramfs", "--kernel", base.Kernel, "--initramfs", base.Initramfs,
		"--cache-dir", t.TempDir(), "-o", out,
		"--force", // the extensions share a path
	}
	for _, e := range exts {
		args = append(args, "--extension", e.write(t))
	}
	if _, err := graft(t, args...); err != nil {
		t.Fatal(err)
	}
	return out
}

func boot(t *testing.T, base *guest.Base, initramfs, words string) *guest.Machine {
	t.Helper()
	return guest.Boot(t, qemu.Config{
		Arch: refbase.Arch, Kernel: base.Kernel, Initrd: initramfs, Append: strings.TrimSpace("quiet " + words),
		Forwards: []qemu.Forward{{Guest: api}},
	})
}

// testReferenceBase boots the base as it is: the daemon is PID 1.
func testReferenceBase(t *testing.T, base *guest.Base) {
	m := boot(t, base, base.Initramfs, "")
	if got := strings.Fields(get(t, m, "table")); len(got) != 7 || got[0] != "NODE" {
		t.Errorf("graft get extensions: got %q, want a head and no rows", got)
	}
}

func testNoExtension(t *testing.T, base *guest.Base) {
	f := probed(t, boot(t, base, base.Initramfs, ""))
	checkReadOnly(t, f)
	if how := f.mounts["/"]; !strings.HasPrefix(how, "squashfs ro") {
		t.Errorf("the root is %q, want a read-only squashfs: there is nothing to put over it", how)
	}
}

// checkReadOnly wants that nobody can write to the root, or to what is bound
// over it.
func checkReadOnly(t *testing.T, f *facts) {
	t.Helper()
	if len(f.writes) == 0 {
		t.Error("the probe has not tried to write")
	}
	for path, outcome := range f.writes {
		if outcome != "read-only file system" {
			t.Errorf("writing to %s: got %q, want that the file system is read-only", path, outcome)
		}
	}
}

// checkFiles wants every file of the extensions with its content.
func checkFiles(t *testing.T, f *facts, exts []ext) {
	t.Helper()
	files, links := map[string]string{}, map[string]string{}
	for _, e := range exts {
		e.expect(files, links)
	}
	if len(files) == 0 {
		t.Fatal("nothing is expected")
	}
	if diff := cmp.Diff(files, only(f.files, files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(links, only(f.links, links)); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

// only are those of all whose keys are in the other map.
func only(all, keys map[string]string) map[string]string {
	some := maps.Clone(all)
	maps.DeleteFunc(some, func(k, _ string) bool { _, ok := keys[k]; return !ok })
	return some
}

// testExtensions has two extensions that share a path, firmware, and a module
// that needs modules of the other extension and is loaded by the merged
// modules.dep.
func testExtensions(t *testing.T, base *guest.Base) {
	first := ext{"first", "1.0.0", map[string]string{
		"usr/local/bin/tool*":                         "#!/bin/sh\necho first\n",
		"usr/local/share/both":                        "of the first",
		"usr/local/share/empty":                       "",
		"usr/local/share/big":                         strings.Repeat("0123456789abcdef", 200_000),
		"usr/local/share/link -> ../bin/tool":         "",
		"etc/cri/conf.d/10-first.part":                "[plugins]\n",
		"usr/lib/firmware/first/blob.bin":             "firmware of the first",
		"usr/lib/firmware/blob.bin -> first/blob.bin": "",
	}}
	second := ext{"second", "2.0.0", map[string]string{
		"usr/local/share/both":             "of the second",
		"usr/lib/firmware/second/blob.bin": strings.Repeat("firmware of the second ", 5000),
	}}
	maps.Copy(first.files, kernelModules(t, "btrfs", "zstd_compress"))
	maps.Copy(second.files, kernelModules(t, "raid6_pq", "xor", "libcrc32c"))
	exts := []ext{first, second}

	m := boot(t, base, withExtensions(t, base, exts), "probe.modules=btrfs")
	f := probed(t, m)
	checkFiles(t, f, exts)
	checkReadOnly(t, f)
	if f.modules["btrfs"] != "Live" {
		t.Errorf("module btrfs: got %q, want Live", f.modules["btrfs"])
	}
	if how := f.mounts["/"]; !strings.HasPrefix(how, "overlay ro") {
		t.Errorf("the root is %q, want a read-only overlay", how)
	}
	checkGet(t, m, base.Release)
	logBootTime(t, f)
}

// testManyLayers has more layers than a screen has lines; each brings a file of
// its own, and one that all have.
func testManyLayers(t *testing.T, base *guest.Base) {
	var exts []ext
	for i := range 40 {
		name := fmt.Sprintf("layer%d", i)
		exts = append(exts, ext{name, "1.0.0", map[string]string{
			"usr/local/share/top":     name,
			"usr/local/share/" + name: name,
		}})
	}
	m := boot(t, base, withExtensions(t, base, exts), "")
	f := probed(t, m)
	checkFiles(t, f, exts)
	checkReadOnly(t, f)
	if lines := strings.Count(get(t, m, "table"), "\n"); lines != 1+len(exts) {
		t.Errorf("graft get extensions: got %d lines, want a head and %d rows", lines, len(exts))
	}
	logBootTime(t, f)
}

// testDamagedLayer changes a byte of a layer: a machine that lacks a part must
// not come up as if it had it.
func testDamagedLayer(t *testing.T, base *guest.Base) {
	e := ext{"first", "1.0.0", map[string]string{"usr/local/share/first": "first"}}
	initramfs := withExtensions(t, base, []ext{e})
	data, err := os.ReadFile(initramfs)
	if err != nil {
		t.Fatal(err)
	}
	name := []byte("000.first-1.0.0.sqsh\x00")
	at := bytes.Index(data, name)
	if at < 0 {
		t.Fatalf("the initramfs has no %s", name)
	}
	data[at+len(name)+50] ^= 1 // in the superblock
	if err := os.WriteFile(initramfs, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := boot(t, base, initramfs, "")
	if line := m.WaitFor("graft-init: cannot boot"); !strings.Contains(line, "000.first-1.0.0.sqsh") {
		t.Errorf("got %q, want a word on the damaged layer", line)
	}
}

// logBootTime shows how long graft-init took, and since when the kernel ran.
func logBootTime(t *testing.T, f *facts) {
	t.Helper()
	for _, line := range f.kernel {
		if strings.Contains(line, "root ready") {
			t.Log(line)
		}
	}
}
