package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/tree"
)

// filler writes a layer and its listing at the same time.
// Entries come in the order of tree.Walk.
type filler struct {
	dir  string
	list []Entry
	dirs []dirAttributes // set when all that is in them is written
}

type dirAttributes struct {
	name string
	mode fs.FileMode
	time time.Time
}

func newFiller(dir string) *filler {
	return &filler{dir: dir, list: []Entry{{Path: ".", Mode: fs.ModeDir | 0o755}}}
}

func (f *filler) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Fill writes a tree into the draft and makes it a layer. Everything belongs
// to root and has one time.
func (d *Draft) Fill(ctx context.Context, t *tree.Tree, mtime time.Time) (*Layer, error) {
	if ps := t.Problems(); len(ps) > 0 {
		return nil, fmt.Errorf("%s: %s", ps[0].Path, ps[0].Detail)
	}
	if err := t.Hash(ctx); err != nil {
		return nil, err
	}
	f := newFiller(d.FS)
	err := t.Walk(func(e tree.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return f.write(e, mtime)
	})
	if err == nil {
		err = f.finish()
	}
	if err != nil {
		return nil, err
	}
	return d.CommitList(f.list)
}

func (f *filler) write(e tree.Entry, mtime time.Time) error {
	if e.Path == "." {
		return nil
	}
	entry := Entry{Path: e.Path, Mode: e.Mode, Size: e.Size, Target: e.Target, Hardlink: e.Hardlink}
	name := f.path(e.Path)
	if e.Mode.IsRegular() {
		sum := e.Sum()
		entry.Sum = hex.EncodeToString(sum[:])
	}
	var err error
	switch {
	case e.Hardlink != "":
		err = os.Link(f.path(e.Hardlink), name)
	case e.Mode.IsDir():
		return f.mkdir(entry, mtime)
	case e.Mode.IsRegular():
		err = e.WriteFile(name)
	case e.Mode&fs.ModeSymlink != 0:
		entry.Mode = fs.ModeSymlink | 0o777
		err = os.Symlink(e.Target, name)
	case e.Mode&fs.ModeNamedPipe != 0:
		err = errors.Join(unix.Mkfifo(name, 0o600), os.Chmod(name, e.Mode&modeBits))
	default:
		err = fmt.Errorf("%s is a special file (%s)", e.Path, e.Mode.Type())
	}
	f.list = append(f.list, entry)
	if err != nil || e.Hardlink != "" {
		return err
	}
	return tree.SetTime(name, mtime)
}

func (f *filler) mkdir(e Entry, mtime time.Time) error {
	name := f.path(e.Path)
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	f.list = append(f.list, e)
	f.dirs = append(f.dirs, dirAttributes{name, e.Mode, mtime})
	return chown(name, e)
}

// chown gives a file the owner that a command gave to its original. What
// belongs to root is made by root, or by the one user who stands for root.
func chown(name string, e Entry) error {
	if e.UID == 0 && e.GID == 0 {
		return nil
	}
	return os.Lchown(name, e.UID, e.GID)
}

// finish gives directories their modes and times, the deepest first.
func (f *filler) finish() error {
	for _, d := range slices.Backward(f.dirs) {
		if err := os.Chmod(d.name, d.mode&modeBits); err != nil {
			return err
		}
		if err := tree.SetTime(d.name, d.time); err != nil {
			return err
		}
	}
	return nil
}
