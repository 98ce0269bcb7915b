package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/graftlinux/graft/internal/ctxio"
)

// registryTarget is a tag in a registry.
type registryTarget struct {
	*repository
	tag    name.Tag
	root   v1.Hash          // what the tag will be for
	sparse bool             // indexes lack images
	from   *name.Repository // that the image comes from, if it is of the same registry
	// untagged is for an image that gets no tag.
	untagged bool
}

func (c *copier) registryTarget(ctx context.Context, p push, cargo *cargo) (target, error) {
	t := registryTarget{tag: p.tag, root: cargo.root.Digest, sparse: len(c.platforms) > 0, untagged: cargo.route.Untagged}
	a := access{scope: transport.PushScope, insecure: c.opts.Insecure}
	if r, ok := cargo.from.(*registry); ok && r.repo.RegistryStr() == p.tag.RegistryStr() && r.repo.Name() != p.tag.Repository.Name() {
		a.from = &r.repo
		t.from = &r.repo
	}
	var err error
	if t.repository, err = c.opts.Client.repository(ctx, p.tag.Repository, a); err != nil {
		return nil, explain(p.tag, err)
	}
	return t, nil
}

func (t registryTarget) String() string {
	if t.untagged {
		return t.repo.Name()
	}
	return t.tag.String()
}

func (t registryTarget) key() string             { return t.repo.Name() }
func (t registryTarget) explain(err error) error { return explain(t.tag, err) }

func (t registryTarget) hasBlob(ctx context.Context, d v1.Descriptor) (bool, error) {
	return t.has(ctx, "blobs", d)
}

func (t registryTarget) putBlob(ctx context.Context, d v1.Descriptor, from place, count *counter) error {
	return t.repository.putBlob(ctx, d, t.from, func() (io.ReadCloser, error) {
		count.set(0)
		return openChecked(ctx, from, d, count)
	})
}

// put leaves the root to finish.
func (t registryTarget) put(ctx context.Context, m shipped) error {
	switch {
	case m.subject != (v1.Hash{}): // also if it is there: the fall-back tag may lack it
		if err := t.refer(ctx, m.Descriptor, m.subject); err != nil {
			return err
		}
	case m.tag == "" && m.Digest != t.root:
		return t.store(ctx, m.Descriptor)
	}
	if m.tag == "" {
		return nil
	}
	_, err := t.give(ctx, m.tag, m.Descriptor)
	return err
}

// store sends a manifest that is not there, without a tag.
func (t registryTarget) store(ctx context.Context, d v1.Descriptor) error {
	have, err := t.has(ctx, "manifests", d)
	if have || err != nil {
		return err
	}
	return t.send(ctx, d.Digest.String(), d)
}

// send stores a manifest by a tag or its digest.
func (t registryTarget) send(ctx context.Context, id string, d v1.Descriptor) error {
	_, err := t.putManifest(ctx, id, d)
	if err != nil && d.MediaType.IsIndex() && t.sparse && refusesSparse(err) {
		return fmt.Errorf("%w (%v)", errSparse, err) // no matter of the registry's
	}
	return err
}

// give makes a tag point to a manifest, and returns to what it pointed before.
func (t registryTarget) give(ctx context.Context, tag string, d v1.Descriptor) (before string, err error) {
	if before, err = t.digestOfTag(ctx, tag); err != nil || before == d.Digest.String() {
		return before, err
	}
	return before, t.send(ctx, tag, d)
}

func (t registryTarget) named(ctx context.Context) (string, error) {
	if t.untagged {
		return "", nil
	}
	return t.digestOfTag(ctx, t.tag.TagStr())
}

func (t registryTarget) finish(ctx context.Context, root v1.Descriptor) (before string, err error) {
	if t.untagged {
		return "", t.store(ctx, root)
	}
	return t.give(ctx, t.tag.TagStr(), root)
}

// openChecked opens a blob whose last byte comes only if all are right. Its
// errors are explained: who reads it may speak to another registry.
func openChecked(ctx context.Context, from place, d v1.Descriptor, count *counter) (io.ReadCloser, error) {
	rc, err := from.blob(ctx, d)
	if err != nil {
		return nil, sourceError{from.explain(err)}
	}
	v, err := newVerifier(count.reader(ctxio.NewReader(ctx, rc)), d)
	if err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return &checkedBlob{checked{v}, rc, from}, nil
}

// sourceError is about reading, whatever it comes up in.
type sourceError struct{ error }

func (e sourceError) Error() string { return "reading it: " + e.error.Error() }
func (e sourceError) Unwrap() error { return e.error }

