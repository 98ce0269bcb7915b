//go:build linux

package squashfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// diskListing is the listing of a directory of this machine, with all content.
func diskListing(tb testing.TB, root string) []string {
	tb.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		h, nlink, err := diskHeader(path, name)
		if err != nil {
			return err
		}
		var content []byte
		if h.Mode.IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		lines = append(lines, line(h, nlink, describe(h, content)))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// diskHeader describes the file at path.
func diskHeader(path, name string) (*Header, uint32, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, 0, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	h := &Header{
		Name:    name,
		Mode:    fi.Mode(),
		UID:     int(st.Uid),
		GID:     int(st.Gid),
		ModTime: fi.ModTime(),
		Size:    fi.Size(),
		Major:   unix.Major(uint64(st.Rdev)),
		Minor:   unix.Minor(uint64(st.Rdev)),
	}
	if h.Mode&fs.ModeSymlink != 0 {
		if h.Linkname, err = os.Readlink(path); err != nil {
			return nil, 0, err
		}
	}
	h.Xattrs, err = diskXattrs(path)
	return h, uint32(st.Nlink), err
}

func diskXattrs(path string) (map[string]string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil || n == 0 {
		return nil, err
	}
	attrs := map[string]string{}
	value := make([]byte, maxXattrValue)
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		v, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		attrs[name] = string(value[:v])
	}
	return attrs, nil
}

// makeOnDisk makes the entries below a new directory. It needs root for
// devices, owners and attributes.
func makeOnDisk(tb testing.TB, tree []entry) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("making devices and owners needs root")
	}
	root := tb.TempDir() + "/tree"
	if err := os.Mkdir(root, 0o755); err != nil {
		tb.Fatal(err)
	}
	for _, e := range tree {
		if err := makeNode(filepath.Join(root, e.Name), root, e); err != nil {
			tb.Fatal(err)
		}
	}
	// The times of directories last, as making files changes them.
	for _, e := range slices.Backward(tree) {
		if e.Hardlink != "" {
			continue
		}
		t := unix.NsecToTimespec(e.ModTime.UnixNano())
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, e.Name), []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

func makeNode(path, root string, e entry) (err error) {
	typ := map[fs.FileMode]uint32{
		fs.ModeDevice:                     unix.S_IFBLK,
		fs.ModeDevice | fs.ModeCharDevice: unix.S_IFCHR,
		fs.ModeNamedPipe:                  unix.S_IFIFO,
		fs.ModeSocket:                     unix.S_IFSOCK,
	}
	switch {
	case e.Hardlink != "":
		return os.Link(filepath.Join(root, e.Hardlink), path)
	case e.Mode.IsDir():
		err = os.MkdirAll(path, 0o755)
	case e.Mode.IsRegular():
		err = os.WriteFile(path, e.content, 0o600)
	case e.Mode&fs.ModeSymlink != 0:
		err = os.Symlink(e.Linkname, path)
	default:
		err = unix.Mknod(path, typ[e.Mode.Type()]|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	}
	if err != nil {
		return err
	}
	if err := os.Lchown(path, e.UID, e.GID); err != nil {
		return err
	}
	for name, value := range e.Xattrs {
		if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return &fs.PathError{Op: "setxattr " + name, Path: path, Err: err}
		}
	}
	if e.Mode&fs.ModeSymlink != 0 {
		return nil
	}
	return os.Chmod(path, e.Mode)
}
