package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestBadPaths are requests that must be refused, and make nothing.
func TestBadPaths(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	d := string(digest.FromString("x"))
	before := files(t, dir)
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v2/../blobs/uploads/", 400},
		{"POST", "/v2/a/../../b/blobs/uploads/", 400},
		{"POST", "/v2/%2e%2e/%2e%2e/blobs/uploads/", 400},
		{"POST", "/v2/a%2f..%2fb/blobs/uploads/", 400},
		{"POST", "/v2/A/blobs/uploads/", 400},
		{"POST", "/v2/a+b/blobs/uploads/", 400},
		{"POST", "/v2/a//b/blobs/uploads/", 400},
		{"POST", "/v2//blobs/uploads/", 400},
		{"POST", "/v2/blobs/uploads/", 404},
		{"POST", "/v2/a_/blobs/uploads/", 400},
		{"POST", "/v2/a%00/blobs/uploads/", 400},
		{"POST", "/v2/" + strings.Repeat("a", 256) + "/blobs/uploads/", 400},
		{"POST", "/v2/a/blobs/uploads/?mount=" + d + "&from=../b", 400},
		{"POST", "/v2/a/blobs/uploads/?mount=sha256:..&from=b", 400},
		{"POST", "/v2/a/blobs/uploads/?digest=md5:d41d8cd98f00b204e9800998ecf8427e", 400},
		{"PATCH", "/v2/a/blobs/uploads/..", 404},
		{"PATCH", "/v2/a/blobs/uploads/%2e%2e%2fformat", 404},
		{"DELETE", "/v2/a/blobs/uploads/../format", 404},
		{"GET", "/v2/a/blobs/sha256:../../../../../etc/passwd", 404},
		{"GET", "/v2/a/blobs/sha256:" + strings.Repeat("A", 64), 400},
		{"GET", "/v2/a/blobs/sha384:" + strings.Repeat("a", 96), 400},
		{"PUT", "/v2/a/manifests/..", 400},
		{"PUT", "/v2/a/manifests/-x", 400},
		{"PUT", "/v2/a/manifests/" + strings.Repeat("a", 129), 400},
		{"GET", "/v2/a/manifests/", 400},
		{"GET", "/", 404},
		{"POST", "/v2/", 405},
		{"TRACE", "/v2/a/blobs/" + d, 405},
		{"PUT", "/v2/a/blobs/" + d, 405},
	} {
		// The client of net/http would clean the path.
		r := raw(t, c.base, tt.method+" "+tt.path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		if r.StatusCode != tt.status {
			t.Errorf("%s %s: got %s, want %d", tt.method, tt.path, r.Status, tt.status)
		}
	}
	if got := files(t, dir); got != before {
		t.Errorf("files were made:\n%s\nbefore:\n%s", got, before)
	}
}

// raw sends a request as it is.
func raw(t *testing.T, base, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	return r
}

// files are the names below a directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		fmt.Fprintln(&b, strings.TrimPrefix(name, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBadManifests(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "a"}
	config := `{"mediaType":"x","digest":"` + string(digest.FromString("x")) + `","size":1}`
	for name, m := range map[string]string{
		"empty":            ``,
		"no JSON":          `<html>`,
		"null":             `null`,
		"an array":         `[]`,
		"two":              `{}{}`,
		"no config":        `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`,
		"config no object": `{"schemaVersion":2,"config":"x"}`,
		"bad digest":       `{"config":{"digest":"../../x","size":1}}`,
		"bad layer":        `{"config":` + config + `,"layers":[{"digest":"sha256:abc"}]}`,
		"bad subject":      `{"config":` + config + `,"subject":{"digest":"sha256:.."}}`,
		"schema 1":         `{"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}`,
		"other type":       `{"mediaType":"text/html"}`,
		"many parts":       `{"layers":[` + strings.Repeat("{},", 1_000_000) + `{}]}`,
		"deep":             strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			c := &client{T: t, base: c.base, repo: c.repo}
			c.wantError(400, manifestInvalid, "PUT", "manifests/v1", []byte(m))
		})
	}
	c.want(404, "GET", "tags/list", nil) // and no repository was made
}

