package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/tree"
)

// opaqueXattr marks directories of a layer that hide what is below; layers are
// mounted with overlayfs' option userxattr (Linux, Documentation/filesystems/overlayfs.rst).
const opaqueXattr = "user.overlay.opaque"

// scan lists a directory that a command filled. Contents are hashed in parallel.
func scan(ctx context.Context, dir string) ([]Entry, error) {
	t, err := tree.FromDir(dir)
	if err != nil {
		return nil, err
	}
	if ps := t.Problems(); len(ps) > 0 {
		return nil, fmt.Errorf("%s: %s", ps[0].Path, ps[0].Detail)
	}
	if err := t.Hash(ctx); err != nil {
		return nil, err
	}
	var list []Entry
	err = t.Walk(func(e tree.Entry) error {
		entry, err := entryOf(dir, e)
		list = append(list, entry)
		return err
	})
	return list, err
}

func entryOf(dir string, e tree.Entry) (Entry, error) {
	entry := Entry{Path: e.Path, Mode: e.Mode, Size: e.Size, Target: e.Target, Hardlink: e.Hardlink}
	name := filepath.Join(dir, filepath.FromSlash(e.Path))
	info, err := os.Lstat(name)
	if err != nil {
		return entry, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		entry.UID, entry.GID = int(st.Uid), int(st.Gid)
	}
	switch {
	case e.Mode.IsRegular():
		sum := e.Sum()
		entry.Sum = hex.EncodeToString(sum[:])
	case e.Mode.IsDir():
		entry.Opaque, err = opaque(name)
	case e.Mode&fs.ModeSymlink != 0:
		entry.Mode = fs.ModeSymlink | 0o777
	}
	return entry, err
}

func opaque(dir string) (bool, error) {
	var value [8]byte
	n, err := unix.Lgetxattr(dir, opaqueXattr, value[:])
	switch {
	case err == nil:
		// "x" marks a directory with whiteouts in the form of xattrs, which
		// no command's layer has.
		return string(value[:n]) == "y", nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return false, nil
	}
	return false, fmt.Errorf("reading the attributes of %s: %w", dir, err)
}

// removeAll removes a directory whatever the modes in it, as those of overlayfs'
// work directory.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			if os.Chmod(name, 0o700) != nil {
				return fs.SkipDir
			}
		}
		return nil // RemoveAll tells what could not be removed
	})
	return os.RemoveAll(dir)
}
