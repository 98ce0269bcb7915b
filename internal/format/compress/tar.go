package compress

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
)

const (
	tarBlock  = 512
	tarRecord = 20 * tarBlock // archives of GNU tar are multiples of it
)

// WriteTarGz packs an image as a gzip of a tar archive with one file, which
// Compute Engine wants to be called disk.raw. The header is that of
// tar --format=oldgnu: sizes of 8 GiB and more are binary numbers. mtime is that
// of the file. Progress is told of the header too, 512 bytes.
func WriteTarGz(ctx context.Context, w io.Writer, name string, m *sparse.Image, mtime time.Time, o Options) error {
	archive, err := tarArchive(name, m, mtime)
	if err != nil {
		return fmt.Errorf("packing an image as %v: %w", TarGz, err)
	}
	return Write(ctx, w, archive, Gzip, o)
}

func tarArchive(name string, m *sparse.Image, mtime time.Time) (*sparse.Image, error) {
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: m.Size(), Mode: 0o644, ModTime: mtime, Format: tar.FormatGNU,
	})
	if err == nil && header.Len() != tarBlock {
		err = fmt.Errorf("the file name %q needs more than one block of tar", name)
	}
	if err != nil {
		return nil, err
	}
	archive := sparse.Concat(tarBlock, sparse.Bytes(header.Bytes()), m, sparse.New(2*tarBlock))
	archive.Resize((archive.Size() + tarRecord - 1) / tarRecord * tarRecord)
	return archive, nil
}
