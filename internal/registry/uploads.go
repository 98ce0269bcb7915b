package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// hashes remembers how far the contents of uploads were hashed while they came
// in. It saves reading them again, no more: what it does not know is hashed from
// the file.
type hashes struct {
	sync.Mutex
	running map[string]running
}

// running is the SHA-256 of the first n bytes of an upload.
type running struct {
	hash.Hash
	n int64
}

// take returns what is known of an upload, and forgets it.
func (h *hashes) take(id string) running {
	h.Lock()
	defer h.Unlock()
	r, ok := h.running[id]
	if !ok {
		return running{Hash: digest.SHA256.Hash()}
	}
	delete(h.running, id)
	return r
}

// put remembers; of more uploads than there may be at a time it forgets some.
func (h *hashes) put(id string, r running) {
	h.Lock()
	defer h.Unlock()
	if h.running == nil {
		h.running = map[string]running{}
	}
	for other := range h.running {
		if len(h.running) < maxUploads {
			break
		}
		delete(h.running, other)
	}
	h.running[id] = r
}

// session is an upload that this request alone may change.
type session struct {
	*os.File
	id   string
	size int64 // so much is there
	sum  running
	st   *store
}

// begin makes the file of a new upload. It belongs to no repository until it is
// finished.
func (st *store) begin() (*session, error) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	f, err := os.OpenFile(st.path("uploads", id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	return st.hold(f, id)
}

// resume opens the file of an upload.
func (st *store) resume(id string) (*session, error) {
	unknown := refuse(http.StatusNotFound, uploadUnknown, "there is no upload %.100q: it was finished, or never begun", id)
	if !uploadForm.MatchString(id) {
		return nil, unknown
	}
	f, err := os.OpenFile(st.path("uploads", id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	s, err := st.hold(f, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unknown
	}
	return s, err
}

// hold locks the file of an upload for this request.
func (st *store) hold(f *os.File, id string) (*session, error) {
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, refuse(http.StatusConflict, uploadInvalid, "another request is sending to the upload %s", id)
		}
		return nil, err
	}
	_, err := os.Stat(f.Name()) // it may have been finished before it was locked
	info, serr := f.Stat()
	if err := errors.Join(err, serr); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &session{File: f, id: id, size: info.Size(), sum: st.hashes.take(id), st: st}
	if s.sum.n > s.size {
		s.sum = running{Hash: digest.SHA256.Hash()}
	}
	_, err = f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// Close ends the request's part in the upload, which may be resumed.
func (s *session) Close() error {
	if s.sum.n > 0 {
		s.st.hashes.put(s.id, s.sum)
	}
	return s.File.Close()
}

// remove gives the upload up.
func (s *session) remove() error {
	s.sum.n = 0
	return os.Remove(s.Name())
}

// Write appends to the upload.
func (s *session) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	if s.sum.n == s.size {
		_, _ = s.sum.Write(p[:n]) // never fails
		s.sum.n += int64(n)
	}
	s.size += int64(n)
	return n, err
}

// ReadFrom makes io.Copy use larger pieces than its own.
func (s *session) ReadFrom(r io.Reader) (int64, error) {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{r}, *b)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// cut takes the upload back to a size that it had.
func (s *session) cut(size int64) error {
	if err := s.Truncate(size); err != nil {
		return err
	}
	if s.sum.n > size {
		s.sum = running{Hash: digest.SHA256.Hash()}
	}
	s.size = size
	_, err := s.Seek(size, io.SeekStart)
	return err
}

// verify hashes what was not hashed while it came, and says whether the content
// is what its digest says.
func (s *session) verify(want digest.Digest) error {
	if want.Algorithm() != digest.SHA256 {
		s.sum = running{Hash: newHash(want.Algorithm()).New()}
	}
	if _, err := s.Seek(s.sum.n, io.SeekStart); err != nil {
		return err
	}
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	if _, err := io.CopyBuffer(s.sum, struct{ io.Reader }{s.File}, *b); err != nil {
		return err
	}
	if got := digest.NewDigest(want.Algorithm(), s.sum); got != want {
		return refuse(http.StatusBadRequest, digestInvalid, "the digest of the %d bytes that came is %s, not %s", s.size, got, want)
	}
	return nil
}

// expireUploads removes uploads that nobody went on with since a time, and that
// no request is sending to.
func (st *store) expireUploads(before time.Time, dry bool) (removed []int64, err error) {
	entries, err := os.ReadDir(st.path("uploads"))
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, e := range entries {
		size, old, err := st.expireUpload(e.Name(), before, dry)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		if old && err == nil {
			removed = append(removed, size)
		}
	}
	return removed, errors.Join(problems...)
}

func (st *store) expireUpload(id string, before time.Time, dry bool) (size int64, old bool, err error) {
	f, err := os.Open(filepath.Join(st.path("uploads"), id))
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.ModTime().Before(before) || !info.Mode().IsRegular() {
		return 0, false, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 0, false, nil // somebody is at it
	}
	if dry {
		return info.Size(), true, nil
	}
	return info.Size(), true, os.Remove(f.Name())
}
