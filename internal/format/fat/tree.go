package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// maxDepth is how deep directories may be.
const maxDepth = 128

// node is a file or directory that gets written.
type node struct {
	name     string
	file     File // zero for a directory that a path needed and no File describes
	dir      bool
	parent   *node // nil for the root
	byName   map[string]*node
	children []*node // by name, once the tree is complete
	short    shortName
	long     []byte // slots of the long name
	size     int64  // bytes, of a directory those of its slots
	first    uint32 // cluster
}

// newTree makes the tree of all files, with short names and sizes. The root has
// a slot for a label, if there is to be one.
func newTree(files []File, label bool) (*node, error) {
	root := &node{dir: true}
	for _, f := range files {
		if err := root.add(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := root.complete(); err != nil {
		return nil, err
	}
	if label {
		root.size += slotSize
	}
	return root, nil
}

func (n *node) add(f File) error {
	names := strings.Split(f.Path, "/")
	if !fs.ValidPath(f.Path) || f.Path == "." {
		return errors.New("the path is not like EFI/BOOT/BOOTX64.EFI")
	}
	if len(names) > maxDepth {
		return fmt.Errorf("the path has more than %d parts", maxDepth)
	}
	for _, name := range names[:len(names)-1] {
		child, err := n.child(name)
		if err != nil {
			return err
		}
		child.dir = true
		n = child
	}
	child, err := n.child(names[len(names)-1])
	switch {
	case err != nil:
		return err
	case child.file.Path != "":
		return errors.New("the file is there twice")
	case child.dir && f.Content != nil:
		return errors.New("the file has the name of a directory")
	}
	child.file, child.dir = f, f.Content == nil
	return child.checkSize()
}

func (n *node) checkSize() error {
	if n.dir {
		return nil
	}
	if n.size = n.file.Content.Size(); n.size > math.MaxUint32 {
		return fmt.Errorf("the file has %d bytes, at most 4 GiB - 1 are possible", n.size)
	}
	return nil
}

// child finds or makes the node of a name in a directory.
func (n *node) child(name string) (*node, error) {
	if n.file.Content != nil {
		return nil, fmt.Errorf("%s is a file, not a directory", n.file.Path)
	}
	if c := n.byName[fold(name)]; c != nil {
		if c.name != name {
			return nil, fmt.Errorf("the names %s and %s are the same for FAT", c.name, name)
		}
		return c, nil
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if n.byName == nil {
		n.byName = map[string]*node{}
	}
	c := &node{name: name, parent: n}
	n.byName[fold(name)] = c
	return c, nil
}

// complete sorts the directory and all below it, gives the files short names
// and knows the sizes of directories then.
func (n *node) complete() error {
	n.children = slices.SortedFunc(maps.Values(n.byName), func(a, b *node) int { return strings.Compare(a.name, b.name) })
	n.nameChildren()
	if n.parent != nil {
		n.size = 2 * slotSize // "." and ".."
	}
	for _, c := range n.children {
		n.size += int64(len(c.long)) + slotSize
		if c.dir {
			if err := c.complete(); err != nil {
				return err
			}
		}
	}
	if n.size > maxDirSize || n.parent == nil && n.size > (maxRootSlots-1)*slotSize {
		return fmt.Errorf("directory %q has too many files: their names need %d bytes, a directory has at most %d", n.name, n.size, maxDirSize)
	}
	return nil
}

func (n *node) nameChildren() {
	names := namer{map[shortName]bool{}, map[shortName]int{}}
	var rest []*node
	for _, c := range n.children {
		var ok bool
		if c.short, ok = names.exact(c.name); !ok {
			rest = append(rest, c)
		}
	}
	for _, c := range rest {
		c.short = names.numbered(c.name)
	}
	for _, c := range n.children {
		if shown(c.short) != c.name {
			c.long = longSlots(c.name, c.short)
		}
	}
}

// shown is a short name of ASCII with its dot.
func shown(s shortName) string {
	base, ext := strings.TrimRight(string(s[:8]), " "), strings.TrimRight(string(s[8:]), " ")
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// walk visits the directories and then the files below n and n itself: listings
// are together on disk, in front of the contents.
func (n *node) walk(visit func(*node)) {
	n.walkOnly(true, visit)
	n.walkOnly(false, visit)
}

func (n *node) walkOnly(dirs bool, visit func(*node)) {
	if n.dir == dirs {
		visit(n)
	}
	for _, c := range n.children {
		c.walkOnly(dirs, visit)
	}
}

// content of a directory is its slots.
func (n *node) content(o Options, label shortName) *sparse.Image {
	if !n.dir {
		return n.file.Content
	}
	b := make([]byte, 0, n.size)
	if n.parent != nil {
		b = append(b, n.slot(o, dotName)...)
		b = append(b, n.parent.slot(o, dotDotName)...)
	} else if o.Label != "" {
		s := slot{Name: label, Attributes: attrLabel}
		s.setTime(o.Time)
		b = append(b, encode(s)...)
	}
	for _, c := range n.children {
		b = append(b, c.long...)
		b = append(b, c.slot(o, c.short)...)
	}
	return sparse.Bytes(b)
}

// slot is the entry of n under a name.
func (n *node) slot(o Options, name shortName) []byte {
	s := slot{Name: name, Attributes: attrArchive}
	if n.dir {
		s.Attributes = attrDir
	} else {
		s.Size = uint32(n.size)
	}
	if n.file.ReadOnly {
		s.Attributes |= attrReadOnly
	}
	if s.setTime(n.file.ModTime); n.file.ModTime.IsZero() {
		s.setTime(o.Time)
	}
	if n.parent != nil { // as a parent, the root is said to be in cluster 0
		s.setCluster(n.first)
	}
	return encode(s)
}
