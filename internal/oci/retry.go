package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// attempts is how often a request is made in all.
	attempts = 3
	// politeAttempts is how often if the registry says when to come again.
	politeAttempts = 8
	// maxPatience is the longest wait that a registry may ask for. One that
	// wants more, as the daily limit of a free account, is not waited for.
	maxPatience = 2 * time.Minute
)

// backoff is the wait after the first attempt; each later one is three times
// as long.
var backoff = time.Second

// busyCodes are answers that may be different next time.
var busyCodes = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// retrying makes a request again if that may help, and waits as long as the
// registry wishes (RFC 9110, "Retry-After").
type retrying struct{ next http.RoundTripper }

// lastRetry is how long after the first attempt one that timed out is made
// again: with the time that another one may take, a registry that is silent is
// given up after a minute and a half.
var lastRetry = 35 * time.Second

// RoundTrip implements http.RoundTripper.
func (t retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		fresh, err := withBody(req)
		if err != nil {
			return nil, err
		}
		resp, err := t.next.RoundTrip(fresh)
		if err == nil {
			resp, err = whole(fresh, resp)
		}
		wait, ok := patience(resp, err, attempt)
		if isTimeout(err) {
			ok = attempt < attempts && time.Since(begun) < lastRetry
		}
		if !ok || fresh.Body != nil && req.GetBody == nil || req.Context().Err() != nil {
			return resp, err
		}
		discardAnswer(resp)
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// whole reads an answer that is no blob, so that one that breaks off can be asked
// for again: a manifest, or a list of tags or referrers. Other errors are left to
// whoever reads it, who has limits of his own.
func whole(req *http.Request, resp *http.Response) (*http.Response, error) {
	forNobody := req.Method != http.MethodGet || req.URL.Path == "/v2/"
	if forNobody || isLarge(req, resp) || resp.StatusCode >= http.StatusMultipleChoices {
		return resp, nil
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil && !isTimeout(err) && !errors.As(err, new(damagedError)) && req.Context().Err() == nil {
		resp.Body.Close()
		return nil, brokenError{err}
	}
	read := io.Reader(bytes.NewReader(data))
	if err != nil {
		read = io.MultiReader(read, failing{err})
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{read, resp.Body}
	return resp, nil
}

// brokenError is a connection that broke in the middle of an answer.
type brokenError struct{ cause error }

func (e brokenError) Error() string   { return errBroken.Error() + ": " + e.cause.Error() }
func (e brokenError) Unwrap() []error { return []error{errBroken, e.cause} }
func (e brokenError) Temporary() bool { return true }

// failing is what comes after the bytes that were read.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// patience says how long to wait before the next attempt, and whether there
// is one.
func patience(resp *http.Response, err error, attempt int) (time.Duration, bool) {
	if err != nil {
		return pause(attempt), attempt < attempts && isTemporary(err)
	}
	if !slices.Contains(busyCodes, resp.StatusCode) {
		return 0, false
	}
	if wait, ok := retryAfter(resp.Header); ok {
		return wait, attempt < politeAttempts && wait <= maxPatience
	}
	return pause(attempt), attempt < attempts
}

// pause before the next attempt, a tenth more or less, so that many clients do
// not come back at once.
func pause(attempt int) time.Duration {
	d := backoff
	for range attempt - 1 {
		d *= 3
	}
	return d + time.Duration((rand.Float64()-0.5)*float64(d)/5)
}

// retryAfter reads the header: seconds, or a date, which is compared with the
// registry's own clock.
func retryAfter(h http.Header) (time.Duration, bool) {
	value := h.Get("Retry-After")
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	then, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	return max(0, then.Sub(now)), true
}

// withBody is the request with its body at the beginning. The one who asks for
// a token may have sent it before, and been refused.
func withBody(req *http.Request) (*http.Request, error) {
	if req.GetBody == nil {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	fresh := req.Clone(req.Context())
	fresh.Body = body
	return fresh, req.Body.Close()
}

// discardAnswer reads what is short, so that its connection can be used again.
func discardAnswer(resp *http.Response) {
	if resp != nil {
		defer time.AfterFunc(time.Second, func() { resp.Body.Close() }).Stop()
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		resp.Body.Close()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
