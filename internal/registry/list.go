package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrUnknown says that a registry has no such repository or manifest.
var ErrUnknown = errors.New("not in the registry")

// Image is a manifest of a registry under one of its tags.
type Image struct {
	Repository string `json:"repository" yaml:"repository"`
	Tag        string `json:"tag" yaml:"tag"` // "" if it has none
	Digest     string `json:"digest" yaml:"digest"`
	MediaType  string `json:"mediaType" yaml:"mediaType"`
	Type       string `json:"type" yaml:"type"`                           // "image", "index", or the type of another artifact
	Subject    string `json:"subject,omitempty" yaml:"subject,omitempty"` // the digest that it refers to
	Size       int64  `json:"size" yaml:"size"`                           // with all that it needs, in bytes
}

// List returns what is in the registry in a directory: by repository, then by
// tag, manifests without a tag after those with one.
func List(ctx context.Context, dir string) ([]Image, error) {
	st, err := existing(dir)
	if err != nil {
		return nil, err
	}
	defer st.close()
	names, err := st.repositories()
	if err != nil {
		return nil, fmt.Errorf("listing the registry: %w", err)
	}
	slices.Sort(names)
	var all []Image
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		images, err := st.repo(name).images()
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", name, err)
		}
		all = append(all, images...)
	}
	return all, nil
}

func (r repo) images() ([]Image, error) {
	list, err := r.indexOrNone()
	if err != nil {
		return nil, err
	}
	var all []Image
	for _, e := range list {
		sizes := map[digest.Digest]int64{e.Digest: e.Size}
		m, err := r.manifest(e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted just now
		}
		if err == nil {
			err = r.measure(m, list, sizes)
		}
		if err != nil {
			return nil, err
		}
		i := Image{Repository: r.name, Tag: tagOf(e), Digest: string(e.Digest), MediaType: e.MediaType, Type: m.kind(), Subject: string(m.subject())}
		for _, size := range sizes {
			i.Size += size
		}
		all = append(all, i)
	}
	slices.SortStableFunc(all, compareImages)
	return all, nil
}

// kind is what people call the manifest.
func (m *manifest) kind() string {
	switch t := m.artifactType(); {
	case m.isIndex() && t == "":
		return "index"
	case t == v1.MediaTypeImageConfig || t == dockerConfig:
		return "image"
	default:
		return t
	}
}

func compareImages(a, b Image) int {
	if (a.Tag == "") != (b.Tag == "") {
		return strings.Compare(b.Tag, a.Tag)
	}
	if c := compareTags(a.Tag, b.Tag); c != 0 {
		return c
	}
	return strings.Compare(a.Digest, b.Digest)
}

// measure notes the sizes of all that a manifest needs, also through others.
func (r repo) measure(m *manifest, list manifestList, sizes map[digest.Digest]int64) error {
	for todo := m.needs(); len(todo) > 0; {
		d := todo[0]
		todo = todo[1:]
		if _, done := sizes[d.Digest]; done {
			continue
		}
		sizes[d.Digest] = d.Size
		e, ok := list.find(string(d.Digest))
		if !ok {
			continue
		}
		child, err := r.manifest(e)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		todo = append(todo, child.needs()...)
	}
	return nil
}

// Delete removes NAME:TAG, or NAME@DIGEST with all its tags, from the registry in
// a directory, beside any servers. What they needed is garbage then. An error
// that is ErrUnknown says that there is nothing of that name.
func Delete(dir, ref string) error {
	st, err := existing(dir)
	if err != nil {
		return err
	}
	defer st.close()
	name, what, ok := strings.Cut(ref, "@")
	if !ok {
		name, what, ok = strings.Cut(ref, ":")
	}
	if !ok || !validName(name) || checkReference(what) != nil {
		return fmt.Errorf("reading %q: wanted is NAME:TAG or NAME@DIGEST, without a registry before it", ref)
	}
	err = st.repo(name).deleteManifest(what)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting %s: %w", ref, ErrUnknown)
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", ref, err)
	}
	return nil
}
