package fat

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"
)

// A Reader is a file system of the standard library.
var (
	_ fs.ReadDirFS = (*Reader)(nil)
	_ fs.StatFS    = (*Reader)(nil)
)

// Open implements [fs.FS]. Like on every FAT file system, case does not matter.
// Files are io.ReaderAt and io.Seeker, too.
func (r *Reader) Open(name string) (fs.File, error) {
	f, err := r.find("open", name)
	if err != nil {
		return nil, err
	}
	if f.mode.IsDir() {
		return &openDir{file: f, rest: f.children}, nil
	}
	return openFile{f.content.Reader(), f}, nil
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !f.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return entries(f.children), nil
}

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	f, err := r.find("stat", name)
	if err != nil {
		return nil, err
	}
	return fileInfo{f}, nil
}

func (r *Reader) find(op, name string) (*file, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	f := r.root
	for rest := name; rest != "." && rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		if f = f.byName[fold(elem)]; f == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return f, nil
}

// fileInfo makes a file an [fs.FileInfo] and an [fs.DirEntry].
type fileInfo struct{ f *file }

func (i fileInfo) Name() string               { return i.f.name }
func (i fileInfo) Size() int64                { return i.f.size }
func (i fileInfo) Mode() fs.FileMode          { return i.f.mode }
func (i fileInfo) Type() fs.FileMode          { return i.f.mode.Type() }
func (i fileInfo) ModTime() time.Time         { return i.f.modTime }
func (i fileInfo) IsDir() bool                { return i.f.mode.IsDir() }
func (i fileInfo) Sys() any                   { return nil }
func (i fileInfo) Info() (fs.FileInfo, error) { return i, nil }

func entries(files []*file) []fs.DirEntry {
	list := make([]fs.DirEntry, len(files))
	for i, f := range files {
		list[i] = fileInfo{f}
	}
	return list
}

// openFile is an open regular file.
type openFile struct {
	*io.SectionReader
	file *file
}

func (f openFile) Stat() (fs.FileInfo, error) { return fileInfo{f.file}, nil }
func (f openFile) Close() error               { return nil }

// openDir is an open directory.
type openDir struct {
	file *file
	rest []*file // what ReadDir has not returned yet
}

func (d *openDir) Stat() (fs.FileInfo, error) { return fileInfo{d.file}, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.file.name, Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 {
		n = len(d.rest)
	}
	n = min(n, len(d.rest))
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return entries(head), nil
}