type checkedBlob struct {
	checked
	io.Closer
	from place
}

func (c *checkedBlob) Read(p []byte) (int, error) {
	n, err := c.checked.Read(p)
	if err != nil && err != io.EOF {
		err = sourceError{c.from.explain(err)}
	}
	return n, err
}

// layoutTarget is a name in an OCI layout on disk.
type layoutTarget struct {
	layoutDest
	listed   []v1.Descriptor // what index.json has to name beside the image
	untagged bool
}

// begin makes the directory a layout, with nothing in it if it is new.
func (d layoutDest) begin(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	return d.updateIndex(ctx, func(*v1.IndexManifest) error { return nil })
}

func (t *layoutTarget) String() string {
	if t.untagged || t.layoutDest.name.given == "" {
		return string(formLayout) + ":" + t.dir
	}
	return string(formLayout) + ":" + t.dir + ":" + t.layoutDest.name.given
}

func (t *layoutTarget) key() string             { return filepath.Clean(t.dir) }
func (t *layoutTarget) explain(err error) error { return err }

func (t *layoutTarget) hasBlob(_ context.Context, d v1.Descriptor) (bool, error) {
	return t.has(d), nil
}

func (t *layoutTarget) putBlob(ctx context.Context, d v1.Descriptor, from place, count *counter) error {
	if l, ok := from.(*layoutPlace); ok {
		linked, err := t.link(ctx, d, l, count)
		if linked || err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		err := t.writeChecked(ctx, d, from, count)
		if err == nil || attempt == attempts || ctx.Err() != nil || !isTemporary(err) {
			return err
		}
		if err := sleep(ctx, pause(attempt)); err != nil {
			return err
		}
	}
}

func (t *layoutTarget) writeChecked(ctx context.Context, d v1.Descriptor, from place, count *counter) error {
	count.set(0)
	r, err := openChecked(ctx, from, d, count)
	if err != nil {
		return err
	}
	defer r.Close()
	return t.writeFile(ctx, blobPath(d.Digest), r)
}

// link makes the blob of a layout on the same file system a hard link to the
// other one's, as blobs are never written twice. The new name is for what was
// verified. It is false where that cannot be.
func (t *layoutTarget) link(ctx context.Context, d v1.Descriptor, from *layoutPlace, count *counter) (bool, error) {
	dir, ok := from.files.(dirFiles)
	if !ok {
		return false, nil
	}
	src, err := filepath.EvalSymlinks(filepath.Join(string(dir), filepath.FromSlash(blobPath(d.Digest))))
	if err != nil {
		return false, nil // whoever opens it says why
	}
	dst := filepath.Join(t.dir, filepath.FromSlash(blobPath(d.Digest)))
	temp, err := linkTemp(src, dst)
	if err != nil {
		return false, nil
	}
	f, err := openRegular(temp)
	if err == nil {
		err = errors.Join(verifyFile(ctx, f, d, count), f.Close())
	}
	if err == nil {
		err = os.Rename(temp, dst)
	}
	// A rename to another name of the same file does nothing.
	if rerr := os.Remove(temp); err != nil && rerr != nil {
		err = errors.Join(err, rerr)
	}
	return true, err
}

// linkTemp links a file beside dst.
func linkTemp(src, dst string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".*")
	if err != nil {
		return "", err
	}
	temp := f.Name()
	f.Close()
	if err := os.Remove(temp); err != nil {
		return "", err
	}
	return temp, os.Link(src, temp)
}

func verifyFile(ctx context.Context, f *os.File, d v1.Descriptor, count *counter) error {
	v, err := newVerifier(count.reader(ctxio.NewReader(ctx, f)), d)
	if err != nil {
		return err
	}
	if _, err := copyTo(io.Discard, v); err != nil {
		return err
	}
	return v.finish()
}

func (t *layoutTarget) put(ctx context.Context, m shipped) error {
	if err := t.writeBlob(ctx, bytesBlob(m.MediaType, m.Data)); err != nil {
		return err
	}
	entry, ok, err := t.layoutDest.name.entry(m)
	if ok {
		t.listed = append(t.listed, entry)
	}
	return err
}

// entry is what index.json says of a manifest that is found by its subject or
// its tag; false for others.
func (n imageName) entry(m shipped) (v1.Descriptor, bool, error) {
	d, err := listedReferrer(m.Descriptor)
	if err != nil {
		return d, false, err
	}
	if m.tag != "" {
		d.Annotations = map[string]string{refNameAnnotation: n.beside(m.tag)}
	}
	return d, m.tag != "" || m.subject != (v1.Hash{}), nil
}

