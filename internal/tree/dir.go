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
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FromDir reads the tree of a directory. Its files are opened when they are
// needed, and must not change before. Only names and metadata are read here.
func FromDir(dir string) (*Tree, error) {
	r := dirReader{t: New(), links: map[inode]*Node{}, stamps: sha256.New(), now: time.Now()}
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

// freshness is how far apart two changes must be to have different times: file
// systems count in nanoseconds to two seconds.
const freshness = 3 * time.Second

// cause drops the operation and path of an *fs.PathError, where the message
// around it already has them.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

type inode struct{ dev, ino uint64 }

type dirReader struct {
	t     *Tree
	links map[inode]*Node // files with several names

	stamps hash.Hash // of all entries
	now    time.Time
	fresh  bool // something changed just now
}

// stamp adds an entry to the state of the directory.
func (r *dirReader) stamp(name string, info fs.FileInfo, n *Node) {
	id, changed := changeOf(info)
	r.fresh = r.fresh || changed.IsZero() || r.now.Sub(changed) < freshness || r.now.Sub(info.ModTime()) < freshness
	fmt.Fprintf(r.stamps, "%q %v %d %v %d %d %q %q\n", name, n.Mode, info.Size(), id, info.ModTime().UnixNano(), changed.UnixNano(), n.Target, n.Label)
}

func (r *dirReader) entry(file, name string, info fs.FileInfo) error {
	n, err := r.node(file, info)
	if err != nil {
		return err
	}
	r.stamp(name, info, n)
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

func (r *dirReader) node(file string, info fs.FileInfo) (*Node, error) {
	id, shared := inodeOf(info)
	if shared && r.links[id] != nil {
		return r.links[id], nil
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
		r.links[id] = n
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
