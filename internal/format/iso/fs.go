package iso

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// A Reader is a file system of the standard library.
var (
	_ fs.ReadDirFS = (*Reader)(nil)
	_ fs.StatFS    = (*Reader)(nil)
)

// Open implements [fs.FS]. A file is an io.ReaderAt and an io.Seeker too.
// Symbolic links cannot be opened.
func (r *Reader) Open(name string) (fs.File, error) {
	e, err := r.find("open", name)
	if err != nil {
		return nil, err
	}
	switch {
	case e.mode.IsDir():
		return &openDir{entry: e}, nil
	case e.mode.IsRegular():
		return openFile{e.content.Reader(), e}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file or a directory")}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := r.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return (&openDir{entry: e}).ReadDir(-1)
}

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	e, err := r.find("stat", name)
	if err != nil {
		return nil, err
	}
	return fileInfo{e}, nil
}

func (r *Reader) find(op, name string) (*entry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	e := r.root
	for rest := name; rest != "" && rest != "."; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		i, ok := slices.BinarySearchFunc(e.children, elem, func(c *entry, s string) int { return strings.Compare(c.name, s) })
		if !ok {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		e = e.children[i]
	}
	return e, nil
}

// fileInfo makes an entry an [fs.FileInfo] and, as it needs no more, an [fs.DirEntry].
type fileInfo struct{ e *entry }

func (i fileInfo) Name() string               { return i.e.name }
func (i fileInfo) Mode() fs.FileMode          { return i.e.mode }
func (i fileInfo) Type() fs.FileMode          { return i.e.mode.Type() }
func (i fileInfo) ModTime() time.Time         { return i.e.modTime }
func (i fileInfo) IsDir() bool                { return i.e.mode.IsDir() }
func (i fileInfo) Sys() any                   { return nil }
func (i fileInfo) Info() (fs.FileInfo, error) { return i, nil }

func (i fileInfo) Size() int64 {
	if i.e.content == nil {
		return 0
	}
	return i.e.content.Size()
}

// openFile is an open regular file.
type openFile struct {
	*io.SectionReader
	entry *entry
}

func (f openFile) Stat() (fs.FileInfo, error) { return fileInfo{f.entry}, nil }
func (f openFile) Close() error               { return nil }

// openDir is an open directory.
type openDir struct {
	entry *entry
	done  int // entries that ReadDir has returned
}

func (d *openDir) Stat() (fs.FileInfo, error) { return fileInfo{d.entry}, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.entry.name, Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	left := d.entry.children[d.done:]
	if n > 0 && len(left) == 0 {
		return nil, io.EOF
	}
	if n > 0 {
		left = left[:min(n, len(left))]
	}
	d.done += len(left)
	list := make([]fs.DirEntry, len(left))
	for i, e := range left {
		list[i] = fileInfo{e}
	}
	return list, nil
}
