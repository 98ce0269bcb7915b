package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/tree"
)

// Copy takes a path out of a view into the draft, which must be empty, by the
// rules of plan.Copy, and makes that a layer. Files are hard links to those of the
// view's layers.
func (d *Draft) Copy(ctx context.Context, v *View, from, to string) (*Layer, error) {
	src, node, err := v.find(from)
	if err != nil {
		return nil, err
	}
	c := copier{newFiller(d.FS), v}
	if node.Mode.IsDir() {
		err = c.dir(ctx, src, cleanTo(to))
	} else {
		dest := cleanTo(to)
		if strings.HasSuffix(to, "/") {
			dest = path.Join(dest, path.Base(path.Clean("/"+from))) // that of a link, not of what it leads to
		}
		err = c.file(node, dest)
	}
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("copying %s to %s: %w", from, to, err)
	}
	return d.CommitList(c.list)
}

// cleanTo is a destination relative to the root.
func cleanTo(to string) string {
	return path.Join(".", strings.TrimPrefix(path.Clean("/"+to), "/"))
}

type copier struct {
	*filler
	view *View
}

// parents makes the directories above a path.
func (c *copier) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if err := c.parents(dir); err != nil {
		return err
	}
	return c.mkdir(Entry{Path: dir, Mode: fs.ModeDir | 0o755}, plan.FileTime)
}

// dir copies what is in a directory.
func (c *copier) dir(ctx context.Context, src, dest string) error {
	if err := c.parents(dest); err != nil {
		return err
	}
	sub := c.view.tree.Sub(src)
	return sub.Walk(func(e tree.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dest, e.Path)
		if e.Path == "." {
			return c.top(dest)
		}
		if e.Hardlink != "" {
			return c.hardlink(e, name, path.Join(dest, e.Hardlink))
		}
		return c.entry(e.Node, name)
	})
}

// top makes the directory that others are copied into. As in BuildKit it is a new
// one, whatever the mode of that which they come from.
func (c *copier) top(dest string) error {
	if dest == "." {
		return nil // the root is there
	}
	return c.mkdir(Entry{Path: dest, Mode: fs.ModeDir | 0o755}, plan.FileTime)
}

func (c *copier) file(n *tree.Node, dest string) error {
	if dest == "." {
		return errors.New("a file cannot take the place of the root")
	}
	if err := c.parents(dest); err != nil {
		return err
	}
	return c.entry(n, dest)
}

func (c *copier) hardlink(e tree.Entry, name, first string) error {
	entry := c.view.from[e.Node].entry
	entry.Path, entry.Hardlink = name, first
	c.list = append(c.list, entry)
	return os.Link(c.path(first), c.path(name))
}

// entry copies one node with its owner and times.
func (c *copier) entry(n *tree.Node, name string) error {
	o, ok := c.view.from[n]
	if !ok { // a directory that no layer lists, only entries below it
		return c.mkdir(Entry{Path: name, Mode: n.Mode}, plan.FileTime)
	}
	e := o.entry
	e.Path, e.Hardlink, e.Opaque = name, "", false
	if e.Mode.IsDir() {
		info, err := os.Lstat(o.path())
		if err != nil {
			return err
		}
		return c.mkdir(e, info.ModTime())
	}
	c.list = append(c.list, e)
	err := os.Link(o.path(), c.path(name))
	if err != nil && linkRefused(err) {
		return c.duplicate(n, o, name)
	}
	return err
}

// linkRefused says whether a file can still be copied: it has the most names
// that its file system allows, or the system protects it from new ones.
func linkRefused(err error) bool {
	return errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EXDEV)
}

func (c *copier) duplicate(n *tree.Node, o origin, name string) error {
	info, err := os.Lstat(o.path())
	if err != nil {
		return err
	}
	dest := c.path(name)
	switch {
	case n.Mode.IsRegular():
		err = n.WriteFile(dest)
	case n.Mode&fs.ModeSymlink != 0:
		err = os.Symlink(n.Target, dest)
	case n.Mode&fs.ModeNamedPipe != 0:
		err = unix.Mkfifo(dest, uint32(n.Mode.Perm()))
	default:
		err = fmt.Errorf("%s is a special file (%s)", o.entry.Path, n.Mode.Type())
	}
	if err != nil {
		return err
	}
	if err := chown(dest, o.entry); err != nil {
		return err
	}
	return tree.SetTime(dest, info.ModTime())
}

// Flatten copies a whole view into a directory, for systems that cannot mount
// layers on top of each other. Nothing is shared with the layers, because
// commands may write into it.
func (v *View) Flatten(ctx context.Context, dir string) error {
	c := copier{newFiller(dir), v}
	err := v.tree.Walk(func(e tree.Entry) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case e.Path == ".":
			return nil
		case e.Hardlink != "":
			return os.Link(c.path(e.Hardlink), c.path(e.Path))
		case e.Mode.IsDir():
			return c.entry(e.Node, e.Path)
		}
		return c.duplicate(e.Node, v.from[e.Node], e.Path)
	})
	if err != nil {
		return fmt.Errorf("copying the file system: %w", err)
	}
	return c.finish()
}
