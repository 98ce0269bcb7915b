package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Files of an OCI layout (OCI image specification, "image-layout.md").
const (
	layoutFile = "oci-layout"
	indexFile  = "index.json"
	blobsDir   = "blobs"
)

// Annotations that name an image in a layout.
const (
	refNameAnnotation    = "org.opencontainers.image.ref.name" // a tag, or a whole name
	containerdAnnotation = "io.containerd.image.name"          // always a whole name
)

// blobPath is where a layout has a blob. A v1.Hash that was parsed has nothing
// but hex digits, so the path cannot lead elsewhere.
func blobPath(h v1.Hash) string {
	return blobsDir + "/" + h.Algorithm + "/" + h.Hex
}

// layout is the store of an OCI layout.
type layout struct{ files files }

func (l layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := l.files.open(blobPath(d.Digest))
	if err != nil {
		return nil, err // not f: a nil *fileBlob in an interface is not nil
	}
	return f, nil
}

func (l layout) manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return l.blob(ctx, d)
}

func (l layout) Close() error { return nil }

// named is the descriptor of a manifest or index, with the names that a layout or
// tarball has for it.
type named struct {
	v1.Descriptor
	names []string // as a person may choose it; the first is the best one
}

func (n named) name() string {
	if len(n.names) == 0 {
		return ""
	}
	return n.names[0]
}

// is says whether want, a name, a tag or a digest, means this image.
func (n named) is(want string) bool {
	if name, digest, ok := strings.Cut(want, "@"); ok {
		return digest == n.Digest.String() && (name == "" || n.is(name))
	}
	same := func(s string) bool { return s == want || sameName(s, want) }
	return want == n.Digest.String() || slices.ContainsFunc(n.names, same)
}

// sameName compares whole names: hello:1 is docker.io/library/hello:1.
func sameName(a, b string) bool {
	ra, erra := name.ParseReference(a)
	rb, errb := name.ParseReference(b)
	return erra == nil && errb == nil && ra.Name() == rb.Name()
}

// namesOf reads the annotations of an entry of index.json. A name is better
// than a tag.
func namesOf(annotations map[string]string) []string {
	var names []string
	ref, full := annotations[refNameAnnotation], annotations[containerdAnnotation]
	if strings.ContainsAny(ref, ":/") {
		names = append(names, ref)
	}
	if full != "" {
		names = append(names, full)
	}
	if ref != "" && !slices.Contains(names, ref) {
		names = append(names, ref)
	}
	return names
}

func (o *opener) openLayout(ctx context.Context, f files) (*Image, error) {
	roots, err := readIndexFile(f)
	if err != nil {
		return nil, err
	}
	return o.chooseRoot(ctx, layout{f}, roots)
}

func readIndexFile(f files) ([]named, error) {
	r, err := f.open(indexFile)
	if err != nil {
		return nil, fmt.Errorf("reading the OCI layout: %w", err)
	}
	defer r.Close()
	data, err := readLimited(r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", indexFile, err)
	}
	return parseIndexFile(data)
}

func parseIndexFile(data []byte) ([]named, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", indexFile, err)
	}
	return namedEntries(index.Manifests), nil
}

func namedEntries(ds []v1.Descriptor) []named {
	roots := make([]named, len(ds))
	for i, d := range ds {
		roots[i] = named{d, namesOf(d.Annotations)}
	}
	return roots
}

// chooseRoot takes what the person chose, or what there is no choice about: one
// image, or one for several platforms.
func (o *opener) chooseRoot(ctx context.Context, s store, roots []named) (*Image, error) {
	if len(roots) == 0 {
		return nil, errors.New("it holds no image")
	}
	if o.want != "" {
		chosen := slices.DeleteFunc(slices.Clone(roots), func(n named) bool { return !n.is(o.want) })
		if len(chosen) == 0 {
			return nil, fmt.Errorf("%w %q; there is %s", errNoSuchName, o.want, listNames(images(roots)))
		}
		return o.image(ctx, s, chosen)
	}
	roots = images(roots)
	for _, r := range roots[1:] {
		if r.name() != roots[0].name() && r.Digest != roots[0].Digest {
			return nil, fmt.Errorf("it holds several images: choose one, as in %s:%s:%s; there is %s",
				o.form, o.path, choice(r), listNames(roots))
		}
	}
	return o.image(ctx, s, roots)
}

var errNoSuchName = errors.New("it holds no image")

func choice(n named) string {
	if n.name() != "" {
		return n.name()
	}
	return n.Digest.String()
}

const maxListed = 20 // images or platforms in one message

func listNames(roots []named) string {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = choice(r)
	}
	return list(names)
}

// list is "a, b, c", with an end.
func list(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	more := ""
	if len(names) > maxListed {
		more = fmt.Sprintf(", and %d more", len(names)-maxListed)
		names = names[:maxListed]
	}
	return strings.Join(names, ", ") + more
}