// beside is a tag in the repository of the name.
func (n imageName) beside(tag string) string {
	if n.given == "" {
		return tag
	}
	return n.given[:strings.LastIndex(n.given, ":")+1] + tag
}

func (t *layoutTarget) named(context.Context) (string, error) {
	index, err := t.readIndex()
	if err != nil || t.untagged {
		return "", err
	}
	return namedIn(index.Manifests, t.layoutDest.name), nil
}

func (t *layoutTarget) finish(ctx context.Context, root v1.Descriptor) (before string, err error) {
	err = t.updateIndex(ctx, func(index *v1.IndexManifest) error {
		if !t.untagged {
			before = namedIn(index.Manifests, t.layoutDest.name)
		}
		for _, d := range t.listed {
			index.Manifests = replaceEntry(index.Manifests, d)
		}
		index.Manifests = t.layoutDest.name.list(index.Manifests, root, t.untagged)
		return nil
	})
	return before, err
}

// namedIn is the digest of the entry that has a name, "" if none has.
func namedIn(entries []v1.Descriptor, n imageName) string {
	for _, e := range entries {
		if n.given != "" && e.Annotations[refNameAnnotation] == n.given {
			return e.Digest.String()
		}
	}
	return ""
}

// list adds an image to the entries of an index.json. One that had its name
// stays without it, so that whoever cleans the layout keeps what others know by
// its digest.
func (n imageName) list(entries []v1.Descriptor, root v1.Descriptor, untagged bool) []v1.Descriptor {
	root.Data, root.Annotations = nil, n.annotations()
	if untagged {
		root.Annotations = nil
		return keepListed(entries, root)
	}
	var older []v1.Descriptor
	for _, e := range entries {
		if n.given != "" && e.Annotations[refNameAnnotation] == n.given && e.Digest != root.Digest {
			older = append(older, withoutName(e))
		}
	}
	again := func(e v1.Descriptor) bool {
		return n.given != "" && e.Digest == root.Digest && len(namesOf(e.Annotations)) == 0
	}
	entries = replaceEntry(slices.DeleteFunc(entries, again), root)
	for _, e := range older {
		entries = keepListed(entries, e)
	}
	return entries
}

// keepListed adds an entry without a name, unless that manifest has one.
func keepListed(entries []v1.Descriptor, e v1.Descriptor) []v1.Descriptor {
	if slices.ContainsFunc(entries, func(have v1.Descriptor) bool { return have.Digest == e.Digest }) {
		return entries
	}
	return append(entries, e)
}

func withoutName(e v1.Descriptor) v1.Descriptor {
	e.Annotations = maps.Clone(e.Annotations)
	delete(e.Annotations, refNameAnnotation)
	delete(e.Annotations, containerdAnnotation)
	if len(e.Annotations) == 0 {
		e.Annotations = nil
	}
	return e
}

// archive is one file with a layout in it, for all images that go there.
type archive struct {
	path    string
	entries []v1.Descriptor // of index.json
}

// archiveTarget is a name in an archive, which is written as a whole: its
// blobs and manifests are put there by archive.write.
type archiveTarget struct {
	*archive
	name     imageName
	untagged bool
}

func (t archiveTarget) String() string {
	if t.untagged || t.name.given == "" {
		return string(formOCIArchive) + ":" + t.path
	}
	return string(formOCIArchive) + ":" + t.path + ":" + t.name.given
}

func (t archiveTarget) key() string             { return t.path }
func (t archiveTarget) explain(err error) error { return err }

func (t archiveTarget) hasBlob(context.Context, v1.Descriptor) (bool, error) { return false, nil }

func (t archiveTarget) putBlob(context.Context, v1.Descriptor, place, *counter) error { return nil }

func (t archiveTarget) put(context.Context, shipped) error { return nil }

func (t archiveTarget) named(context.Context) (string, error) { return "", nil } // the file is a new one

func (t archiveTarget) finish(context.Context, v1.Descriptor) (before string, err error) {
	return "", nil
}

// list adds an image and what refers to it to the index.
func (t archiveTarget) list(c *cargo) error {
	for _, m := range c.manifests {
		entry, ok, err := t.name.entry(m)
		if err != nil {
			return err
		}
		if ok {
			t.archive.entries = replaceEntry(t.archive.entries, entry)
		}
	}
	t.archive.entries = t.name.list(t.archive.entries, c.root, t.untagged)
	return nil
}
