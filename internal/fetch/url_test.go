package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func urlSource(url, content string) URLSource {
	return URLSource{url, fmt.Sprintf("%x", sha256.Sum256([]byte(content))), fmt.Sprintf("%x", sha512.Sum512([]byte(content)))}
}

func TestURL(t *testing.T) {
	t.Parallel()
	var agent atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent.Store(r.UserAgent())
		fmt.Fprint(w, "hello")
	}))
	f := newFetcher(t)
	s := urlSource(srv.URL+"/x.tar.gz", "hello")
	b, err := f.URL(context.Background(), s)
	if got := content(t, b, err); got != "hello" {
		t.Errorf("got %q, want hello", got)
	}
	if agent.Load() != "graft/test" {
		t.Errorf("got the user agent %q, want graft/test", agent.Load())
	}
	srv.Close()
	b, err = f.URL(context.Background(), s)
	if got := content(t, b, err); got != "hello" {
		t.Errorf("from a dead URL: got %q, want hello", got)
	}
	f.Offline = true
	b, err = f.URL(context.Background(), s)
	content(t, b, err)
	_, err = f.URL(context.Background(), urlSource(srv.URL, "other"))
	if !errors.Is(err, ErrOffline) {
		t.Errorf("got %v, want %v", err, ErrOffline)
	}
}

func TestURLErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.files["/x"] = []byte("hello")
	good := urlSource(s.URL+"/x", "hello")
	for name, tt := range map[string]struct {
		change func(*URLSource)
		words  []string
	}{
		"404":          {func(u *URLSource) { u.URL += "y" }, []string{"fetching http://", "404 Not Found: there is no such thing here"}},
		"wrong sha256": {func(u *URLSource) { u.SHA256 = strings.Repeat("0", 64) }, []string{"sha256 wanted 0000", "got    2cf24d", "sha512 wanted 9b71d2", "(right)"}},
		"wrong sha512": {func(u *URLSource) { u.SHA512 = strings.Repeat("0", 128) }, []string{"sha512 wanted 0000", "got    9b71d2", "sha256 wanted 2cf24d"}},
		"no checksum":  {func(u *URLSource) { u.SHA256, u.SHA512 = "", "" }, []string{"no checksum", "graft update"}},
		"short sha256": {func(u *URLSource) { u.SHA256 = "abc" }, []string{"64 hex digits"}},
		"short sha512": {func(u *URLSource) { u.SHA512 = "abc" }, []string{"128 hex digits"}},
		"file":         {func(u *URLSource) { u.URL = "file:///etc/passwd" }, []string{"not an http or https URL"}},
		"no URL":       {func(u *URLSource) { u.URL = "::" }, []string{"missing protocol scheme"}},
		"password":     {func(u *URLSource) { u.URL = strings.Replace(s.URL, "//", "//me:secret@", 1) + "/y" }, []string{"me:xxxxx@"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetcher(t)
			u := good
			tt.change(&u)
			_, err := f.URL(context.Background(), u)
			wantError(t, err, tt.words...)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error %q tells the password", err)
			}
			wantClean(t, f.Cache)
		})
	}
}

func TestChecksumErrorHint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.files["/x"] = []byte("hello")
	_, err := newFetcher(t).URL(context.Background(), urlSource(s.URL+"/x", "other"))
	var known *Error
	if !errors.As(err, &known) || !strings.Contains(known.Hint, "graft update") {
		t.Errorf("got %#v, want a hint to use graft update", err)
	}
}

