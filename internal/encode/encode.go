// Package encode writes a tree as a squashfs image or as a cpio archive. Order,
// owners and times are those of tree.Walk: sorted, 0:0, the start of 1970. So
// equal trees give equal bytes.
//
// Contents are compared, while they are read, with the sums that the tree had
// when it was hashed: a file that changes meanwhile is an error and never gets
// into an image that is kept under the old sum.
package encode

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/graftlinux/graft/internal/format/cpio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

// Epoch is the time of everything that is written.
var Epoch = time.Unix(0, 0)

// Progress is called with the number of bytes read; nil is fine.
type Progress func(int64)

// Squashfs writes a tree as an image to out, which must be empty.
func Squashfs(ctx context.Context, out io.WriterAt, t *tree.Tree, o squashfs.Options, p Progress) error {
	if err := t.Hash(ctx); err != nil {
		return err
	}
	w, err := squashfs.NewWriter(out, o)
	if err != nil {
		return err
	}
	err = t.Walk(func(e tree.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return w.Add(squashfsHeader(e), func() (io.ReadCloser, error) { return Open(e.Node, p) })
	})
	return errors.Join(err, w.Close())
}

func squashfsHeader(e tree.Entry) *squashfs.Header {
	h := &squashfs.Header{Name: e.Path, Mode: e.Mode, Size: e.Size, Linkname: e.Target, Hardlink: e.Hardlink, ModTime: Epoch}
	if e.Label != "" {
		h.Xattrs = map[string]string{tree.SELinuxXattr: e.Label + "\x00"}
	}
	return h
}

// Cpio writes what is below the root of a tree as one archive: the kernel makes
// no parents, so they are in it.
func Cpio(ctx context.Context, out io.Writer, t *tree.Tree, p Progress) error {
	if err := t.Hash(ctx); err != nil {
		return err
	}
	w := cpio.NewWriter(out)
	names := map[*tree.Node]int{}
	err := t.Walk(func(e tree.Entry) error {
		names[e.Node]++
		return nil
	})
	if err != nil {
		return err
	}
	err = t.Walk(func(e tree.Entry) error {
		if err := ctx.Err(); err != nil || e.Path == "." {
			return err
		}
		return addFile(w, e, names[e.Node], p)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func addFile(w *cpio.Writer, e tree.Entry, names int, p Progress) error {
	h := &cpio.Header{Name: e.Path, Mode: e.Mode, Size: e.Size, Linkname: e.Target, Hardlink: e.Hardlink, ModTime: Epoch}
	if e.Mode.IsRegular() {
		h.Nlink = names
	}
	if e.Hardlink != "" {
		h.Size = 0
	}
	if err := w.WriteHeader(h); err != nil || h.Size == 0 {
		return err
	}
	return copyNode(w, e.Node, p)
}

// Concatenate writes the files of a tree one after the other.
func Concatenate(ctx context.Context, out io.Writer, t *tree.Tree, p Progress) error {
	if err := t.Hash(ctx); err != nil {
		return err
	}
	return t.Walk(func(e tree.Entry) error {
		if !e.Mode.IsRegular() {
			return ctx.Err()
		}
		return copyNode(out, e.Node, p)
	})
}

func copyNode(w io.Writer, n *tree.Node, p Progress) error {
	r, err := Open(n, p)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// Open reads a file whose tree was hashed, and gives tree.ErrChanged at its end
// if it is no longer what it was.
func Open(n *tree.Node, p Progress) (io.ReadCloser, error) {
	r, err := n.Open()
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = func(int64) {}
	}
	return &verifier{r: r, hash: sha256.New(), want: n.Sum(), left: n.Size, progress: p}, nil
}

type verifier struct {
	r        io.ReadCloser
	hash     hash.Hash
	want     [32]byte
	left     int64
	progress Progress
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	v.progress(int64(n))
	ended := v.left <= 0 || err == io.EOF
	if ended && [32]byte(v.hash.Sum(nil)) != v.want {
		return 0, tree.ErrChanged
	}
	return n, err
}

func (v *verifier) Close() error { return v.r.Close() }
