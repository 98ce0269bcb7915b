package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	registrytest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/")
}

// busyAtFirst answers each request at the third attempt.
func busyAtFirst() func(w http.ResponseWriter, r *http.Request, next http.Handler) {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		seen[r.Method+r.URL.Path]++
		n := seen[r.Method+r.URL.Path]
		mu.Unlock()
		if r.Method != http.MethodPost && n < 3 {
			w.WriteHeader([]int{429, 503}[n%2])
			return
		}
		next.ServeHTTP(w, r)
	}
}

// uploadMoods are registries that images are copied to, with the error that
// this gives, if it does.
var uploadMoods = []struct {
	name string
	mood func(w http.ResponseWriter, r *http.Request, next http.Handler)
	want []string
	hint string
}{
	{"busy at first", busyAtFirst(), nil, ""},
	{"asks for patience", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && calls.Add(1) < 6 { // more often than without a wish
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(429)
			return
		}
		next.ServeHTTP(w, r)
	}, nil, ""},
	{"asks for a day", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(429)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"429"}, "higher limit"},
	{"breaks an upload", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) && calls.Add(1) < 3 {
			r.Body.Read(make([]byte, 1000))
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}, nil, ""},
	{"forgets an upload", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) && calls.Add(1) < 3 {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	}, nil, ""},
	{"redirects an upload", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) && r.URL.Query().Get("moved") == "" {
			http.Redirect(w, r, r.URL.RequestURI()+"&moved=1", http.StatusTemporaryRedirect)
			return
		}
		next.ServeHTTP(w, r)
	}, nil, ""},
	{"always breaks", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}, []string{"blob sha256:", "EOF"}, ""},
	{"has no room", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isUpload(r) {
			w.WriteHeader(507)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"507"}, "try again later"},
	{"is read-only", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPost {
			w.WriteHeader(403)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"403"}, "docker login HOST"},
	{"stores another manifest", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			w.WriteHeader(201)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"the registry stored it as sha256:000"}, ""},
	{"says no place", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPost {
			w.WriteHeader(202)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"starting an upload"}, ""},
}