// TestBadLengths are bodies that end too early.
func TestBadLengths(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "a"}
	start := c.want(202, "POST", "blobs/uploads/", nil)
	location := start.Header.Get("Location")
	d := string(digest.FromString("0123456789"))
	cut := func(method, path, body string) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n%s", method, path, body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && r.StatusCode != 400 {
			t.Errorf("%s %s: got %s, want 400 or nothing", method, path, r.Status)
		}
	}
	cut("PUT", location+"?digest="+d, "01234")
	c.want(404, "GET", "blobs/"+d, nil)
	r := c.want(204, "GET", location, nil) // what came can be gone on with
	if got := r.Header.Get("Range"); got != "0-4" {
		t.Errorf("got the range %q, want 0-4", got)
	}
	c.want(201, "PUT", location+"?digest="+d, []byte("56789"), "Content-Range", "5-9")
	c.wantContent("blobs/"+d, []byte("0123456789"))
	cut("PUT", "/v2/a/manifests/v1", "{")
	c.want(404, "GET", "manifests/v1", nil)

	// A stream that is longer or shorter than its range leaves what was there.
	location = c.location(c.want(202, "POST", "blobs/uploads/", nil))
	c.want(202, "PATCH", location, []byte("0123"))
	for _, body := range []string{"45", "456789"} {
		req, err := http.NewRequest("PATCH", location, io.MultiReader(strings.NewReader(body))) // of no known length
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Range", "4-6")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.StatusCode; got != 400 {
			t.Errorf("%q: got %d, want 400", body, got)
		}
	}
	for _, bad := range []string{"x", "4", "4-2", "4-99999999999999999999", "bytes 4-6/10", "-1-2"} {
		c.want(400, "PATCH", location, []byte("456"), "Content-Range", bad)
	}
	c.want(201, "PUT", withDigest(location, digest.Digest(d)), []byte("456789"))
}

// waitSending returns when the server receives a part of an upload.
func (c *client) waitSending(location string) {
	c.Helper()
	for range 1000 {
		if c.do("GET", location, nil).StatusCode == 409 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.Fatal("nobody sends to the upload")
}

// TestOneSender refuses a second request that sends to the same upload.
func TestOneSender(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "a"}
	location := c.location(c.want(202, "POST", "blobs/uploads/", nil))
	body, first := io.Pipe()
	req, err := http.NewRequest("PATCH", location, body)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan int)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			close(answered)
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	if _, err := first.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.waitSending(location)
	c.wantError(409, uploadInvalid, "PATCH", location, []byte("x"))
	first.Close()
	if got := <-answered; got != 202 {
		t.Errorf("got %d, want 202", got)
	}
	c.want(202, "PATCH", location, []byte("x"))
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	image := c.image("image", nil)
	_, m := c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	before := files(t, dir)
	c.base = serve(t, dir, Options{ReadOnly: true}).URL
	c.wantContent("manifests/v1", image)
	c.want(200, "GET", "tags/list", nil)
	c.want(200, "GET", "referrers/"+string(m.Digest), nil)
	for _, r := range [][2]string{
		{"POST", "blobs/uploads/"}, {"PUT", "manifests/v2"}, {"DELETE", "manifests/v1"}, {"DELETE", "blobs/" + string(m.Digest)},
		{"PATCH", "blobs/uploads/00000000-0000-4000-8000-000000000000"},
	} {
		c.wantError(405, unsupported, r[0], r[1], image)
	}
	c.want(404, "GET", "blobs/uploads/00000000-0000-4000-8000-000000000000", nil)
	if got := files(t, dir); got != before {
		t.Errorf("files were made:\n%s\nbefore:\n%s", got, before)
	}
}

