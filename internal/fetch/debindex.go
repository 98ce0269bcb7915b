package fetch

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/ctxio"
)

const (
	// maxIndex bounds what an index unpacks to: that of Debian's main has 65 MB.
	maxIndex = 1 << 30
	// maxIndexLine bounds one line: the longest of Debian, lists of
	// dependencies, have 30 KB.
	maxIndexLine = 1 << 20
	// maxZstdWindow bounds the memory of a zstd decoder.
	maxZstdWindow = 128 << 20
)

// debEntry is a package in the index of a repository.
type debEntry struct {
	name, version, arch string
	file                string // relative to the repository's base
	size                int64
	sha256              string

	dir  string // of a source package: where its files are
	sums bool   // in the list of their checksums
}

// complete says whether the entry can be used: it has all fields, and nothing
// in them that would harm the index or the URL.
func (e debEntry) complete() bool {
	for _, s := range []string{e.name, e.version, e.arch, e.file} {
		if s == "" || strings.ContainsAny(s, "\t\n\\?#%") {
			return false
		}
	}
	return hex256.MatchString(e.sha256) && e.size > 0 && fs.ValidPath(e.file) && strings.Contains(e.file, "/")
}

// parsePackages reads the index of a repository and gives each package to fn.
// Entries that cannot be used are skipped.
func parsePackages(r io.Reader, fn func(debEntry) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var e debEntry
	for {
		line, err := indexLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) == 0 { // an empty line, or the end
			if e = e.finished(); e.complete() {
				if err := fn(e); err != nil {
					return err
				}
			}
			e = debEntry{}
		}
		if err != nil {
			return nil
		}
		e.field(line)
	}
}

// indexLine reads a line without its newline.
func indexLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxIndexLine {
			line, err = br.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if len(line) > maxIndexLine {
		return nil, fmt.Errorf("a line of more than %d bytes", maxIndexLine)
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) > 0 && errors.Is(err, io.EOF) {
		err = nil // the last line has no newline; the end comes next
	}
	return line, err
}

// finished is an entry at the end of its paragraph.
func (e debEntry) finished() debEntry {
	arch, file := e.arch, e.file
	if e.dir != "" {
		arch, file = SourceArch, e.dir+"/"+e.file
	}
	return debEntry{name: e.name, version: e.version, arch: arch, file: file, size: e.size, sha256: e.sha256}
}

// sum takes a line in the list of a source package's files: it is the upstream's
// tarball that counts. Native packages have no other one, but with another name.
func (e *debEntry) sum(line []byte) {
	f := strings.Fields(string(line))
	if len(f) != 3 || !strings.Contains(f[2], ".tar.") || strings.HasSuffix(f[2], ".asc") || strings.Contains(f[2], ".debian.tar.") {
		return
	}
	if e.file == "" || strings.Contains(f[2], ".orig.tar.") {
		e.sha256, e.file = f[0], f[2]
		e.size, _ = strconv.ParseInt(f[1], 10, 64) // 0 is not complete
	}
}

func (e *debEntry) field(line []byte) {
	if e.sums && len(line) > 0 && line[0] == ' ' {
		e.sum(line)
		return
	}
	e.sums = string(line) == "Checksums-Sha256:"
	name, value, ok := bytes.Cut(line, []byte(": "))
	if !ok {
		return
	}
	switch string(name) {
	case "Package":
		e.name = string(value)
	case "Version":
		e.version = string(value)
	case "Architecture":
		e.arch = string(value)
	case "Directory":
		e.dir = strings.TrimPrefix(string(value), "./")
	case "Filename":
		e.file = strings.TrimPrefix(string(value), "./")
	case "Size":
		e.size, _ = strconv.ParseInt(string(value), 10, 64) // 0 is not complete
	case "SHA256":
		e.sha256 = string(value)
	}
}

// index is what is wanted of a Packages file, one line per package, in the
// cache. It is searched, not parsed: one of Debian's has 60,000 packages.
type index []byte

// find returns the packages of a name, in all their versions.
func (x index) find(name string) []debEntry {
	var found []debEntry
	key := []byte("\n" + name + "\t")
	for rest := []byte(x); ; {
		at := bytes.Index(rest, key)
		if at < 0 {
			return found
		}
		rest = rest[at+1:]
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		f := strings.Split(string(line), "\t")
		if len(f) != 6 {
			continue
		}
		size, err := strconv.ParseInt(f[4], 10, 64)
		e := debEntry{name: f[0], version: f[1], arch: f[2], file: f[3], size: size, sha256: f[5]}
		if err == nil && e.complete() {
			found = append(found, e)
		}
	}
}

func writeIndex(w io.Writer, packages io.Reader) error {
	bw := bufio.NewWriterSize(w, 256<<10)
	bw.WriteString("\n") // every line has one before it
	err := parsePackages(packages, func(e debEntry) error {
		_, err := fmt.Fprintf(bw, "%s\t%s\t%s\t%s\t%d\t%s\n", e.name, e.version, e.arch, e.file, e.size, e.sha256)
		return err
	})
	return errors.Join(err, bw.Flush())
}

// index makes the index of a Packages file, which is the content with the given
// sha256, compressed or not. It calls open only if the cache has none.
func (c *call) index(ctx context.Context, label, sha256 string, open func() (*cache.Blob, error)) (index, error) {
	b, err := c.Cache.Make(ctx, "deb index v1\n"+sha256, "index of "+label, func(dst *os.File) error {
		packed, err := open()
		if err != nil {
			return err
		}
		defer packed.Close()
		r, err := unpackIndex(packed)
		if err != nil {
			return fmt.Errorf("unpacking it: %w", err)
		}
		return writeIndex(dst, &limited{r: ctxio.NewReader(ctx, r), left: maxIndex})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the index of %s: %w", label, err)
	}
	defer b.Close()
	return readBlob(b, maxIndex)
}

// unpackIndex decompresses what apt or a mirror may have. An xz file decides
// how much memory its decoder takes (up to 4 GiB), so it must come from
// somebody who is trusted.
func unpackIndex(r io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, _ := br.Peek(6) // a short file is a plain one
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return xz.NewReader(br)
	case bytes.HasPrefix(magic, []byte{0x04, 0x22, 0x4d, 0x18}):
		return lz4.NewReader(br), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(br), nil
	}
	return br, nil
}

// limited fails when there is more than what is reasonable.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if int64(n) > l.left {
		n, err = int(l.left), errors.New("it unpacks to more than an index may have")
	}
	l.left -= int64(n)
	return n, err
}
