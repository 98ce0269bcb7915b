// Command modules takes kernel modules, with all that they depend on, out of
// the Debian package that the reference base is made from, and writes them as
// the rootfs of an extension. It is a tool of this repository:
//
//	go run ./base/modules -deb "$(base/fetch.sh out/kernel)" -o out/btrfs/rootfs btrfs
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/graftlinux/graft/internal/refbase"
	"github.com/graftlinux/graft/internal/tree"
)

func main() {
	deb := flag.String("deb", "", "Debian `package` of the kernel")
	out := flag.String("o", "", "`directory` to write to")
	flag.Parse()
	if err := run(*deb, *out, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "modules: %v\n", err)
		os.Exit(1)
	}
}

func run(deb, out string, names []string) error {
	if deb == "" || out == "" || len(names) == 0 {
		return errors.New("-deb, -o and the names of modules are needed")
	}
	pkg, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer pkg.Close()
	t, err := refbase.Modules(pkg, names)
	if err != nil {
		return err
	}
	return t.Walk(func(e tree.Entry) error { return write(filepath.Join(out, filepath.FromSlash(e.Path)), e) })
}

func write(name string, e tree.Entry) error {
	if e.Mode.IsDir() {
		return os.MkdirAll(name, e.Mode.Perm())
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, e.Mode.Perm())
}