// TestBrowser refuses what a web page of another site could make a browser send.
func TestBrowser(t *testing.T) {
	c := &client{T: t, base: serve(t, t.TempDir(), Options{}).URL, repo: "a"}
	c.want(403, "POST", "blobs/uploads/", nil, "Sec-Fetch-Site", "cross-site")
	c.want(403, "POST", "blobs/uploads/", nil, "Origin", "https://example.org")
	c.want(202, "POST", "blobs/uploads/", nil)
}

// TestTooManyUploads refuses more uploads than there may be, until some are old.
func TestTooManyUploads(t *testing.T) {
	dir := t.TempDir()
	c := &client{T: t, base: serve(t, dir, Options{}).URL, repo: "a"}
	old := time.Now().Add(-2 * idleUpload)
	for i := range maxUploads {
		name := filepath.Join(dir, "uploads", fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := c.want(429, "POST", "blobs/uploads/", nil)
	if r.Header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	name := filepath.Join(dir, "uploads", "00000000-0000-4000-8000-000000000000")
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	c.want(202, "POST", "blobs/uploads/", nil)
}

// TestServerProblem tells clients nothing of what is wrong on our side, but the
// one who runs the server.
func TestServerProblem(t *testing.T) {
	dir := t.TempDir()
	reports := make(chan Request, 10)
	c := &client{T: t, base: serve(t, dir, Options{Report: func(r Request) { reports <- r }}).URL, repo: "a"}
	c.want(202, "POST", "blobs/uploads/", nil)
	if got := <-reports; got.Status != 202 || got.Err != nil || got.Method != "POST" || got.Path != "/v2/a/blobs/uploads/" {
		t.Errorf("got %+v", got)
	}
	if err := os.RemoveAll(filepath.Join(dir, "uploads")); err != nil {
		t.Fatal(err)
	}
	r := c.want(500, "POST", "blobs/uploads/", nil)
	if bytes.Contains(r.body, []byte(dir)) {
		t.Errorf("the client is told %s", r.body)
	}
	if got := <-reports; got.Status != 500 || got.Err == nil || !strings.Contains(got.Err.Error(), dir) {
		t.Errorf("got %+v, want the file that is missing", got)
	}
}

// TestServe ends a server whose client is in the middle of an upload.
func TestServe(t *testing.T) {
	s, err := New(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- s.Serve(ctx, l) }()
	c := &client{T: t, base: "http://" + l.Addr().String(), repo: "a"}
	data := bytes.Repeat([]byte("slow"), 500_000)
	location := c.location(c.want(202, "POST", "blobs/uploads/", nil))
	body, w := io.Pipe()
	answered := make(chan error)
	go func() {
		req, err := http.NewRequest("PUT", withDigest(location, digest.FromBytes(data)), body)
		if err == nil {
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
				if resp.StatusCode != 201 {
					err = fmt.Errorf("got %s", resp.Status)
				}
			}
		}
		answered <- err
	}()
	if _, err := w.Write(data[:1_000_000]); err != nil {
		t.Fatal(err)
	}
	c.waitSending(location)
	stop()
	if _, err := w.Write(data[1_000_000:]); err != nil {
		t.Errorf("sending the rest: %v", err)
	}
	w.Close()
	if err := <-answered; err != nil {
		t.Errorf("the upload that was under way: %v", err)
	}
	if err := <-over; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the server still listens")
	}
}

