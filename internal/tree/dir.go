package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/filestate"
)

// FromDir reads the tree of a directory. Its files are opened when they are
// needed, and must not change before. Only names and metadata are read here.
func FromDir(dir string) (*Tree, error) {
	r := dirReader{t: New(), links: map[filestate.Inode]*Node{}, stamps: sha256.New(), now: time.Now()}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the tree %s: %w", dir, cause(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("reading the tree %s: it is not a directory", dir)
	}
	if err := r.entry(dir, "", info); err != nil {
		return nil, fmt.Errorf("reading the tree %s: %w", dir, err)
	}
	if !r.fresh {
		r.t.stamp = hex.EncodeToString(r.stamps.Sum(nil))
	}
	return r.t, nil
}

// Stamp stands for the state of a directory when its tree was read: names,
// inodes, sizes, and the times of the last change, which the kernel keeps
// and programs cannot set. The same stamp means the same contents, without reading
// them. It is "" for a tree that is of no directory, and for one with a file
// that changed so shortly before that another change could have left no trace
// (as Git treats the files of its index).
func (t *Tree) Stamp() string { return t.stamp }

// cause drops the operation and path of an *fs.PathError, where the message
// around it already has them.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

type dirReader struct {
	t     *Tree
	links map[filestate.Inode]*Node // files with several names

	stamps hash.Hash // of all entries
	line   []byte    // of one, kept for the next
	now    time.Time
	fresh  bool // something changed just now
}

// stamp adds an entry to the state of the directory.
func (r *dirReader) stamp(name string, state filestate.State, n *Node) {
	r.fresh = r.fresh || !state.Settled(r.now)
	line := state.Append(r.line[:0])
	line = strconv.AppendUint(line, uint64(n.Mode), 8)
	for _, text := range []string{name, n.Target, n.Label} {
		line = strconv.AppendQuote(append(line, ' '), text)
	}
	r.line = append(line, '\n')
	r.stamps.Write(r.line)
}

func (r *dirReader) entry(file, name string, info fs.FileInfo) error {
	state := filestate.Of(info)
	n, err := r.node(file, info, state)
	if err != nil {
		return err
	}
	r.stamp(name, state, n)
	if err := r.t.Put(name, n); err != nil {
		var pe *pathError
		if !errors.As(err, &pe) {
			return err
		}
		r.t.note(Problem{Path: name, Kind: pe.kind, Detail: pe.detail})
		return nil
	}
	if !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(file)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := r.entry(filepath.Join(file, e.Name()), name+"/"+e.Name(), info); err != nil {
			return err
		}
	}
	return nil
}

func (r *dirReader) node(file string, info fs.FileInfo, state filestate.State) (*Node, error) {
	shared := info.Mode().IsRegular() && state.Links > 1
	if shared && r.links[state.Inode] != nil {
		return r.links[state.Inode], nil
	}
	n := &Node{Mode: info.Mode()}
	var err error
	switch {
	case n.Mode.IsRegular():
		n.Size, n.Content = info.Size(), hostFile{file, info.Size()}
	case n.Mode&fs.ModeSymlink != 0:
		if n.Target, err = os.Readlink(file); err != nil {
			return nil, err
		}
		n.Mode = fs.ModeSymlink | 0o777 // macOS has modes on links, Linux has not
	}
	if n.Label, err = selinuxLabel(file); err != nil {
		return nil, err
	}
	if shared {
		r.links[state.Inode] = n
	}
	return n, nil
}

// selinuxLabel reads the label of a file, "" where there is none or where the
// system has no such attributes.
func selinuxLabel(file string) (string, error) {
	var buf [MaxLabel]byte
	n, err := unix.Lgetxattr(file, SELinuxXattr, buf[:])
	switch {
	case err == nil:
		return strings.TrimRight(string(buf[:n]), "\x00"), nil
	case errors.Is(err, noXattr), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
		return "", nil
	}
	return "", fmt.Errorf("reading the SELinux label of %s: %w", file, err)
}

// hostFile is content in a file of this machine.
type hostFile struct {
	path string
	size int64
}

// Open implements Content. A file that was replaced by something else since
// the tree was read is refused.
func (h hostFile) Open() (Reader, error) {
	f, err := os.OpenFile(h.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != h.size) {
		err = fmt.Errorf("%s: %w", h.path, ErrChanged)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