// TestRetry lets a server misbehave some times before it answers.
func TestRetry(t *testing.T) {
	t.Parallel()
	truncated := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "5")
		fmt.Fprint(w, "he")
	}
	hang := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "5")
		fmt.Fprint(w, "he")
		w.(http.Flusher).Flush()
		time.Sleep(time.Second)
	}
	reset := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	for name, tt := range map[string]struct {
		bad      func(http.ResponseWriter)
		times    int32
		requests int32
		words    string // of the error, "" for none
	}{
		"503 once":       {status(503), 1, 2, ""},
		"503 for ever":   {status(503), 9, 3, "503 Service Unavailable"},
		"429 once":       {status(429), 1, 2, ""},
		"404":            {status(404), 1, 1, "404 Not Found"},
		"403":            {status(403), 1, 1, "403 Forbidden"},
		"truncated once": {truncated, 1, 2, ""},
		"truncated":      {truncated, 9, 3, "2 of 5 bytes"},
		"reset once":     {reset, 1, 2, ""},
		"hanging once":   {hang, 1, 2, ""},
		"hanging":        {hang, 9, 3, "stopped sending: nothing came for 50ms, after 2 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= tt.times {
					tt.bad(w)
					return
				}
				fmt.Fprint(w, "hello")
			}))
			defer srv.Close()
			f := newFetcher(t)
			f.stall = 50 * time.Millisecond
			b, err := f.URL(context.Background(), urlSource(srv.URL, "hello"))
			if tt.words != "" {
				wantError(t, err, tt.words)
			} else if got := content(t, b, err); got != "hello" {
				t.Errorf("got %q, want hello", got)
			}
			if n.Load() != tt.requests {
				t.Errorf("got %d requests, want %d", n.Load(), tt.requests)
			}
			wantClean(t, f.Cache)
		})
	}
}

func TestURLCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	f := newFetcher(t)
	if _, err := f.URL(ctx, urlSource(srv.URL, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	wantClean(t, f.Cache)
}

func TestDownloadLimit(t *testing.T) {
	t.Parallel()
	chunked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			fmt.Fprint(w, strings.Repeat("x", 100))
			w.(http.Flusher).Flush()
		}
	}))
	defer chunked.Close()
	s := newSite(t)
	s.files["/"] = make([]byte, 10_000)
	for _, base := range []string{chunked.URL, s.URL} {
		u, err := url.Parse(base + "/")
		if err != nil {
			t.Fatal(err)
		}
		dst, err := os.Create(t.TempDir() + "/dst")
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		wantError(t, newFetcher(t).begin().download(context.Background(), u, 9_999, dst), "larger than")
		if err := newFetcher(t).begin().download(context.Background(), u, 10_000, dst); err != nil {
			t.Error(err)
		}
	}
}

func TestRedirectFromHTTPS(t *testing.T) {
	t.Parallel()
	plain := newSite(t)
	plain.files["/"] = []byte("hello")
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/", http.StatusFound))
	defer secure.Close()
	f := newFetcher(t)
	f.Client = secure.Client()
	f.Client.CheckRedirect = checkRedirect
	_, err := f.URL(context.Background(), urlSource(secure.URL, "hello"))
	wantError(t, err, "redirected from https to http://")
}

func TestURLOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.files["/x"] = []byte("hello")
	f := newFetcher(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			b, err := f.URL(context.Background(), urlSource(s.URL+"/x", "hello"))
			if err != nil {
				t.Error(err)
				return
			}
			b.Close()
		})
	}
	wg.Wait()
	if n := len(s.requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

func TestResolveURL(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.files["/x"] = []byte("hello")
	f := newFetcher(t)
	got, err := f.ResolveURL(context.Background(), s.URL+"/x")
	if want := urlSource(s.URL+"/x", "hello"); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	f.Offline = true
	b, err := f.URL(context.Background(), got)
	content(t, b, err)
	wantClean(t, f.Cache)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.files["/x"] = make([]byte, 1<<20)
	f := newFetcher(t)
	var done, total int64
	f.Progress = func(d, t int64) { done, total = d, t }
	b, err := f.URL(context.Background(), urlSource(s.URL+"/x", string(s.files["/x"])))
	content(t, b, err)
	if done != 1<<20 || total != 1<<20 {
		t.Errorf("got %d of %d, want %d", done, total, 1<<20)
	}
}
