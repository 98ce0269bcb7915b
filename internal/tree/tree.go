// Package tree is a file tree in memory whose bytes stay where they are: in a
// directory, in a tar file, in memory. It is the currency of graft from the
// moment an extension is read until it becomes a layer.
//
// A tree knows what an extension can carry and nothing else: types and
// permission bits, contents, symbolic and hard links, SELinux labels. Owners
// and times are dropped when a tree is read, because every format that graft
// writes sets them: owner 0:0 and one time for all. Order is decided in Walk
// alone. So reproducibility lives in one place.
//
// Reading is lenient and keeps notes: an entry that a tree cannot hold (a path
// that climbs out of it, a name too long) is left out and listed in Problems,
// for a checker to report all of them at once.
package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Limits of a tree. Real extensions have a few thousand entries at most.
const (
	MaxEntries  = 1 << 20 // files, directories and links in one tree
	MaxPath     = 4095    // bytes of a path, Linux' PATH_MAX without the NUL
	MaxName     = 255     // bytes of a path element, Linux' NAME_MAX
	MaxDepth    = 256     // directories below each other
	MaxTarget   = 4095    // bytes of a symlink's target
	MaxLabel    = 4096    // bytes of an SELinux label
	maxProblems = 1000    // notes kept of one tree; the rest is counted only
)

// SELinuxXattr is the extended attribute that a tree keeps; all others are
// dropped, as Talos' imager drops them.
const SELinuxXattr = "security.selinux"

// Content is where the bytes of a regular file are.
type Content interface {
	// Open starts reading at the first byte. It may be called several times
	// and from several goroutines.
	Open() (Reader, error)
}

// Reader is content, open for reading.
type Reader interface {
	io.ReadCloser
	io.ReaderAt
}

// Node is one inode: a file that may have several names, a directory, a link.
type Node struct {
	// Mode has the type, the permission bits, and set-uid, set-gid and sticky.
	Mode fs.FileMode
	// Size in bytes of a regular file's content.
	Size int64
	// Content of a regular file; nil if Size is 0.
	Content Content
	// Target of a symbolic link, as it is stored.
	Target string
	// Label is the SELinux label without its final NUL, "" if there is none.
	Label string

	sum      *[32]byte        // SHA-256 of the content, see Tree.Hash
	children map[string]*Node // of a directory
}

// Open reads the content of a regular file.
func (n *Node) Open() (Reader, error) {
	if n.Content == nil {
		return Bytes(nil).Open()
	}
	return n.Content.Open()
}

// Problem is something that was met while a tree was read and that it cannot
// hold.
type Problem struct {
	Path   string // as it was written in the source
	Kind   ProblemKind
	Detail string
}

// ProblemKind is what a Problem is about.
type ProblemKind string

// The kinds of problems.
const (
	Traversal   ProblemKind = "traversal"    // the path leads out of the tree
	BelowLink   ProblemKind = "below-link"   // the path leads through a symlink or a file
	BadName     ProblemKind = "bad-name"     // too long, too deep, not a file name
	BadLink     ProblemKind = "bad-link"     // a hard link to nothing or to a directory
	DroppedAttr ProblemKind = "dropped-attr" // an extended attribute that is not kept
	SparseFile  ProblemKind = "sparse"       // a tar's sparse file, which images do not have
)

// Tree is a file tree. The zero value is not ready: use New or a reader.
type Tree struct {
	root     *Node
	count    int
	problems []Problem
	dropped  int // problems beyond maxProblems
	stamp    string
}

// New returns a tree with an empty root directory of mode 0755.
func New() *Tree {
	return &Tree{root: newDir(0o755)}
}

func newDir(perm fs.FileMode) *Node {
	return &Node{Mode: fs.ModeDir | perm, children: map[string]*Node{}}
}

