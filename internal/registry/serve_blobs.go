package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

func (s *Server) getBlob(w http.ResponseWriter, r *http.Request, p place) error {
	d, err := parseDigest(p.ref)
	if err != nil {
		return err
	}
	f, info, err := s.store.repo(p.name).openBlob(d, !s.opts.ReadOnly)
	if err != nil {
		return absent(err, blobUnknown, "%s has no blob %s", p.name, d)
	}
	defer f.Close()
	serveContent(w, r, f, info, d, "application/octet-stream")
	return nil
}

// serveContent sends a file, or the parts of it that the client asks for.
func serveContent(w http.ResponseWriter, r *http.Request, f *os.File, info os.FileInfo, d digest.Digest, mediaType string) {
	patience := stall + time.Duration(info.Size()/slowest)*time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // a connection without deadlines is one of a test
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("ETag", `"`+string(d)+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (s *Server) deleteBlob(w http.ResponseWriter, _ *http.Request, p place) error {
	d, err := parseDigest(p.ref)
	if err != nil {
		return err
	}
	if err := s.store.repo(p.name).deleteBlob(d); err != nil {
		return absent(err, blobUnknown, "%s has no blob %s", p.name, d)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// startUpload is the first request for a new blob, which may be all: the blob may
// come with it, or be in another repository.
func (s *Server) startUpload(w http.ResponseWriter, r *http.Request, p place) error {
	q := r.URL.Query()
	if mount := q.Get("mount"); mount != "" {
		done, err := s.mount(w, p.name, mount, q.Get("from"))
		if done || err != nil {
			return err
		}
	}
	var want digest.Digest
	if q.Get("digest") != "" {
		var err error
		if want, err = parseDigest(q.Get("digest")); err != nil {
			return err
		}
	}
	if err := s.store.roomForUpload(); err != nil {
		return err
	}
	u, err := s.store.begin()
	if err != nil {
		return err
	}
	defer u.Close()
	if want != "" {
		return s.finish(w, r, p.name, u, want)
	}
	answerUpload(w, p.name, u, http.StatusAccepted)
	return nil
}

// mount answers a request for a blob of another repository, if that has it.
func (s *Server) mount(w http.ResponseWriter, name, mount, from string) (done bool, err error) {
	d, err := parseDigest(mount)
	if err != nil {
		return false, err
	}
	if from != "" && !validName(from) {
		return false, refuse(http.StatusBadRequest, nameInvalid, "%.300q, to mount from, is not a repository's name", from)
	}
	err = s.store.repo(name).mount(from, d)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		answerBlob(w, name, d)
	}
	return err == nil, err
}

// roomForUpload refuses to begin more uploads than there may be.
func (st *store) roomForUpload() error {
	full := func() (bool, error) {
		entries, err := os.ReadDir(st.path("uploads"))
		return len(entries) >= maxUploads, err
	}
	if is, err := full(); !is || err != nil {
		return err
	}
	if _, err := st.expireUploads(time.Now().Add(-idleUpload), false); err != nil {
		return err
	}
	if is, err := full(); !is || err != nil {
		return err
	}
	return refuse(http.StatusTooManyRequests, tooMany, "%d uploads are begun and not finished: finish them, or run graft registry gc", maxUploads)
}

func answerBlob(w http.ResponseWriter, name string, d digest.Digest) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/"+string(d))
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// answerUpload says where the upload goes on, and how much is there. Nothing has
// no range; clients expect 0-0, as of one byte.
func answerUpload(w http.ResponseWriter, name string, u *session, status int) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+u.id)
	w.Header().Set("Docker-Upload-UUID", u.id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

func (s *Server) getUpload(w http.ResponseWriter, _ *http.Request, p place) error {
	if s.opts.ReadOnly {
		return refuse(http.StatusNotFound, uploadUnknown, "this registry is read-only and has no uploads")
	}
	u, err := s.store.resume(p.ref)
	if err != nil {
		return err
	}
	defer u.Close()
	answerUpload(w, p.name, u, http.StatusNoContent)
	return nil
}

func (s *Server) deleteUpload(w http.ResponseWriter, _ *http.Request, p place) error {
	u, err := s.store.resume(p.ref)
	if err != nil {
		return err
	}
	defer u.Close()
	if err := u.remove(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) patchUpload(w http.ResponseWriter, r *http.Request, p place) error {
	u, err := s.store.resume(p.ref)
	if err != nil {
		return err
	}
	defer u.Close()
	if err := s.receive(w, r, p.name, u); err != nil {
		return err
	}
	answerUpload(w, p.name, u, http.StatusAccepted)
	return nil
}

func (s *Server) putUpload(w http.ResponseWriter, r *http.Request, p place) error {
	want, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, err := s.store.resume(p.ref)
	if err != nil {
		return err
	}
	defer u.Close()
	return s.finish(w, r, p.name, u, want)
}

// finish receives the last part of an upload, and makes a blob of it. What is
// not what its digest says is thrown away: no further part could mend it.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, name string, u *session, want digest.Digest) error {
	if err := s.receive(w, r, name, u); err != nil {
		return err
	}
	if err := u.verify(want); err != nil {
		return errors.Join(err, u.remove())
	}
	if err := s.store.repo(name).commit(u, want); err != nil {
		return err
	}
	answerBlob(w, name, want)
	return nil
}

// receive appends the body of a request to an upload. If the client goes away,
// what came stays, for it to go on with; a body that is not as long as the
// client said leaves nothing.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, name string, u *session) error {
	length, err := chunkLength(w, r, name, u)
	if err != nil {
		return err
	}
	release, err := s.turn(r)
	if err != nil {
		return err
	}
	defer release()
	before, body := u.size, s.patientBody(w, r)
	if length >= 0 {
		body = io.LimitReader(body, length+1)
	}
	n, err := u.ReadFrom(body)
	var write *fs.PathError
	switch {
	case errors.As(err, &write):
		return errors.Join(err, u.cut(before))
	case err != nil:
		return refuse(http.StatusBadRequest, uploadInvalid, "the connection ended after %d bytes: %v", n, err)
	case length >= 0 && n != length:
		return errors.Join(refuse(http.StatusBadRequest, sizeInvalid, "the part has another length than the %d bytes of its range", length), u.cut(before))
	}
	return nil
}

var contentRange = lazyregexp.New(`^([0-9]{1,18})-([0-9]{1,18})$`)

// chunkLength is how long the part must be that a request has, or -1 if it does
// not say. Parts come in order.
func chunkLength(w http.ResponseWriter, r *http.Request, name string, u *session) (int64, error) {
	header := r.Header.Get("Content-Range")
	if header == "" {
		return r.ContentLength, nil
	}
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return 0, refuse(http.StatusBadRequest, uploadInvalid, "the Content-Range %.100q is not of the form FIRST-LAST", header)
	}
	first, _ := strconv.ParseInt(m[1], 10, 64) // both are numbers, and not too long
	last, _ := strconv.ParseInt(m[2], 10, 64)
	if first != u.size {
		w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+u.id)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
		return 0, refuse(http.StatusRequestedRangeNotSatisfiable, uploadInvalid, "the part begins at byte %d; %d are there", first, u.size)
	}
	length := last - first + 1
	if length < 0 || r.ContentLength >= 0 && r.ContentLength != length {
		return 0, refuse(http.StatusBadRequest, sizeInvalid, "the Content-Range %s does not fit the Content-Length %d", header, r.ContentLength)
	}
	return length, nil
}

// turn waits until the request may send its body.
func (s *Server) turn(r *http.Request) (release func(), err error) {
	wait := time.NewTimer(bodyPatience)
	defer wait.Stop()
	select {
	case s.bodies <- struct{}{}:
		return func() { <-s.bodies }, nil
	case <-r.Context().Done():
		return nil, refuse(http.StatusServiceUnavailable, tooMany, "the client is gone")
	case <-wait.C:
		return nil, refuse(http.StatusTooManyRequests, tooMany, "%d uploads are coming in already", maxBodies)
	}
}
