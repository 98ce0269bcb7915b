package registry

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

var otherRegistry = flag.String("registry", "", "run TestConformance against the registry at this URL")

// TestConformance goes through the four workflows of the OCI Distribution
// Specification 1.1.1, and through what it demands (MUST) or asks for (SHOULD)
// of a registry in each.
func TestConformance(t *testing.T) {
	base := *otherRegistry
	if base == "" {
		base = serve(t, t.TempDir(), Options{}).URL
	}
	c := &client{T: t, base: base, repo: "conformance/" + strings.ToLower(t.Name())}
	for _, workflow := range []struct {
		name string
		run  func(*client)
	}{
		{"support", workflowSupport},
		{"push/monolithic", workflowMonolithic},
		{"push/chunked", workflowChunked},
		{"push/mount", workflowMount},
		{"push/manifests", workflowManifests},
		{"push/subject", workflowSubject},
		{"pull", workflowPull},
		{"discovery/tags", workflowTags},
		{"discovery/referrers", workflowReferrers},
		{"management", workflowManagement},
	} {
		t.Run(workflow.name, func(t *testing.T) {
			workflow.run(&client{T: t, base: c.base, repo: "conformance/" + strings.ReplaceAll(workflow.name, "/", "-")})
		})
	}
}

// serve starts a server of the registry in a directory.
func serve(t testing.TB, dir string, opts Options) *httptest.Server {
	t.Helper()
	s, err := New(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.Close()
		_ = s.Close() // returns nothing
	})
	return srv
}

// client speaks HTTP to a repository, as a test does: what is not as it wants
// ends the test.
type client struct {
	*testing.T
	base, repo string
}

// response is one that was read.
type response struct {
	*http.Response
	body []byte
}

// do sends a request. A path that does not begin with "/" is one below the
// repository. Headers are names and values in turn.
func (c *client) do(method, path string, body []byte, headers ...string) response {
	c.Helper()
	r, err := c.try(method, path, body, headers...)
	if err != nil {
		c.Fatal(err)
	}
	return r
}

func (c *client) try(method, path string, body []byte, headers ...string) (response, error) {
	switch {
	case strings.HasPrefix(path, "http"):
	case strings.HasPrefix(path, "/"):
		path = c.base + path
	default:
		path = c.base + "/v2/" + c.repo + "/" + path
	}
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return response{resp, data}, err
}

// want sends a request that must be answered with a status.
func (c *client) want(status int, method, path string, body []byte, headers ...string) response {
	c.Helper()
	r := c.do(method, path, body, headers...)
	if r.StatusCode != status {
		c.Fatalf("%s %s: got %s, want %d\n%s", method, path, r.Status, status, r.body)
	}
	return r
}

// wantError sends a request that must be refused with a code.
func (c *client) wantError(status int, code, method, path string, body []byte, headers ...string) {
	c.Helper()
	r := c.want(status, method, path, body, headers...)
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(r.body, &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Code != code {
		c.Errorf("%s %s: got %s, want the code %s", method, path, r.body, code)
	}
}

// location is where a response leads, as a URL.
func (c *client) location(r response) string {
	c.Helper()
	u, err := r.Location()
	if err != nil {
		c.Fatalf("%s %s: %v", r.Request.Method, r.Request.URL, err)
	}
	return u.String()
}

// withDigest adds a digest to the URL of an upload.
func withDigest(location string, d digest.Digest) string {
	sep := "?"
	if strings.Contains(location, "?") {
		sep = "&"
	}
	return location + sep + "digest=" + url.QueryEscape(string(d))
}

// pushBlob pushes a blob in the usual way.
func (c *client) pushBlob(data []byte) v1.Descriptor {
	c.Helper()
	d := digest.FromBytes(data)
	start := c.want(202, "POST", "blobs/uploads/", nil)
	done := c.want(201, "PUT", withDigest(c.location(start), d), data, "Content-Type", "application/octet-stream")
	c.wantContent(c.location(done), data)
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: int64(len(data))}
}

func (c *client) wantContent(path string, want []byte) response {
	c.Helper()
	r := c.want(200, "GET", path, nil)
	if !bytes.Equal(r.body, want) {
		c.Errorf("GET %s: got %d bytes %.100q, want %d", path, len(r.body), r.body, len(want))
	}
	return r
}

