package iso

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	maxName  = 255     // bytes, as in Linux
	maxDirs  = 1 << 16 // a path table numbers them with 16 bits, from 1 on
	maxDepth = 128     // of directories; PATH_MAX would end it later
)

// node is a file or directory of the image that is planned.
type node struct {
	name      string
	stem, ext string // of the identifier
	mode      fs.FileMode
	modTime   time.Time
	content   *sparse.Image // of a file
	parent    *node         // of the root: itself
	children  []*node       // by identifier
	block     int64         // where the content or the records are
	size      int64         // of it, in bytes
	number    uint16        // of a directory in the path tables
}

func (n *node) isDir() bool { return n.mode.IsDir() }

// newTree arranges the files of options as a tree, with what is missing.
func newTree(o Options) (*node, error) {
	root := &node{mode: fs.ModeDir | 0o555, modTime: o.Time}
	root.parent = root
	t := tree{time: o.Time, nodes: map[string]*node{".": root}}
	files := slices.Clone(o.Files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i, f := range files {
		err := f.check()
		if err == nil && i > 0 && f.Path == files[i-1].Path {
			err = errors.New("it is given twice")
		}
		if err == nil {
			err = t.add(f)
		}
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	root.identify()
	return root, nil
}

func (f File) check() error {
	if !fs.ValidPath(f.Path) || strings.ContainsRune(f.Path, 0) {
		return errors.New("not a path inside of the image")
	}
	if f.Mode&^(fs.ModeDir|fs.ModePerm) != 0 {
		return fmt.Errorf("mode %v: only files and directories can be written", f.Mode)
	}
	if f.Mode.IsDir() && f.Content != nil {
		return errors.New("a directory has no content")
	}
	if !f.ModTime.IsZero() {
		return checkTime(f.ModTime)
	}
	return nil
}

// tree finds nodes by path while one is made.
type tree struct {
	time  time.Time
	nodes map[string]*node
}

// add a file. Sorting has put a directory before what is in it, if it is named
// at all.
func (t tree) add(f File) error {
	n, err := t.node(f.Path, f.Mode)
	if err != nil {
		return err
	}
	if perm := f.Mode.Perm(); perm != 0 {
		n.mode = n.mode.Type() | perm
	}
	if !f.ModTime.IsZero() {
		n.modTime = f.ModTime
	}
	if n.content = f.Content; n.content != nil {
		n.size = n.content.Size()
	}
	return nil
}

// node returns the node of a path, after making it and those above it.
func (t tree) node(name string, mode fs.FileMode) (*node, error) {
	if n := t.nodes[name]; n != nil {
		if n.isDir() != mode.IsDir() {
			return nil, fmt.Errorf("%q is a file and a directory", name)
		}
		return n, nil
	}
	if strings.Count(name, "/") >= maxDepth {
		return nil, fmt.Errorf("more than %d directories above each other", maxDepth)
	}
	base := path.Base(name)
	if len(base) > maxName {
		return nil, fmt.Errorf("a name of more than %d bytes", maxName)
	}
	parent, err := t.node(path.Dir(name), fs.ModeDir)
	if err != nil {
		return nil, err
	}
	n := &node{name: base, mode: mode.Type() | 0o444, modTime: t.time, parent: parent}
	if n.isDir() {
		n.mode |= 0o111
	}
	parent.children = append(parent.children, n)
	t.nodes[name] = n
	return n, nil
}

// identify gives all nodes below a directory identifiers, and sorts by them.
func (n *node) identify() {
	slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	ids := identifiers{used: map[string]bool{}, next: map[string]int{}}
	for _, c := range n.children {
		c.stem, c.ext = ids.of(c.name, c.isDir())
		if c.isDir() {
			c.identify()
		}
	}
	// 9.3: by the name, then by the extension, as if both were filled with spaces.
	slices.SortFunc(n.children, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.stem, b.stem), cmp.Compare(a.ext, b.ext))
	})
}

// identifier of the node in its directory.
func (n *node) identifier() string {
	if n.isDir() {
		return n.stem
	}
	return n.stem + "." + n.ext + ";1"
}

// directories are all below and including this, in the order of a path table
// (6.9.1): by depth, then by that of the parents, then by identifier.
func (n *node) directories() []*node {
	all := []*node{n}
	for i := 0; i < len(all); i++ {
		for _, c := range all[i].children {
			if c.isDir() {
				all = append(all, c)
			}
		}
	}
	return all
}

// files are all below this, by path.
func (n *node) files() (all []*node) {
	byName := slices.SortedFunc(slices.Values(n.children), func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	for _, c := range byName {
		if c.isDir() {
			all = append(all, c.files()...)
		} else {
			all = append(all, c)
		}
	}
	return all
}
