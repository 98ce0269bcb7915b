package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/format/squashfs"
)

// ListedFile is a file or link of an extension or a layer.
type ListedFile struct {
	Path   string `json:"path" yaml:"path"`
	Mode   string `json:"mode" yaml:"mode"`
	Size   int64  `json:"size,omitempty" yaml:"size,omitempty"`
	Sum    string `json:"sha256,omitempty" yaml:"sha256,omitempty"`
	Target string `json:"target,omitempty" yaml:"target,omitempty"` // of a link
}

// listingVersion changes when the listing of the same layer does.
const listingVersion = "1"

// openLayer reads a layer, shows its root and lists its files, as the options want
// it. The cache keeps the listing.
func (r *reader) openLayer(name string, content io.Reader) (layerImage, error) {
	blob, err := r.options.Cache.Scratch(func(f *os.File) error {
		_, err := io.Copy(f, content)
		return err
	})
	if err != nil {
		return layerImage{}, err
	}
	defer blob.Close()
	img := layerImage{size: blob.Size, digest: blob.Digest}
	if err := r.showLayer(blob); err != nil && !r.final(err) {
		r.problem("the layer %s: %v", name, err)
		return img, nil
	} else if err != nil || !r.options.LayerFiles {
		return img, err
	}
	key := "files of a layer\nversion " + listingVersion + "\n" + blob.Digest
	err = cache.JSON(r.ctx, r.options.Cache, key, "files of "+name, &img.files, func() (err error) {
		img.files, err = r.list(blob, blob.Size)
		return err
	})
	if err != nil && !r.final(err) {
		r.problem("the layer %s: %v", name, err)
		return img, nil
	}
	return img, err
}

// list is all that is in a squashfs, but directories: those come and go with
// what is in them.
func (i *inspector) list(image io.ReaderAt, size int64) ([]ListedFile, error) {
	root, err := squashfs.NewReader(image, size)
	if err != nil {
		return nil, err
	}
	files := []ListedFile{}
	for f, err := range root.Files() {
		if err != nil {
			return nil, err
		}
		if f.Mode.IsDir() {
			continue
		}
		if len(files) == maxFiles {
			return nil, errTooMuch
		}
		listed := ListedFile{Path: f.Name, Mode: f.Mode.String(), Target: f.Linkname + f.Hardlink}
		if f.Mode.IsRegular() && f.Hardlink == "" {
			listed.Size = f.Size
			if listed.Sum, err = i.sum(f); err != nil {
				return nil, err
			}
		}
		files = append(files, listed)
	}
	return files, nil
}

func (i *inspector) sum(f *squashfs.File) (string, error) {
	if err := i.spend(f.Size); err != nil {
		return "", err
	}
	content, err := f.Open()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, ctxio.NewReader(i.ctx, content))
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, content.Close())
}