// image is the manifest of an image with new blobs, which it pushes.
func (c *client) image(name string, change func(*v1.Manifest)) []byte {
	c.Helper()
	config, layer := c.pushBlob([]byte(`{"name":"`+name+`"}`)), c.pushBlob([]byte("layer of "+name))
	config.MediaType = v1.MediaTypeImageConfig
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer}}
	m.SchemaVersion = 2
	if change != nil {
		change(&m)
	}
	return marshal(c, m)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (c *client) pushManifest(ref string, data []byte, mediaType string) (response, v1.Descriptor) {
	c.Helper()
	d := digest.FromBytes(data)
	if ref == "" {
		ref = string(d)
	}
	r := c.want(201, "PUT", "manifests/"+ref, data, "Content-Type", mediaType)
	c.wantContent(c.location(r), data)
	return r, v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// wantHead checks what HEAD says of a manifest or blob.
func (c *client) wantHead(path string, data []byte, mediaType string) {
	c.Helper()
	for _, method := range []string{"HEAD", "GET"} {
		r := c.want(200, method, path, nil)
		if got, want := r.Header.Get("Docker-Content-Digest"), string(digest.FromBytes(data)); got != want {
			c.Errorf("%s %s: got the digest %s, want %s", method, path, got, want)
		}
		if r.ContentLength != int64(len(data)) {
			c.Errorf("%s %s: got the length %d, want %d", method, path, r.ContentLength, len(data))
		}
		if got := r.Header.Get("Content-Type"); mediaType != "" && got != mediaType {
			c.Errorf("%s %s: got the type %s, want %s", method, path, got, mediaType)
		}
	}
}

func workflowSupport(c *client) {
	c.want(200, "GET", "/v2/", nil)
	c.want(404, "GET", "/v3/", nil)
}

func workflowMonolithic(c *client) {
	data := []byte("one blob")
	d := digest.FromBytes(data)
	start := c.want(202, "POST", "blobs/uploads/", nil)
	location := c.location(start)
	if !regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).MatchString(location) {
		c.Errorf("the location %s has no UUID", location)
	}
	done := c.want(201, "PUT", withDigest(location, d), data, "Content-Type", "application/octet-stream")
	c.wantContent(c.location(done), data)
	c.want(404, "PUT", withDigest(location, d), data)
	c.pushBlob(nil)  // of no bytes
	c.pushBlob(data) // again

	single := []byte("one request")
	r := c.do("POST", withDigest("blobs/uploads/", digest.FromBytes(single)), single, "Content-Type", "application/octet-stream")
	if r.StatusCode == 202 { // optional
		r = c.want(201, "PUT", withDigest(c.location(r), digest.FromBytes(single)), single)
	}
	c.wantContent(c.location(r), single)

	long := []byte("with another algorithm")
	start = c.want(202, "POST", "blobs/uploads/", nil)
	d = digest.SHA512.FromBytes(long)
	c.want(201, "PUT", withDigest(c.location(start), d), long)
	c.wantContent("blobs/"+string(d), long)

	wrong := digest.FromString("something else")
	start = c.want(202, "POST", "blobs/uploads/", nil)
	c.wantError(400, digestInvalid, "PUT", withDigest(c.location(start), wrong), data)
	c.want(404, "GET", "blobs/"+string(wrong), nil)
	c.wantError(400, digestInvalid, "PUT", withDigest(c.location(c.want(202, "POST", "blobs/uploads/", nil)), "sha256:short"), data)
	c.wantError(400, digestInvalid, "PUT", c.location(c.want(202, "POST", "blobs/uploads/", nil)), data)
}

func workflowChunked(c *client) {
	data := []byte(strings.Repeat("0123456789", 100))
	d := digest.FromBytes(data)
	chunk := func(status int, location string, from, to int) response {
		c.Helper()
		r := c.want(status, "PATCH", location, data[from:to], "Content-Type", "application/octet-stream", "Content-Range", fmt.Sprintf("%d-%d", from, to-1))
		if want := fmt.Sprintf("0-%d", to-1); status == 202 && r.Header.Get("Range") != want {
			c.Errorf("got the range %q, want %q", r.Header.Get("Range"), want)
		}
		return r
	}
	location := c.location(c.want(202, "POST", "blobs/uploads/", nil, "Content-Length", "0"))
	chunk(416, location, 10, 20) // out of order
	location = c.location(chunk(202, location, 0, 400))
	chunk(416, location, 0, 400) // again
	chunk(416, location, 500, 600)
	status := c.want(204, "GET", location, nil)
	if got := status.Header.Get("Range"); got != "0-399" {
		c.Errorf("got the range %q, want 0-399", got)
	}
	location = c.location(chunk(202, c.location(status), 400, 700))
	done := c.want(201, "PUT", withDigest(location, d), data[700:], "Content-Range", "700-999", "Content-Type", "application/octet-stream")
	c.wantContent(c.location(done), data)
	c.want(404, "GET", location, nil) // the session is closed

	// The last chunk by PATCH, and one that is a stream without a range.
	location = c.location(c.want(202, "POST", "blobs/uploads/", nil))
	location = c.location(c.want(202, "PATCH", location, data[:300]))
	location = c.location(chunk(202, location, 300, 1000))
	c.want(201, "PUT", withDigest(location, d), nil)

	location = c.location(c.want(202, "POST", "blobs/uploads/", nil))
	c.wantError(400, sizeInvalid, "PATCH", location, data[:10], "Content-Range", "0-10")
	c.want(204, "DELETE", location, nil)
	c.want(404, "PATCH", location, data)
}

