package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graftlinux/graft/internal/tree"
)

// place is where manifests are kept as they are, with what refers to them: a
// repository of a registry, or an OCI layout.
type place interface {
	store
	// root is what the source names; its Data are not verified.
	root(ctx context.Context) (v1.Descriptor, error)
	// pinned is the digest that the source itself says; the zero Hash if none.
	pinned() v1.Hash
	// at is the source of another manifest in this place.
	at(h v1.Hash) string
	// referrers lists manifests whose subject is the given one; of the given
	// artifact types, if there are any. Nothing of it is verified.
	referrers(ctx context.Context, subject v1.Hash, types []string) ([]v1.Descriptor, error)
	// tagged reads what has a tag beside the named image; nil if nothing has.
	tagged(ctx context.Context, tag string) (*v1.Descriptor, error)
	// explain lets a registry say more about an error.
	explain(err error) error
}

// openPlace finds where the image of a source is. Not everything that Open
// reads will do: a plain tar or a docker-archive has no manifests.
func openPlace(ctx context.Context, src, scope string, opts Options) (place, error) {
	s, err := parseSource(src)
	if err != nil {
		return nil, err
	}
	if s.form == formRegistry {
		r, err := openRegistry(ctx, s.path, scope, opts)
		if err != nil && s.missing {
			return nil, fmt.Errorf("there is no such file, and as the name of an image in a registry: %w", err)
		}
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	return openLayoutPlace(ctx, opener{source: s, opts: opts, spool: newSpool(opts.SpoolDir)})
}

// layoutPlace is an OCI layout with its index.
type layoutPlace struct {
	layout
	source
	entries  []named
	spool    *spool // holds the tarball open
	subjects func(context.Context) (map[v1.Hash][]v1.Descriptor, error)
}

func openLayoutPlace(ctx context.Context, o opener) (*layoutPlace, error) {
	f, err := o.layoutFiles(ctx)
	if err != nil {
		return nil, errors.Join(err, o.spool.Close())
	}
	entries, err := readIndexFile(f)
	if err != nil {
		return nil, errors.Join(err, o.spool.Close())
	}
	l := &layoutPlace{layout: layout{f}, source: o.source, entries: entries, spool: o.spool}
	l.subjects = onlyOnce(l.findSubjects)
	return l, nil
}

// choosing is the same place with another image of it chosen.
func (l *layoutPlace) choosing(want string) *layoutPlace {
	other := *l
	other.want = want
	return &other
}

// onlyOnce remembers what fn returns, unless that is an error.
func onlyOnce[T any](fn func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var v T
	done := false
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return v, nil
		}
		var err error
		v, err = fn(ctx)
		done = err == nil
		return v, err
	}
}

var errNoLayout = errors.New("it is no OCI layout, which is what keeps manifests as they are: pack it into one, or into a registry, first")

// layoutFiles are the files of a layout in a directory or tarball.
func (o *opener) layoutFiles(ctx context.Context) (files, error) {
	info, err := os.Stat(o.path)
	if err != nil {
		return nil, cause(err)
	}
	if info.IsDir() {
		o.form = formLayout
		if existing(filepath.Join(o.path, indexFile)) != nil {
			return nil, errNoLayout
		}
		return dirFiles(o.path), nil
	}
	f, err := openRegular(o.path)
	if err != nil {
		return nil, cause(err)
	}
	at, size, err := o.unpacked(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("decompressing it: %w", err)
	}
	t, err := tree.FromTar(at, size)
	if err != nil {
		return nil, errNoLayout
	}
	o.form = formOCIArchive
	if tf := (tarFiles{t}); tf.has(indexFile) {
		return tf, nil
	}
	return nil, errNoLayout
}

func (l *layoutPlace) Close() error { return l.spool.Close() }

func (l *layoutPlace) explain(err error) error { return err }

func (l *layoutPlace) at(h v1.Hash) string { return string(l.form) + ":" + l.path + "@" + h.String() }

func (l *layoutPlace) pinned() v1.Hash {
	h, _ := v1.NewHash(l.want[strings.Index(l.want, "@")+1:])
	return h
}

// root is the one image of the layout that was chosen, or that there is.
func (l *layoutPlace) root(context.Context) (v1.Descriptor, error) {
	chosen := images(l.entries)
	if l.want != "" {
		chosen = slices.DeleteFunc(slices.Clone(l.entries), func(n named) bool { return !n.is(l.want) })
	}
	if len(chosen) == 0 {
		if h := l.pinned(); h != (v1.Hash{}) {
			return l.unlisted(h)
		}
		return v1.Descriptor{}, fmt.Errorf("%w %q; there is %s", errNoSuchName, l.want, listNames(images(l.entries)))
	}
	for _, c := range chosen[1:] {
		if c.Digest != chosen[0].Digest {
			return v1.Descriptor{}, fmt.Errorf("it holds several images: choose one, as in %s:%s:%s; there is %s",
				l.form, l.path, choice(c), listNames(chosen))
		}
	}
	return chosen[0].Descriptor, nil
}

