package squashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// A Reader is a file system of the standard library, with symbolic links.
var (
	_ fs.ReadDirFS  = (*Reader)(nil)
	_ fs.StatFS     = (*Reader)(nil)
	_ fs.ReadLinkFS = (*Reader)(nil)
)

// Open implements [fs.FS]. Symbolic links are followed inside of the image: a
// target that begins with a slash begins at its root, and ".." ends there.
func (r *Reader) Open(name string) (fs.File, error) {
	f, err := r.follow("open", name)
	if err != nil {
		return nil, err
	}
	switch f.typ {
	case typeDir:
		return &openDir{file: f}, nil
	case typeFile:
		rc, err := f.Open()
		return openFile{rc, f}, err
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file or a directory")}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.follow("readdir", name)
	if err != nil {
		return nil, err
	}
	d := &openDir{file: f}
	return d.ReadDir(-1)
}

// Stat implements [fs.StatFS]. It follows symbolic links.
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	f, err := r.follow("stat", name)
	if err != nil {
		return nil, err
	}
	return fileInfo{f}, nil
}

// Lstat implements [fs.ReadLinkFS]: like Stat, but it does not follow a
// symbolic link at the end of the path.
func (r *Reader) Lstat(name string) (fs.FileInfo, error) {
	f, err := r.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return fileInfo{f}, nil
}

// ReadLink implements [fs.ReadLinkFS].
func (r *Reader) ReadLink(name string) (string, error) {
	f, err := r.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	if f.typ != typeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return f.Linkname, nil
}

func (r *Reader) follow(op, name string) (*File, error) { return r.resolve(op, name, true) }

func (r *Reader) resolve(op, name string, last bool) (*File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	f, err := r.walkPath(name, last)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return f, nil
}

// maxLinks is the number of symbolic links in one path that Linux follows.
const maxLinks = 40

// walkPath finds a file by path. Symbolic links on the way are followed, and
// one at the end if last is set.
func (r *Reader) walkPath(name string, last bool) (*File, error) {
	f, links := r.root, 0
	for rest := name; rest != "" && rest != "."; {
		elem, tail, _ := strings.Cut(rest, "/")
		child, err := r.findChild(f, elem)
		if err != nil {
			return nil, err
		}
		if child.typ != typeSymlink || tail == "" && !last {
			f, rest = child, tail
			continue
		}
		if links++; links > maxLinks {
			return nil, errors.New("too many symbolic links")
		}
		// A cleaned absolute path cannot leave the root.
		target := child.Linkname
		if !path.IsAbs(target) {
			target = path.Join("/", f.Name, target)
		}
		f, rest = r.root, path.Join("/", target, tail)[1:]
	}
	return f, nil
}

// fileInfo makes a File an [fs.FileInfo] and, as it needs no more, an [fs.DirEntry].
type fileInfo struct{ f *File }

func (i fileInfo) Name() string               { return path.Base(i.f.Name) }
func (i fileInfo) Size() int64                { return i.f.Size }
func (i fileInfo) Mode() fs.FileMode          { return i.f.Mode }
func (i fileInfo) Type() fs.FileMode          { return i.f.Mode.Type() }
func (i fileInfo) ModTime() time.Time         { return i.f.ModTime }
func (i fileInfo) IsDir() bool                { return i.f.Mode.IsDir() }
func (i fileInfo) Sys() any                   { return &i.f.Header }
func (i fileInfo) Info() (fs.FileInfo, error) { return i, nil }

// openFile is an open regular file.
type openFile struct {
	io.ReadCloser
	file *File
}

func (f openFile) Stat() (fs.FileInfo, error) { return fileInfo{f.file}, nil }

// openDir is an open directory.
type openDir struct {
	file    *File
	entries []fs.DirEntry
	read    bool // entries holds what ReadDir has not returned yet
}

func (d *openDir) Stat() (fs.FileInfo, error) { return fileInfo{d.file}, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.file.Name, Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		if err := d.readAll(); err != nil {
			return nil, err
		}
	}
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	head := d.entries[:n:n]
	d.entries = d.entries[n:]
	return head, nil
}

func (d *openDir) readAll() error {
	r := d.file.r
	for e, err := range r.entries(d.file) {
		if err != nil {
			return err
		}
		f, err := r.child(d.file, e)
		if err != nil {
			return fmt.Errorf("reading directory %q: %w", d.file.Name, err)
		}
		d.entries = append(d.entries, fileInfo{f})
	}
	d.read = true
	return nil
}
