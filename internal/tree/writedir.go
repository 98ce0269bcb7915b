package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// WriteDir writes the files of a tree into a directory, which appears when it is
// whole. It may take the place of an earlier one that held nothing else than
// what the tree has at its root. Everything belongs to the user and has one time.
func (t *Tree) WriteDir(ctx context.Context, dir string, mtime time.Time) error {
	if err := t.mayReplace(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	w := dirWriter{root: filepath.Join(tmp, "new"), mtime: mtime}
	err = t.Walk(func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return w.write(e)
	})
	if err := errors.Join(err, w.finish()); err != nil {
		return err
	}
	return replaceDir(w.root, dir, filepath.Join(tmp, "old"))
}

// mayReplace refuses a directory in which something else would be lost.
func (t *Tree) mayReplace(dir string) error {
	there, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range there {
		if t.Get(e.Name()) == nil {
			return fmt.Errorf("the directory is not empty (%s is in it): name another one", e.Name())
		}
	}
	return err
}

// replaceDir puts one directory in the place of another.
func replaceDir(from, to, aside string) error {
	err := os.Rename(from, to)
	if err == nil || !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if err := os.Rename(to, aside); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return errors.Join(err, os.Rename(aside, to))
	}
	return nil
}

type dirWriter struct {
	root  string
	mtime time.Time
	dirs  []Entry // whose modes are set when all is in them
}

func (w *dirWriter) path(name string) string {
	return filepath.Join(w.root, filepath.FromSlash(name))
}

func (w *dirWriter) write(e Entry) error {
	name := w.path(e.Path)
	var err error
	switch {
	case e.Hardlink != "":
		return os.Link(w.path(e.Hardlink), name)
	case e.Mode.IsDir():
		w.dirs = append(w.dirs, e)
		return os.Mkdir(name, 0o700)
	case e.Mode.IsRegular():
		err = e.WriteFile(name)
	case e.Mode&fs.ModeSymlink != 0:
		err = os.Symlink(e.Target, name)
	default:
		err = fmt.Errorf("%s is a special file (%s)", e.Path, e.Mode.Type())
	}
	if err != nil {
		return err
	}
	return SetTime(name, w.mtime)
}

func (w *dirWriter) finish() error {
	for _, e := range slices.Backward(w.dirs) {
		name := w.path(e.Path)
		if err := errors.Join(os.Chmod(name, e.Mode.Perm()), SetTime(name, w.mtime)); err != nil {
			return err
		}
	}
	return nil
}

// modeBits are what chmod(2) sets.
const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// WriteFile writes the content of a regular file to a new one, with its mode.
func (n *Node) WriteFile(name string) (err error) {
	in, err := n.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Chmod(n.Mode & modeBits)
}

// SetTime sets the modification time of a file, or of a symbolic link itself.
func SetTime(name string, mtime time.Time) error {
	ts := unix.NsecToTimespec(mtime.UnixNano())
	err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "setting the time of", Path: name, Err: err}
	}
	return nil
}
