package fat

import (
	"io/fs"
	"strings"

	"github.com/graftlinux/graft/internal/format/readfs"
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
		return readfs.Dir(f.info(), f.entries), nil
	}
	return readfs.File(f.info(), f.content.Reader()), nil
}

// ReadDir implements [fs.ReadDirFS].
func (r *Reader) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := r.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !f.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: readfs.ErrNotDir}
	}
	return f.entries()
}

// Stat implements [fs.StatFS].
func (r *Reader) Stat(name string) (fs.FileInfo, error) {
	f, err := r.find("stat", name)
	if err != nil {
		return nil, err
	}
	return f.info(), nil
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

func (f *file) info() readfs.Info {
	return readfs.Header{Name: f.name, Size: f.size, Mode: f.mode, ModTime: f.modTime}.Info()
}

func (f *file) entries() ([]fs.DirEntry, error) {
	list := make([]fs.DirEntry, len(f.children))
	for i, c := range f.children {
		list[i] = c.info()
	}
	return list, nil
}
