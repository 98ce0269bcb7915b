package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// An inode is an entry of the tree that the Writer collects. Hard links are
// several names in directories that lead to one inode.
type inode struct {
	typ      uint16 // basic type
	perm     uint16
	uid, gid uint16 // indices into the id table
	mtime    uint32
	xattr    uint32 // index into the xattr table, or noXattr
	nlink    uint32

	children map[string]*inode // directory
	added    bool              // root directory: Add was called for it
	data     *fileData         // regular file
	size     int64             // regular file
	target   string            // symbolic link
	dev      uint32            // device

	// Set by encodeTree.
	number uint32 // from 1
	ref    inodeRef
	parent *inode // directory; nil for the root
}

func newDir(perm uint16, mtime uint32) *inode {
	return &inode{typ: typeDir, perm: perm, mtime: mtime, xattr: noXattr, nlink: 2, children: map[string]*inode{}}
}

// lookup finds an inode by clean name below directory n.
func (n *inode) lookup(name string) (*inode, error) {
	if name == "." {
		return n, nil
	}
	walked := 0
	for elem := range strings.SplitSeq(name, "/") {
		child := n.children[elem]
		walked += len(elem)
		if child == nil {
			return nil, fmt.Errorf("%q has not been added", name[:walked])
		}
		n, walked = child, walked+1
	}
	return n, nil
}

func (n *inode) lookupDir(name string) (*inode, error) {
	d, err := n.lookup(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parent directory: %w", err)
	case d.typ != typeDir:
		return nil, fmt.Errorf("parent %q is not a directory", name)
	}
	return d, nil
}

// A tree is the encoded form of all inodes and directories.
type tree struct {
	inodes, dirs []byte
	export       []inodeRef // by inode number - 1
	root         inodeRef
}

// encodeTree lays out all inodes below root, each directory after what is in it.
func encodeTree(root *inode, comp compressor) (*tree, error) {
	order := number(root)
	if len(order) > math.MaxUint32-1 {
		return nil, errors.New("too many inodes")
	}
	e := &treeEncoder{
		inodes: metadataWriter{comp: comp},
		dirs:   metadataWriter{comp: comp},
	}
	export := make([]inodeRef, len(order))
	for i, n := range order {
		n.ref = e.inodes.pos()
		export[i] = n.ref
		if err := e.encode(n); err != nil {
			return nil, err
		}
	}
	t := &tree{export: export, root: root.ref}
	var err error
	if t.inodes, err = e.inodes.finish(); err != nil {
		return nil, err
	}
	t.dirs, err = e.dirs.finish()
	return t, err
}

// number gives every inode its number, from 1, and returns the inodes in that
// order. The inodes of one directory follow each other, which keeps its listing
// short and makes reading all of them cheap; the root comes last.
func number(root *inode) []*inode {
	var order []*inode
	add := func(n *inode) {
		if n.number == 0 { // not a hard link to one that has its number
			order = append(order, n)
			n.number = uint32(len(order))
		}
	}
	var below func(*inode)
	below = func(dir *inode) {
		names := dir.names()
		for _, name := range names {
			if child := dir.children[name]; child.typ == typeDir {
				child.parent = dir
				below(child)
			}
		}
		for _, name := range names {
			add(dir.children[name])
		}
	}
	below(root)
	add(root)
	return order
}

// names returns the names in a directory in the order of the format: by bytes.
func (n *inode) names() []string {
	return slices.Sorted(maps.Keys(n.children))
}

func encodeExport(refs []inodeRef) []byte {
	b := make([]byte, 0, len(refs)*exportEntrySize)
	for _, ref := range refs {
		b = binary.LittleEndian.AppendUint64(b, uint64(ref))
	}
	return b
}

// An idTable holds the user and group ids of an image; inodes have indices.
type idTable struct {
	ids   []uint32
	index map[uint32]uint16
}

func (t *idTable) add(id int) (uint16, error) {
	if id < 0 || int64(id) > math.MaxUint32 {
		return 0, fmt.Errorf("owner id %d is outside of 0 to 2^32-1", id)
	}
	if i, ok := t.index[uint32(id)]; ok {
		return i, nil
	}
	if len(t.ids) == math.MaxUint16 {
		return 0, errors.New("more than 65535 different owner ids")
	}
	if t.index == nil {
		t.index = map[uint32]uint16{}
	}
	i := uint16(len(t.ids))
	t.ids = append(t.ids, uint32(id))
	t.index[uint32(id)] = i
	return i, nil
}

func (t *idTable) encode() []byte {
	var b []byte
	for _, id := range t.ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}
