package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// hasty makes a test's patience short.
func hasty(t *testing.T) {
	for _, d := range []*time.Duration{&dialTimeout, &tlsTimeout, &headerTimeout, &answerTimeout, &errorTimeout, &stallTimeout, &lastRetry} {
		was := *d
		t.Cleanup(func() { *d = was })
		*d = 150 * time.Millisecond
	}
	lastRetry = 100 * time.Millisecond
}

// drip answers with a byte now and then.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		fmt.Fprint(w, " ")
		w.(http.Flusher).Flush()
		time.Sleep(5 * time.Millisecond)
	}
}

// wantSoon fails if a registry was waited for much longer than hasty allows.
func wantSoon(t *testing.T, do func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := do(ctx)
	if ctx.Err() != nil {
		t.Fatalf("no end; got %v", err)
	}
	if re := new(RegistryError); !errors.As(err, &re) || isCanceled(err) {
		t.Errorf("got %v, want a *RegistryError", err)
	}
	return err
}

func isPing(r *http.Request) bool { return r.URL.Path == "/v2/" }

// TestTimeouts reads from and writes to registries that never finish something.
func TestTimeouts(t *testing.T) {
	hasty(t)
	over := make(chan struct{})
	never := func(http.ResponseWriter, *http.Request) { <-over }
	endlessly := func(w http.ResponseWriter, _ *http.Request) { endless(w) }
	fails := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		drip(w, r)
	}
	for _, tt := range []struct {
		name string
		when func(*http.Request) bool
		do   http.HandlerFunc
		want string
	}{
		{"ping never", isPing, never, "did not answer in time"},
		{"ping drips", isPing, drip, ""}, // its body is for nobody
		{"ping endless", isPing, endlessly, ""},
		{"ping fails", isPing, fails, "500"},
		{"manifest never", isManifest, never, "did not answer in time"},
		{"manifest drips", isManifest, drip, "did not finish its answer"},
		{"manifest endless", isManifest, endlessly, "more than the"},
		{"manifest fails", isManifest, fails, "500"},
		{"config never", isBlob, never, "did not answer in time"},
		{"config drips", isBlob, drip, "config"},
		{"upload never", isUpload, never, "did not answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			over = make(chan struct{})
			m, host := newMoody(t)
			t.Cleanup(func() { close(over) })
			signedImage(t, host+"/x:1")
			m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if !tt.when(r) {
					next.ServeHTTP(w, r)
					return
				}
				tt.do(w, r)
			}
			if strings.Contains(tt.want, "more than") { // the size ends it, not the time
				defer func(d time.Duration) { answerTimeout = d }(answerTimeout)
				answerTimeout = 8 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			img, err := Open(ctx, host+"/x:1", Options{})
			if err == nil {
				defer img.Close()
				_, err = Pack(ctx, packed(t, "new"), host+"/y:1", PackOptions{})
			}
			switch {
			case ctx.Err() != nil:
				t.Fatalf("no end: %v", err)
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "":
				wantSoon(t, func(context.Context) error { return err })
				wantError(t, err, tt.want)
			}
		})
	}
}

// TestTokenDrips gets no token from one who gives it byte by byte.
func TestTokenDrips(t *testing.T) {
	hasty(t)
	m, host := newMoody(t)
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/token" {
			drip(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
		w.WriteHeader(401)
	}
	err := wantSoon(t, func(ctx context.Context) error {
		_, err := Resolve(ctx, host+"/x:1", Options{})
		return err
	})
	wantError(t, err, "did not finish its answer")
}

// TestSilentPort connects to what never says a word, not even in TLS.
func TestSilentPort(t *testing.T) {
	hasty(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	err := wantSoon(t, func(ctx context.Context) error {
		_, err := Resolve(ctx, l.Addr().String()+"/x:1", Options{})
		return err
	})
	wantHint(t, err, "try again later")
}

// TestUploadStalls sends to a registry that stops reading.
func TestUploadStalls(t *testing.T) {
	hasty(t)
	m, host := newMoody(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) {
			<-over
			return
		}
		next.ServeHTTP(w, r)
	}
	data := noise(32 << 20) // more than sockets take
	d := v1.Descriptor{MediaType: types.OCILayer, Size: int64(len(data)), Digest: sum(data)}
	wantSoon(t, func(ctx context.Context) error {
		r := must(openRegistry(ctx, host+"/x:1", "push,pull", Options{}))(t)
		defer r.Close()
		return r.explain(r.putBlob(ctx, d, nil, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }))
	})
}

// TestSlowBlob wants a large blob to have all the time that it needs.
func TestSlowBlob(t *testing.T) {
	hasty(t)
	m, host := newMoody(t)
	img, data := bigImage(t)
	ref := pushed(t, host, img)
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) {
			w = slowWriter{w}
		}
		next.ServeHTTP(w, r)
	}
	begun := time.Now()
	content := must(treeOf(t, opened(t, ref, Options{})).ReadFile("big", 10<<20))(t)
	if !bytes.Contains(data, content) || time.Since(begun) < answerTimeout {
		t.Error("got another content, or was not slow")
	}
}

type slowWriter struct{ http.ResponseWriter }

func (s slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		some := p[:min(len(p), 256<<10)]
		if p = p[len(some):]; len(p) > 0 {
			time.Sleep(50 * time.Millisecond)
		}
		var k int
		k, err = s.ResponseWriter.Write(some)
		s.ResponseWriter.(http.Flusher).Flush()
		n += k
	}
	return n, err
}

