package fetch

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/tree"
)

// maxZipDirectory bounds the directory of a zip in bytes, and with it the
// memory that reading it takes: 64 Ki files with long names.
const maxZipDirectory = 16 << 20

// moduleZip is the verified zip of a module, open for reading.
type moduleZip struct {
	module.Version
	sum  string // h1 of the zip
	blob *cache.Blob
	// files by their path in the module; dirs are the directories that have
	// .go files, with those files.
	files map[string]*zip.File
	dirs  map[string][]*zip.File
}

func zipKey(m module.Version, sum string) string {
	return fmt.Sprintf("go module zip v1\n%s\n%s", m, sum)
}

// zip gets the zip of a module that has the given h1.
func (c *call) zip(ctx context.Context, m module.Version, sum string) (*moduleZip, error) {
	b, err := c.Cache.Make(ctx, zipKey(m, sum), "Go module "+m.String(), func(dst *os.File) error {
		if err := c.downloadZip(ctx, m, dst); err != nil {
			return err
		}
		got, err := zipSum(dst)
		if err != nil {
			return err
		}
		return compare(Checksum{"h1", sum, got})
	})
	if err != nil {
		return nil, failed(m.String(), err)
	}
	z, err := openZip(m, sum, b)
	if err != nil {
		return nil, failed(m.String(), errors.Join(err, b.Close()))
	}
	return z, nil
}

// downloadZip downloads a zip and checks that it is one of the module, with
// nothing in it that a module must not have: other paths, too large files.
func (c *call) downloadZip(ctx context.Context, m module.Version, dst *os.File) error {
	if err := c.moduleFile(ctx, m, "zip", modzip.MaxZipFile, dst); err != nil {
		return err
	}
	if err := checkZip(m, dst); err != nil {
		return fmt.Errorf("checking its zip: %w", err)
	}
	return nil
}

// checkZip takes a file that has a name: x/mod opens it itself.
func checkZip(m module.Version, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkZipDirectory(f, info.Size()); err != nil {
		return err
	}
	checked, err := modzip.CheckZip(m, f.Name())
	if err != nil {
		return err
	}
	return checked.Err()
}

// zipSum tells the h1 of a zip that was checked.
func zipSum(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	r, err := zip.NewReader(f, info.Size())
	if err != nil {
		return "", fmt.Errorf("reading its zip: %w", err)
	}
	files := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		files[f.Name] = f
	}
	sum, err := dirhash.Hash1(slices.Collect(maps.Keys(files)), func(name string) (io.ReadCloser, error) {
		return files[name].Open()
	})
	if err != nil {
		return "", fmt.Errorf("reading its zip: %w", err)
	}
	return sum, nil
}

const (
	zipEnd     = "PK\x05\x06" // of the record at the end, 22 bytes and a comment
	zipEndSize = 22
	zipComment = 1<<16 - 1 // the longest
)

// checkZipDirectory reads the end record to see that the directory is no bomb:
// archive/zip takes into memory whatever is there.
func checkZipDirectory(r io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, zipEndSize+zipComment))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	at := bytes.LastIndex(tail, []byte(zipEnd))
	if at < 0 || len(tail)-at < zipEndSize {
		return zip.ErrFormat
	}
	length := int64(binary.LittleEndian.Uint32(tail[at+12:]))
	start := int64(binary.LittleEndian.Uint32(tail[at+16:])) // all ones in a zip of 64 Ki files or more
	end := size - int64(len(tail)-at)
	if length > maxZipDirectory || end-start > maxZipDirectory || start > end {
		return fmt.Errorf("its directory is damaged, or larger than the %d MiB that are allowed", maxZipDirectory>>20)
	}
	return nil
}

// openZip reads the directory of a zip that was checked.
func openZip(m module.Version, sum string, b *cache.Blob) (*moduleZip, error) {
	r, err := zip.NewReader(b, b.Size)
	if err != nil {
		return nil, fmt.Errorf("reading its zip: %w", err)
	}
	z := &moduleZip{Version: m, sum: sum, blob: b, files: make(map[string]*zip.File, len(r.File)), dirs: map[string][]*zip.File{}}
	prefix := m.String() + "/"
	for _, f := range r.File {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || name == "" || strings.HasSuffix(name, "/") {
			continue // directories, which have no part in the h1
		}
		z.files[name] = f
		if strings.HasSuffix(name, ".go") {
			z.dirs[path.Dir(name)] = append(z.dirs[path.Dir(name)], f)
		}
	}
	return z, nil
}

// read gives the content of a file, fs.ErrNotExist if there is none.
func (z *moduleZip) read(name string) ([]byte, error) {
	f := z.files[name]
	if f == nil {
		return nil, fmt.Errorf("reading %s of %s: %w", name, z.Version, os.ErrNotExist)
	}
	return inflate(f)
}

// inflate reads a file of a zip into memory. Zips that were checked have none
// that is larger than modzip.MaxZipFile.
func inflate(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, 0, f.UncompressedSize64+bytes.MinRead)
	buf := bytes.NewBuffer(data)
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", f.Name, err)
	}
	return buf.Bytes(), nil
}

// zipContent is the content of a file in a zip. Opened, it is in memory: the
// files of modules are small, those of a toolchain a few dozen MiB.
type zipContent struct{ *zip.File }

// Open implements tree.Content.
func (c zipContent) Open() (tree.Reader, error) {
	data, err := inflate(c.File)
	if err != nil {
		return nil, err
	}
	return tree.Bytes(data).Open()
}

// unpack puts the files of the zip into a tree, those that keep is true for,
// with the modes that mode gives.
func (z *moduleZip) unpack(t *tree.Tree, dir string, keep func(name string) bool) error {
	for name, f := range z.files {
		if !keep(name) {
			continue
		}
		n := &tree.Node{Mode: 0o644, Size: int64(f.UncompressedSize64), Content: zipContent{f}}
		if z.Path == toolchainModule && isTool(name) {
			n.Mode = 0o755
		}
		if err := t.Put(path.Join(dir, name), n); err != nil {
			return fmt.Errorf("unpacking %s: %w", z.Version, err)
		}
	}
	return nil
}

// isTool says which files of a toolchain are programs: zips of modules have no
// modes, so the go command decides it by their place, too.
func isTool(name string) bool {
	return path.Dir(name) == "bin" || strings.HasPrefix(name, "pkg/tool/")
}

// measureZip downloads the zip of a module, keeps it, and tells its h1. For a
// day it is not asked for again.
func (c *call) measureZip(ctx context.Context, m module.Version) (string, error) {
	label := "Go module " + m.String()
	unverified := fmt.Sprintf("go module zip to measure v1\n%s\n%s", m, today())
	b, err := c.Cache.Make(ctx, unverified, label, func(dst *os.File) error { return c.downloadZip(ctx, m, dst) })
	if err != nil {
		return "", err
	}
	defer b.Close()
	sum, err := zipSum(b.File)
	if err != nil {
		return "", err
	}
	kept, err := c.Cache.Make(ctx, zipKey(m, sum), label, func(dst *os.File) error {
		_, err := io.Copy(dst, b)
		return err
	})
	if err != nil {
		return "", err
	}
	return sum, kept.Close()
}

// today is a part of the key of what may be different tomorrow.
func today() string { return time.Now().UTC().Format(time.DateOnly) }
