package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker, and the one of artifacts that OCI took back.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	ociArtifact    = "application/vnd.oci.artifact.manifest.v1+json"
	ociForeign     = "application/vnd.oci.image.layer.nondistributable.v1."
)

// manifest is what a registry must know of one: all kinds in one struct.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Blobs         []v1.Descriptor   `json:"blobs"`     // of an OCI artifact
	Manifests     []v1.Descriptor   `json:"manifests"` // of an index
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

func isManifest(mediaType string) bool {
	switch mediaType {
	case v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest, dockerList, ociArtifact:
		return true
	}
	return false
}

// isIndex says whether the manifest lists manifests.
func (m *manifest) isIndex() bool {
	return m.MediaType == v1.MediaTypeImageIndex || m.MediaType == dockerList
}

// needs are the blobs and manifests without which the manifest is of no use.
func (m *manifest) needs() []v1.Descriptor {
	var all []v1.Descriptor
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	for _, l := range m.Layers {
		if l.MediaType != dockerForeign && !strings.HasPrefix(l.MediaType, ociForeign) {
			all = append(all, l)
		}
	}
	return append(append(all, m.Blobs...), m.Manifests...)
}

// artifactType is what referrers are told apart by. An index has none unless it
// says so; an image is of its config's type.
func (m *manifest) artifactType() string {
	if m.ArtifactType == "" && m.Config != nil && !m.isIndex() {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

func (m *manifest) subject() digest.Digest {
	if m.Subject == nil {
		return ""
	}
	return m.Subject.Digest
}

// parseManifest reads a manifest that was sent with a Content-Type, which may be
// missing.
func (st *store) parseManifest(data []byte, contentType string) (*manifest, error) {
	if bytes.Count(data, []byte(",")) > maxParts {
		return nil, refuse(http.StatusBadRequest, manifestInvalid, "the manifest has more than %d parts", maxParts)
	}
	st.parsing <- struct{}{}
	defer func() { <-st.parsing }()
	m := &manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, refuse(http.StatusBadRequest, manifestInvalid, "the manifest is not JSON: %v", err)
	}
	if err := m.settleType(contentType); err != nil {
		return nil, err
	}
	return m, m.check()
}

// check refuses a manifest that lacks what it must have, or names no digests
// where it must.
func (m *manifest) check() error {
	if m.Config == nil && (m.MediaType == v1.MediaTypeImageManifest || m.MediaType == dockerManifest) {
		return refuse(http.StatusBadRequest, manifestInvalid, "the manifest of an image has no config")
	}
	all := m.needs()
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	for _, d := range all {
		if _, err := parseDigest(string(d.Digest)); err != nil {
			return refuse(http.StatusBadRequest, manifestInvalid, "the manifest names %.200q, which is not a digest", d.Digest)
		}
	}
	return nil
}

// settleType finds out of which type the manifest is. Those of the first version
// of Docker's schema are refused, and so are unknown ones: nobody could tell
// which blobs they need.
func (m *manifest) settleType(contentType string) error {
	sent, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return refuse(http.StatusBadRequest, manifestInvalid, "the Content-Type %.200q is not a media type", contentType)
	}
	if sent != "" && m.MediaType != "" && sent != m.MediaType {
		return refuse(http.StatusBadRequest, manifestInvalid, "the manifest is of type %.200q, but was sent as %.200q", m.MediaType, sent)
	}
	if m.MediaType == "" {
		m.MediaType = sent
	}
	if m.MediaType == "" {
		m.MediaType = v1.MediaTypeImageManifest
		if m.Config == nil && m.Manifests != nil {
			m.MediaType = v1.MediaTypeImageIndex
		}
	}
	if isManifest(m.MediaType) {
		return nil
	}
	return refuse(http.StatusBadRequest, manifestInvalid, "manifests of type %.200q are not taken: only those of OCI and of Docker's schema 2", m.MediaType)
}

// manifest reads one of the repository's manifests.
func (r repo) manifest(m v1.Descriptor) (*manifest, error) {
	data, err := readSmall(r.blobPath(m.Digest))
	if err != nil {
		return nil, err
	}
	parsed, err := r.parseManifest(data, m.MediaType)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s@%s: %w", r.name, m.Digest, err)
	}
	return parsed, nil
}

// readSmall reads a file that is no larger than a manifest.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("reading %s: it is larger than %d bytes", name, maxManifest)
	}
	return data, err
}

// complete says whether the repository, with the manifests in list, has all that
// a manifest needs. An index may also list what is no manifest: BuildKit's
// caches do.
func (r repo) complete(m *manifest, list manifestList) error {
	listed := map[digest.Digest]bool{}
	for _, e := range list {
		listed[e.Digest] = true
	}
	for _, d := range m.needs() {
		_, err := os.Stat(r.blobPath(d.Digest))
		if err == nil && isManifest(d.MediaType) && !listed[d.Digest] {
			err = fs.ErrNotExist
		}
		if errors.Is(err, fs.ErrNotExist) {
			return refuse(http.StatusBadRequest, manifestBlobUnknown, "the manifest needs %s, which is not in %s: push it first", d.Digest, r.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putManifest stores a manifest, and returns when it is on the disk. A condition is
// for what the tag has been so far.
func (r repo) putManifest(data []byte, m *manifest, d digest.Digest, tag string, only condition) error {
	s, err := r.begin()
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Write(data); err != nil {
		return err
	}
	if err := s.Sync(); err != nil {
		return err
	}
	unlock, err := r.lock(r.name)
	if err != nil {
		return err
	}
	defer unlock()
	return r.enter(s, m, d, tag, only)
}

// enter makes an upload a manifest of the repository, which the caller has
// locked.
func (r repo) enter(s *session, m *manifest, d digest.Digest, tag string, only condition) error {
	list, err := r.indexOrNone()
	if err != nil {
		return err
	}
	if err := only.check(list, tag); err != nil {
		_ = s.remove() // as below
		return err
	}
	if err := r.complete(m, list); err != nil {
		_ = s.remove() // if it stays, it is an old upload one day
		return err
	}
	if err := r.commitLocked(s, d); err != nil {
		return err
	}
	entry := v1.Descriptor{MediaType: m.MediaType, Digest: d, Size: s.size, ArtifactType: m.ArtifactType}
	return r.writeIndex(list.put(entry, m.subject(), tag))
}
