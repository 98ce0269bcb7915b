package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// subjectAnnotation is what an entry says of a manifest that refers to another
// one, so that referrers are found without reading all manifests.
const subjectAnnotation = "com.github.graftlinux.subject"

// manifestList is what a repository's index.json lists: a manifest once for each
// of its tags, or once without one.
type manifestList []v1.Descriptor

func (r repo) indexPath() string { return filepath.Join(r.dir, "index.json") }

// index reads the manifests of a repository; fs.ErrNotExist if there is no such
// repository. The list is shared: nobody may change it.
func (r repo) index() (manifestList, error) {
	f, err := os.Open(r.indexPath())
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if list, ok := r.indexes.get(r.name, info); ok {
		return list, f.Close()
	}
	list, err := r.parseIndex(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", r.indexPath(), err), f.Close())
	}
	r.indexes.put(r.name, &parsed{f, info, list})
	return list, nil
}

func (r repo) parseIndex(f *os.File) (manifestList, error) {
	r.parsing <- struct{}{}
	defer func() { <-r.parsing }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var idx v1.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, err
	}
	for _, m := range idx.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%q: %w", m.Digest, err)
		}
	}
	return idx.Manifests, nil
}

// maxIndexes is how many indexes are kept read.
const maxIndexes = 128

// indexes keeps indexes that were read. As they are only ever replaced, one is
// valid as long as the file of its name is the same; and as the file is kept
// open, no other can be taken for it.
type indexes struct {
	sync.Mutex
	parsed map[string]*parsed
}

type parsed struct {
	f    *os.File
	info os.FileInfo
	list manifestList
}

func (x *indexes) get(name string, now os.FileInfo) (manifestList, bool) {
	x.Lock()
	defer x.Unlock()
	p, ok := x.parsed[name]
	if !ok || !os.SameFile(p.info, now) {
		return nil, false
	}
	return p.list, true
}

func (x *indexes) put(name string, p *parsed) {
	x.Lock()
	defer x.Unlock()
	if x.parsed == nil {
		x.parsed = map[string]*parsed{}
	}
	x.forget(name)
	for other := range x.parsed {
		if len(x.parsed) < maxIndexes {
			break
		}
		x.forget(other)
	}
	x.parsed[name] = p
}

// forget closes the file of an index.
func (x *indexes) forget(name string) {
	if p, ok := x.parsed[name]; ok {
		_ = p.f.Close() // was only read
		delete(x.parsed, name)
	}
}

func (x *indexes) close() {
	x.Lock()
	defer x.Unlock()
	for name := range x.parsed {
		x.forget(name)
	}
}

// indexOrNone is index, where a repository that does not exist has no manifests.
func (r repo) indexOrNone() (manifestList, error) {
	list, err := r.index()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// writeIndex replaces the index of a repository that the caller has locked.
func (r repo) writeIndex(list manifestList) error {
	idx := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: list}
	if list == nil {
		idx.Manifests = manifestList{}
	}
	data, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	if err := writeFile(r.indexPath(), data); err != nil {
		return err
	}
	return r.remember(idx.Manifests)
}

// remember keeps the index that was just written.
func (r repo) remember(list manifestList) error {
	f, err := os.Open(r.indexPath())
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.indexes.put(r.name, &parsed{f, info, list})
	return nil
}

func tagOf(m v1.Descriptor) string { return m.Annotations[v1.AnnotationRefName] }

// find returns the entry for a tag or a digest.
func (l manifestList) find(ref string) (v1.Descriptor, bool) {
	for _, m := range l {
		if tagOf(m) == ref || string(m.Digest) == ref {
			return m, true
		}
	}
	return v1.Descriptor{}, false
}

// put adds a manifest, and lets a tag, if it is not "", point to it.
func (l manifestList) put(m v1.Descriptor, subject digest.Digest, tag string) manifestList {
	if tag != "" {
		l = l.untag(tag)
	} else if _, ok := l.find(string(m.Digest)); ok {
		return l
	}
	l = slices.DeleteFunc(slices.Clone(l), func(e v1.Descriptor) bool { return e.Digest == m.Digest && tagOf(e) == "" })
	return append(l, entry(m, subject, tag))
}

// entry is how the index lists a manifest.
func entry(m v1.Descriptor, subject digest.Digest, tag string) v1.Descriptor {
	m.Annotations = map[string]string{}
	if subject != "" {
		m.Annotations[subjectAnnotation] = string(subject)
	}
	if tag != "" {
		m.Annotations[v1.AnnotationRefName] = tag
	}
	return m
}

func (l manifestList) drop(tag string) manifestList {
	return slices.DeleteFunc(slices.Clone(l), func(e v1.Descriptor) bool { return tagOf(e) == tag })
}

// untag removes a tag; its manifest stays.
func (l manifestList) untag(tag string) manifestList {
	m, ok := l.find(tag)
	if !ok {
		return l
	}
	l = l.drop(tag)
	if _, ok := l.find(string(m.Digest)); ok {
		return l
	}
	return append(l, entry(m, digest.Digest(m.Annotations[subjectAnnotation]), ""))
}

// remove removes a manifest and its tags.
func (l manifestList) remove(d digest.Digest) manifestList {
	return slices.DeleteFunc(slices.Clone(l), func(e v1.Descriptor) bool { return e.Digest == d })
}
