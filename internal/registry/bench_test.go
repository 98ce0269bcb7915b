package registry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graftlinux/graft/internal/testkit"
)

const benchBlob = 256 << 20

func request(b *testing.B, status int, method, url string, body io.Reader, size int64) *http.Response {
	b.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	req.ContentLength = size
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != status {
		b.Fatalf("%s %s: %s, %v", method, url, resp.Status, err)
	}
	return resp
}

// BenchmarkPush sends a blob of 256 MiB as crane does: all in one PATCH.
func BenchmarkPush(b *testing.B) {
	base := serve(b, b.TempDir(), Options{}).URL
	data := testkit.Noise(benchBlob)
	b.SetBytes(benchBlob)
	for i := range b.N {
		b.StopTimer()
		binary.LittleEndian.PutUint64(data, uint64(i))
		d := digest.FromBytes(data)
		b.StartTimer()
		start := request(b, 202, "POST", base+"/v2/bench/blobs/uploads/", nil, 0)
		location := base + start.Header.Get("Location")
		request(b, 202, "PATCH", location, bytes.NewReader(data), benchBlob)
		request(b, 201, "PUT", withDigest(location, d), nil, 0)
	}
}

// BenchmarkWriteFile is what pushing cannot be faster than: hash, write, sync.
func BenchmarkWriteFile(b *testing.B) {
	data, dir := testkit.Noise(benchBlob), b.TempDir()
	b.SetBytes(benchBlob)
	for i := range b.N {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			b.Fatal(err)
		}
		h := digest.SHA256.Hash()
		if _, err := io.CopyBuffer(io.MultiWriter(f, h), struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkPull receives a blob of 256 MiB into a file.
func BenchmarkPull(b *testing.B) {
	base := serve(b, b.TempDir(), Options{}).URL
	data := testkit.Noise(benchBlob)
	d := digest.FromBytes(data)
	request(b, 201, "POST", base+"/v2/bench/blobs/uploads/?digest="+string(d), bytes.NewReader(data), benchBlob)
	out := filepath.Join(b.TempDir(), "out")
	b.SetBytes(benchBlob)
	for b.Loop() {
		resp, err := http.Get(base + "/v2/bench/blobs/" + string(d))
		if err != nil {
			b.Fatal(err)
		}
		saveTo(b, out, resp.Body)
		resp.Body.Close()
	}
}

// BenchmarkCopyFile is a plain copy of such a blob, for BenchmarkPull.
func BenchmarkCopyFile(b *testing.B) {
	dir := b.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, testkit.Noise(benchBlob), 0o644); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchBlob)
	for b.Loop() {
		f, err := os.Open(in)
		if err != nil {
			b.Fatal(err)
		}
		saveTo(b, filepath.Join(dir, "out"), struct{ io.Reader }{f}) // bytes, no reflink
		f.Close()
	}
}

func saveTo(b *testing.B, name string, r io.Reader) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, 256<<10)); err != nil || n != benchBlob {
		b.Fatalf("%d bytes, %v", n, err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// fillRepository makes a repository with so many tagged manifests.
func fillRepository(b *testing.B, dir, name string, count int) {
	b.Helper()
	st, err := create(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer st.close()
	r := st.repo(name)
	var list manifestList
	for i := range count {
		m := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 500}
		list = append(list, entry(m, "", fmt.Sprintf("v1.%d", i)))
	}
	if err := r.make(); err != nil {
		b.Fatal(err)
	}
	if err := r.writeIndex(list); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkManifest pushes and pulls a manifest of a repository that has 5000.
func BenchmarkManifest(b *testing.B) {
	dir := b.TempDir()
	fillRepository(b, dir, "bench", 5000)
	base := serve(b, dir, Options{}).URL
	index := []byte(`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`)
	b.Run("push", func(b *testing.B) {
		for b.Loop() {
			request(b, 201, "PUT", base+"/v2/bench/manifests/latest", bytes.NewReader(index), int64(len(index)))
		}
	})
	b.Run("pull", func(b *testing.B) {
		for b.Loop() {
			request(b, 200, "GET", base+"/v2/bench/manifests/latest", nil, 0)
		}
	})
}

// BenchmarkStart opens a registry of 5000 repositories.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	st, err := create(dir)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 5000 {
		if err := os.MkdirAll(st.repo(fmt.Sprintf("r/%d", i)).dir, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s, err := New(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
