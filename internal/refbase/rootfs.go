package refbase

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/graftlinux/graft/internal/tree"
)

// mountPoints are empty: the root is read-only, so that what is mounted or
// bound at boot needs its place in the image.
var mountPoints = []string{
	".extra", "dev", "proc", "run", "sys", "system", "var",
	"etc/cri/conf.d", "usr/bin", "usr/lib/firmware", "usr/local", "usr/share",
}

// links make /bin and the like lead below /usr, where everything is (usrmerge).
var links = map[string]string{
	"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib",
	"etc/os-release": "../usr/lib/os-release",
}

const osRelease = `NAME="graft reference base"
ID=graft
VERSION_ID=` + Version + `
PRETTY_NAME="graft reference base (contracts of Talos ` + Version + `)"
`

// rootfs is the root filesystem: a skeleton, the modules, and over these what
// the caller adds.
func rootfs(k *kernel, over *tree.Tree) (*tree.Tree, error) {
	t := tree.New()
	err := skeleton(t)
	if err != nil {
		return nil, err
	}
	modules, err := k.moduleDir()
	if err != nil {
		return nil, err
	}
	if err := merge(t, path.Join("usr/lib/modules", k.release), modules); err != nil {
		return nil, err
	}
	if over != nil {
		err = merge(t, "", over)
	}
	if err == nil && t.Get("usr/sbin/init") == nil {
		err = errors.New("there is no /usr/sbin/init in it: the daemon is missing")
	}
	return t, err
}

func skeleton(t *tree.Tree) error {
	entries := []entry{
		{"tmp", stickyDir()},
		{"root", tree.Dir(0o700)},
		{"etc/extensions.yaml", tree.File(0o644, nil)}, // the boot asset's is bound over it
		{"usr/lib/os-release", tree.File(0o644, []byte(osRelease))},
	}
	for _, dir := range mountPoints {
		entries = append(entries, entry{dir, tree.Dir(0o755)})
	}
	for name, target := range links {
		entries = append(entries, entry{name, tree.Symlink(target)})
	}
	return putAll(t, entries...)
}

func stickyDir() *tree.Node {
	n := tree.Dir(0o777)
	n.Mode |= fs.ModeSticky
	return n
}

// merge puts all of a tree into another, below a path.
func merge(into *tree.Tree, at string, from *tree.Tree) error {
	return from.Walk(func(e tree.Entry) error {
		n := *e.Node
		if e.Mode.IsDir() {
			n = *tree.Dir(e.Mode.Perm()) // its own children: from keeps its own
		}
		if err := into.Put(path.Join(at, e.Path), &n); err != nil {
			return fmt.Errorf("merging trees: %w", err)
		}
		return nil
	})
}
