package fetch

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/tree"
)

// DebTree reads the files of a Debian package. They are unpacked into a file
// without a name in the cache's directory, which is open as long as the tree
// is used; the package itself is not needed any more. Maintainer scripts are
// not run.
func DebTree(c *cache.Cache, b *cache.Blob) (*tree.Tree, error) {
	if err := seekStart(b.File); err != nil {
		return nil, err
	}
	scratch, err := c.Scratch(func(dst *os.File) error { return unpackDeb(dst, b) })
	if err != nil {
		return nil, err
	}
	t, err := tree.FromTar(scratch, scratch.Size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading Debian package: %w", err), scratch.Close())
	}
	return t, nil
}

// unpackDeb writes the files of a package as a plain tar.
func unpackDeb(w io.Writer, packed io.Reader) error {
	r, err := deb.NewReader(bufio.NewReaderSize(packed, 256<<10))
	if err != nil {
		return err
	}
	defer r.Close()
	bw := bufio.NewWriterSize(w, 256<<10)
	tw := tar.NewWriter(bw)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return errors.Join(tw.Close(), bw.Flush())
		}
		if err != nil {
			return err
		}
		if err := writeEntry(tw, h, r); err != nil {
			return fmt.Errorf("unpacking %s: %w", h.Name, err)
		}
	}
}

// writeEntry copies an entry. Sparse files come out of the reader whole.
func writeEntry(tw *tar.Writer, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeGNUSparse {
		h.Typeflag = tar.TypeReg
	}
	h.Format = tar.FormatUnknown // the writer takes what fits
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, content)
	return err
}