// unlisted is a manifest that index.json does not name: one of a platform.
func (l *layoutPlace) unlisted(h v1.Hash) (v1.Descriptor, error) {
	f, err := l.files.open(blobPath(h))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotInTarball) {
		return v1.Descriptor{}, fmt.Errorf("%w with the digest %s", errNoSuchName, h)
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	return v1.Descriptor{Digest: h, Size: f.Size()}, nil
}

// images are the entries that are not there for the sake of others.
func images(entries []named) []named {
	own := slices.DeleteFunc(slices.Clone(entries), named.attached)
	if len(own) == 0 {
		return entries
	}
	return own
}

// attached says whether an entry is a signature or the like of another one.
func (n named) attached() bool {
	if n.name() == "" {
		return n.ArtifactType != ""
	}
	name := n.name()
	tag := name[strings.LastIndexAny(name, ":/")+1:]
	hex, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(hex) >= 64 && strings.Trim(hex[:64], "0123456789abcdef") == ""
}

// tagged finds a tag with any repository's name before it: those that are
// asked for have a digest in them.
func (l *layoutPlace) tagged(ctx context.Context, tag string) (*v1.Descriptor, error) {
	for _, e := range l.entries {
		for _, name := range e.names {
			if name == tag || strings.HasSuffix(name, ":"+tag) {
				d, err := readManifest(ctx, l, e.Descriptor)
				return &d, err
			}
		}
	}
	return nil, nil
}

// nameFor is the name of a tag beside the image that was chosen: with the
// repository's name before it, if that is known.
func (l *layoutPlace) nameFor(tag string) string {
	h := l.pinned()
	for _, e := range l.entries {
		chosen := l.want == "" && !e.attached() || l.want != "" && e.is(l.want) || e.Digest == h
		if name := e.name(); chosen && hasTag(name) {
			return name[:strings.LastIndex(name, ":")+1] + tag
		}
	}
	return tag
}

func (l *layoutPlace) referrers(ctx context.Context, subject v1.Hash, types []string) ([]v1.Descriptor, error) {
	subjects, err := l.subjects(ctx)
	if err != nil {
		return nil, err
	}
	found := slices.Clone(subjects[subject])
	fallback, err := l.tagged(ctx, fallbackTag(subject))
	if err != nil {
		return nil, err
	}
	if fallback != nil {
		more, err := parseReferrers(fallback.Data)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return ofTypes(unique(found), types), nil
}

// findSubjects reads every manifest of the index: the subject is said there
// and nowhere else.
func (l *layoutPlace) findSubjects(ctx context.Context) (map[v1.Hash][]v1.Descriptor, error) {
	subjects := map[v1.Hash][]v1.Descriptor{}
	for _, e := range l.entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raw, err := (&resolver{store: l}).read(ctx, e.Descriptor)
		if err != nil {
			return nil, err
		}
		var m refersTo
		if json.Unmarshal(raw, &m) != nil || m.Subject == nil {
			continue
		}
		d := v1.Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size, ArtifactType: m.artifactType(), Annotations: m.Annotations}
		subjects[m.Subject.Digest] = append(subjects[m.Subject.Digest], d)
	}
	return subjects, nil
}

// refersTo is what a manifest or an index says of itself and its subject.
type refersTo struct {
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Subject      *v1.Descriptor    `json:"subject"`
	Config       struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
}

// artifactType is that of the manifest, or of its config (OCI image
// specification, "Guidelines for Artifact Usage").
func (r refersTo) artifactType() string {
	if r.ArtifactType != "" {
		return r.ArtifactType
	}
	return r.Config.MediaType
}

func unique(ds []v1.Descriptor) []v1.Descriptor {
	seen := map[v1.Hash]bool{}
	return slices.DeleteFunc(ds, func(d v1.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	})
}

func ofTypes(ds []v1.Descriptor, types []string) []v1.Descriptor {
	if len(types) == 0 {
		return ds
	}
	return slices.DeleteFunc(ds, func(d v1.Descriptor) bool { return !slices.Contains(types, d.ArtifactType) })
}

func (r *registry) pinned() v1.Hash {
	if d, ok := r.ref.(name.Digest); ok {
		h, _ := v1.NewHash(d.DigestStr())
		return h
	}
	return v1.Hash{}
}

func (r *registry) at(h v1.Hash) string { return r.ref.Context().Digest(h.String()).String() }

var (
	_ place = (*registry)(nil)
	_ place = (*layoutPlace)(nil)
)
