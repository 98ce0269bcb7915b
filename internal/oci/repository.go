package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// repository is a repository of a registry that graft has signed in to (OCI
// distribution specification). It may be used by several goroutines.
type repository struct {
	repo name.Repository
	http *http.Client
	lock func(tag string) (unlock func())
}

// manifestTypes is what graft can read, for the Accept header.
var manifestTypes = strings.Join([]string{
	string(types.OCIManifestSchema1), string(types.OCIImageIndex),
	string(types.DockerManifestSchema2), string(types.DockerManifestList),
}, ", ")

func (r *repository) manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	resp, err := r.get(ctx, "manifests", d.Digest.String(), http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (r *repository) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return newDownload(large(ctx), d.Size, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		header := http.Header{}
		if offset > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
		}
		resp, err := r.get(ctx, "blobs", d.Digest.String(), header, http.StatusOK, http.StatusPartialContent)
		if err != nil {
			return nil, err
		}
		begins := offset
		if resp.StatusCode == http.StatusOK { // it knows no ranges
			begins = 0
		}
		if n := resp.ContentLength; n >= 0 && n != d.Size-begins {
			err := damaged("the registry has %d bytes of it, its descriptor says %d", begins+n, d.Size)
			return nil, errors.Join(err, resp.Body.Close())
		}
		return &skipping{resp.Body, offset - begins}, nil
	})
}

// skipping leaves out bytes that came before the connection broke.
type skipping struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader. Each piece that is left out is a Read without
// bytes, so that whoever waits for bytes knows that they come.
func (s *skipping) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return s.ReadCloser.Read(p)
	}
	n, err := s.ReadCloser.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return 0, err
}

