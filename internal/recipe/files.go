package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	// MaxFileSize bounds every file that is read: the longest real recipe has
	// 20 KiB.
	MaxFileSize = 4 << 20
	// MaxTreeSize bounds all files together.
	MaxTreeSize = 256 << 20
	// MaxEntries bounds what a walk over a tree looks at: a kernel's sources
	// have 100,000 files.
	MaxEntries = 2_000_000
)

// files are those of a tree that recipes are read from.
type files struct {
	texts map[string][]byte // by path relative to the root, with slashes
	// Paths of each kind, in the order of a walk.
	vars, packages, templates []string
	size                      int64
	findings
}

// put adds a file of one of the known names.
func (f *files) put(name string, text []byte) {
	if f.texts == nil {
		f.texts = map[string][]byte{}
	}
	f.texts[name] = text
	switch kindOf(name) {
	case VarsName:
		f.vars = append(f.vars, name)
	case PackageName:
		f.packages = append(f.packages, name)
	case TemplateExt:
		f.templates = append(f.templates, name)
	}
}

// kindOf says what a file is read as: one of the constant names, or "".
func kindOf(name string) string {
	switch base := path.Base(name); {
	case name == PkgfileName:
		return PkgfileName
	case base == VarsName, base == PackageName:
		return base
	case strings.HasSuffix(base, TemplateExt) && base != TemplateExt:
		return TemplateExt
	}
	return ""
}

// readFiles reads what recipes are made of, and nothing else, from a tree.
func readFiles(ctx context.Context, dir string) (*files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("reading recipes of %s: %w", dir, cause(err))
	}
	defer root.Close()
	w := walk{ctx: ctx, tree: root.FS(), files: &files{}}
	if err := fs.WalkDir(w.tree, ".", w.entry); err != nil {
		return nil, fmt.Errorf("reading recipes of %s: %w", dir, err)
	}
	return w.files, nil
}

// cause drops the operation and path of an *fs.PathError, where the message
// around it already has them.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// cacheTag marks a directory as a cache, with files of other builds in it (the
// Cache Directory Tagging Specification).
const cacheTag = "CACHEDIR.TAG"

func (w *walk) isCache(dir string) bool {
	_, err := fs.Stat(w.tree, path.Join(dir, cacheTag))
	return err == nil
}

type walk struct {
	ctx     context.Context
	tree    fs.FS
	files   *files
	entries int
}

// entry implements fs.WalkDirFunc. Directories that are symlinks are not
// entered, as fs.WalkDir does not.
func (w *walk) entry(name string, d fs.DirEntry, err error) error {
	if ctxErr := w.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if w.entries++; w.entries > MaxEntries {
		return fmt.Errorf("more than %d files and directories: this is hardly a tree of recipes", MaxEntries)
	}
	if err != nil {
		if name == "." {
			return cause(err)
		}
		w.files.warn(Problem{File: name, Message: fmt.Sprintf("is left out: reading it: %v", cause(err))})
		return nil
	}
	if d.IsDir() {
		if name != "." && strings.HasPrefix(d.Name(), ".") || name == outputFolder || name != "." && w.isCache(name) {
			return fs.SkipDir
		}
		return nil
	}
	if kindOf(name) == "" {
		return nil
	}
	return w.file(name)
}

// file reads one file. What cannot be read is a problem of the tree.
func (w *walk) file(name string) error {
	text, err := w.read(name)
	if err != nil {
		w.files.add(Problem{File: name, Message: fmt.Sprintf("reading it: %v", cause(err))})
		return nil
	}
	if w.files.size += int64(len(text)); w.files.size > MaxTreeSize {
		return fmt.Errorf("more than %d bytes of recipes", MaxTreeSize)
	}
	w.files.put(name, text)
	return nil
}

func (w *walk) read(name string) ([]byte, error) {
	info, err := fs.Stat(w.tree, name) // a FIFO would wait for its other end
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := w.tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFileSize {
		return nil, fmt.Errorf("it has more than the %d bytes that are allowed", MaxFileSize)
	}
	return text, nil
}