func workflowMount(c *client) {
	data := []byte("a blob for two repositories")
	d := string(c.pushBlob(data).Digest)
	other := &client{T: c.T, base: c.base, repo: c.repo + "/other"}
	other.want(404, "GET", "blobs/"+d, nil)
	r := other.want(201, "POST", "blobs/uploads/?mount="+d+"&from="+c.repo, nil)
	other.wantContent(other.location(r), data)
	other.wantContent("blobs/"+d, data)

	unknown := string(digest.FromString("nowhere"))
	r = other.want(202, "POST", "blobs/uploads/?mount="+unknown+"&from="+c.repo, nil)
	other.want(201, "PUT", withDigest(other.location(r), digest.FromString("nowhere")), []byte("nowhere"))
	other.want(202, "POST", "blobs/uploads/?mount="+d+"&from="+c.repo+"/missing", nil)
	other.want(201, "POST", "blobs/uploads/?mount="+d, nil) // from anywhere: optional
}

func workflowManifests(c *client) {
	image := c.image("image", nil)
	r, m := c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	if got := r.Header.Get("Docker-Content-Digest"); got != string(m.Digest) {
		c.Errorf("got the digest %s, want %s", got, m.Digest)
	}
	c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	c.pushManifest("", image, v1.MediaTypeImageManifest)
	c.wantHead("manifests/"+string(m.Digest), image, v1.MediaTypeImageManifest)

	index := marshal(c, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{m}})
	c.pushManifest("index", index, v1.MediaTypeImageIndex)
	empty := c.image("no layers", func(m *v1.Manifest) { m.Layers = []v1.Descriptor{} })
	c.pushManifest("no-layers", empty, v1.MediaTypeImageManifest)
	odd := append([]byte("\n  "), append(image, "\n\n"...)...)
	c.pushManifest("odd-bytes", odd, v1.MediaTypeImageManifest)
	c.want(201, "PUT", "manifests/parameters", image, "Content-Type", v1.MediaTypeImageManifest+"; charset=utf-8")
	c.wantHead("manifests/parameters", image, v1.MediaTypeImageManifest)
	c.pushManifest("tag", image, v1.MediaTypeImageManifest)
	c.pushManifest("tag", index, v1.MediaTypeImageIndex) // a tag moves
	c.wantHead("manifests/tag", index, v1.MediaTypeImageIndex)

	docker := bytes.ReplaceAll(image, []byte(v1.MediaTypeImageManifest), []byte(dockerManifest))
	_, dm := c.pushManifest("docker", docker, dockerManifest)
	list := marshal(c, map[string]any{"schemaVersion": 2, "mediaType": dockerList, "manifests": []v1.Descriptor{dm}})
	c.pushManifest("list", list, dockerList)

	missing := c.image("x", func(m *v1.Manifest) { m.Layers[0].Digest = digest.FromString("never pushed") })
	c.wantError(400, manifestBlobUnknown, "PUT", "manifests/missing", missing, "Content-Type", v1.MediaTypeImageManifest)
	c.want(404, "GET", "manifests/missing", nil)
	c.wantError(400, digestInvalid, "PUT", "manifests/"+string(digest.FromString("other")), image, "Content-Type", v1.MediaTypeImageManifest)
	c.wantError(400, manifestInvalid, "PUT", "manifests/bad", []byte("{"), "Content-Type", v1.MediaTypeImageManifest)
	c.wantError(400, manifestInvalid, "PUT", "manifests/bad", image, "Content-Type", v1.MediaTypeImageIndex)

	padding := bytes.Repeat([]byte(" "), maxManifest-len(image))
	c.pushManifest("large", append(slices.Clone(image), padding...), v1.MediaTypeImageManifest)
	c.want(413, "PUT", "manifests/larger", append(append(slices.Clone(image), padding...), ' '), "Content-Type", v1.MediaTypeImageManifest)
}

