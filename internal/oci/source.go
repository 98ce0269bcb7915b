package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/tree"
)

// form is what a source is, in the words of skopeo.
type form string

const (
	formAny           form = "" // a path that must be looked at
	formDir           form = "dir"
	formTar           form = "tar"
	formLayout        form = "oci"
	formOCIArchive    form = "oci-archive"
	formDockerArchive form = "docker-archive"
	formRegistry      form = "docker"
)

// source is a parsed SRC.
type source struct {
	form form   // what it turned out to be, once that is known
	path string // a file, a directory, or a registry reference
	want string // the name or digest of one image in it, "" if it was not said
	// missing is a path that SRC could have been; then it is a reference.
	missing bool
}

func parseSource(src string) (source, error) {
	if src == "" {
		return source{}, errors.New("an empty name")
	}
	if ref, ok := strings.CutPrefix(src, "docker://"); ok {
		return source{form: formRegistry, path: ref}, nil
	}
	prefix, rest, ok := strings.Cut(src, ":")
	switch f := form(prefix); {
	case !ok:
	case f == formDir, f == formTar:
		return source{form: f, path: rest}, existing(rest)
	case f == formLayout, f == formOCIArchive, f == formDockerArchive:
		path, want := splitChoice(rest)
		return source{form: f, path: path, want: want}, existing(path)
	}
	return guessSource(src)
}

// guessSource takes an existing path as one, and what cannot be a path as a
// reference. "alpine:3" is never a choice in a layout called alpine.
func guessSource(src string) (source, error) {
	if existing(src) == nil {
		return source{path: src}, nil
	}
	if explicitPath(src) || hasFileEnding(src) {
		path, want := splitChoice(src)
		return source{path: path, want: want}, existing(path)
	}
	return source{form: formRegistry, path: src, missing: true}, nil
}

// explicitPath says whether a person who writes this can only mean a file.
func explicitPath(s string) bool {
	return filepath.IsAbs(s) || s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
}

// fileEndings are those of names that a person gives to files, and hardly to
// repositories: docker:// stands before one that is.
var fileEndings = []string{
	".tar", ".tgz", ".gz", ".xz", ".zst", ".yaml", ".yml", ".json", ".iso", ".raw", ".qcow2", ".vhd", ".vmdk", ".ova", ".efi", ".img", "/",
}

func hasFileEnding(s string) bool {
	return slices.ContainsFunc(fileEndings, func(end string) bool { return strings.HasSuffix(s, end) })
}

// splitChoice divides PATH[:NAME] and PATH[@DIGEST]; the path is the shortest
// that exists, for names have colons, too.
func splitChoice(s string) (path, want string) {
	if existing(s) == nil {
		return s, ""
	}
	for i, c := range s {
		if (c == ':' || c == '@') && existing(s[:i]) == nil {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func existing(path string) error {
	_, err := os.Stat(path)
	return cause(err)
}

// cause drops the operation and path of an *fs.PathError, where the message
// around it has them already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// opener finds the image of a source.
type opener struct {
	source
	opts     Options
	platform Platform
	spool    *spool
}

func (o *opener) open(ctx context.Context) (*Image, error) {
	if o.form == formRegistry {
		return o.openRegistry(ctx)
	}
	info, err := os.Stat(o.path)
	if err != nil {
		return nil, cause(err)
	}
	if info.IsDir() {
		return o.openDir(ctx)
	}
	return o.openFile(ctx)
}

func (o *opener) openRegistry(ctx context.Context) (*Image, error) {
	reg, root, err := dialRegistry(ctx, o.path, o.opts)
	switch {
	case err != nil && o.missing:
		return nil, fmt.Errorf("there is no such file, and as the name of an image in a registry: %w", err)
	case err != nil:
		return nil, err
	}
	img, err := o.image(ctx, reg, []named{root})
	if err != nil {
		return nil, errors.Join(reg.explain(err), reg.Close())
	}
	img.ref = o.path
	return img, nil
}

func (o *opener) openDir(ctx context.Context) (*Image, error) {
	isLayout := existing(filepath.Join(o.path, layoutFile)) == nil || existing(filepath.Join(o.path, indexFile)) == nil
	switch {
	case o.form == formLayout, o.form == formAny && isLayout:
		o.form = formLayout
		return o.openLayout(ctx, dirFiles(o.path))
	case o.form == formTar, o.form == formOCIArchive, o.form == formDockerArchive:
		return nil, errors.New("it is a directory, not a tarball")
	case o.want != "":
		return nil, fmt.Errorf("it is a directory of files, not an OCI layout in which %q could be chosen", o.want)
	}
	t, err := tree.FromDir(o.path)
	if err != nil {
		return nil, err
	}
	img := OfTree(t)
	img.spool = o.spool
	return img, nil
}

// OfTree is a tree in the place of an image, as that of a directory is: it has
// no digest and no name.
func OfTree(t *tree.Tree) *Image { return &Image{tree: t, spool: newSpool("")} }

// IsLocal says whether src, as Open takes it, names a file or a directory.
func IsLocal(src string) bool {
	s, err := parseSource(src)
	return err != nil || s.form != formRegistry
}
