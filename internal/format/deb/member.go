package deb

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// openMember goes to the member whose name is base plus the ending of a
// compression, and decompresses it. Reading more than limit bytes fails.
func openMember(ar *arReader, base string, limit int64) (io.ReadCloser, error) {
	m, err := findMember(ar, base)
	if err != nil {
		return nil, err
	}
	r, err := decompress(ar, strings.TrimPrefix(m.name, base))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", m.name, err)
	}
	return &limited{ReadCloser: r, name: m.name, left: limit}, nil
}

// findMember skips members whose name begins with an underscore, as dpkg does.
func findMember(ar *arReader, base string) (arMember, error) {
	for {
		m, err := ar.next()
		if errors.Is(err, io.EOF) {
			return m, fmt.Errorf("%s is missing", base)
		}
		if err != nil {
			return m, err
		}
		if strings.HasPrefix(m.name, base) {
			return m, nil
		}
		if !strings.HasPrefix(m.name, "_") {
			return m, fmt.Errorf("member %q where %s belongs", m.name, base)
		}
	}
}

func decompress(r io.Reader, ending string) (io.ReadCloser, error) {
	switch ending {
	case "":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		// The decoder reads byte after byte.
		x, err := xz.ReaderConfig{SingleStream: true}.NewReader(bufio.NewReaderSize(newXZGuard(r), 64<<10))
		return io.NopCloser(x), err
	case ".zst":
		// One worker: two would decode ahead, and hold twice the memory.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxDictionary))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("compression %q is not known (known are none, .gz, .xz and .zst)", ending)
}

// limited fails when a member unpacks to more than what is reasonable.
type limited struct {
	io.ReadCloser
	name string
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		n, err = int(l.left), fmt.Errorf("%s unpacks to more than a package may have", l.name)
	}
	l.left -= int64(n)
	return n, err
}

// readControl reads the control file, which is somewhere in control.tar.
func readControl(ar *arReader) (Control, error) {
	archive, err := openMember(ar, "control.tar", MaxControlArchive)
	if err != nil {
		return Control{}, err
	}
	defer archive.Close()
	t := tar.NewReader(archive)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return Control{}, errors.New("control.tar has no control file")
		}
		if err != nil {
			return Control{}, fmt.Errorf("reading control.tar: %w", err)
		}
		if name, err := localName(h.Name); err != nil || name != "control" {
			continue
		}
		if h.Size > MaxControl {
			return Control{}, fmt.Errorf("the control file has %d bytes, more than the %d that are allowed", h.Size, MaxControl)
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return Control{}, fmt.Errorf("reading the control file: %w", err)
		}
		return parseControl(string(text))
	}
}
