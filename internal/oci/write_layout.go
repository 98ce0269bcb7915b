package oci

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/ctxio"
)

// layoutVersion is the content of oci-layout.
const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// layoutDest is an OCI layout on disk. Blobs are there before index.json names
// them, and every file appears whole, by a rename.
type layoutDest struct {
	dir  string
	name imageName
}

func (d layoutDest) write(ctx context.Context, a *artifact) (Result, error) {
	if err := d.prepare(); err != nil {
		return Result{}, err
	}
	for _, b := range a.all() {
		if err := d.writeBlob(ctx, b); err != nil {
			return Result{}, err
		}
	}
	if err := d.addToIndex(ctx, a.root.Descriptor); err != nil {
		return Result{}, err
	}
	return Result{Name: d.name.given, Place: "the OCI layout " + d.dir}, nil
}

// writeBlob writes a blob, unless it is there.
func (d layoutDest) writeBlob(ctx context.Context, b blob) error {
	if d.has(b.Descriptor) {
		return nil
	}
	return d.writeFile(ctx, blobPath(b.Digest), b.reader())
}

// has says whether a blob is there, whole.
func (d layoutDest) has(b v1.Descriptor) bool {
	f, err := openRegular(filepath.Join(d.dir, filepath.FromSlash(blobPath(b.Digest))))
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	n, err := copyTo(h, io.LimitReader(f, b.Size+1))
	return err == nil && n == b.Size && hashOf(h.Sum(nil)) == b.Digest
}

// prepare makes an empty directory a layout, and takes a layout as it is.
func (d layoutDest) prepare() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cause(err)
	}
	isLayout := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == layoutFile || e.Name() == blobsDir })
	if len(entries) > 0 && !isLayout {
		return errors.New("the directory is not empty and no OCI layout: choose another, or a path in it")
	}
	return os.MkdirAll(filepath.Join(d.dir, blobsDir, "sha256"), 0o777)
}

// addToIndex names the image in index.json, in place of the one that had this
// name, or of itself.
func (d layoutDest) addToIndex(ctx context.Context, root v1.Descriptor) error {
	root.Annotations = d.name.annotations()
	return d.updateIndex(ctx, func(index *v1.IndexManifest) error {
		index.Manifests = replaceEntry(index.Manifests, root)
		return nil
	})
}

// updateIndex changes index.json. A lock makes writers of one layout wait for
// each other.
func (d layoutDest) updateIndex(ctx context.Context, change func(*v1.IndexManifest) error) error {
	unlock, err := lockDir(d.dir)
	if err != nil {
		return fmt.Errorf("locking the layout: %w", err)
	}
	defer unlock()
	index, err := d.readIndex()
	if err != nil {
		return err
	}
	if err := change(&index); err != nil {
		return err
	}
	if index.Manifests == nil {
		index.Manifests = []v1.Descriptor{} // null is no list
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := d.writeFile(ctx, layoutFile, bytesBlob("", []byte(layoutVersion)).reader()); err != nil {
		return err
	}
	return d.writeFile(ctx, indexFile, bytesBlob("", data).reader())
}

func (d layoutDest) readIndex() (v1.IndexManifest, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	f, err := openRegular(filepath.Join(d.dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return index, err
	}
	defer f.Close()
	data, err := readLimited(f)
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return index, fmt.Errorf("reading its %s: %w", indexFile, err)
	}
	return index, nil
}

func replaceEntry(entries []v1.Descriptor, e v1.Descriptor) []v1.Descriptor {
	name := e.Annotations[refNameAnnotation]
	same := func(old v1.Descriptor) bool {
		oldName := old.Annotations[refNameAnnotation]
		return oldName == name && (name != "" || old.Digest == e.Digest)
	}
	if i := slices.IndexFunc(entries, same); i >= 0 {
		entries[i] = e
		rest := slices.DeleteFunc(entries[i+1:], same)
		return entries[:i+1+len(rest)]
	}
	return append(entries, e)
}

func (d layoutDest) writeFile(ctx context.Context, name string, r io.Reader) error {
	return atomicfile.Write(filepath.Join(d.dir, filepath.FromSlash(name)), func(f *os.File) error {
		_, err := copyTo(f, ctxio.NewReader(ctx, r))
		return err
	})
}

// lockDir waits until nobody else holds the lock of a directory.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil // which ends the lock
}
