package oci

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/graftlinux/graft/internal/tree"
)

// paxLabel is the PAX record of an SELinux label, as GNU tar and container
// engines have it.
const paxLabel = "SCHILY.xattr." + tree.SELinuxXattr

// writeTar writes a tree as the tar of a layer. The format is USTAR, with a
// PAX header only for what USTAR cannot say.
func writeTar(w io.Writer, t *tree.Tree, mtime time.Time) error {
	bw := bufio.NewWriterSize(w, 128<<10)
	tw := tar.NewWriter(bw)
	err := t.Walk(func(e tree.Entry) error {
		if e.Path == "." {
			return nil
		}
		if err := writeEntry(tw, e, mtime); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return bw.Flush()
}

func writeEntry(tw *tar.Writer, e tree.Entry, mtime time.Time) error {
	h := &tar.Header{Name: e.Path, Mode: tarMode(e.Mode), ModTime: mtime}
	switch {
	case e.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case e.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case e.Hardlink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.Hardlink
	case e.Mode.IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	default:
		return fmt.Errorf("a special file (%v), which an extension cannot have: remove it", e.Mode.Type())
	}
	if e.Label != "" && h.Typeflag != tar.TypeLink {
		h.PAXRecords = map[string]string{paxLabel: e.Label}
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	return writeContent(tw, e.Node)
}

func writeContent(w io.Writer, n *tree.Node) error {
	r, err := n.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	size, err := copyTo(w, io.LimitReader(r, n.Size))
	if err != nil {
		return err
	}
	if more, _ := r.Read(make([]byte, 1)); size != n.Size || more > 0 {
		return tree.ErrChanged
	}
	return nil
}

// tarMode is the mode with the bits of stat(2) that tar uses.
func tarMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for _, b := range []struct {
		is  fs.FileMode
		bit int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.is != 0 {
			mode |= b.bit
		}
	}
	return mode
}
