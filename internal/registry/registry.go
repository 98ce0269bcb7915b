// Package registry is a container registry on a directory, for demonstrations,
// tests and small sites without a network: the OCI Distribution Specification
// 1.1 with push, pull, discovery and deletion, and what Docker's clients expect
// beyond it. It knows no users: whoever reaches it may do everything, unless it
// is read-only.
//
// What is acknowledged is on the disk: files and the directories that name them
// are synced before the answer. Nothing is kept in memory that is not also in
// the directory, so a server may be killed at any moment, starts at once
// however much it holds, and shares the directory with other processes (a
// garbage collection, a deletion, a second server).
//
//	format                            "graft registry 1"
//	blobs/sha256/<hex>                all contents, once
//	repositories/<name>/              an OCI image layout for each repository,
//	    index.json                    its manifests and their tags,
//	    blobs/sha256/<hex>            its contents: hard links to the above
//	uploads/<uuid>                    contents in the making
//	locks/<n>                         held by whoever changes a repository
//
// In the directory names of repositories "/" is written "+", which is in no
// name: one level of directories cannot have a repository a/blobs collide with
// the blobs of a. As each repository is a layout, every tool that reads layouts
// reads the directory without a server; as contents are links, an image that
// ten repositories have takes its space once, and "does this repository have
// that blob" is a look at one name. Where the file system has no hard links,
// contents are copied.
//
// index.json has one entry for each tag, and one for each manifest without a
// tag. It is replaced by renaming, so readers need no lock. Writers hold one of
// a fixed number of locks, chosen by the repository's name, so that no lock
// file ever has to be removed.
//
// Contents that no manifest of their repository needs are garbage. Collect
// spares what is younger than its limit, because clients push blobs before the
// manifest that needs them; the time of a blob is when it was last pushed,
// mounted or asked for. A manifest is only accepted while all that it needs is
// there, under the same lock that a collection holds, so that no collection,
// however eager, breaks an image that was acknowledged.
//
// Limits: manifests of 4 MiB, 64 uploads being received at a time (others
// wait), 4096 begun uploads, 1024 connections, a minute without progress.
package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxManifest is the largest manifest in bytes: what the specification wants
// registries to take at least, and clients expect at most.
const maxManifest = 4 << 20

const (
	maxBodies      = 64   // uploads that are received at the same time
	maxUploads     = 4096 // uploads that were begun and not finished
	maxConnections = 1024
	maxParsing     = 8                // manifests that are parsed at the same time, for the memory that takes
	maxParts       = 1 << 16          // commas in a manifest, for the same reason: it has fewer parts than that
	bodyPatience   = 10 * time.Second // how long an upload waits for its turn
	idleUpload     = 24 * time.Hour   // an upload that nobody goes on with is forgotten
	stall          = time.Minute      // a client that sends nothing for so long is gone
	slowest        = 16 << 10         // bytes per second that a client must take at least
	shutdown       = 10 * time.Second // how long requests may end after the server was told to
)

// Options are choices for a server. The zero value is good.
type Options struct {
	// ReadOnly refuses everything that changes something, and writes nothing
	// into the directory, which must hold a registry.
	ReadOnly bool

	// TLS makes Serve speak HTTPS; the certificate is in it.
	TLS *tls.Config

	// Report is told of each request when it is over. It may be called by
	// several goroutines at once.
	Report func(Request)
}

// Request is one that was answered.
type Request struct {
	Method, Path string
	Status       int   // as answered
	Err          error // what went wrong on our side, if Status is 500 or more
}

// Server answers requests for the registry in a directory.
type Server struct {
	store  *store
	opts   Options
	handle http.Handler
	bodies chan struct{} // a token for each upload that is being received
	stall  time.Duration // how long a client may send nothing
}

// New opens the registry in a directory, or makes one where there is nothing
// yet. An error that is ErrNoRegistry says that the directory holds something
// else.
func New(dir string, opts Options) (*Server, error) {
	open := create
	if opts.ReadOnly {
		open = existing
	}
	st, err := open(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{store: st, opts: opts, bodies: make(chan struct{}, maxBodies), stall: stall}
	// A web page that a browser on this machine shows must not push or delete.
	s.handle = http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.route))
	if !opts.ReadOnly {
		if err := st.writable(); err != nil {
			return nil, fmt.Errorf("opening the registry to write to it: %w", err)
		}
		if _, err := st.expireUploads(time.Now().Add(-idleUpload), false); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Serve answers requests until ctx ends; those that are under way then may still
// finish, for a few seconds. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	over := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		over <- errors.Join(srv.Shutdown(grace), srv.Close())
	})
	l = limitConnections(l)
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	err := srv.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := <-over; !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil // what was cut off can be resumed
}

// Close releases files that the server keeps open for reading. To stop serving,
// end the context of Serve.
func (s *Server) Close() error {
	s.store.close()
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w}
	s.handle.ServeHTTP(a, r)
	if s.opts.Report != nil {
		s.opts.Report(Request{Method: r.Method, Path: r.URL.Path, Status: a.status, Err: a.err})
	}
}

// answer remembers how a request was answered.
type answer struct {
	http.ResponseWriter
	status int
	err    error
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// ReadFrom lets the kernel copy files to the client.
func (a *answer) ReadFrom(r io.Reader) (int64, error) { return io.Copy(a.ResponseWriter, r) }

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
