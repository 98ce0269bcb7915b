package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

// shown is an error of who was shown a root: it is not the asset's.
type shown struct{ error }

func (e shown) Unwrap() error { return e.error }

// showLayer shows the root of a layer to who wants it.
func (r *reader) showLayer(blob *cache.Blob) error {
	if r.options.Root == nil {
		return nil
	}
	root, err := squashfs.NewReader(blob, blob.Size)
	if err != nil {
		return err
	}
	return r.show(blob.Digest, root)
}

// show shows a root to who wants it, as a tree.
func (r *reader) show(digest string, root *squashfs.Reader) error {
	if r.options.Root == nil {
		return nil
	}
	t, err := r.treeOf(root)
	if err != nil {
		return err
	}
	if err := r.options.Root(digest, t); err != nil {
		return shown{err}
	}
	return nil
}

// treeOf is a squashfs as a tree. Devices, which extensions do not have, are left out,
// and so is what a tree cannot hold.
func (i *inspector) treeOf(root *squashfs.Reader) (*tree.Tree, error) {
	t, n := tree.New(), 0
	for f, err := range root.Files() {
		if err != nil {
			return nil, err
		}
		if n++; n > maxFiles {
			return nil, errTooMuch
		}
		node := i.nodeOf(t, f)
		if node == nil || f.Name == "." {
			continue
		}
		if err := t.Put(f.Name, node); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return t, i.ctx.Err()
}

func (i *inspector) nodeOf(t *tree.Tree, f *squashfs.File) *tree.Node {
	switch {
	case f.Hardlink != "":
		return t.Get(f.Hardlink)
	case f.Mode.IsDir():
		return tree.Dir(f.Mode.Perm())
	case f.Linkname != "":
		return tree.Symlink(f.Linkname)
	case f.Mode.IsRegular():
		return &tree.Node{Mode: f.Mode, Size: f.Size, Content: packed{f, i}}
	}
	return nil
}

// packed is the content of a file in a squashfs, which can be read from its start
// only.
type packed struct {
	file *squashfs.File
	in   *inspector
}

// Open implements tree.Content.
func (p packed) Open() (tree.Reader, error) {
	if err := p.in.ctx.Err(); err != nil {
		return nil, err
	}
	r, err := p.file.Open()
	if err != nil {
		return nil, err
	}
	return &packedReader{ReadCloser: r, of: p}, nil
}

// packedReader unpacks a file to a scratch file when it is read at some place: most
// are not.
type packedReader struct {
	io.ReadCloser
	of      packed
	scratch *os.File
}

// ReadAt implements io.ReaderAt, for one caller at a time.
func (r *packedReader) ReadAt(b []byte, off int64) (int, error) {
	if r.scratch == nil {
		f, err := r.of.unpack()
		if err != nil {
			return 0, err
		}
		r.scratch = f
	}
	return r.scratch.ReadAt(b, off)
}

// Close implements io.Closer.
func (r *packedReader) Close() error {
	err := r.ReadCloser.Close()
	if r.scratch != nil {
		err = errors.Join(err, r.scratch.Close())
	}
	return err
}

// unpack makes a file without a name of the content.
func (p packed) unpack() (*os.File, error) {
	r, err := p.file.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := os.CreateTemp(p.in.options.Cache.TempDir(), "inspect-*")
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, ctxio.NewReader(p.in.ctx, r))
	if err := errors.Join(os.Remove(f.Name()), err); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
