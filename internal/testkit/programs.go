package testkit

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/tree"
)

// libraryDirs are where this machine's programs have their libraries.
var libraryDirs = []string{
	"/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib", "/usr/lib64",
}

// Programs is a root file system with programs of this machine in /bin, and the
// libraries that they need: what scripts in tests run in. bash is /bin/sh, too.
func Programs(t testing.TB, names ...string) *tree.Tree {
	t.Helper()
	p := &programs{t: t, root: tree.New()}
	for _, name := range append([]string{"bash"}, names...) {
		file, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("this machine has no %s to run scripts with", name)
		}
		p.add(file, "bin/"+name)
	}
	p.put("bin/sh", tree.Symlink("bash"))
	return p.root
}

type programs struct {
	t    testing.TB
	root *tree.Tree
}

func (p *programs) put(name string, n *tree.Node) {
	p.t.Helper()
	if err := p.root.Put(name, n); err != nil {
		p.t.Fatal(err)
	}
}

// add puts a program or library of this machine into the root.
func (p *programs) add(file, name string) {
	p.t.Helper()
	if p.root.Get(name) != nil {
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	p.put(name, tree.File(0o755, data))
	f, err := elf.Open(file)
	if err != nil {
		return // a script
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		data, err := s.Data()
		if err != nil || len(data) < 2 {
			p.t.Fatalf("the interpreter of %s: %v", file, err)
		}
		interp := string(data[:len(data)-1])
		p.add(interp, interp[1:])
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, l := range libraries {
		p.library(l)
	}
}

func (p *programs) library(name string) {
	for _, dir := range libraryDirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			p.add(filepath.Join(dir, name), "lib/"+name)
			return
		}
	}
	p.t.Fatalf("this machine has no %s", name)
}
