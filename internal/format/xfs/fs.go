package xfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
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
	info := fileInfo{path.Base(name), f}
	switch f.mode().Type() {
	case fs.ModeDir:
		return &openDir{r: r, fileInfo: info}, nil
	case 0:
		extents, err := r.extents(f)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("inode %d: %w", f.Number, err)}
		}
		c := &content{r: r, extents: extents, size: int64(f.Size)}
		return openFile{io.NewSectionReader(c, 0, c.size), info}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file or a directory")}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.lookup(name)
	if err == nil && !f.mode().IsDir() {
		err = errNotDir
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
	return fileInfo{path.Base(name), f}, nil
}

var errNotDir = errors.New("not a directory")

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
	return fileInfo{n.e.name, f}, nil
}

// fileInfo is an [fs.FileInfo].
type fileInfo struct {
	name string
	file *file
}

func (i fileInfo) Name() string               { return i.name }
func (i fileInfo) Size() int64                { return int64(i.file.Size) }
func (i fileInfo) Mode() fs.FileMode          { return i.file.mode() }
func (i fileInfo) ModTime() time.Time         { return i.file.modTime() }
func (i fileInfo) IsDir() bool                { return i.file.mode().IsDir() }
func (i fileInfo) Sys() any                   { return nil }
func (i fileInfo) Stat() (fs.FileInfo, error) { return i, nil }
func (i fileInfo) Close() error               { return nil }
func (i fileInfo) String() string             { return fs.FormatFileInfo(i) }

// openFile is an open regular file.
type openFile struct {
	*io.SectionReader
	info fileInfo
}

func (f openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f openFile) Close() error               { return nil }

// openDir is an open directory.
type openDir struct {
	r *Reader
	fileInfo
	entries []fs.DirEntry
	read    bool // entries holds what ReadDir has not returned yet
}

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *openDir) ReadDir(n int) (head []fs.DirEntry, err error) {
	if !d.read {
		if d.entries, err = d.r.dirEntries(d.file); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
		d.read = true
	}
	if n > 0 && len(d.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 {
		n = len(d.entries)
	}
	n = min(n, len(d.entries))
	head, d.entries = d.entries[:n:n], d.entries[n:]
	return head, nil
}