func workflowSubject(c *client) {
	subject := digest.FromString("not pushed yet")
	artifact := c.image("artifact", func(m *v1.Manifest) {
		m.Subject = &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: subject, Size: 14}
	})
	r, _ := c.pushManifest("", artifact, v1.MediaTypeImageManifest)
	if got := r.Header.Get("OCI-Subject"); got != string(subject) {
		c.Errorf("got the subject %q, want %q", got, subject)
	}
	r, _ = c.pushManifest("plain", c.image("plain", nil), v1.MediaTypeImageManifest)
	if got := r.Header.Get("OCI-Subject"); got != "" {
		c.Errorf("got the subject %q of a manifest without one", got)
	}
}

func workflowPull(c *client) {
	nowhere := string(digest.FromString("nowhere"))
	for _, path := range []string{"manifests/latest", "manifests/" + nowhere, "blobs/" + nowhere, "tags/list"} {
		for _, method := range []string{"GET", "HEAD"} {
			c.want(404, method, path, nil)
		}
	}
	image := c.image("image", nil)
	_, m := c.pushManifest("v1", image, v1.MediaTypeImageManifest)
	c.wantHead("manifests/v1", image, v1.MediaTypeImageManifest)
	c.wantHead("manifests/"+string(m.Digest), image, v1.MediaTypeImageManifest)
	c.want(404, "GET", "manifests/v2", nil)
	c.want(404, "GET", "manifests/"+nowhere, nil)

	data := []byte("0123456789")
	blob := "blobs/" + string(c.pushBlob(data).Digest)
	c.wantHead(blob, data, "")
	for _, tt := range []struct {
		header, body, got string
	}{
		{"bytes=2-5", "2345", "bytes 2-5/10"},
		{"bytes=7-", "789", "bytes 7-9/10"},
		{"bytes=-2", "89", "bytes 8-9/10"},
	} {
		r := c.want(206, "GET", blob, nil, "Range", tt.header)
		if string(r.body) != tt.body || r.Header.Get("Content-Range") != tt.got {
			c.Errorf("Range %s: got %q, %q", tt.header, r.body, r.Header.Get("Content-Range"))
		}
	}
	c.want(416, "GET", blob, nil, "Range", "bytes=10-")
	c.want(304, "GET", blob, nil, "If-None-Match", `"`+strings.TrimPrefix(blob, "blobs/")+`"`)
}

func workflowTags(c *client) {
	image := c.image("image", nil)
	want := []string{"1.0", "Alpha", "alpha", "beta", "Delta", "v1", "v10", "v2"}
	for _, tag := range []string{"v2", "beta", "Alpha", "v10", "1.0", "Delta", "v1", "alpha"} {
		c.pushManifest(tag, image, v1.MediaTypeImageManifest)
	}
	list := func(query string) ([]string, string) {
		c.Helper()
		r := c.want(200, "GET", query, nil)
		var got struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(r.body, &got); err != nil || got.Name != c.repo || got.Tags == nil {
			c.Fatalf("got %s, %v", r.body, err)
		}
		return got.Tags, r.Header.Get("Link")
	}
	check := func(query string, want []string, wantLink bool) string {
		c.Helper()
		got, link := list(query)
		if !slices.Equal(got, want) || (link != "") != wantLink {
			c.Errorf("%s: got %q and the link %q, want %q", query, got, link, want)
		}
		next, ok := strings.CutSuffix(link, `>; rel="next"`)
		if ok != wantLink {
			c.Errorf("%s: got the link %q", query, link)
		}
		return strings.TrimPrefix(next, "<")
	}
	check("tags/list", want, false)
	check("tags/list?n=0", []string{}, false)
	check("tags/list?n=100", want, false)
	check("tags/list?n="+strconv.Itoa(len(want)), want, false)
	check("tags/list?last=beta", want[4:], false)
	check("tags/list?last=carl", want[4:], false) // that is no tag
	check("tags/list?last=zz", []string{}, false)
	next := check("tags/list?n=3", want[:3], true)
	next = check(next, want[3:6], true)
	check(next, want[6:], false)
	c.want(400, "GET", "tags/list?n=many", nil)
	c.want(400, "GET", "tags/list?n=-1", nil)
}

