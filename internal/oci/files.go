package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/graftlinux/graft/internal/tree"
)

// fileBlob is a blob in a file: it can be read at any place.
type fileBlob struct {
	*io.SectionReader
	io.Closer
}

// magic looks at the first bytes without moving on.
func (f *fileBlob) magic() magic {
	return magicOf(bufio.NewReaderSize(io.NewSectionReader(f, 0, f.Size()), 16))
}

// files are the files of a layout, in a directory or in a tarball.
type files interface {
	open(name string) (*fileBlob, error)
}

// dirFiles are the files below a directory. Symlinks are followed: a layout
// may share its blobs with another.
type dirFiles string

func (d dirFiles) open(name string) (*fileBlob, error) {
	f, err := openRegular(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, cause(err))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileBlob{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

// openRegular opens a file, and does not wait for a pipe's other end.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var errNotRegular = errors.New("it is not a regular file")

// tarFiles are the files in a tarball. Old versions of docker save have
// symlinks in place of layers that are there twice.
type tarFiles struct{ t *tree.Tree }

func (f tarFiles) open(name string) (*fileBlob, error) {
	_, n, err := f.t.Resolve(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, notInTarball(err))
	}
	if !n.Mode.IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	r, err := n.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	at, ok := r.(io.ReaderAt)
	if !ok { // an empty file
		return &fileBlob{io.NewSectionReader(strings.NewReader(""), 0, 0), r}, nil
	}
	return &fileBlob{io.NewSectionReader(at, 0, n.Size), r}, nil
}

func notInTarball(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNotInTarball
	}
	return err
}

var errNotInTarball = errors.New("it is not in the tarball")

// has says whether the tarball has a regular file of this name.
func (f tarFiles) has(name string) bool {
	n := f.t.Get(name)
	return n != nil && n.Mode.IsRegular()
}
