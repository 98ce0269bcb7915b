package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/format/compress"
	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/ova"
	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/vhd"
	"github.com/graftlinux/graft/internal/format/vmdk"
	"github.com/graftlinux/graft/internal/inspect"
)

// medium is a file that a machine boots from.
type medium struct {
	name        string // as the user calls it
	kind        inspect.Kind
	file        string // what QEMU opens
	format      string // as QEMU calls it
	io.ReaderAt        // the content, of a qcow2 the disk in it
	size        int64
	open        []io.Closer
}

// openMedium opens a file and says what it is.
func openMedium(name string) (*medium, error) {
	size, err := fileSize(name)
	if err != nil {
		return nil, err
	}
	// A name with a colon would be a protocol to QEMU.
	file, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	m := &medium{name: name, file: file, format: "raw", ReaderAt: f, size: size, open: []io.Closer{f}}
	m.kind = inspect.Identify(m, m.size)
	return m, nil
}

func (m *medium) close() error {
	var errs []error
	for _, c := range m.open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Limits of what is unpacked: the size of a disk in bytes, and how many formats
// may be around each other.
const (
	maxDisk    = 1 << 40
	maxFormats = 4
)

// unpack goes inwards to what QEMU reads. What has to be written for that goes
// to files in dir.
func (m *medium) unpack(ctx context.Context, s Streams, dir string) error {
	bars := newProgress(s)
	defer bars.wait()
	for range maxFormats {
		var err error
		switch m.kind {
		case inspect.KindCompressed:
			err = m.decompress(ctx, bars, dir)
		case inspect.KindVHD:
			err = m.convert(ctx, bars, dir, vhd.NewReader)
		case inspect.KindVMDK:
			err = m.convert(ctx, bars, dir, vmdk.NewReader)
		case inspect.KindOVA:
			err = m.convert(ctx, bars, dir, ova.NewReader)
		case inspect.KindQCOW2:
			return m.openQCOW2()
		default:
			return nil
		}
		if err != nil {
			return err
		}
		m.kind = inspect.Identify(m, m.size)
	}
	return fmt.Errorf("there are more than %d formats around each other", maxFormats)
}

// openQCOW2 looks into the disk, for what is to be known of it. It also refuses
// one that refers to other files: the machine could read them.
func (m *medium) openQCOW2() error {
	raw, err := qcow2.NewReader(m.ReaderAt, m.size)
	if err != nil {
		return err
	}
	m.kind, m.format, m.ReaderAt, m.size = inspect.KindDisk, "qcow2", raw, raw.Size()
	return nil
}

// become makes the medium what write puts into a new file.
func (m *medium) become(dir string, write func(*os.File) error) error {
	f, err := os.CreateTemp(dir, "medium-*")
	if err != nil {
		return err
	}
	m.open = append(m.open, f)
	if err := write(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m.file, m.ReaderAt, m.size = f.Name(), f, info.Size()
	return nil
}

func (m *medium) convert(ctx context.Context, bars *progress, dir string, read func(io.ReaderAt, int64) (*sparse.Image, error)) error {
	raw, err := read(m.ReaderAt, m.size)
	if err != nil {
		return err
	}
	add, done := bars.start("unpacking "+m.name, raw.DataSize())
	defer done()
	return m.become(dir, func(f *os.File) error { return raw.WriteFile(ctx, f, add) })
}

func (m *medium) decompress(ctx context.Context, bars *progress, dir string) error {
	add, done := bars.start("unpacking "+m.name, m.size)
	defer done()
	packed := &meteredReader{ctxio.NewReader(ctx, io.NewSectionReader(m.ReaderAt, 0, m.size)), add}
	r, _, err := compress.NewReader(packed, maxDisk)
	if err != nil {
		return err
	}
	return m.become(dir, func(f *os.File) error {
		_, err := sparse.Fill(f, r, maxDisk)
		return err
	})
}

// meteredReader tells how much was read.
type meteredReader struct {
	r   io.Reader
	add func(int64)
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.add(int64(n))
	return n, err
}

// ontoESP makes a disk with the program at the place where UEFI starts it: a
// file system on the whole of it, as a removable medium may have (UEFI
// specification 2.10, 3.5.1.1 and 13.3).
func (m *medium) ontoESP(ctx context.Context, arch, dir string) error {
	files := []fat.File{{Path: removablePath(arch), Content: sparse.From(m.ReaderAt, 0, m.size)}}
	size, err := fat.Size(fat.Options{}, files)
	if err != nil {
		return err
	}
	esp, err := fat.Build(fat.Options{Size: size, Label: "EFI"}, files)
	if err != nil {
		return err
	}
	return m.become(dir, func(f *os.File) error { return esp.WriteFile(ctx, f, nil) })
}
