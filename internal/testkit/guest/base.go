package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/testkit"
	"github.com/graftlinux/graft/internal/tree"
)

// KernelDir is where base/fetch.sh puts the kernel package for "make base", in
// the root of the repository.
const KernelDir = "out/kernel"

// Base is a base in two files.
type Base struct {
	Release           string // of the kernel
	Kernel, Initramfs string // files
}

// NewBase builds a reference base whose root filesystem has, over the usual
// skeleton, what the caller wants to have in it: at least /usr/sbin/init.
func NewBase(t testing.TB, root *tree.Tree) *Base {
	t.Helper()
	pkg, err := os.Open(KernelPackage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pkg.Close()
	dir := t.TempDir()
	c := refbase.Config{Package: pkg, Init: Program(t, "./cmd/graft-init"), Root: root}
	b, err := refbase.Build(t.Context(), c, dir)
	if err != nil {
		t.Fatal(err)
	}
	return &Base{
		Release:   b.Release,
		Kernel:    save(t, filepath.Join(dir, "vmlinuz"), b.Files, refbase.Kernel),
		Initramfs: save(t, filepath.Join(dir, "initramfs.xz"), b.Files, refbase.Initramfs),
	}
}

// save writes a file of a tree to a file of this machine.
func save(t testing.TB, file string, from *tree.Tree, name string) string {
	t.Helper()
	data, err := from.ReadFile(name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// KernelPackage finds the Debian package that the reference base is built from.
func KernelPackage(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(repository(t), KernelDir, "linux-image-*-cloud-amd64_*_amd64.deb"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		testkit.Absent(t, "there is no kernel package in "+KernelDir+" (make base fetches it)")
	}
	return found[len(found)-1]
}

// Program builds a command of this module for the guest and returns the file.
func Program(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir = repository(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+refbase.Arch)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, msg)
	}
	return out
}

// repository is the directory of go.mod; tests run somewhere below it.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("the test does not run in the repository")
	return ""
}
