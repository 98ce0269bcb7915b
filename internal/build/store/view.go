package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/graftlinux/graft/internal/tree"
)

// View is what a stack looks like when it is mounted.
type View struct {
	tree *tree.Tree
	from map[*tree.Node]origin
}

// origin is the entry of a layer that a node was made from.
type origin struct {
	layer *Layer
	entry Entry
}

func (o origin) path() string { return filepath.Join(o.layer.FS(), filepath.FromSlash(o.entry.Path)) }

// View puts the layers of a stack on top of each other.
func (s Stack) View() (*View, error) {
	v := &View{tree.New(), map[*tree.Node]origin{}}
	for _, l := range s {
		if err := v.apply(l); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Tree is the view as a tree; its files are read from the layers.
func (v *View) Tree() *tree.Tree { return v.tree }

func (v *View) apply(l *Layer) error {
	list, err := l.Entries()
	if err != nil {
		return err
	}
	nodes := map[string]*tree.Node{} // of files, by name: hard links share them
	for _, e := range list {
		switch {
		case e.whiteout():
			v.tree.Remove(e.Path)
			continue
		case e.Opaque:
			v.tree.Remove(e.Path)
		}
		n := nodes[e.Hardlink]
		if n == nil {
			if n, err = nodeOf(l, e); err != nil {
				return fmt.Errorf("reading the layer %s: %s: %w", l.Name, e.Path, err)
			}
		}
		nodes[e.Path] = n
		if err := v.tree.Put(e.Path, n); err != nil {
			return fmt.Errorf("reading the layer %s: %s: %w", l.Name, e.Path, err)
		}
		if e.Mode.IsDir() {
			n = v.tree.Get(e.Path) // a directory that was there is still the same node
		}
		if e.Hardlink == "" {
			v.from[n] = origin{l, e}
		}
	}
	return nil
}

func nodeOf(l *Layer, e Entry) (*tree.Node, error) {
	switch {
	case e.Mode.IsRegular():
		var sum [32]byte
		if n, err := hex.Decode(sum[:], []byte(e.Sum)); err != nil || n != len(sum) {
			return nil, errors.New("its sum is damaged")
		}
		return tree.Stored(e.Mode, e.Size, sum, file{filepath.Join(l.FS(), filepath.FromSlash(e.Path))}), nil
	case e.Mode.IsDir():
		n := tree.Dir(0)
		n.Mode = e.Mode
		return n, nil
	}
	return &tree.Node{Mode: e.Mode, Target: e.Target}, nil
}

// Find follows symlinks to what a path stands for.
func (v *View) find(name string) (string, *tree.Node, error) {
	p, n, err := v.tree.Resolve(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("%s is not there%s: %w", name, v.nearest(name), fs.ErrNotExist)
	case err != nil:
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, n, nil
}

// nearest tells what is in the last directory of a path that there is.
func (v *View) nearest(name string) string {
	for dir := path.Dir(path.Clean("/" + name)); ; dir = path.Dir(dir) {
		p, n, err := v.tree.Resolve(dir)
		if err == nil && n.Mode.IsDir() {
			names := v.tree.Names(p)
			if more := len(names) - maxNames; more > 0 {
				names = append(names[:maxNames:maxNames], fmt.Sprintf("and %d more", more))
			}
			if len(names) == 0 {
				return fmt.Sprintf(" (%s is empty)", dir)
			}
			return fmt.Sprintf(" (%s has %s)", dir, strings.Join(names, ", "))
		}
		if dir == "/" {
			return ""
		}
	}
}

const maxNames = 8 // of a directory, in an error
