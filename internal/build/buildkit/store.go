package buildkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// contentStore is where the daemon gets inputs from. It can only be read.
type contentStore struct {
	mu    sync.Mutex
	blobs map[digest.Digest]*storedBlob
	err   error // the first that the daemon was told

	closed bool
	kept   []io.Closer // what blobs are made of
}

// storedBlob is bytes that are there, or that can be got.
type storedBlob struct {
	size int64
	get  func(context.Context) (io.ReaderAt, error)

	mu   sync.Mutex
	data io.ReaderAt
}

func newContentStore() *contentStore {
	return &contentStore{blobs: map[digest.Digest]*storedBlob{}}
}

// add takes an image, and a way to get the bytes of its layer if it has none.
// It returns the digest of the manifest.
func (s *contentStore) add(img *image, get func(context.Context) (io.ReaderAt, error)) digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range [][]byte{img.Manifest, img.Config} {
		s.blobs[digest.FromBytes(data)] = &storedBlob{size: int64(len(data)), data: bytes.NewReader(data)}
	}
	layer := &storedBlob{size: img.layer().Size, get: get}
	if img.file != nil {
		layer.data = img.file
	}
	if old := s.blobs[img.layer().Digest]; old == nil || old.data == nil { // else other files have the same content
		s.blobs[img.layer().Digest] = layer
	}
	return digest.FromBytes(img.Manifest)
}

func (s *contentStore) get(d digest.Digest) (*storedBlob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobs[d]
	if b == nil {
		return nil, errdefs.ErrNotFound
	}
	return b, nil
}

// failed remembers why the daemon did not get what it asked for.
func (s *contentStore) failed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return err
}

// failure is the first error that the daemon was told.
func (s *contentStore) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// keep has Close close c. The daemon may still ask when nobody listens any more.
func (s *contentStore) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return
	}
	s.kept = append(s.kept, c)
}

// Close closes all files.
func (s *contentStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var err error
	for _, c := range s.kept {
		err = errors.Join(err, c.Close())
	}
	return err
}

// Info implements content.Store.
func (s *contentStore) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	b, err := s.get(d)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: b.size}, nil
}

// ReaderAt implements content.Store.
func (s *contentStore) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	b, err := s.get(desc.Digest)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		if b.data, err = b.get(ctx); err != nil {
			return nil, s.failed(err)
		}
	}
	return section{io.NewSectionReader(b.data, 0, b.size)}, nil
}

type section struct{ *io.SectionReader }

// Close implements content.ReaderAt.
func (section) Close() error { return nil }

// The rest of content.Store is for stores that can be written.

// Update implements content.Store.
func (*contentStore) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errdefs.ErrNotImplemented
}

// Walk implements content.Store.
func (*contentStore) Walk(context.Context, content.WalkFunc, ...string) error {
	return errdefs.ErrNotImplemented
}

// Delete implements content.Store.
func (*contentStore) Delete(context.Context, digest.Digest) error { return errdefs.ErrNotImplemented }

// Status implements content.Store.
func (*contentStore) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotImplemented
}

// ListStatuses implements content.Store.
func (*contentStore) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errdefs.ErrNotImplemented
}

// Abort implements content.Store.
func (*contentStore) Abort(context.Context, string) error { return errdefs.ErrNotImplemented }

// Writer implements content.Store.
func (*contentStore) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errdefs.ErrNotImplemented
}
