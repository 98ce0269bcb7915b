package iso

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/readfs"
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
		return readfs.Dir(e.info(), e.entries), nil
	case e.mode.IsRegular():
		return readfs.File(e.info(), e.content.Reader()), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: readfs.ErrNotFile}
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := r.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: readfs.ErrNotDir}
	}
	return e.entries()
}

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	e, err := r.find("stat", name)
	if err != nil {
		return nil, err
	}
	return e.info(), nil
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

func (e *entry) info() readfs.Info {
	h := readfs.Header{Name: e.name, Mode: e.mode, ModTime: e.modTime}
	if e.content != nil {
		h.Size = e.content.Size()
	}
	return h.Info()
}

func (e *entry) entries() ([]fs.DirEntry, error) {
	list := make([]fs.DirEntry, len(e.children))
	for i, c := range e.children {
		list[i] = c.info()
	}
	return list, nil
}
