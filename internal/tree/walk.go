package tree

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Entry is one name in a tree.
type Entry struct {
	// Path is relative to the root, with slashes; "." is the root itself.
	Path string
	*Node
	// Hardlink is the path, earlier in the walk, of another name for the same
	// file; "" for a name that is met first.
	Hardlink string
}

// Walk calls fn for the root and every entry below it: a directory before what
// it holds, names in the order of their bytes. All that graft writes comes in
// this order. If fn returns fs.SkipDir for a directory, what it holds is left
// out; any other error ends the walk and is returned.
func (t *Tree) Walk(fn func(Entry) error) error {
	w := walker{fn: fn, seen: map[*Node]string{}}
	err := w.walk(".", t.root)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	return err
}

type walker struct {
	fn   func(Entry) error
	seen map[*Node]string // the first name of each file met so far
}

func (w *walker) walk(p string, n *Node) error {
	e := Entry{Path: p, Node: n}
	if n.Mode.IsRegular() {
		e.Hardlink = w.seen[n]
		if e.Hardlink == "" {
			w.seen[n] = p
		}
	}
	if err := w.fn(e); err != nil {
		return err
	}
	for _, name := range n.names() {
		child := n.children[name]
		err := w.walk(path.Join(p, name), child)
		if err != nil && !(errors.Is(err, fs.SkipDir) && child.Mode.IsDir()) {
			return err
		}
	}
	return nil
}

// Errors of Resolve.
var (
	ErrEscapes = errors.New("the link leads out of the tree")
	ErrLoop    = errors.New("too many levels of symbolic links")
)

const maxLinks = 40 // as Linux (MAXSYMLINKS)

// Resolve follows the symlinks of a path as the kernel would with the tree's
// root as /: absolute targets begin at the root. It returns the path of what
// it found. A target that climbs above the root gives ErrEscapes, though the
// kernel would stop at the root: what is above an extension's root is none of
// its business. The path of something that is missing gives fs.ErrNotExist,
// with the resolved path as far as it can be told.
func (t *Tree) Resolve(name string) (string, *Node, error) {
	pending := strings.Split(name, "/")
	var at []string
	links := 0
	for len(pending) > 0 {
		part := pending[0]
		pending = pending[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if len(at) == 0 {
				return "", nil, ErrEscapes
			}
			at = at[:len(at)-1]
			continue
		}
		n := t.nodeAt(append(at, part))
		if n == nil {
			return path.Join(path.Join(at...), part, path.Join(pending...)), nil, fs.ErrNotExist
		}
		if n.Mode&fs.ModeSymlink == 0 {
			at = append(at, part)
			continue
		}
		if links++; links > maxLinks {
			return "", nil, ErrLoop
		}
		if strings.HasPrefix(n.Target, "/") {
			at = at[:0]
		}
		pending = append(strings.Split(n.Target, "/"), pending...)
	}
	p := path.Join(at...)
	return p, t.nodeAt(at), nil
}

func (t *Tree) nodeAt(parts []string) *Node {
	at := t.root
	for _, p := range parts {
		if at = at.children[p]; at == nil {
			return nil
		}
	}
	return at
}

// Filter returns a tree of the entries that keep is true for. Files are shared
// with t, hard links within the new tree stay hard links. Directories above
// what is kept are kept, too.
func (t *Tree) Filter(keep func(Entry) bool) (*Tree, error) {
	out := New()
	return out, t.Walk(func(e Entry) error {
		if !keep(e) {
			return nil
		}
		return out.Put(e.Path, out.adopt(t, e))
	})
}

// adopt gives the node to put for an entry of another tree, and copies the
// attributes of the directories above it.
func (t *Tree) adopt(from *Tree, e Entry) *Node {
	for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
		if t.lookup(dir) == nil {
			d := from.lookup(dir)
			_ = t.Put(dir, &Node{Mode: d.Mode, Label: d.Label}) // a path that from holds, t holds as well
		}
	}
	if e.Mode.IsDir() {
		return &Node{Mode: e.Mode, Label: e.Label}
	}
	return e.Node
}
