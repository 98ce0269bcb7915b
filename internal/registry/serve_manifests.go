package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func (s *Server) getRoot(w http.ResponseWriter, _ *http.Request, _ place) error {
	return answerJSON(w, "application/json", struct{}{})
}

func answerJSON(w http.ResponseWriter, mediaType string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // a client that is gone needs no answer
	return nil
}

// checkReference takes a tag or a digest.
func checkReference(ref string) error {
	if tagForm.MatchString(ref) {
		return nil
	}
	if strings.Contains(ref, ":") {
		_, err := parseDigest(ref)
		return err
	}
	return refuse(http.StatusBadRequest, manifestInvalid, "%.200q is neither a tag nor a digest", ref)
}

func (s *Server) getManifest(w http.ResponseWriter, r *http.Request, p place) error {
	if err := checkReference(p.ref); err != nil {
		return err
	}
	rp := s.store.repo(p.name)
	list, err := rp.index()
	if err != nil {
		return absent(err, nameUnknown, "there is no repository %s", p.name)
	}
	m, ok := list.find(p.ref)
	if !ok {
		return refuse(http.StatusNotFound, manifestUnknown, "%s has no manifest %s", p.name, p.ref)
	}
	f, info, err := rp.openBlob(m.Digest, !s.opts.ReadOnly)
	if err != nil {
		if list, lerr := rp.indexOrNone(); lerr == nil {
			if _, ok := list.find(p.ref); !ok { // deleted and collected meanwhile
				return refuse(http.StatusNotFound, manifestUnknown, "%s has no manifest %s", p.name, p.ref)
			}
		}
		return fmt.Errorf("reading the manifest %s@%s: %w", p.name, m.Digest, err)
	}
	defer f.Close()
	serveContent(w, r, f, info, m.Digest, m.MediaType)
	return nil
}