// Problems lists what the tree could not hold, in the order it was met.
func (t *Tree) Problems() []Problem {
	if t.dropped == 0 {
		return t.problems
	}
	more := Problem{Kind: BadName, Path: "…", Detail: fmt.Sprintf("and %d more problems", t.dropped)}
	return append(slices.Clone(t.problems), more)
}

func (t *Tree) note(p Problem) {
	if len(t.problems) >= maxProblems {
		t.dropped++
		return
	}
	t.problems = append(t.problems, p)
}

// Len is the number of entries below the root.
func (t *Tree) Len() int { return t.count }

// ErrTooLarge says that a tree has more entries than MaxEntries.
var ErrTooLarge = fmt.Errorf("more than %d files in one tree", MaxEntries)

// pathError is a path that a tree cannot hold, with the kind of problem.
type pathError struct {
	kind   ProblemKind
	detail string
}

func (e *pathError) Error() string { return e.detail }

// clean makes a path of any source relative to the root: "./a/b", "/a/b" and
// "a/b/" are "a/b". The root itself is "".
func clean(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", &pathError{BadName, "the path has a NUL byte"}
	}
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, p := range parts {
		switch {
		case p == "" || p == ".":
		case p == "..":
			return "", &pathError{Traversal, "the path climbs with \"..\""}
		case len(p) > MaxName:
			return "", &pathError{BadName, fmt.Sprintf("a name of %d bytes, %d are allowed", len(p), MaxName)}
		default:
			kept = append(kept, p)
		}
	}
	clean := strings.Join(kept, "/")
	if len(clean) > MaxPath {
		return "", &pathError{BadName, fmt.Sprintf("a path of %d bytes, %d are allowed", len(clean), MaxPath)}
	}
	if len(kept) > MaxDepth {
		return "", &pathError{BadName, fmt.Sprintf("a path %d directories deep, %d are allowed", len(kept), MaxDepth)}
	}
	return clean, nil
}

// Put places a node at a path, with directories of mode 0755 above it where
// there are none. What was there is replaced; a directory put on a directory
// keeps its children and takes the new mode and label.
func (t *Tree) Put(name string, n *Node) error {
	p, err := clean(name)
	if err != nil {
		return fmt.Errorf("placing %q in the tree: %w", name, err)
	}
	if n.Mode.IsDir() && n.children == nil {
		n.children = map[string]*Node{}
	}
	if p == "" {
		return t.putRoot(name, n)
	}
	dir, err := t.makeDirs(path.Dir(p))
	if err != nil {
		return fmt.Errorf("placing %q in the tree: %w", name, err)
	}
	base := path.Base(p)
	old := dir.children[base]
	if old != nil && old.Mode.IsDir() && n.Mode.IsDir() {
		old.Mode, old.Label = n.Mode, n.Label
		return nil
	}
	if old == nil {
		if err := t.grow(1); err != nil {
			return err
		}
	} else {
		t.count -= old.descendants()
	}
	dir.children[base] = n
	t.count += n.descendants()
	return nil
}

func (t *Tree) putRoot(name string, n *Node) error {
	if !n.Mode.IsDir() {
		return fmt.Errorf("placing %q in the tree: %w", name, &pathError{BadName, "the root is a directory"})
	}
	t.root.Mode, t.root.Label = n.Mode, n.Label
	return nil
}

func (t *Tree) grow(n int) error {
	if t.count+n > MaxEntries {
		return ErrTooLarge
	}
	t.count += n
	return nil
}

// makeDirs returns the directory at p, which is clean, and makes what is missing.
func (t *Tree) makeDirs(p string) (*Node, error) {
	at := t.root
	if p == "." {
		return at, nil
	}
	for name := range strings.SplitSeq(p, "/") {
		next := at.children[name]
		if next == nil {
			if err := t.grow(1); err != nil {
				return nil, err
			}
			next = newDir(0o755)
			at.children[name] = next
		}
		if !next.Mode.IsDir() {
			return nil, &pathError{BelowLink, fmt.Sprintf("%q above it is %s, not a directory", name, kindOf(next.Mode))}
		}
		at = next
	}
	return at, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symlink"
	case m.IsRegular():
		return "a file"
	default:
		return "a special file"
	}
}

