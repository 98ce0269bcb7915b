package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTimeout and headerTimeout are how long a server may take to pick up,
	// and to think before it answers.
	dialTimeout   = 30 * time.Second
	headerTimeout = 60 * time.Second
	// stallTimeout is how long nothing may arrive of an answer that has begun.
	stallTimeout = 60 * time.Second
	// maxRedirects as browsers and net/http have it.
	maxRedirects = 10
)

// retryPauses are between the attempts for one thing.
var retryPauses = []time.Duration{time.Second, 3 * time.Second}

var (
	errStalled   = errors.New("the server stopped sending")
	errTruncated = errors.New("the connection ended before all of it was there")
)

// StatusError is an answer of a server that is not the thing asked for.
type StatusError struct {
	Code int
	Text string // the first line of what the server says, "" if it says nothing in text
}

// Error implements error.
func (e *StatusError) Error() string {
	msg := fmt.Sprintf("the server answered %d %s", e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		msg += ": " + e.Text
	}
	return msg
}

// gone says whether the server knows that it does not have the thing.
func (e *StatusError) gone() bool {
	return e.Code == http.StatusNotFound || e.Code == http.StatusGone
}

// temporary says whether the same request may succeed in a moment.
func (e *StatusError) temporary() bool {
	return e.Code >= 500 || e.Code == http.StatusRequestTimeout || e.Code == http.StatusTooManyRequests
}

// defaultClient is shared by all fetchers, and with it the connections.
var defaultClient = sync.OnceValue(func() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.ResponseHeaderTimeout = headerTimeout
	t.DisableCompression = true // files are what they are
	t.MaxIdleConnsPerHost = maxParallel
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}
})

// checkRedirect refuses to go from https to something that anybody can change
// on the way.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Redacted())
	}
	return nil
}

// call is one call of a Fetcher's method.
type call struct {
	*Fetcher
	progress *progress
	client   *http.Client
	proxies  func() (proxies, error) // of Go modules, read when they are needed
}

func (f *Fetcher) begin() *call {
	own := *f
	c := &call{Fetcher: &own, progress: &progress{report: f.Progress}, client: f.Client}
	c.proxies = sync.OnceValues(func() (proxies, error) { return readProxies(own.GoProxy) })
	if c.client == nil {
		c.client = defaultClient()
	}
	if own.stall == 0 {
		own.stall = stallTimeout
	}
	if own.pauses == nil {
		own.pauses = retryPauses
	}
	return c
}

// download writes what is at a URL into dst, which it empties first, at most
// limit bytes. It tries again what may be better next time.
func (c *call) download(ctx context.Context, u *url.URL, limit int64, dst *os.File) error {
	if c.Offline {
		return ErrOffline
	}
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, u, limit, dst)
		if err == nil || ctx.Err() != nil || attempt >= len(c.pauses) || !isTemporary(err) {
			return err
		}
		select {
		case <-time.After(c.pauses[attempt]):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *call) once(ctx context.Context, u *url.URL, limit int64, dst *os.File) (err error) {
	if err := errors.Join(dst.Truncate(0), seekStart(dst)); err != nil {
		return fmt.Errorf("writing a temporary file: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, size, err := c.open(ctx, u)
	if err != nil {
		return err
	}
	defer body.Close()
	if size > limit {
		return tooLarge(limit)
	}
	watched := &watchdog{Reader: body, stall: c.stall, bite: func() { cancel(errStalled) }}
	defer watched.stop()
	c.progress.add(0, size)
	n, err := io.Copy(dst, io.LimitReader(c.progress.reader(watched), limit+1))
	if err != nil {
		c.progress.add(-n, -size) // it begins again
	}
	switch {
	case errors.Is(context.Cause(ctx), errStalled):
		return fmt.Errorf("%w: nothing came for %v, after %d bytes", errStalled, c.stall, n)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %d of %d bytes", errTruncated, n, size)
	case err != nil:
		return err
	case n > limit:
		return tooLarge(limit)
	}
	return nil
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("it is larger than the %d MiB that are allowed", limit>>20)
}

// open starts reading a URL. The size is -1 if it is not known.
func (c *call) open(ctx context.Context, u *url.URL) (io.ReadCloser, int64, error) {
	if u.Scheme == "file" {
		return openFile(u)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", c.userAgent())
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, 0, withoutURL(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, 0, &StatusError{resp.StatusCode, firstLine(resp)}
	}
	return resp.Body, resp.ContentLength, nil
}

func (c *call) userAgent() string {
	if c.UserAgent == "" {
		return "graft"
	}
	return c.UserAgent
}

// openFile opens a file: URL, which a GOPROXY may have. What is not there is
// answered as by a server.
func openFile(u *url.URL) (io.ReadCloser, int64, error) {
	f, err := os.Open(u.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, &StatusError{Code: http.StatusNotFound}
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// withoutURL drops the URL from an error of net/http: who calls names it, and
// without the password that it may have.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// firstLine is what a server says in plain text about its refusal.
func firstLine(resp *http.Response) string {
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		return ""
	}
	var text [200]byte
	n, _ := io.ReadFull(resp.Body, text[:]) // what came is enough
	line, _, _ := strings.Cut(string(text[:n]), "\n")
	return printable(line)
}

// printable drops what would play tricks on a terminal.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
}

// isTemporary says whether the same request may succeed in a moment.
func isTemporary(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.temporary()
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	for _, cause := range []error{errStalled, errTruncated, io.ErrUnexpectedEOF, io.EOF, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// watchdog bites when a reader gives nothing for a while.
type watchdog struct {
	io.Reader
	stall time.Duration
	bite  func()
	timer *time.Timer
}

func (w *watchdog) Read(p []byte) (int, error) {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.stall, w.bite)
	} else {
		w.timer.Reset(w.stall)
	}
	return w.Reader.Read(p)
}

func (w *watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// progress adds up the downloads of one call.
type progress struct {
	report func(done, total int64)

	mu          sync.Mutex
	done, total int64
	unknown     int // downloads whose size no server tells
}

// add counts bytes that came, and the size of a download that begins; -size
// takes one back. A size of -1 is not known.
func (p *progress) add(done, size int64) {
	if p.report == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += done
	switch size {
	case -1:
		p.unknown++
	default:
		p.total += size
	}
	total := p.total
	if p.unknown > 0 {
		total = -1
	}
	p.report(p.done, total)
}

func (p *progress) reader(r io.Reader) io.Reader { return &progressReader{r, p} }

type progressReader struct {
	io.Reader
	p *progress
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.p.add(int64(n), 0)
	}
	return n, err
}