func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, p place) error {
	if err := checkReference(p.ref); err != nil {
		return err
	}
	data, err := s.readManifest(w, r)
	if err != nil {
		return err
	}
	m, err := s.store.parseManifest(data, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	d, tag := digest.FromBytes(data), p.ref
	if want := digest.Digest(p.ref); want.Validate() == nil {
		if d, tag = want.Algorithm().FromBytes(data), ""; d != want {
			return refuse(http.StatusBadRequest, digestInvalid, "the digest of the manifest is %s, not %s", d, want)
		}
	}
	if err := s.store.repo(p.name).putManifest(data, m, d, tag, conditionOf(r.Header)); err != nil {
		return err
	}
	if m.Subject != nil {
		w.Header().Set("OCI-Subject", string(m.Subject.Digest))
	}
	w.Header().Set("Location", "/v2/"+p.name+"/manifests/"+p.ref)
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// condition is what a tag must be for a manifest to replace it, as HTTP has it for
// any resource (RFC 9110, 13.1). The specification of distribution does not name it,
// and does not forbid it; it lets two clients change a tag without one undoing what
// the other did.
type condition struct{ match, noneMatch string }

func conditionOf(h http.Header) condition {
	return condition{h.Get("If-Match"), h.Get("If-None-Match")}
}

// check refuses to replace what the tag is, if that is not what is wanted.
func (c condition) check(list manifestList, tag string) error {
	if c.match == "" && c.noneMatch == "" {
		return nil
	}
	now, there := list.find(tag)
	names := func(header string) bool {
		return there && (header == "*" || strings.Contains(header, `"`+string(now.Digest)+`"`))
	}
	if c.match != "" && !names(c.match) || c.noneMatch != "" && names(c.noneMatch) {
		return refuse(http.StatusPreconditionFailed, denied, "the tag %s is not what the condition of the request says", tag)
	}
	return nil
}

// readManifest reads the body of a request, if it is no larger than a manifest.
func (s *Server) readManifest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	release, err := s.turn(r)
	if err != nil {
		return nil, err
	}
	defer release()
	var data []byte
	if r.ContentLength <= maxManifest {
		if data, err = io.ReadAll(io.LimitReader(s.patientBody(w, r), maxManifest+1)); err != nil {
			return nil, refuse(http.StatusBadRequest, manifestInvalid, "the connection ended after %d bytes: %v", len(data), err)
		}
	}
	if r.ContentLength > maxManifest || len(data) > maxManifest {
		return nil, refuse(http.StatusRequestEntityTooLarge, manifestInvalid, "a manifest has at most %d bytes", maxManifest)
	}
	return data, nil
}

func (s *Server) deleteManifest(w http.ResponseWriter, _ *http.Request, p place) error {
	if err := checkReference(p.ref); err != nil {
		return err
	}
	if err := s.store.repo(p.name).deleteManifest(p.ref); err != nil {
		return absent(err, manifestUnknown, "%s has no manifest %s", p.name, p.ref)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteManifest removes a tag, or a manifest with all its tags; fs.ErrNotExist if
// there is none.
func (r repo) deleteManifest(ref string) error {
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := r.index()
	if err != nil {
		return err
	}
	m, ok := list.find(ref)
	if !ok {
		return fs.ErrNotExist
	}
	if tagOf(m) == ref {
		return r.writeIndex(list.untag(ref))
	}
	return r.writeIndex(list.remove(m.Digest))
}

// deleteBlob removes a blob that no manifest of the repository needs.
func (r repo) deleteBlob(d digest.Digest) error {
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(r.blobPath(d)); err != nil {
		return err
	}
	needed, err := r.needed()
	if err != nil {
		return err
	}
	if by, ok := needed[d]; ok {
		return refuse(http.StatusMethodNotAllowed, unsupported, "the manifest %s needs it: delete that first", by)
	}
	return r.removeBlob(d)
}

func (s *Server) getTags(w http.ResponseWriter, r *http.Request, p place) error {
	list, err := s.store.repo(p.name).index()
	if err != nil {
		return absent(err, nameUnknown, "there is no repository %s", p.name)
	}
	names := []string{}
	for _, m := range list {
		if t := tagOf(m); t != "" {
			names = append(names, t)
		}
	}
	if names, err = page(w, r, names, compareTags); err != nil {
		return err
	}
	return answerJSON(w, "application/json", map[string]any{"name": p.name, "tags": names})
}

// compareTags is the order of the specification: case does not matter, unless
// nothing else does.
func compareTags(a, b string) int {
	return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
}

func (s *Server) getCatalog(w http.ResponseWriter, r *http.Request, _ place) error {
	names, err := s.store.repositories()
	if err != nil {
		return err
	}
	// What is left of a repository that was being made or removed is none.
	names = slices.DeleteFunc(names, func(name string) bool { return !s.store.repo(name).exists() })
	if names, err = page(w, r, append([]string{}, names...), strings.Compare); err != nil {
		return err
	}
	return answerJSON(w, "application/json", map[string]any{"repositories": names})
}

// page sorts names, and takes the part that a client asks for with n and last.
// It tells the client where the next part is.
func page(w http.ResponseWriter, r *http.Request, names []string, compare func(a, b string) int) ([]string, error) {
	slices.SortFunc(names, compare)
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearchFunc(names, last, compare)
		if found {
			i++
		}
		names = names[i:]
	}
	if !q.Has("n") {
		return names, nil
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 {
		return nil, refuse(http.StatusBadRequest, unsupported, "n is %.100q, wanted is how many names", q.Get("n"))
	}
	if n >= len(names) {
		return names, nil
	}
	if n > 0 {
		linkNext(w, r, url.Values{"n": {q.Get("n")}, "last": {names[n-1]}})
	}
	return names[:n], nil
}

func linkNext(w http.ResponseWriter, r *http.Request, q url.Values) {
	next := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
}

// getReferrers lists the manifests whose subject is a digest. To a repository
// that is not there nothing refers either.
func (s *Server) getReferrers(w http.ResponseWriter, r *http.Request, p place) error {
	subject, err := parseDigest(p.ref)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	idx := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	var more bool
	idx.Manifests, more, err = s.store.repo(p.name).referrers(subject, q.Get("artifactType"), q.Get("last"))
	if err != nil {
		return err
	}
	if q.Get("artifactType") != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		q.Set("last", string(idx.Manifests[len(idx.Manifests)-1].Digest))
		linkNext(w, r, q)
	}
	return answerJSON(w, v1.MediaTypeImageIndex, idx)
}

// referrers are the manifests whose subject is a digest, by their own digests,
// those after last: as many as fit into what clients take for a manifest.
func (r repo) referrers(subject digest.Digest, artifactType, last string) (found []v1.Descriptor, more bool, err error) {
	list, err := r.indexOrNone()
	if err != nil {
		return nil, false, err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(e v1.Descriptor) bool {
		return e.Annotations[subjectAnnotation] != string(subject) || string(e.Digest) <= last
	})
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	list = slices.CompactFunc(list, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest }) // several tags
	found = []v1.Descriptor{}
	room := maxManifest - 1024
	for _, e := range list {
		m, err := r.manifest(e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted just now
		}
		if err != nil {
			return nil, false, err
		}
		if artifactType != "" && m.artifactType() != artifactType {
			continue
		}
		d := v1.Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size, ArtifactType: m.artifactType(), Annotations: m.Annotations}
		if room -= encodedSize(d); room < 0 && len(found) > 0 {
			return found, true, nil
		}
		found = append(found, d)
	}
	return found, false, nil
}

// encodedSize is what a descriptor adds to an index, in bytes.
func encodedSize(d v1.Descriptor) int {
	data, _ := json.Marshal(d) // strings and numbers only: cannot fail
	return len(data) + 1
}
