package xfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/format/readfs"
)

var (
	_ fs.ReadDirFS = (*Reader)(nil)
	_ fs.StatFS    = (*Reader)(nil)
)

// Open implements [fs.FS]. A regular file is an [io.ReaderAt] and an [io.Seeker]
// too.
func (r *Reader) Open(name string) (fs.File, error) {
	f, err := r.lookup(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	info := f.info(path.Base(name))
	switch f.mode().Type() {
	case fs.ModeDir:
		return readfs.Dir(info, func() ([]fs.DirEntry, error) { return r.dirEntries(f) }), nil
	case 0:
		extents, err := r.extents(f)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("inode %d: %w", f.Number, err)}
		}
		c := &content{r: r, extents: extents, size: int64(f.Size)}
		return readfs.File(info, io.NewSectionReader(c, 0, c.size)), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: readfs.ErrNotFile}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.lookup(name)
	if err == nil && !f.mode().IsDir() {
		err = readfs.ErrNotDir
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = r.dirEntries(f)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, nil
}

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	f, err := r.lookup(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return f.info(path.Base(name)), nil
}

// lookup finds a file by path.
func (r *Reader) lookup(name string) (*file, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	f, err := r.inode(r.sb.RootInode)
	for rest := name; err == nil && rest != "" && rest != "."; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		f, err = r.child(f, elem)
	}
	return f, err
}

// child finds a name in a directory.
func (r *Reader) child(dir *file, name string) (*file, error) {
	if !dir.mode().IsDir() {
		return nil, fs.ErrNotExist
	}
	l, err := r.list(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range l.entries {
		if e.name == name {
			return r.entry(dir, e)
		}
	}
	return nil, fs.ErrNotExist
}

// entry reads the inode of an entry, and whether both agree.
func (r *Reader) entry(dir *file, e dirEntry) (*file, error) {
	f, err := r.inode(e.ino)
	if err != nil {
		return nil, err
	}
	if f.mode().Type() != entryTypes[e.typ] {
		return nil, fmt.Errorf("inode %d is of another type than its entry", e.ino)
	}
	if !f.mode().IsDir() {
		return f, nil
	}
	l, err := r.list(f)
	if err == nil && l.parent != dir.Number {
		err = fmt.Errorf("inode %d is in directory %d, but says %d", e.ino, dir.Number, l.parent)
	}
	f.listing = l
	return f, err
}

func (r *Reader) dirEntries(dir *file) ([]fs.DirEntry, error) {
	l, err := r.list(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, len(l.entries))
	for i, e := range l.entries {
		entries[i] = nameEntry{r, dir, e}
	}
	return entries, nil
}

// nameEntry is an entry whose inode is read when it is asked for.
type nameEntry struct {
	r   *Reader
	dir *file
	e   dirEntry
}

func (n nameEntry) Name() string      { return n.e.name }
func (n nameEntry) IsDir() bool       { return n.e.typ == entryDirectory }
func (n nameEntry) Type() fs.FileMode { return entryTypes[n.e.typ] }
func (n nameEntry) String() string    { return fs.FormatDirEntry(n) }

func (n nameEntry) Info() (fs.FileInfo, error) {
	f, err := n.r.entry(n.dir, n.e)
	if err != nil {
		return nil, err
	}
	return f.info(n.e.name), nil
}

func (f *file) info(name string) readfs.Info {
	return readfs.Header{Name: name, Size: int64(f.Size), Mode: f.mode(), ModTime: f.modTime()}.Info()
}