func workflowReferrers(c *client) {
	_, subject := c.pushManifest("v1", c.image("image", nil), v1.MediaTypeImageManifest)
	list := func(query, filters string) []v1.Descriptor {
		c.Helper()
		r := c.want(200, "GET", query, nil)
		var idx v1.Index
		if err := json.Unmarshal(r.body, &idx); err != nil || idx.MediaType != v1.MediaTypeImageIndex || idx.SchemaVersion != 2 || idx.Manifests == nil {
			c.Fatalf("%s: got %s, %v", query, r.body, err)
		}
		if got := r.Header.Get("Content-Type"); got != v1.MediaTypeImageIndex {
			c.Errorf("%s: got the type %s", query, got)
		}
		if got := r.Header.Get("OCI-Filters-Applied"); got != filters {
			c.Errorf("%s: got the filters %q, want %q", query, got, filters)
		}
		return idx.Manifests
	}
	of := "referrers/" + string(subject.Digest)
	if got := list(of, ""); len(got) != 0 {
		c.Errorf("got the referrers %v, want none", got)
	}
	about := func(name, artifactType string) v1.Descriptor {
		c.Helper()
		data := c.image(name, func(m *v1.Manifest) {
			m.ArtifactType, m.Subject = artifactType, &subject
			m.Annotations = map[string]string{"org.example.name": name, v1.AnnotationRefName: "v1"}
		})
		_, d := c.pushManifest("", data, v1.MediaTypeImageManifest)
		d.ArtifactType, d.Annotations = artifactType, map[string]string{"org.example.name": name, v1.AnnotationRefName: "v1"}
		return d
	}
	sbom, signature, plain := about("sbom", "application/vnd.example.sbom"), about("signature", "application/vnd.example.signature"), about("plain", "")
	plain.ArtifactType = v1.MediaTypeImageConfig // of its config
	index := marshal(c, v1.Index{MediaType: v1.MediaTypeImageIndex, Subject: &subject, Manifests: []v1.Descriptor{}})
	_, listed := c.pushManifest("listed", index, v1.MediaTypeImageIndex)

	want := []v1.Descriptor{sbom, signature, plain, listed}
	wantDescriptors(c, list(of, ""), want...)
	wantDescriptors(c, list(of+"?artifactType=application/vnd.example.sbom", "artifactType"), sbom)
	wantDescriptors(c, list(of+"?artifactType=application/vnd.example.other", "artifactType"))
	c.want(200, "GET", "manifests/v1", nil) // the annotation of a referrer is no tag
	if got := list("referrers/"+string(digest.FromString("nothing")), ""); len(got) != 0 {
		c.Errorf("got the referrers %v of nothing", got)
	}
	c.want(400, "GET", "referrers/sha256:short", nil)
	c.want(202, "DELETE", "manifests/"+string(sbom.Digest), nil)
	wantDescriptors(c, list(of, ""), signature, plain, listed)
}

// wantDescriptors compares descriptors in any order.
func wantDescriptors(t testing.TB, got []v1.Descriptor, want ...v1.Descriptor) {
	t.Helper()
	text := func(list []v1.Descriptor) []string {
		lines := []string{}
		for _, d := range list {
			lines = append(lines, string(marshal(t, d)))
		}
		slices.Sort(lines)
		return lines
	}
	if g, w := text(got), text(want); !slices.Equal(g, w) {
		t.Errorf("got %s\nwant %s", strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
}

func workflowManagement(c *client) {
	image := c.image("image", nil)
	_, m := c.pushManifest("one", image, v1.MediaTypeImageManifest)
	c.pushManifest("two", image, v1.MediaTypeImageManifest)
	c.want(202, "DELETE", "manifests/one", nil)
	c.want(404, "GET", "manifests/one", nil)
	c.want(404, "DELETE", "manifests/one", nil)
	c.want(200, "GET", "manifests/two", nil)
	c.want(202, "DELETE", "manifests/two", nil)
	c.want(200, "GET", "manifests/"+string(m.Digest), nil)
	c.pushManifest("three", image, v1.MediaTypeImageManifest)

	var parsed v1.Manifest
	if err := json.Unmarshal(image, &parsed); err != nil {
		c.Fatal(err)
	}
	layer := "blobs/" + string(parsed.Layers[0].Digest)
	c.want(405, "DELETE", layer, nil) // the image needs it
	c.want(202, "DELETE", "manifests/"+string(m.Digest), nil)
	c.want(404, "GET", "manifests/three", nil)
	c.want(404, "GET", "manifests/"+string(m.Digest), nil)
	c.want(404, "DELETE", "manifests/"+string(m.Digest), nil)
	c.want(202, "DELETE", layer, nil)
	c.want(404, "GET", layer, nil)
	c.want(404, "DELETE", layer, nil)
	c.want(404, "DELETE", "/v2/conformance/nowhere/manifests/"+string(m.Digest), nil)
	r := c.want(200, "GET", "tags/list", nil)
	if want := `"tags":[]`; !bytes.Contains(r.body, []byte(want)) {
		c.Errorf("got %s, want %s", r.body, want)
	}
}
