// Package readfs has what readers of file systems need to be an [fs.FS], beyond
// finding a file by its path: what is said of a file, and files and directories
// that are open.
package readfs

import (
	"errors"
	"io"
	"io/fs"
	"time"
)

// Reasons why a file is not listed, and why it is not opened.
var (
	ErrNotDir  = errors.New("not a directory")
	ErrNotFile = errors.New("not a regular file or a directory")
)

// Header is what a file system says of a file.
type Header struct {
	Name    string // the last element of its path
	Size    int64  // bytes
	Mode    fs.FileMode
	ModTime time.Time
	Sys     any // what else the format knows; may be nil
}

// Info is the header as an [fs.FileInfo].
func (h Header) Info() Info { return Info{h} }

// Info is an [fs.FileInfo] and, as it needs no more, an [fs.DirEntry].
type Info struct{ h Header }

func (i Info) Name() string               { return i.h.Name }
func (i Info) Size() int64                { return i.h.Size }
func (i Info) Mode() fs.FileMode          { return i.h.Mode }
func (i Info) Type() fs.FileMode          { return i.h.Mode.Type() }
func (i Info) ModTime() time.Time         { return i.h.ModTime }
func (i Info) IsDir() bool                { return i.h.Mode.IsDir() }
func (i Info) Sys() any                   { return i.h.Sys }
func (i Info) Info() (fs.FileInfo, error) { return i, nil }
func (i Info) String() string             { return fs.FormatFileInfo(i) }

// File is an open regular file. It is an [io.ReaderAt] and an [io.Seeker], too.
func File(info Info, content *io.SectionReader) fs.File { return openFile{content, info} }

type openFile struct {
	*io.SectionReader
	info Info
}

func (f openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f openFile) Close() error               { return nil }

// Dir is an open directory. What is in it is listed when it is asked for.
func Dir(info Info, list func() ([]fs.DirEntry, error)) fs.ReadDirFile {
	return &openDir{info: info, list: list}
}

type openDir struct {
	info Info
	list func() ([]fs.DirEntry, error) // nil once left has what it returned
	left []fs.DirEntry                 // what ReadDir has not returned yet
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: errors.New("is a directory")}
}

// ReadDir implements [fs.ReadDirFile].
func (d *openDir) ReadDir(n int) (head []fs.DirEntry, err error) {
	if d.list != nil {
		if d.left, err = d.list(); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.info.Name(), Err: err}
		}
		d.list = nil
	}
	switch {
	case n <= 0:
		n = len(d.left)
	case len(d.left) == 0:
		return nil, io.EOF
	}
	n = min(n, len(d.left))
	head, d.left = d.left[:n:n], d.left[n:]
	return head, nil
}
