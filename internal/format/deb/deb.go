// Package deb reads Debian packages as streams: the control file, then every
// entry of the data archive, without unpacking anything to disk.
//
// A package is an ar archive of three members (deb(5)): debian-binary with the
// format version, control.tar and data.tar, each of the last two plain or
// compressed with gzip, xz or zstd. [Reader] has the shape of archive/tar:
//
//	r, err := deb.NewReader(file)
//	for {
//		header, err := r.Next() // io.EOF after the last entry
//		...                     // the content is read from r
//	}
//
// Its limits: format version 2 only; no bzip2 and no lzma, which dpkg dropped
// from new packages long ago; no signatures inside of the archive (apt checks
// packages by the hashes of its signed index, and so must whoever calls this);
// maintainer scripts are not handed out. Memory is bounded by [MaxDictionary],
// whatever the package says.
//
// The numbers of Debian's releases are here as well ([Release]), for all that
// have to tell where a package is from.
package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	// MaxControl bounds the control file: the longest of Debian has about
	// 40 KiB, nearly all of it dependencies.
	MaxControl = 1 << 20
	// MaxControlArchive bounds what control.tar unpacks to. It lists the
	// checksums of all files: 10 MiB for the largest packages.
	MaxControlArchive = 64 << 20
	// MaxData bounds what data.tar unpacks to, against bombs: the largest
	// packages of Debian have 3 GiB.
	MaxData = 16 << 30
	// MaxDictionary bounds the window of xz and zstd, and with it the memory
	// of a Reader: xz -9 takes 64 MiB, zstd --ultra as dpkg runs it 128 MiB.
	MaxDictionary = 128 << 20
)

// Reader reads one package.
type Reader struct {
	control Control
	data    io.ReadCloser
	tar     *tar.Reader
}

// NewReader reads a package up to the beginning of its data. Close the Reader
// to give back its decoder; r itself stays the caller's.
func NewReader(r io.Reader) (*Reader, error) {
	ar, control, err := open(r)
	if err != nil {
		return nil, fmt.Errorf("reading Debian package: %w", err)
	}
	data, err := openMember(ar, "data.tar", MaxData)
	if err != nil {
		return nil, fmt.Errorf("reading Debian package %s: %w", control.Package, err)
	}
	return &Reader{control: control, data: data, tar: tar.NewReader(data)}, nil
}

// open reads a package as far as its control file.
func open(r io.Reader) (*arReader, Control, error) {
	ar := &arReader{r: r}
	if err := ar.readMagic(); err != nil {
		return nil, Control{}, err
	}
	if err := readVersion(ar); err != nil {
		return nil, Control{}, err
	}
	control, err := readControl(ar)
	return ar, control, err
}

// Control is what the package says about itself.
func (r *Reader) Control() Control { return r.control }

// Next goes to the next entry of the package's files. Names are relative to
// the root, without "./"; the root itself is ".". After the last entry it has
// read the whole archive, checked its checksum, and returns io.EOF.
func (r *Reader) Next() (*tar.Header, error) {
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, r.drain()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the files of %s: %w", r.control.Package, err)
	}
	if h.Name, err = localName(h.Name); err != nil {
		return nil, fmt.Errorf("reading the files of %s: %w", r.control.Package, err)
	}
	if h.Typeflag == tar.TypeLink {
		if h.Linkname, err = localName(h.Linkname); err != nil {
			return nil, fmt.Errorf("reading the files of %s: link of %q: %w", r.control.Package, h.Name, err)
		}
	}
	return h, nil
}

// drain reads what follows the tar's end marker, so that the decoder sees the
// checksum at the end of its stream.
func (r *Reader) drain() error {
	if _, err := io.Copy(io.Discard, r.data); err != nil {
		return fmt.Errorf("reading the files of %s: %w", r.control.Package, err)
	}
	return io.EOF
}

// Read reads the content of the current entry.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.tar.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("reading the files of %s: %w", r.control.Package, err)
	}
	return n, err
}

// Close frees the decoder.
func (r *Reader) Close() error { return r.data.Close() }

// localName makes "./a/b" and "a/b/" to "a/b". A path that climbs is an error.
func localName(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if !fs.ValidPath(clean) {
		return "", fmt.Errorf("the path %q is not below the root", name)
	}
	return clean, nil
}

// readVersion reads debian-binary, the first member: "2.0" since 1995.
func readVersion(ar *arReader) error {
	m, err := ar.next()
	if err != nil {
		return err
	}
	if m.name != "debian-binary" {
		return fmt.Errorf("the first member of the archive is %q, not debian-binary: this is no Debian package", m.name)
	}
	text, err := io.ReadAll(io.LimitReader(ar, 64))
	if err != nil {
		return fmt.Errorf("reading debian-binary: %w", err)
	}
	if !strings.HasPrefix(string(text), "2.") {
		return fmt.Errorf("format version %q, only 2.x is known", strings.TrimSpace(string(text)))
	}
	return nil
}
