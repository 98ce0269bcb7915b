// Package ova writes and reads virtual appliances for VMware products: a tar
// archive of a description of the machine in OVF, a manifest with checksums,
// and the disk as a streamOptimized VMDK.
//
// [Encode] needs a file for the compressed disk, because its size stands before
// it in the archive. The rest is planned around that file. The members come in
// the order in which a program that reads a stream wants them: description,
// manifest, disk.
//
// [NewReader] finds the first disk of an archive and maps it to the raw disk.
//
// The formats are DMTF's "Open Virtualization Format Specification" 1.1
// (DSP0243) with the extensions of VMware in the name space vmw, and POSIX
// ustar. Times are given by the caller, so that equal disks are equal archives.
package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/format/vmdk"
)

// Options describe the archive and the machine.
type Options struct {
	// Machine is what the disk belongs to.
	Machine Machine

	// Level of compression and number of workers, as in vmdk.Options.
	Level, Workers int

	// Time is when the members were last changed, in whole seconds from 1970
	// on. The zero Time is 1970.
	Time time.Time
}

// Encode writes the compressed disk to spool, an empty file, and lays out the
// archive around it. The file has to stay open as long as the archive is used,
// and can be removed before. Disks of more than 8 GiB when compressed are an
// error, as ustar cannot hold them.
func Encode(ctx context.Context, raw *sparse.Image, spool *os.File, o Options) (*sparse.Image, error) {
	m, err := encode(ctx, raw, spool, o)
	if err != nil {
		return nil, fmt.Errorf("encoding an OVA: %w", err)
	}
	return m, nil
}

func encode(ctx context.Context, raw *sparse.Image, spool *os.File, o Options) (*sparse.Image, error) {
	o.Machine = o.Machine.withDefaults()
	if err := o.Machine.check(); err != nil {
		return nil, err
	}
	name := o.Machine.Name
	d, err := writeDisk(ctx, raw, spool, o)
	if err != nil {
		return nil, err
	}
	description, err := o.Machine.describe(d)
	if err != nil {
		return nil, err
	}
	manifest := fmt.Appendf(nil, "SHA256(%s.ovf)= %x\nSHA256(%s)= %x\n", name, sha256.Sum256(description), d.File, d.sum)
	return archive(o.Time, []member{
		{name + ".ovf", sparse.Bytes(description)},
		{name + ".mf", sparse.Bytes(manifest)},
		{d.File, sparse.From(spool, 0, d.Size)},
	})
}

// disk is the compressed disk.
type disk struct {
	File     string
	Size     int64 // bytes of the file
	Capacity int64 // bytes of the disk
	sum      []byte
}

// writeDisk compresses the disk into a file.
func writeDisk(ctx context.Context, raw *sparse.Image, spool *os.File, o Options) (*disk, error) {
	d := &disk{File: o.Machine.Name + "-disk1.vmdk", Capacity: raw.Size()}
	hash := sha256.New()
	w := io.MultiWriter(hash, spool)
	if err := vmdk.Write(ctx, w, raw, vmdk.Options{Name: d.File, Level: o.Level, Workers: o.Workers}); err != nil {
		return nil, err
	}
	d.sum = hash.Sum(nil)
	size, err := spool.Seek(0, io.SeekCurrent)
	d.Size = size
	return d, err
}

// member is a file in the archive.
type member struct {
	name    string
	content *sparse.Image
}

const (
	tarBlock = 512
	tarEnd   = 2 * tarBlock // zeros
)

// archive lays out a tar archive.
func archive(mtime time.Time, members []member) (*sparse.Image, error) {
	if mtime.IsZero() {
		mtime = time.Unix(0, 0)
	}
	var parts []*sparse.Image
	for _, m := range members {
		var header bytes.Buffer
		if err := tar.NewWriter(&header).WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg,
			Name:     m.name,
			Size:     m.content.Size(),
			Mode:     0o644,
			ModTime:  mtime,
			Format:   tar.FormatUSTAR,
		}); err != nil {
			return nil, err
		}
		parts = append(parts, sparse.Bytes(header.Bytes()), m.content)
	}
	return sparse.Concat(tarBlock, append(parts, sparse.New(tarEnd))...), nil
}

// maxMembers bounds the search for a disk. Archives with several disks and
// message catalogues have a few dozen.
const maxMembers = 1000

// NewReader finds the first member whose name ends in .vmdk in an archive of
// size bytes, and maps it to the raw disk.
func NewReader(r io.ReaderAt, size int64) (*sparse.Image, error) {
	image, name, err := findDisk(r, size)
	if err != nil {
		return nil, fmt.Errorf("reading an OVA: %w", err)
	}
	m, err := vmdk.NewReader(image, image.Size())
	if err != nil {
		return nil, fmt.Errorf("reading an OVA: %s: %w", name, err)
	}
	return m, nil
}

func findDisk(r io.ReaderAt, size int64) (*sparse.Image, string, error) {
	sr := io.NewSectionReader(r, 0, size)
	tr := tar.NewReader(sr)
	for range maxMembers {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil, "", errors.New("there is no .vmdk file in it")
		case err != nil:
			return nil, "", err
		case h.Typeflag != tar.TypeReg || !strings.EqualFold(path.Ext(h.Name), ".vmdk"):
			continue
		}
		at, err := sr.Seek(0, io.SeekCurrent) // tar reads no further than the header
		if err != nil {
			return nil, "", err
		}
		if h.Size > size-at {
			return nil, "", fmt.Errorf("%s has %d bytes, the archive ends after %d of them", h.Name, h.Size, size-at)
		}
		return sparse.From(r, at, h.Size), h.Name, nil
	}
	return nil, "", fmt.Errorf("there is no .vmdk file among the first %d members", maxMembers)
}
