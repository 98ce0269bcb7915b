package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/ova"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/vhd"
	"github.com/graftlinux/graft/internal/format/vmdk"
)

// Limits of what is unpacked, in bytes. Disks are mostly holes, which cost
// nothing; their size is bounded too, as it takes time to count them.
const (
	maxUnpacked = 100 << 30
	maxData     = 16 << 30
)

// maxWrappings is how many formats may be around each other: a raw disk in a
// tar, that compressed, is two.
const maxWrappings = 3

// wrapped is a file, and what of it is left when compression and disk formats
// are taken away.
type wrapped struct {
	io.ReaderAt
	size    int64
	kind    Kind
	formats []string
	scratch []*os.File
}

func (w *wrapped) close() error {
	var errs []error
	for _, f := range w.scratch {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// unwrap goes inwards until there is something that holds no other file.
func (i *inspector) unwrap(r io.ReaderAt, size int64) (*wrapped, error) {
	w := &wrapped{ReaderAt: r, size: size}
	for range maxWrappings + 1 {
		w.kind = Identify(w, w.size)
		open := i.opener(w.kind)
		if open == nil {
			return w, nil
		}
		if err := open(w); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return nil, errors.Join(fmt.Errorf("there are more than %d formats around each other", maxWrappings), w.close())
}

// opener takes one format away; nil if the kind is none.
func (i *inspector) opener(kind Kind) func(*wrapped) error {
	switch kind {
	case KindCompressed:
		return i.unpack
	case KindArchive:
		return openArchive
	case KindQCOW2:
		return diskOpener(kind, qcow2.NewReader)
	case KindVHD:
		return diskOpener(kind, vhd.NewReader)
	case KindVMDK:
		return diskOpener(kind, vmdk.NewReader)
	case KindOVA:
		return diskOpener(kind, ova.NewReader)
	}
	return nil
}

func diskOpener(kind Kind, read func(io.ReaderAt, int64) (*sparse.Image, error)) func(*wrapped) error {
	return func(w *wrapped) error {
		raw, err := read(w.ReaderAt, w.size)
		if err != nil {
			return err
		}
		w.ReaderAt, w.size, w.formats = raw, raw.Size(), append(w.formats, string(kind))
		return nil
	}
}

// openArchive finds where the first member of a tar is.
func openArchive(w *wrapped) error {
	section := io.NewSectionReader(w.ReaderAt, 0, w.size)
	h, err := tar.NewReader(section).Next()
	if err != nil {
		return err
	}
	at, err := section.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg || h.Size > w.size-at {
		return fmt.Errorf("the member %s of the tar is no file of its own, or is cut off", h.Name)
	}
	w.ReaderAt, w.size, w.formats = io.NewSectionReader(w.ReaderAt, at, h.Size), h.Size, append(w.formats, "tar")
	return nil
}

// unpack decompresses to a file without a name.
func (i *inspector) unpack(w *wrapped) error {
	if isOtherTar(w.ReaderAt, w.size) {
		return ErrUnknown
	}
	limit := min(i.left, maxUnpacked)
	r, format, err := compress.NewReader(io.NewSectionReader(w.ReaderAt, 0, w.size), limit)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(i.options.Cache.TempDir(), "inspect-*")
	if err != nil {
		return err
	}
	w.scratch = append(w.scratch, f)
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	size, err := sparse.Fill(f, ctxio.NewReader(i.ctx, r), min(i.left, maxData))
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	w.ReaderAt, w.size, w.formats = f, size, append(w.formats, strings.TrimPrefix(format.String(), "."))
	return i.spend(w.size)
}

// isOtherTar knows the .tar.gz of something else than a disk: of an image, or of
// the files of an extension. A tar that is packed otherwise is found unpacked.
func isOtherTar(r io.ReaderAt, size int64) bool {
	z, err := gzip.NewReader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return false
	}
	head := make([]byte, 512)
	n, _ := io.ReadFull(z, head) // less than a tar's header is none
	name, _, _ := bytes.Cut(head[:100], []byte{0})
	return n == len(head) && string(head[257:262]) == "ustar" && !isDiskName(string(name))
}
