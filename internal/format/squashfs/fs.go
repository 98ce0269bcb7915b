package squashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/format/readfs"
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
		return readfs.Dir(f.info(), f.list), nil
	case typeFile:
		rc, err := f.Open()
		return openFile{rc, f}, err
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: readfs.ErrNotFile}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.follow("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.list()
}

// Stat implements [fs.StatFS]. It follows symbolic links.
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	f, err := r.follow("stat", name)
	if err != nil {
		return nil, err
	}
	return f.info(), nil
}

// Lstat implements [fs.ReadLinkFS]: like Stat, but it does not follow a
// symbolic link at the end of the path.
func (r *Reader) Lstat(name string) (fs.FileInfo, error) {
	f, err := r.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return f.info(), nil
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

// openFile is an open regular file.
type openFile struct {
	io.ReadCloser
	file *File
}

func (f openFile) Stat() (fs.FileInfo, error) { return f.file.info(), nil }

func (f *File) info() readfs.Info {
	return readfs.Header{Name: path.Base(f.Name), Size: f.Size, Mode: f.Mode, ModTime: f.ModTime, Sys: &f.Header}.Info()
}

// list returns what is in a directory.
func (f *File) list() (all []fs.DirEntry, err error) {
	for e, err := range f.r.entries(f) {
		if err != nil {
			return nil, err
		}
		child, err := f.r.child(f, e)
		if err != nil {
			return nil, fmt.Errorf("reading directory %q: %w", f.Name, err)
		}
		all = append(all, child.info())
	}
	return all, nil
}
