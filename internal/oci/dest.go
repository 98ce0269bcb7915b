package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// destination is a parsed DEST.
type destination interface {
	write(ctx context.Context, a *artifact) (Result, error)
}

// parseDest decides by the look of dest, and by what is there only if that is
// a directory, so that a command means the same thing each time.
func parseDest(dest string, opts PackOptions) (destination, error) {
	if dest == "" {
		return nil, errors.New("an empty name")
	}
	if ref, ok := strings.CutPrefix(dest, "docker://"); ok {
		return newPush(ref, opts)
	}
	prefix, rest, ok := strings.Cut(dest, ":")
	switch f := form(prefix); {
	case !ok:
	case f == formLayout, f == formOCIArchive, f == formDockerArchive:
		path, ref, _ := strings.Cut(rest, ":")
		return newFileDest(f, path, ref, opts)
	case f == formDir, f == formTar:
		return nil, fmt.Errorf("%s: is a form that graft only reads; to write, there are oci:, oci-archive:, docker-archive: and docker://", f)
	}
	return guessDest(dest, opts)
}

func guessDest(dest string, opts PackOptions) (destination, error) {
	info, err := os.Stat(dest)
	switch {
	case strings.HasSuffix(dest, ".tar"):
		return newFileDest(formOCIArchive, dest, "", opts)
	case strings.HasSuffix(dest, ".tar.gz"), strings.HasSuffix(dest, ".tgz"), strings.HasSuffix(dest, ".tar.zst"):
		return nil, errors.New("an image tarball is not compressed as a whole, its layers are: name it .tar")
	case explicitPath(dest), err == nil && info.IsDir():
		return newFileDest(formLayout, dest, "", opts)
	case looksLikeReference(dest):
		return newPush(dest, opts)
	}
	return newFileDest(formLayout, dest, "", opts)
}

// looksLikeReference says whether the first of several path elements is a host.
func looksLikeReference(s string) bool {
	host, _, more := strings.Cut(s, "/")
	return more && (host == "localhost" || strings.ContainsAny(host, ".:"))
}

func newFileDest(f form, path, ref string, opts PackOptions) (destination, error) {
	if path == "" {
		return nil, fmt.Errorf("%s: lacks a path", f)
	}
	if ref == "" {
		ref = opts.Name
	}
	n, err := parseImageName(ref)
	if err != nil {
		return nil, err
	}
	if f == formLayout {
		return layoutDest{dir: path, name: n}, nil
	}
	return archiveDest{path: path, name: n}, nil
}

// imageName is what an image is called in a layout or tarball; the zero value
// is an image without a name.
type imageName struct {
	given string // with the tag
	full  string // with the registry, as container engines have it
	tag   string
}

func parseImageName(s string) (imageName, error) {
	if s == "" {
		return imageName{}, nil
	}
	if err := refuseURL(s); err != nil {
		return imageName{}, fmt.Errorf("the image's name: %w", err)
	}
	ref, err := name.ParseReference(s)
	if err != nil {
		return imageName{}, fmt.Errorf("the image's name %q: %w", s, err)
	}
	tag, ok := ref.(name.Tag)
	if !ok {
		return imageName{}, fmt.Errorf("the image's name %q has a digest, which only the finished image can have", s)
	}
	full := tag.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		full = "docker.io/" + rest // the registry's name and its host differ
	}
	if !hasTag(s) {
		s += ":" + tag.TagStr()
	}
	return imageName{given: s, full: full, tag: tag.TagStr()}, nil
}

// hasTag says whether a reference without a digest says its tag: a colon in
// the last path element, for one before it belongs to a port.
func hasTag(s string) bool { return strings.Contains(s[strings.LastIndex(s, "/")+1:], ":") }

// CutTag divides NAME:TAG; the host may have a port. The tag is "" if there is
// none.
func CutTag(named string) (repository, tag string) {
	if i := strings.LastIndexByte(named, ':'); i > strings.LastIndexByte(named, '/') {
		return named[:i], named[i+1:]
	}
	return named, ""
}

// CutRef divides NAME:TAG@DIGEST as CutTag does, and drops the digest.
func CutRef(ref string) (repository, tag string) {
	named, _, _ := strings.Cut(ref, "@")
	return CutTag(named)
}

// annotations of the image's entry in index.json.
func (n imageName) annotations() map[string]string {
	if n.given == "" {
		return nil
	}
	return map[string]string{refNameAnnotation: n.given, containerdAnnotation: n.full}
}

// CheckDest finds what is wrong with the name of a destination, without looking
// for what is there.
func CheckDest(dest string) error {
	_, err := parseDest(dest, PackOptions{Name: "name:tag"})
	return err
}