// TestStall lets go of a client that sends nothing more, and keeps what came.
func TestStall(t *testing.T) {
	s, err := New(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.stall = 100 * time.Millisecond
	srv := httptest.NewServer(s)
	defer srv.Close()
	c := &client{T: t, base: srv.URL, repo: "a"}
	location := c.want(202, "POST", "blobs/uploads/", nil).Header.Get("Location")
	for _, request := range []string{"PATCH " + location, "PUT /v2/a/manifests/v1"} {
		r := raw(t, c.base, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n012")
		if r.StatusCode != 400 {
			t.Errorf("%s: got %s, want 400", request, r.Status)
		}
	}
	if r := c.want(204, "GET", location, nil); r.Header.Get("Range") != "0-2" {
		t.Errorf("got the range %s, want 0-2", r.Header.Get("Range"))
	}
}

// TestConnections lets connections wait while there are as many as there may be.
func TestConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner)
	var first net.Conn
	for range maxConnections {
		out, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		first = in
	}
	accepted := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
			}
			accepted <- err
			if err != nil {
				return
			}
		}
	}()
	out, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	select {
	case err := <-accepted:
		t.Fatalf("one connection too many: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	first.Close()
	first.Close() // which must not make room for two
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := <-accepted; err == nil {
		t.Error("a closed listener accepted")
	}
}

// TestTLS serves HTTPS.
func TestTLS(t *testing.T) {
	some := httptest.NewTLSServer(nil) // for its certificate
	defer some.Close()
	s, err := New(t.TempDir(), Options{TLS: &tls.Config{Certificates: some.TLS.Certificates}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- s.Serve(ctx, l) }()
	resp, err := some.Client().Get("https://" + l.Addr().String() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %s", resp.Status)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestSlots refuses an upload while as many come in as may, once it has waited.
func TestSlots(t *testing.T) {
	s, err := New(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range maxBodies {
		s.bodies <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "PUT", "/v2/a/manifests/v1", strings.NewReader("{}")))
	if w.Code != 503 {
		t.Errorf("got %d, want 503", w.Code)
	}
	<-s.bodies
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("PUT", "/v2/a/manifests/v1", strings.NewReader("{}")))
	if w.Code != 400 {
		t.Errorf("got %d, want 400", w.Code)
	}
}

// FuzzRequest sends requests of any kind: none makes the server fail, or leave
// its directory.
func FuzzRequest(f *testing.F) {
	d := string(digest.FromString("x"))
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/manifests/v1", "/v2/a/manifests/" + d, "/v2/a/blobs/" + d,
		"/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000", "/v2/a/referrers/" + d, "/v2/../../x/blobs/uploads/",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			f.Add(method, path, "digest="+d+"&n=1&last=a&mount="+d+"&from=b", "0-1", []byte(`{"manifests":[],"subject":{"digest":"`+d+`"}}`))
		}
	}
	parent := f.TempDir()
	dir := filepath.Join(parent, "registry")
	s, err := New(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query, contentRange string, body []byte) {
		r := httptest.NewRequest(http.MethodGet, "/", bytes.NewReader(body))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Content-Range", contentRange)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %q?%q: got %d %s", method, path, query, w.Code, w.Body)
		}
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s %q made files elsewhere: %v, %v", method, path, entries, err)
		}
		top, err := os.ReadDir(dir)
		if err != nil || len(top) != 5 {
			t.Fatalf("%s %q made files at the top: %v, %v", method, path, top, err)
		}
	})
}

// FuzzParsePath reads names that come back when they are put together again.
func FuzzParsePath(f *testing.F) {
	for _, path := range []string{"/v2/a/blobs/uploads/manifests/x", "/v2/blobs/uploads/blobs/uploads/", "/v2/a/tags/list", "/v2/a/blobs/uploads/u"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p := parsePath(path)
		words := map[kind]string{
			tags: "/tags/list", start: "/blobs/uploads", upload: "/blobs/uploads/" + p.ref, manifests: "/manifests/" + p.ref,
			blobs: "/blobs/" + p.ref, referrers: "/referrers/" + p.ref,
		}
		if end, ok := words[p.kind]; ok && strings.TrimSuffix(path, "/") != strings.TrimSuffix("/v2/"+p.name+end, "/") {
			t.Errorf("%q was read as %+v", path, p)
		}
	})
}
