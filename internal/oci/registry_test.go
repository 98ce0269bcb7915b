package oci

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	registrytest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graftlinux/graft/internal/tree"
)

// moody is a registry whose answers a test may change.
type moody struct {
	http.Handler
	mood func(w http.ResponseWriter, r *http.Request, next http.Handler)

	mu       sync.Mutex
	requests []string
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.requests = append(m.requests, r.Method+" "+strings.SplitN(r.URL.Path, ":", 2)[0])
	mood := m.mood
	m.mu.Unlock()
	if mood == nil {
		mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
	}
	mood(w, r, m.Handler)
}

// feel changes the mood of a server that may be at work.
func (m *moody) feel(mood func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = mood
}

func newMoody(t testing.TB) (*moody, string) {
	m := &moody{Handler: registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return m, strings.TrimPrefix(srv.URL, "http://")
}

// bigImage has one layer that does not fit into one packet.
func bigImage(t testing.TB) (v1.Image, []byte) {
	big.Do(func() { big.data = tarOf(t, entry{name: "big", content: string(noise(2 << 20))}) })
	return imageOf(t, linuxAMD64, types.OCIManifestSchema1, packedLayer(t, big.data, None)), big.data
}

var big struct {
	sync.Once
	data []byte
}

func pushed(t testing.TB, host string, img v1.Image) string {
	t.Helper()
	ref := must(name.ParseReference(host + "/big:v1"))(t)
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// TestOpenIsCheap wants no layer to be read before the tree is asked for.
func TestOpenIsCheap(t *testing.T) {
	m, host := newMoody(t)
	img, _ := bigImage(t)
	ref := pushed(t, host, img)
	m.requests = nil
	got := opened(t, ref, Options{})
	if diff := cmp.Diff([]string{"GET /v2/", "GET /v2/big/manifests/v1", "GET /v2/big/blobs/sha256"}, m.requests); diff != "" {
		t.Errorf("requests: -want +got\n%s", diff)
	}
	before := len(m.requests)
	treeOf(t, got)
	treeOf(t, got)
	if n := len(m.requests) - before; n != 1 {
		t.Errorf("got %d requests for the tree, want 1: %v", n, m.requests[before:])
	}
}

// TestPackAgain sends nothing if the tag is that image already, and says so if it
// was another one.
func TestPackAgain(t *testing.T) {
	m, host := newMoody(t)
	pack := func(content string) Result {
		t.Helper()
		tr := helloTree(t)
		if err := tr.Put("rootfs/note", tree.File(0o644, []byte(content))); err != nil {
			t.Fatal(err)
		}
		m.requests = nil
		res, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}}, host+"/x:1", PackOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := pack("one")
	if first.There || first.Before != "" {
		t.Errorf("the first time: %+v", first)
	}
	again := pack("one")
	if !again.There || again.Before != "" || again.Ref != first.Ref || again.Size != first.Size {
		t.Errorf("got %+v, want %+v as it is there", again, first)
	}
	if diff := cmp.Diff([]string{"GET /v2/", "GET /v2/x/manifests/1"}, m.requests); diff != "" {
		t.Errorf("requests: -want +got\n%s", diff)
	}
	if other := pack("two"); other.There || other.Before != first.Digest {
		t.Errorf("another image: %+v", other)
	}
}

func TestProgress(t *testing.T) {
	host := newTestRegistry(t)
	tr := helloTree(t)
	if err := tr.Put("rootfs/big", tree.File(0o644, noise(1<<20))); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	report := func(d, n int64) { done, total = d, n }
	for _, tag := range []string{"1", "2"} { // the second time the registry has all blobs
		done = 0
		res, err := Pack(t.Context(), []Packed{{Platform: linuxAMD64, Tree: tr}, {Platform: linuxARM64, Tree: tr}}, host+"/x:"+tag, PackOptions{Progress: report})
		if err != nil {
			t.Fatal(err)
		}
		if done == 0 || done > total || total != res.Size {
			t.Errorf("upload: got %d of %d, want it near %d", done, total, res.Size)
		}
	}
	img := opened(t, host+"/x:1", Options{Progress: report})
	treeOf(t, img)
	if done != total || total != img.Size() {
		t.Errorf("download: got %d of %d, want %d", done, total, img.Size())
	}
}

// calls counts requests of one test, for moods that change.
var calls atomic.Int32

func isBlob(r *http.Request) bool {
	return r.Method == "GET" && strings.Contains(r.URL.Path, "/blobs/")
}

func isManifest(r *http.Request) bool {
	return r.Method == "GET" && strings.Contains(r.URL.Path, "/manifests/")
}

// moods are registries that are busy, broken or mean, with the error that an
// image in them gives, if it does.
var moods = []struct {
	name string
	mood func(w http.ResponseWriter, r *http.Request, next http.Handler)
	want []string
	hint string
}{
	{"busy at first", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if calls.Add(1)%3 != 0 {
			w.WriteHeader([]int{429, 503}[calls.Load()%2])
			return
		}
		next.ServeHTTP(w, r)
	}, nil, ""},
	{"cuts connections", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !isBlob(r) {
			next.ServeHTTP(w, r)
			return
		}
		serveRange(w, r, next, 300<<10)
	}, nil, ""},
	{"cuts connections and knows no ranges", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) {
			r.Header.Del("Range")
			w = &cutter{ResponseWriter: w, left: 300 << 10}
		}
		next.ServeHTTP(w, r)
	}, []string{"layer 1 of 1", "connection broke at byte"}, "try again"},
	{"stalls", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) && calls.Add(1) > 1 { // the config is read
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"stopped sending"}, "try again later"},
	{"always busy", func(w http.ResponseWriter, r *http.Request, next http.Handler) { w.WriteHeader(503) }, []string{"503"}, "try again later"},
	{"rate limit", func(w http.ResponseWriter, r *http.Request, next http.Handler) { w.WriteHeader(429) }, []string{"429"}, "docker login"},
	{"no access", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !isManifest(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(401)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`)
	}, []string{"UNAUTHORIZED: who are you?"}, "docker login HOST"},
	{"not there", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isManifest(r) {
			r.URL.Path += "x"
		}
		next.ServeHTTP(w, r)
	}, []string{"MANIFEST_UNKNOWN"}, "check the name big and v1"},
	{"endless manifest", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isManifest(r) {
			endless(w)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"more than the 4194304 bytes"}, "damaged or forged"},
	{"endless blobs", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) {
			endless(w)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"config", "longer than"}, "damaged or forged"},
	{"shorter blobs", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) {
			w.Header().Set("Content-Length", "3")
			fmt.Fprint(w, "{}\n")
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"config", "the registry has 3 bytes"}, "damaged or forged"},
	{"another layer", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isBlob(r) {
			w = &flipper{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
	}, []string{"content has the digest"}, "damaged or forged"},
	{"a web page", func(w http.ResponseWriter, r *http.Request, next http.Handler) { fmt.Fprint(w, "<html>Hello") }, []string{"no manifest"}, ""},
	{"redirects for ever", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if isManifest(r) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
			return
		}
		next.ServeHTTP(w, r)
	}, []string{"10 redirects"}, ""},
}

func TestMoods(t *testing.T) {
	for _, tt := range moods {
		t.Run(tt.name, func(t *testing.T) {
			calls.Store(0)
			stallTimeout = 200 * time.Millisecond
			defer func() { stallTimeout = time.Minute }()
			m, host := newMoody(t)
			img, data := bigImage(t)
			ref := pushed(t, host, img)
			m.mood = tt.mood
			got, err := Open(t.Context(), ref, Options{})
			var tr *tree.Tree
			if err == nil {
				defer got.Close()
				tr, err = got.Tree(t.Context())
			}
			if tt.want != nil {
				wantError(t, err, tt.want...)
				wantHint(t, err, strings.ReplaceAll(tt.hint, "HOST", host))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			content := must(tr.ReadFile("big", 10<<20))(t)
			if !bytes.Contains(data, content) {
				t.Error("got another content")
			}
		})
	}
}

func wantHint(t *testing.T, err error, hint string) {
	t.Helper()
	var re *RegistryError
	switch {
	case hint == "" && errors.As(err, &re) && re.Hint != "":
		t.Errorf("got hint %q, want none", re.Hint)
	case hint != "" && !errors.As(err, &re):
		t.Errorf("got %T %v, want a *RegistryError", err, err)
	case hint != "" && !strings.Contains(re.Hint, hint):
		t.Errorf("got hint %q, want one with %q", re.Hint, hint)
	}
}

func endless(w http.ResponseWriter) {
	for {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// serveRange answers as a registry that knows ranges, and cuts the connection
// after so many bytes.
func serveRange(w http.ResponseWriter, r *http.Request, next http.Handler, after int) {
	asked := r.Header.Get("Range")
	r.Header.Del("Range")
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	data := rec.Body.Bytes()
	status := http.StatusOK
	if asked != "" {
		var from, to int
		fmt.Sscanf(asked, "bytes=%d-%d", &from, &to)
		data, status = data[from:to+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(status)
	if len(data) > after {
		w.Write(data[:after])
		panic(http.ErrAbortHandler)
	}
	w.Write(data)
}

// cutter cuts the connection after some bytes.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// flipper changes the first byte of what is large.
type flipper struct{ http.ResponseWriter }

func (f *flipper) Write(p []byte) (int, error) {
	if len(p) > 1<<10 {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	return f.ResponseWriter.Write(p)
}

// TestWay is about what can go wrong before a registry answers.
func TestWay(t *testing.T) {
	secure := httptest.NewTLSServer(registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0))))
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	host := strings.TrimPrefix(secure.URL, "https://")
	one := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}}

	_, err := Pack(t.Context(), one, host+"/x:1", PackOptions{})
	wantError(t, err, "registry "+host)
	if _, err := Pack(t.Context(), one, host+"/x:1", PackOptions{Insecure: true}); err != nil {
		t.Errorf("with insecure: %v", err)
	}
	opened(t, host+"/x:1", Options{Insecure: true})

	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	closed := l.Addr().String()
	l.Close()
	_, err = Open(t.Context(), closed+"/x:1", Options{})
	wantError(t, err, "no such file", "registry "+closed)
	wantHint(t, err, "nothing listens there")
}

// TestHints are for errors that need another network than a test has.
func TestHints(t *testing.T) {
	ref := must(name.ParseReference("registry.example/x:1"))(t)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: "Get", URL: "https://x", Err: http.ErrSchemeMismatch}, "--insecure allows plain http"},
		{&tls.CertificateVerificationError{Err: errors.New("who?")}, "--insecure accepts any certificate"},
		{&net.DNSError{Err: "no such host", Name: "registry.example"}, "registry.example"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "nothing listens"},
	} {
		wantHint(t, explain(ref, fmt.Errorf("asking: %w", tt.err)), tt.want)
	}
}

func TestCheckRedirect(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"https://ghcr.io/v2/", "https://blobs.example/x", true},
		{"https://ghcr.io/v2/", "http://169.254.169.254/latest", false},
		{"https://ghcr.io/v2/", "http://[::1]/", false},
		{"https://ghcr.io/v2/", "http://localhost/", false},
		{"http://10.0.0.1/v2/", "http://10.0.0.2/x", true},
		{"http://127.0.0.1:1/v2/", "http://127.0.0.1:2/x", true},
	} {
		from, to := must(url.Parse(tt.from))(t), must(url.Parse(tt.to))(t)
		err := checkRedirect(&http.Request{URL: to}, []*http.Request{{URL: from}})
		if (err == nil) != tt.ok {
			t.Errorf("%s to %s: got %v, want allowed %v", tt.from, tt.to, err, tt.ok)
		}
	}
}

// TestPushOrder wants the tag to appear when everything else is there.
func TestPushOrder(t *testing.T) {
	m, host := newMoody(t)
	images := []Packed{{Platform: linuxAMD64, Tree: helloTree(t)}, {Platform: linuxARM64, Tree: helloTree(t)}}
	m.mood = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			w.WriteHeader(403)
			return
		}
		next.ServeHTTP(w, r)
	}
	_, err := Pack(t.Context(), images, host+"/x:v1", PackOptions{})
	wantError(t, err, "403")
	wantHint(t, err, "docker login "+host)
	m.feel(nil)
	if _, err := Open(t.Context(), host+"/x:v1", Options{}); err == nil {
		t.Error("the tag is there")
	}
	res, err := Pack(t.Context(), images, host+"/x", PackOptions{Name: "hello:v7"})
	if err != nil {
		t.Fatal(err)
	}
	if want := host + "/x@" + res.Digest; res.Ref != want || res.Name != host+"/x:v7" {
		t.Errorf("got %q %q, want %q and the tag of the name", res.Ref, res.Name, want)
	}
	if got := opened(t, res.Ref, Options{Platform: "linux/arm64"}).Platform(); got != linuxARM64 {
		t.Errorf("got %v", got)
	}
}