// TestRealErrorWins has a worker that waits for one of another group, which is
// stopped by a worker's error: that error is to be told, not the stop.
func TestRealErrorWins(t *testing.T) {
	outer, octx := group(t.Context(), 4)
	stopped := make(chan struct{})
	outer.Go(func() error {
		inner, ictx := group(octx, 4)
		inner.Go(func() error { return fmt.Errorf("writing: %w", syscall.ENOSPC) })
		inner.Go(func() error {
			<-ictx.Done()
			close(stopped)
			<-octx.Done()
			return ictx.Err()
		})
		return inner.Wait()
	})
	outer.Go(func() error {
		<-stopped
		return fmt.Errorf("blob x, which another image has, too: %w", context.Canceled)
	})
	if err := outer.Wait(); !errors.Is(err, syscall.ENOSPC) || isCanceled(err) {
		t.Errorf("got %v, want %v", err, syscall.ENOSPC)
	}
}

// TestSignInForOthers has two calls wait for one sign-in, whose call is stopped.
func TestSignInForOthers(t *testing.T) {
	m, host := newMoody(t)
	signedImage(t, host+"/x:1")
	begun := make(chan struct{}, 10)
	release := make(chan struct{})
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isPing(r) {
			begun <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	}
	client := NewClient()
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	resolve := func(ctx context.Context, to chan error) {
		_, err := Resolve(ctx, host+"/x:1", Options{Client: client})
		to <- err
	}
	go resolve(ctx, first)
	<-begun
	go resolve(t.Context(), second)
	time.Sleep(20 * time.Millisecond) // for the second to wait for the first
	cancel()
	if err := <-first; !isCanceled(err) {
		t.Errorf("the call that was stopped: got %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the other call: got %v", err)
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"http://user:topsecret@host/x", "http://…@host/x"},
		{"docker://user:topsecret@host/x:1", "docker://…@host/x:1"},
		{"user:top/secret@host/x@sha256:abc", "…@host/x@sha256:abc"},
		{"https://token@host/x", "https://…@host/x"},
		{"host:5000/x:1@sha256:0123", "host:5000/x:1@sha256:0123"},
		{"alpine@sha256:0123", "alpine@sha256:0123"},
		{"oci:dir:me@home", "oci:dir:me@home"},
		{"./a:b@c", "./a:b@c"},
		{"plain", "plain"},
	} {
		if got := Redact(tt.in); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

// TestURLs are no references, and nothing repeats their passwords.
func TestURLs(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	signedImage(t, src)
	for ref, want := range map[string]string{
		"http://127.0.0.1:1/x":                        "no URL",
		"https://user:topsecret@127.0.0.1:1/x:1":      "no room for a user",
		"docker://user:topsecret@127.0.0.1:1/x":       "no room for a user",
		"user:topsecret@127.0.0.1:1/x:1":              "no room for a user",
		"docker://https://user:topsecret@host.test/x": "no room for a user",
	} {
		_, open := Open(t.Context(), ref, Options{})
		_, resolve := Resolve(t.Context(), ref, Options{})
		_, referrers := Referrers(t.Context(), ref, Options{})
		_, from := copyOne(t.Context(), ref, src, CopyOptions{})
		_, to := copyOne(t.Context(), src, "docker://"+strings.TrimPrefix(ref, "docker://"), CopyOptions{})
		_, depot := ParseDepot("docker://" + strings.TrimPrefix(ref, "docker://"))
		_, pack := Pack(t.Context(), packed(t, "x"), "docker://"+strings.TrimPrefix(ref, "docker://"), PackOptions{})
		_, name := Pack(t.Context(), packed(t, "x"), filepath.Join(t.TempDir(), "l"), PackOptions{Name: strings.TrimPrefix(ref, "docker://")})
		for _, err := range []error{open, resolve, referrers, from, to, depot, pack, name} {
			wantError(t, err, want)
			if strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "name.Insecure") {
				t.Errorf("got %v", err)
			}
		}
	}
}

// TestOddErrors are answers that are no text for a person.
func TestOddErrors(t *testing.T) {
	for body, want := range map[string]string{
		strings.Repeat("x", 1<<20):                "500 Internal Server Error",
		"<html><body>" + strings.Repeat("x", 999): "500 Internal Server Error",
		"no\x1b[31m\u202ered\nline":               "500 Internal Server Error: no[31mred line",
		`{"errors":[{"code":"UNKNOWN","message":"a\u001b[1m` + strings.Repeat("b", 9999) + `","detail":{"map":1}}]}`: "UNKNOWN: a[1mbbb",
		"": "500 Internal Server Error",
	} {
		m, host := newMoody(t)
		m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isManifest(r) {
				w.WriteHeader(500)
				fmt.Fprint(w, body)
				return
			}
			next.ServeHTTP(w, r)
		}
		_, err := Resolve(t.Context(), host+"/x:1", Options{})
		wantError(t, err, want)
		if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\x1b\u202e\n") || strings.Contains(text, "map[") || strings.Contains(text, "byte limit") {
			t.Errorf("got %q", text)
		}
	}
}

// TestNoTag says that none was given.
func TestNoTag(t *testing.T) {
	_, host := newMoody(t)
	signedImage(t, host+"/x:1")
	for ref, want := range map[string]string{"/x": "no tag was given", "/x:latest": "check the name x and latest"} {
		_, err := Resolve(t.Context(), host+ref, Options{})
		wantHint(t, err, want)
	}
}