func TestUploadMoods(t *testing.T) {
	src := newTestRegistry(t) + "/me/hello:1"
	want := signedImage(t, src)
	for _, tt := range uploadMoods {
		t.Run(tt.name, func(t *testing.T) {
			calls.Store(0)
			m, host := newMoody(t)
			m.mood = tt.mood
			_, err := copyOne(t.Context(), src, host+"/copy:1", CopyOptions{})
			m.feel(nil)
			if tt.want != nil {
				wantError(t, err, append(tt.want, "copying "+src+" to "+host)...)
				wantHint(t, err, strings.ReplaceAll(tt.hint, "HOST", host))
				if _, ok, _ := Exists(t.Context(), host+"/copy:1", Options{}); ok {
					t.Error("the tag is there")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantSigned(t, host+"/copy:1", want)
		})
	}
}

// TestDownloadMoods copies from the registries of TestMoods to all places.
func TestDownloadMoods(t *testing.T) {
	for _, tt := range moods {
		switch tt.name {
		case "stalls": // a config, too, which Open reads
			continue
		case "busy at first": // all together
			tt.mood = busyAtFirst()
		}
		t.Run(tt.name, func(t *testing.T) {
			m, host := newMoody(t)
			img, _ := bigImage(t)
			ref := pushed(t, host, img)
			m.mood = tt.mood
			dir := t.TempDir()
			for _, dest := range []string{filepath.Join(dir, "l"), filepath.Join(dir, "x.tar"), newTestRegistry(t) + "/copy:1"} {
				calls.Store(0)
				_, err := copyOne(t.Context(), ref, dest, CopyOptions{Alone: true})
				if tt.want == nil {
					if err != nil {
						t.Error(err)
						continue
					}
					treeOf(t, opened(t, dest, Options{}))
					continue
				}
				if err == nil || !strings.Contains(err.Error(), "copying "+ref) {
					t.Errorf("%s: got %v, want an error about %s", dest, err, ref)
				}
				var re *RegistryError
				if errors.As(err, &re) && re.Registry != host {
					t.Errorf("%s: got an error of %s, want one of %s", dest, re.Registry, host)
				}
				if _, ok, _ := Exists(t.Context(), dest, Options{}); ok {
					t.Errorf("%s is there", dest)
				}
			}
		})
	}
}

// TestCopyInterrupted goes on where it was.
func TestCopyInterrupted(t *testing.T) {
	m, host := newMoody(t)
	src := host + "/me/hello:1"
	want := signedImage(t, src)
	var blobs atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) && blobs.Add(1) > 4 {
			cancel()
		}
		next.ServeHTTP(w, r)
	}
	dest := filepath.Join(t.TempDir(), "l")
	if _, err := copyOne(ctx, src, dest, CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if names, err := Names(t.Context(), dest, Options{}); err != nil || len(names) != 0 {
		t.Errorf("got %v %v, want a valid layout without images", names, err)
	}
	m.feel(nil)
	got := must(copyOne(t.Context(), src, dest, CopyOptions{}))(t)
	if got.Missing == 0 {
		t.Error("nothing was interrupted")
	}
	wantSigned(t, dest, want)
}

// signIn is a registry with tokens, that counts how many it gives, and lets
// each expire after some requests.
type signIn struct {
	http.Handler
	lasts int

	mu     sync.Mutex
	tokens map[string]int // requests left
	given  map[string]int // by scope
}

func (s *signIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if r.URL.Path == "/token" {
		scope := strings.Join(r.URL.Query()["scope"], " ")
		s.given[scope]++
		token := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, scope, s.given[scope])))
		s.tokens[token] = s.lasts
		s.mu.Unlock()
		fmt.Fprintf(w, `{"token":%q}`, token)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	left := s.tokens[token]
	s.tokens[token]--
	s.mu.Unlock()
	if left <= 0 {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
		w.WriteHeader(401)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

// TestSignIn shares tokens between calls, and gets new ones when they expire,
// also in the middle of an upload.
func TestSignIn(t *testing.T) {
	src := newTestRegistry(t) + "/me/hello:1"
	want := signedImage(t, src)
	for _, lasts := range []int{1 << 20, 20} {
		m, host := newMoody(t)
		s := &signIn{Handler: m.Handler, lasts: lasts, tokens: map[string]int{}, given: map[string]int{}}
		m.Handler = s
		client := NewClient()
		defer client.Close()
		for i := range 3 {
			must(copyOne(t.Context(), src, fmt.Sprintf("%s/copy:%d", host, i), CopyOptions{Client: client}))(t)
		}
		must(Attach(t.Context(), host+"/copy:1", testArtifact("x"), PackOptions{Client: client}))(t)
		if _, ok, err := Exists(t.Context(), host+"/copy:2", Options{Client: client}); !ok || err != nil {
			t.Errorf("got %v %v", ok, err)
		}
		if given := s.given["repository:copy:push,pull"]; lasts > 20 && (given != 1 || len(s.given) != 1) || lasts == 20 && given < 4 {
			t.Errorf("tokens that last %d requests: got %v", lasts, s.given)
		}
		s.lasts = 1 << 20
		d := must(Resolve(t.Context(), host+"/copy:2", Options{}))(t)
		if d.Digest != want.Digest {
			t.Errorf("got %+v", d)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		after, date string
		want        time.Duration
		ok          bool
	}{
		{"", "", 0, false},
		{"7", "", 7 * time.Second, true},
		{"-7", "", 0, false},
		{"soon", "", 0, false},
		{"Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30 * time.Second, true},
		{"Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:30 GMT", 0, true},
		{"Wed, 21 Oct 2026 07:28:30 GMT", "", 0, false},
	} {
		h := http.Header{}
		h.Set("Retry-After", tt.after)
		h.Set("Date", tt.date)
		if got, ok := retryAfter(h); got != tt.want || ok != tt.ok {
			t.Errorf("%+v: got %v %v", tt, got, ok)
		}
	}
}

// TestCopyLimits are manifests that ask too much.
func TestCopyLimits(t *testing.T) {
	w := &loading{copier: must(newCopier(CopyOptions{}))(t), cargo: &cargo{}, seen: map[v1.Hash]bool{}}
	for _, size := range []int64{-1, maxBlob + 1} {
		raw := fmt.Appendf(nil, `{"layers":[{"size":%d,"digest":"sha256:%064x"}]}`, size, 1)
		wantError(t, w.parts(t.Context(), embedded("", raw), 0), "are allowed")
	}
	wantError(t, w.add(t.Context(), shipped{Descriptor: embedded("", []byte("{}"))}, maxCopyDepth+1), "too many manifests")
	w.held.Store(maxCopyManifests)
	wantError(t, w.add(t.Context(), shipped{Descriptor: embedded("", []byte(`{"schemaVersion":2}`))}, 0), "more than 64 MiB")
}

// breaking cuts the connection in the middle of the first answers to each
// request that fits: of all of them if times is negative.
func breaking(times int, fits func(*http.Request) bool) func(w http.ResponseWriter, r *http.Request, next http.Handler) {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		seen[r.URL.Path]++
		again := times >= 0 && seen[r.URL.Path] > times
		mu.Unlock()
		if again || r.Method != http.MethodGet || !fits(r) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		r.Header.Del("Range") // it knows none
		next.ServeHTTP(rec, r)
		for key, values := range rec.Header() {
			w.Header()[key] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		if rec.Code == http.StatusOK {
			w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write(rec.Body.Bytes())
	}
}

// TestBrokenAnswers asks again for whatever broke off, a few times, and then it is
// the registry's error.
func TestBrokenAnswers(t *testing.T) {
	m, host := newMoody(t)
	m.Handler = registrytest.New(registrytest.WithReferrersSupport(true), registrytest.Logger(log.New(io.Discard, "", 0)))
	src := host + "/me/hello:1"
	want := signedImage(t, src)
	below := func(part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
	}
	mirror := func() error {
		_, err := copyOne(t.Context(), src, filepath.Join(t.TempDir(), "l"), CopyOptions{})
		return err
	}
	for _, tt := range []struct {
		part string
		do   func() error
	}{
		{"/manifests/1", func() error { _, err := Resolve(t.Context(), src, Options{}); return err }},
		{"/manifests/sha256:", mirror},
		{"/referrers/", func() error { _, err := Referrers(t.Context(), want.Ref, Options{}); return err }},
		{"/tags/", func() error { _, err := Tags(t.Context(), host+"/me/hello", Options{}); return err }},
		{"/blobs/", mirror},
		{"/blobs/", func() error {
			img, err := Open(t.Context(), src, Options{})
			if err != nil {
				return err
			}
			defer img.Close()
			_, err = img.Tree(t.Context())
			return err
		}},
	} {
		m.feel(breaking(2, below(tt.part)))
		if err := tt.do(); err != nil {
			t.Errorf("%s breaks twice: %v", tt.part, err)
		}
		m.feel(breaking(-1, below(tt.part)))
		err := tt.do()
		var re *RegistryError
		if !errors.As(err, &re) || re.Registry != host || !strings.Contains(err.Error(), "the connection broke") {
			t.Errorf("%s always breaks: got %T %v, want a *RegistryError", tt.part, err, err)
		}
	}
}
