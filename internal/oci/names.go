package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Exists is Resolve for a name that may be free: false without an error.
func Exists(ctx context.Context, src string, opts Options) (Descriptor, bool, error) {
	d, err := Resolve(ctx, src, opts)
	if isAbsent(err) {
		return Descriptor{}, false, nil
	}
	return d, err == nil, err
}

// isAbsent says whether nothing has the name that was asked for.
func isAbsent(err error) bool {
	return hasStatus(err, http.StatusNotFound) || errors.Is(err, errNoSuchName) || errors.Is(err, fs.ErrNotExist)
}

// Tags lists the tags of a repository in a registry, sorted. There are none if
// the registry does not know the repository.
func Tags(ctx context.Context, repository string, opts Options) ([]string, error) {
	r, err := openRegistry(ctx, repository, transport.PullScope, opts)
	if err != nil {
		return nil, fmt.Errorf("listing the tags of %s: %w", Redact(repository), err)
	}
	defer r.Close()
	tags, err := r.tags(ctx)
	if hasStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the tags of %s: %w", repository, r.explain(err))
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// tagsPerPage is what registries allow at most (ECR), or halve by themselves.
const tagsPerPage = 1000

func (r *repository) tags(ctx context.Context) ([]string, error) {
	u := r.url("tags", "list")
	u.RawQuery = url.Values{"n": {strconv.Itoa(tagsPerPage)}}.Encode()
	var tags []string
	for range maxTagPages {
		page, next, err := r.tagsPage(ctx, u)
		if err != nil {
			return nil, err
		}
		tags = append(tags, page...)
		if next == nil {
			return tags, nil
		}
		u = next
	}
	return nil, fmt.Errorf("more than %d pages of tags", maxTagPages)
}

func (r *repository) tagsPage(ctx context.Context, u *url.URL) ([]string, *url.URL, error) {
	resp, err := r.do(ctx, http.MethodGet, u, nil, nil, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var list struct {
		Tags []string `json:"tags"`
	}
	data, err := readLimited(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the list of tags: %w", err)
	}
	next, err := nextPage(u, resp.Header)
	return list.Tags, next, err
}

// NamedImage is an image in an OCI layout.
type NamedImage struct {
	Name   string // "" if it has none
	Source string // for Resolve, Open, Copy
	Digest string
}

// Names lists the images in an OCI layout (a directory or a tarball), in its
// order. What only refers to others, as signatures do, is left out.
func Names(ctx context.Context, layout string, opts Options) ([]NamedImage, error) {
	p, err := openPlace(ctx, layout, transport.PullScope, opts)
	if err != nil {
		return nil, fmt.Errorf("listing the images of %s: %w", layout, err)
	}
	defer p.Close()
	l, ok := p.(*layoutPlace)
	if !ok {
		return nil, fmt.Errorf("listing the images of %s: it is no OCI layout", layout)
	}
	var found []NamedImage
	for _, e := range images(l.entries) {
		n := NamedImage{e.name(), string(l.form) + ":" + l.path + ":" + choice(e), e.Digest.String()}
		if (l.want == "" || e.is(l.want)) && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	return found, nil
}

// Depot is a place for many images.
type Depot struct {
	registry string // a prefix of repositories, "" if it is a file or a layout
	file     string // the prefix of destinations in it
}

// ParseDepot reads where many images go: REG/NS, the directory of an OCI
// layout, or FILE.tar, with the prefixes of Pack's dest.
func ParseDepot(dest string) (Depot, error) {
	if ref, ok := strings.CutPrefix(dest, "docker://"); ok {
		return registryDepot(ref)
	}
	prefix, rest, _ := strings.Cut(dest, ":")
	if form(prefix) == formDockerArchive {
		return Depot{}, fmt.Errorf("writing to %s: %w", dest, errDockerArchive)
	}
	if f := form(prefix); rest != "" && (f == formLayout || f == formOCIArchive) {
		return Depot{file: dest}, nil
	}
	d, err := parseDest(dest, PackOptions{})
	switch d := d.(type) {
	case push:
		return registryDepot(dest)
	case layoutDest:
		return Depot{file: string(formLayout) + ":" + d.dir}, nil
	case archiveDest:
		return Depot{file: string(formOCIArchive) + ":" + d.path}, nil
	}
	return Depot{}, fmt.Errorf("writing to %s: %w", Redact(dest), err)
}

func registryDepot(prefix string) (Depot, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if err := refuseURL(prefix); err != nil {
		return Depot{}, err
	}
	if hasTag(prefix) && strings.Contains(prefix, "/") || strings.Contains(prefix, "@") {
		return Depot{}, fmt.Errorf("%s has a tag or a digest, and many images go there: name a registry and a path in it", prefix)
	}
	if _, err := name.NewRepository(prefix + "/x"); err != nil {
		return Depot{}, err
	}
	return Depot{registry: prefix}, nil
}

// Dest is where an image goes. In a registry it is called short, with a tag; in
// a file or layout it keeps its full name, so that it can go back.
func (d Depot) Dest(full, short string) string {
	if d.registry != "" {
		return "docker://" + d.registry + "/" + short
	}
	return d.file + ":" + full
}
