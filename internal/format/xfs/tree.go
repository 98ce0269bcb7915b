package xfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// node is a file or directory to write.
type node struct {
	path     string
	mode     fs.FileMode
	modTime  time.Time
	content  *sparse.Image // nil: a directory
	parent   *node         // of the root: itself
	children []*node       // by name
	implied  bool          // no File told of it

	ino     uint64
	shape   dirShape
	extents []extent
}

// name is the last element of the path.
func (n *node) name() string { return path.Base(n.path) }

// newTree arranges files below a root. Directories that only occur in paths
// are made.
func newTree(files []File, t time.Time) (*node, error) {
	root := &node{path: ".", mode: fs.ModeDir | 0o755, modTime: t, implied: true}
	root.parent = root
	known := map[string]*node{".": root}
	for _, f := range files {
		if err := addFile(known, f, t); err != nil {
			return nil, fmt.Errorf("%q: %w", f.Path, err)
		}
	}
	return root, nil
}

func addFile(known map[string]*node, f File, t time.Time) error {
	n := &node{path: f.Path, mode: f.Mode, modTime: f.ModTime, content: f.Content}
	if f.Content == nil {
		n.mode |= fs.ModeDir
	}
	if n.modTime.IsZero() {
		n.modTime = t
	}
	if err := n.check(); err != nil {
		return err
	}
	if old := known[f.Path]; old != nil {
		if !old.implied || !n.mode.IsDir() {
			return errors.New("it is there twice")
		}
		old.mode, old.modTime, old.implied = n.mode, n.modTime, false
		return nil
	}
	return link(known, n, t)
}

func (n *node) check() error {
	switch {
	case !fs.ValidPath(n.path) || strings.Contains(n.path, "\x00"):
		return errors.New("not a path such as a/b")
	case len(n.name()) > maxName:
		return fmt.Errorf("its name has more than %d bytes", maxName)
	case n.content != nil && n.mode.Type() != 0, n.content == nil && n.mode.Type() != fs.ModeDir:
		return fmt.Errorf("only regular files and directories can be written (mode %v)", n.mode)
	}
	if n.content != nil && n.content.Size() > maxSize {
		return fmt.Errorf("its %d bytes are more than any file system holds that is written here", n.content.Size())
	}
	return checkTime(n.modTime)
}

// checkTime: seconds have 32 bits with a sign.
func checkTime(t time.Time) error {
	if s := t.Unix(); s < math.MinInt32 || s > math.MaxInt32 {
		return fmt.Errorf("the time %v is not between 1901 and 2038", t.UTC().Format(time.RFC3339))
	}
	return nil
}

// link puts a node into its directory, which is made if it is not there.
func link(known map[string]*node, n *node, t time.Time) error {
	dir := path.Dir(n.path)
	if known[dir] == nil {
		p := &node{path: dir, mode: fs.ModeDir | 0o755, modTime: t, implied: true}
		if err := p.check(); err != nil {
			return err
		}
		if err := link(known, p, t); err != nil {
			return err
		}
	}
	n.parent = known[dir]
	if !n.parent.mode.IsDir() {
		return fmt.Errorf("%q is not a directory", dir)
	}
	n.parent.children = append(n.parent.children, n)
	known[n.path] = n
	return nil
}

// list returns all nodes, each directory before what is in it, by name.
func (n *node) list() []*node {
	all := []*node{n}
	slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(a.name(), b.name()) })
	for _, c := range n.children {
		all = append(all, c.list()...)
	}
	return all
}

// entries of a directory, itself and its parent first.
func (n *node) entries() []dirEntry {
	entries := []dirEntry{{".", n.ino, entryDirectory}, {"..", n.parent.ino, entryDirectory}}
	for _, c := range n.children {
		typ := uint8(entryRegular)
		if c.mode.IsDir() {
			typ = entryDirectory
		}
		entries = append(entries, dirEntry{c.name(), c.ino, typ})
	}
	return entries
}

// links counts the names of a node: those in its children, too.
func (n *node) links() uint32 {
	if !n.mode.IsDir() {
		return 1
	}
	links := uint32(2)
	for _, c := range n.children {
		if c.mode.IsDir() {
			links++
		}
	}
	return links
}

// blocks is how many a node needs outside of its inode.
func (n *node) blocks() uint64 {
	if n.mode.IsDir() {
		return n.shape.blocks()
	}
	return uint64(roundUp(n.content.Size(), blockSize)) / blockSize
}
