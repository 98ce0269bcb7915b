package fetch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/tree"
)

// site is a web server with files that counts what it is asked for.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

func newSite(t testing.TB) *site {
	s := &site{files: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	data, ok := s.files[r.URL.Path]
	s.asked = append(s.asked, r.URL.Path)
	s.mu.Unlock()
	if !ok {
		http.Error(w, "there is no such thing here", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data) // the client says what is wrong
}

// requests returns what was asked for since the last time.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *site) wasAsked(part string) bool {
	return slices.ContainsFunc(s.requests(), func(p string) bool { return strings.Contains(p, part) })
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newFetcher is one that does not wait long for anything.
func newFetcher(t testing.TB) *Fetcher {
	return &Fetcher{Cache: newCache(t), UserAgent: "graft/test", stall: 300 * time.Millisecond, pauses: []time.Duration{time.Millisecond, time.Millisecond}}
}

func content(t testing.TB, b *cache.Blob, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wantError checks that an error says all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got the error %q, want one that says %q", err, w)
		}
	}
}

// wantClean checks that nothing half-done is in the cache.
func wantClean(t testing.TB, c *cache.Cache) {
	t.Helper()
	if left, err := os.ReadDir(c.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v in the cache's temporary directory, want nothing", left, err)
	}
}

// addModule publishes a module from an archive of its files. It returns the
// lines for go.sum. In the files "$SUMS" stands for the lines of all modules
// that were published before.
func (s *site) addModule(t testing.TB, sums *string, id, files string) {
	t.Helper()
	path, version, _ := strings.Cut(id, "@")
	m := module.Version{Path: path, Version: version}
	a := txtar.Parse([]byte(strings.ReplaceAll(files, "$SUMS", *sums)))
	data := zipOf(t, id+"/", a.Files)
	mod := fmt.Sprintf("module %s\n", path)
	for _, f := range a.Files {
		if f.Name == "go.mod" {
			mod = string(f.Data)
		}
	}
	for ending, data := range map[string][]byte{"zip": data, "mod": []byte(mod)} {
		name, err := proxyPath(m, ending)
		if err != nil {
			t.Fatal(err)
		}
		s.files["/"+strings.Join(name, "/")] = data
	}
	modH1, err := modSum([]byte(mod))
	if err != nil {
		t.Fatal(err)
	}
	*sums += fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", path, version, sumOf(t, data), path, version, modH1)
}

func zipOf(t testing.TB, prefix string, files []txtar.File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		part, err := w.Create(prefix + f.Name)
		if err == nil {
			_, err = part.Write(f.Data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sumOf(t testing.TB, zip []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "zip")
	if err := os.WriteFile(name, zip, 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// sumIn finds the h1 of a module's zip in lines of a go.sum.
func sumIn(t testing.TB, sums, id string) string {
	t.Helper()
	parsed, err := parseGoSum([]byte(sums))
	path, version, _ := strings.Cut(id, "@")
	sum := parsed.zip(module.Version{Path: path, Version: version})
	if err != nil || sum == "" {
		t.Fatalf("no sum of %s, %v", id, err)
	}
	return sum
}

// unpackTo writes a tree to a directory that nobody may write to afterwards.
func unpackTo(t testing.TB, tr *tree.Tree, dir string) {
	t.Helper()
	err := tr.Walk(func(e tree.Entry) error {
		name := filepath.Join(dir, e.Path)
		if e.Mode.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		data, err := tr.ReadFile(e.Path, 1<<30)
		if err != nil {
			return err
		}
		return os.WriteFile(name, data, e.Mode.Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listing is mode and path of all files of a tree.
func listing(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	err := tr.Walk(func(e tree.Entry) error {
		if !e.Mode.IsDir() {
			fmt.Fprintf(&b, "%v %s\n", fs.FileMode(e.Mode), e.Path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
