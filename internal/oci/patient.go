package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// How long a registry may take. They are variables for tests only.
var (
	dialTimeout   = 15 * time.Second // to accept a connection
	tlsTimeout    = 10 * time.Second // to say who it is
	headerTimeout = 30 * time.Second // to begin its answer
	answerTimeout = time.Minute      // to end it, if it is no blob
	errorTimeout  = 5 * time.Second  // to say what is wrong
	stallTimeout  = time.Minute      // without taking or giving one byte of a blob
)

// maxAnswer bounds in bytes what a registry answers, if that is no blob. Who
// reads manifests and lists has a lower limit, and more to say of it.
const maxAnswer = 2 * MaxManifest

var (
	errSilent   = timeoutError("the registry did not answer in time")
	errSlow     = timeoutError("the registry did not finish its answer in time")
	errRefusing = timeoutError("the registry stopped taking what was sent")
)

// timeoutError is a net.Error.
type timeoutError string

func (e timeoutError) Error() string   { return string(e) }
func (e timeoutError) Timeout() bool   { return true }
func (e timeoutError) Temporary() bool { return true }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

type largeAnswer struct{}

// large is for requests whose answer is a blob: it may take all the time that
// it needs, and its reader sees to it that it goes on.
func large(ctx context.Context) context.Context {
	return context.WithValue(ctx, largeAnswer{}, true)
}

// isLarge leaves out what a request brings about: errors, redirects, and the
// question for a token.
func isLarge(req *http.Request, resp *http.Response) bool {
	return req.Context().Value(largeAnswer{}) != nil && req.Method == http.MethodGet &&
		!req.URL.Query().Has("scope") && resp.StatusCode < http.StatusMultipleChoices
}

// patient gives up on registries that take too long.
type patient struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	fresh := req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		fresh.Body = newSending(req.Body, cancel)
	}
	resp, err := p.next.RoundTrip(fresh)
	if err != nil {
		err = whyLate(req.Context(), ctx, err)
		cancel(nil)
		return nil, err
	}
	a := &answer{body: resp.Body, asked: req.Context(), ctx: ctx, cancel: cancel}
	if !isLarge(req, resp) {
		a.left = maxAnswer
		a.late = time.AfterFunc(answerTimeout, func() { cancel(errSlow) })
	}
	resp.Body = a
	if resp.StatusCode >= http.StatusBadRequest {
		a.late.Reset(min(answerTimeout, errorTimeout))
		resp.Body = tidied(resp)
	}
	return resp, nil
}

// whyLate is our reason for the end of an exchange, if there is one. What net/http
// says of a registry that is silent is for programmers.
func whyLate(asked, ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case asked.Err() != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isTimeout(err) && !errors.As(err, &op):
		return errSilent
	}
	return err
}

// answer is the body of one.
type answer struct {
	body   io.ReadCloser
	asked  context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	left   int64
	late   *time.Timer // nil for a blob
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if a.left -= int64(n); a.late != nil && a.left < 0 {
		return 0, damaged("the answer has more than %d bytes", maxAnswer)
	}
	if err != nil && err != io.EOF && a.late != nil {
		err = whyLate(a.asked, a.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	if a.late != nil {
		a.late.Stop()
	}
	err := a.body.Close()
	a.cancel(nil)
	return err
}

// sending is the body of a request, which the registry has to go on taking. The
// time that it takes to read it is not the registry's.
type sending struct {
	io.ReadCloser
	stall *time.Timer
}

func newSending(body io.ReadCloser, cancel context.CancelCauseFunc) *sending {
	s := &sending{body, time.AfterFunc(stallTimeout, func() { cancel(errRefusing) })}
	s.stall.Stop()
	return s
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (int, error) {
	s.stall.Stop()
	n, err := s.ReadCloser.Read(p)
	if err == nil {
		s.stall.Reset(stallTimeout)
	}
	return n, err
}

// Close implements io.Closer.
func (s *sending) Close() error {
	s.stall.Stop()
	return s.ReadCloser.Close()
}

// slowest is how many bytes per second of a small blob must come at least, once
// answerTimeout is over.
const slowest = 64 << 10

// readBlob reads a small blob whole, and in time.
func readBlob(ctx context.Context, s store, d v1.Descriptor, most int64) ([]byte, error) {
	if d.Data != nil {
		return readVerifiedUpTo(bytes.NewReader(d.Data), d, most)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	rc, err := s.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	late := time.AfterFunc(answerTimeout+time.Duration(d.Size/slowest)*time.Second, stop)
	data, err := readVerifiedUpTo(rc, d, most)
	if !late.Stop() && isCanceled(err) {
		return nil, errSlow
	}
	return data, err
}