func (n *Node) descendants() int {
	count := 0
	for _, c := range n.children {
		count += 1 + c.descendants()
	}
	return count
}

// Remove takes the entry at a path, and all below it, out of the tree. It is
// no error if there is none.
func (t *Tree) Remove(name string) {
	p, err := clean(name)
	if err != nil || p == "" {
		return
	}
	dir := t.lookup(path.Dir(p))
	if dir == nil {
		return
	}
	if old := dir.children[path.Base(p)]; old != nil {
		t.count -= 1 + old.descendants()
		delete(dir.children, path.Base(p))
	}
}

// Get returns the node at a path, or nil. Symlinks are not followed.
func (t *Tree) Get(name string) *Node {
	p, err := clean(name)
	if err != nil {
		return nil
	}
	if p == "" {
		return t.root
	}
	return t.lookup(p)
}

func (t *Tree) lookup(p string) *Node {
	at := t.root
	if p == "." {
		return at
	}
	for name := range strings.SplitSeq(p, "/") {
		if at = at.children[name]; at == nil {
			return nil
		}
	}
	return at
}

// Sub returns the tree below a directory; it shares the nodes with t. It is
// nil if there is no directory at that path.
func (t *Tree) Sub(name string) *Tree {
	n := t.Get(name)
	if n == nil || !n.Mode.IsDir() {
		return nil
	}
	return &Tree{root: n, count: n.descendants()}
}

// Names lists the entries of a directory in order; nil if there is none.
func (t *Tree) Names(name string) []string {
	n := t.Get(name)
	if n == nil {
		return nil
	}
	return n.names()
}

func (n *Node) names() []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadFile returns the content of the regular file at a path, if it has at
// most limit bytes. A path that is not there gives fs.ErrNotExist.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	n := t.Get(name)
	switch {
	case n == nil:
		return nil, fmt.Errorf("reading %s: %w", name, fs.ErrNotExist)
	case !n.Mode.IsRegular():
		return nil, fmt.Errorf("reading %s: it is %s, not a file", name, kindOf(n.Mode))
	case n.Size > limit:
		return nil, fmt.Errorf("reading %s: %d bytes, more than the %d that are allowed", name, n.Size, limit)
	}
	r, err := n.Open()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, n.Size+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(data)) != n.Size {
		return nil, fmt.Errorf("reading %s: %w", name, ErrChanged)
	}
	return data, nil
}

// ErrChanged says that a file has another size than when its tree was read.
var ErrChanged = errors.New("the file changed while it was read")

// Bytes is content in memory.
type Bytes []byte

// Open implements Content.
func (b Bytes) Open() (Reader, error) { return nothingToClose{bytes.NewReader(b)}, nil }

type readerAt interface {
	io.Reader
	io.ReaderAt
}

type nothingToClose struct{ readerAt }

func (nothingToClose) Close() error { return nil }

// File makes the node of a regular file from bytes in memory.
func File(perm fs.FileMode, data []byte) *Node {
	return &Node{Mode: perm.Perm(), Size: int64(len(data)), Content: Bytes(data)}
}

// Stored makes the node of a regular file whose content has been read before:
// sum is its SHA-256, which Hash does not make again.
func Stored(mode fs.FileMode, size int64, sum [32]byte, c Content) *Node {
	return &Node{Mode: mode, Size: size, Content: c, sum: &sum}
}

// Dir makes the node of an empty directory.
func Dir(perm fs.FileMode) *Node { return newDir(perm.Perm()) }

// Symlink makes the node of a symbolic link.
func Symlink(target string) *Node {
	return &Node{Mode: fs.ModeSymlink | 0o777, Target: target}
}