// manifestOf reads what a tag or a digest points to; nothing has verified it.
func (r *repository) manifestOf(ctx context.Context, id string) ([]byte, error) {
	resp, err := r.get(ctx, "manifests", id, http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := readLimited(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s of %s: %w", id, r.repo, err)
	}
	return raw, nil
}

// get asks for a manifest or a blob; the answer has a wanted status.
func (r *repository) get(ctx context.Context, kind, id string, h http.Header, status ...int) (*http.Response, error) {
	return r.do(ctx, http.MethodGet, r.url(kind, id), h, nil, status...)
}

// url of something in the repository.
func (r *repository) url(elems ...string) *url.URL {
	path := "/v2/" + r.repo.RepositoryStr() + "/" + strings.Join(elems, "/")
	return &url.URL{Scheme: r.repo.Scheme(), Host: r.repo.RegistryStr(), Path: path}
}

// content is the body of a request, which may have to be sent several times.
type content struct {
	size int64
	open func() (io.ReadCloser, error)
}

func bytesContent(data []byte) *content {
	return &content{int64(len(data)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// do makes a request. The answer has one of the wanted statuses.
func (r *repository) do(ctx context.Context, method string, u *url.URL, h http.Header, body *content, status ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if h != nil {
		req.Header = h
	}
	if body != nil && body.size > 0 {
		req.ContentLength, req.GetBody = body.size, body.open
		req.Body = unopened{} // see retrying
	}
	resp, err := r.http.Do(req)
	var source sourceError
	if errors.As(err, &source) { // the request has nothing to do with it
		return nil, source
	}
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, status...); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// unopened stands for a body until its request is sent.
type unopened struct{}

func (unopened) Read([]byte) (int, error) { return 0, errors.New("reading a body that was not opened") }
func (unopened) Close() error             { return nil }

// hasStatus says whether a registry answered so.
func hasStatus(err error, status ...int) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, s := range status {
		if answer.StatusCode == s {
			return true
		}
	}
	return false
}

// has says whether the repository has a manifest or a blob.
func (r *repository) has(ctx context.Context, kind string, d v1.Descriptor) (bool, error) {
	resp, err := r.do(ctx, http.MethodHead, r.url(kind, d.Digest.String()), http.Header{"Accept": {manifestTypes}}, nil, http.StatusOK)
	if hasStatus(err, http.StatusNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return resp.ContentLength < 0 || resp.ContentLength == d.Size, nil
}

// putBlob sends a blob, or has it mounted from another repository of the same
// registry, if that has it.
func (r *repository) putBlob(ctx context.Context, d v1.Descriptor, from *name.Repository, open func() (io.ReadCloser, error)) error {
	for attempt := 1; ; attempt++ {
		err := r.tryBlob(ctx, d, from, open)
		if err == nil || attempt == attempts || ctx.Err() != nil || !worthAnotherUpload(err) {
			return err
		}
		if err := sleep(ctx, pause(attempt)); err != nil {
			return err
		}
	}
}

// worthAnotherUpload says whether a new upload may succeed: the connection
// broke, or the registry has forgotten the old one. A busy answer was waited
// for already.
func worthAnotherUpload(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return hasStatus(err, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusBadRequest)
	}
	return isTemporary(err)
}

func (r *repository) tryBlob(ctx context.Context, d v1.Descriptor, from *name.Repository, open func() (io.ReadCloser, error)) error {
	u, err := r.startUpload(ctx, d, from)
	if u == nil || err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", d.Digest.String())
	u.RawQuery = q.Encode()
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	resp, err := r.do(ctx, http.MethodPut, u, h, &content{d.Size, open}, http.StatusCreated, http.StatusNoContent, http.StatusOK)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// startUpload is nil if the blob was mounted.
func (r *repository) startUpload(ctx context.Context, d v1.Descriptor, from *name.Repository) (*url.URL, error) {
	u := r.url("blobs", "uploads/")
	if from != nil {
		u.RawQuery = url.Values{"mount": {d.Digest.String()}, "from": {from.RepositoryStr()}}.Encode()
	}
	resp, err := r.do(ctx, http.MethodPost, u, nil, nil, http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return nil, nil
	}
	loc, err := resp.Location() // relative to the request, as it may be
	if err != nil {
		return nil, fmt.Errorf("starting an upload: the registry says no place for it: %w", err)
	}
	return loc, nil
}

// putManifest sends a manifest, which gets the tag id, or is known by its
// digest. It says whether the registry has noticed the subject.
func (r *repository) putManifest(ctx context.Context, id string, d v1.Descriptor) (subject bool, err error) {
	return r.putManifestIf(ctx, id, d, nil)
}

// putManifestIf is putManifest with a condition for what the tag has been so far
// (If-Match, If-None-Match), which registries may ignore.
func (r *repository) putManifestIf(ctx context.Context, id string, d v1.Descriptor, condition http.Header) (subject bool, err error) {
	h := http.Header{}
	maps.Copy(h, condition)
	h.Set("Content-Type", string(d.MediaType))
	resp, err := r.do(ctx, http.MethodPut, r.url("manifests", id), h, bytesContent(d.Data), http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != d.Digest.String() {
		return false, fmt.Errorf("sending the manifest %s: the registry stored it as %s", d.Digest, got)
	}
	return resp.Header.Get("OCI-Subject") != "", nil
}

// tagged reads what a tag points to; nil if there is no such tag.
func (r *repository) tagged(ctx context.Context, tag string) (*v1.Descriptor, error) {
	raw, err := r.manifestOf(ctx, tag)
	if hasStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := described(raw)
	return &d, err
}

// digestOfTag is "" if there is no such tag. Some registries say it only with
// the manifest.
func (r *repository) digestOfTag(ctx context.Context, tag string) (string, error) {
	resp, err := r.do(ctx, http.MethodHead, r.url("manifests", tag), http.Header{"Accept": {manifestTypes}}, nil, http.StatusOK)
	if hasStatus(err, http.StatusNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	digest := resp.Header.Get("Docker-Content-Digest")
	if err := resp.Body.Close(); err != nil || digest != "" {
		return digest, err
	}
	raw, err := r.manifestOf(ctx, tag)
	if err != nil {
		return "", err
	}
	return sum(raw).String(), nil
}

// errSparse explains an answer of a registry.
var errSparse = errors.New("the registry takes no index without all of its images: copy all platforms")

// refusesSparse says whether a registry may have missed images of an index.
func refusesSparse(err error) bool {
	return hasStatus(err, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
}

// described is the descriptor of a manifest, with its bytes.
func described(raw []byte) (v1.Descriptor, error) {
	d := embedded("", raw)
	t, err := sniff("", raw)
	if err != nil {
		return d, err
	}
	d.MediaType = t
	return d, nil
}
