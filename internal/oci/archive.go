package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/tree"
)

// openFile looks into a tarball, which may be compressed: an image, or the
// plain contents of one.
func (o *opener) openFile(ctx context.Context) (*Image, error) {
	if o.form == formDir || o.form == formLayout {
		return nil, errors.New("it is not a directory")
	}
	f, err := openRegular(o.path)
	if err != nil {
		return nil, cause(err)
	}
	at, size, err := o.unpacked(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("decompressing it: %w", err)
	}
	t, err := tree.FromTar(at, size)
	if err != nil {
		return nil, fmt.Errorf("wanted is an image tarball or a plain tar: %w", err)
	}
	return o.openTarball(ctx, t)
}

// openTarball decides by the files in it, unless the person has.
func (o *opener) openTarball(ctx context.Context, t *tree.Tree) (*Image, error) {
	files := tarFiles{t}
	switch {
	case o.form == formTar:
	case o.form == formOCIArchive, files.has(indexFile) && files.has(layoutFile):
		o.form = formOCIArchive
		return o.openLayout(ctx, files)
	case o.form == formDockerArchive, files.has(dockerManifestFile):
		return o.openDocker(ctx, files)
	}
	return o.openPlain(t)
}

func (o *opener) openPlain(t *tree.Tree) (*Image, error) {
	if o.want != "" {
		return nil, fmt.Errorf("it is a plain tar, not an image tarball in which %q could be chosen", o.want)
	}
	if t.Len() == 0 {
		return nil, errors.New("it is an empty tar")
	}
	return &Image{tree: t, spool: o.spool}, nil
}

// unpacked returns the file itself, or what it unpacks to in the spool.
func (o *opener) unpacked(ctx context.Context, f *os.File) (io.ReaderAt, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	whole := io.NewSectionReader(f, 0, info.Size())
	r, m, err := unpack(whole)
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if m == magicNone {
		o.spool.keep(f)
		return f, info.Size(), nil
	}
	defer f.Close()
	defer r.Close()
	out, size, err := o.spool.fill(ctx, r)
	if err != nil {
		return nil, 0, err
	}
	return out, size, nil
}
