package build

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/fetch"
)

// site is a web server with files.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []*http.Request
	hold  func(path string) // before an answer
}

func newSite(t *testing.T) *site {
	s := &site{files: map[string][]byte{}, hold: func(string) {}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	content, ok := s.files[r.URL.Path]
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	s.hold(r.URL.Path)
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	if !ok {
		http.Error(w, "there is no such thing here", http.StatusNotFound)
		return
	}
	_, _ = w.Write(content) // the client says what is wrong
}

func (s *site) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// source is an entry of a step's sources, for a file that the site has now.
func (s *site) source(name, content string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files["/"+name] = []byte(content)
	return fmt.Sprintf("{url: %s/%s, destination: %s, sha256: %x, sha512: %x}", s.URL, name, name, sha256.Sum256([]byte(content)), sha512.Sum512([]byte(content)))
}

// TestSection7Sources puts downloads, not unpacked, into the step's directory as
// root's own. bldr keeps the server's time; here all that graft brings has one.
func TestSection7Sources(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	s := open(t, pkg("p", "steps:\n  - sources:\n      - "+web.source("a.tar", "a")+"\n      - "+web.source("b", "b\n")+`
    prepare: ["stat -c '%n %a %u:%g %Y' a.tar b >/stat; ls >/ls"]
  - sources: [`+web.source("c", "c\n")+`]
    install: [cat a.tar b c >/all]
finalize: [{from: /stat, to: /}, {from: /ls, to: /}, {from: /all, to: /}]
`))
	s.plan.Fetch = &fetch.Fetcher{UserAgent: "graft/1.2.3"}
	s.want("p", `
all -rw-r--r-- ab
    c
ls -rw-r--r-- a.tar
    b
stat -rw-r--r-- a.tar 600 0:0 315619200
    b 600 0:0 315619200
`)
	for _, r := range web.asked {
		if got := r.Header; got.Get("User-Agent") != "graft/1.2.3" || got.Get("Accept") != "*/*" {
			t.Errorf("%s was asked for with %v", r.URL, got)
		}
	}
}

// TestSection7SourcesFirst downloads at the same time, and while scripts run.
func TestSection7SourcesFirst(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	var both sync.WaitGroup
	both.Add(2)
	web.hold = func(string) {
		both.Done()
		both.Wait()
	}
	s := open(t, pkg("p", "steps:\n  - sources: ["+web.source("a", "a")+"]\n    install: ['true']\n  - sources: ["+web.source("b", "b")+"]\n    install: [cat a b >/f]\nfinalize: [{from: /f, to: /}]\n"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.tryContext(ctx, "p"); err != nil {
		t.Error(err)
	}
}

// TestSection7SourcesWrong says what a checksum is and what it should be.
func TestSection7SourcesWrong(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	right256, right512 := fmt.Sprintf("%x", sha256.Sum256([]byte("x"))), fmt.Sprintf("%x", sha512.Sum512([]byte("x")))
	wrong := strings.Repeat("0123456789abcdef", 8)
	for name, tt := range map[string]struct{ change, to string }{
		"sha256": {right256, wrong[:64]},
		"sha512": {right512, wrong},
	} {
		s := open(t, pkg("p", "steps:\n  - sources: ["+strings.ReplaceAll(web.source("file", "x"), tt.change, tt.to)+"]\n    install: [mkdir /out]\nfinalize: [{from: /out}]\n"))
		err := s.wantError("p", "p: source file", web.URL+"/file", name+" wanted "+tt.to, "got    "+tt.change)
		var sum *fetch.ChecksumError
		if !errors.As(err, &sum) {
			t.Errorf("%s: got a %T", name, err)
		}
		s.wantRan()
	}
}

// TestSection7SourcesDead builds with a known checksum whatever became of the
// URL, and says 404 if that is what there is (bldr: a digest mismatch).
func TestSection7SourcesDead(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	recipe := func(source, script string) string {
		return pkg("p", "steps:\n  - sources: ["+source+"]\n    install: ['"+script+"']\nfinalize: [{from: /f, to: /}]\n")
	}
	source := web.source("file", "x")
	s := open(t, recipe(source, "cat file >/f"))
	s.want("p", "f -rw-r--r-- x")
	web.mu.Lock()
	clear(web.files)
	web.mu.Unlock()
	before := web.requests()
	dead := strings.Replace(source, "/file", "/gone", 1)
	s.write(recipe(dead, "cat file file >/f"))
	s.want("p", "f -rw-r--r-- xx")
	if n := web.requests() - before; n > 0 {
		t.Errorf("%d requests for what is in the cache", n)
	}
	if err := os.RemoveAll(filepath.Join(s.cacheDir, "build")); err != nil {
		t.Fatal(err)
	}
	s.want("p", "f -rw-r--r-- xx") // the layer is gone, the download is not
	s.cacheDir = t.TempDir()
	s.wantError("p", web.URL+"/gone", "404 Not Found", "there is no such thing here")
}

// debian is a mirror with one package, hello 1.0-1, whose control file has more fields.
func debian(t *testing.T, web *site, fields ...string) (sum string) {
	t.Helper()
	control := tarOf(t, "./control", "Package: hello\nVersion: 1.0-1\nArchitecture: amd64\n"+strings.Join(fields, ""))
	packed := ar("debian-binary", "2.0\n", "control.tar", control, "data.tar", tarOf(t, "./usr/bin/hello", "hello\n", "./usr/share/doc/hello", "doc\n"))
	sum = fmt.Sprintf("%x", sha256.Sum256([]byte(packed)))
	file := "pool/main/s/source/hello_1.0-1_amd64.deb"
	index := fmt.Sprintf("Package: hello\nVersion: 1.0-1\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %s\n", file, len(packed), sum)
	web.files["/debian/"+file] = []byte(packed)
	web.files["/debian/dists/bookworm/main/binary-amd64/Packages"] = []byte(index)
	web.files["/debian/dists/bookworm/Release"] = fmt.Appendf(nil, "Suite: bookworm\nComponents: main\nSHA256:\n %x %d main/binary-amd64/Packages\n", sha256.Sum256([]byte(index)), len(index))
	return sum
}

// tarOf is an archive of files: names and contents.
func tarOf(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1]))})
		if err == nil {
			_, err = w.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ar is the archive that a Debian package is, of names and contents.
func ar(members ...string) string {
	out := "!<arch>\n"
	for i := 0; i < len(members); i += 2 {
		content := members[i+1]
		out += fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", members[i], 0, 0, 0, "100644", len(content), content)
		if len(content)%2 == 1 {
			out += "\n"
		}
	}
	return out
}

// TestDebianSource unpacks a package into a place, in one that starts with
// nothing, or leaves it as it is.
func TestDebianSource(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	sum := debian(t, web)
	s := open(t, data("p", "steps:\n  - sources: [{deb: 'hello=1.0-1', sha256: "+sum+", extract: /rootfs}]\nfinalize: [{from: /rootfs, to: /rootfs}]\n")+
		pkg("file", "steps:\n  - sources: [{deb: 'hello:amd64=1.0-1', sha256: "+sum+", destination: h.deb}]\n    install: [\"read magic <h.deb; echo $magic $(stat -c %a h.deb) >/f\"]\nfinalize: [{from: /f, to: /}]\n")+
		data("bad", "steps:\n  - sources: [{deb: 'hello=1.0-2', sha256: "+sum+", extract: /}]\nfinalize: [{from: /usr, to: /}]\n"))
	s.plan.Fetch = &fetch.Fetcher{Debian: fetch.DebOptions{Mirror: web.URL + "/debian", Suites: []string{"bookworm"}, AptDir: t.TempDir(), ListsDir: t.TempDir()}}
	s.want("p", `
rootfs drwxr-xr-x
rootfs/usr drwxr-xr-x
rootfs/usr/bin drwxr-xr-x
rootfs/usr/bin/hello -rwxr-xr-x hello
rootfs/usr/share drwxr-xr-x
rootfs/usr/share/doc drwxr-xr-x
rootfs/usr/share/doc/hello -rwxr-xr-x doc
`)
	s.want("file", "f -rw-r--r-- !<arch> 600")
	s.cacheDir = t.TempDir()
	s.wantError("bad", "bad: source hello 1.0-2", "no mirror has it")
	s.plan.Fetch.Offline = true
	s.wantError("p", "p: source hello 1.0-1", fetch.ErrOffline.Error())
}

// publish adds a module to a Go proxy and returns its sums as in go.sum. In the
// files "$SUMS" stands for the lines of those before.
func (s *site) publish(t *testing.T, id, sums, archive string) (sum, lines string) {
	t.Helper()
	name, version, _ := strings.Cut(id, "@")
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	mod := ""
	for _, f := range txtar.Parse([]byte(strings.ReplaceAll(archive, "$SUMS", sums))).Files {
		part, err := w.Create(id + "/" + f.Name)
		if err == nil {
			_, err = part.Write(f.Data)
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == "go.mod" {
			mod = string(f.Data)
		}
	}
	file := filepath.Join(t.TempDir(), "zip")
	err := errors.Join(w.Close(), os.WriteFile(file, b.Bytes(), 0o600))
	sum, sumErr := dirhash.HashZip(file, dirhash.Hash1)
	modSum, modErr := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(mod)), nil })
	if err := errors.Join(err, sumErr, modErr); err != nil {
		t.Fatal(err)
	}
	s.files["/"+name+"/@v/"+version+".zip"], s.files["/"+name+"/@v/"+version+".mod"] = b.Bytes(), []byte(mod)
	return sum, sums + fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", name, version, sum, name, version, modSum)
}

// TestModuleSource brings a Go module and what it imports, and sets the go
// command up for them in that step.
func TestModuleSource(t *testing.T) {
	t.Parallel()
	web := newSite(t)
	_, lines := web.publish(t, "example.com/lib@v1.2.0", "", "-- go.mod --\nmodule example.com/lib\n-- lib.go --\npackage lib\n")
	_, lines = web.publish(t, "example.com/unused@v1.0.0", lines, "-- go.mod --\nmodule example.com/unused\n-- unused.go --\npackage unused\n")
	sum, _ := web.publish(t, "example.com/app@v1.0.0", lines, `
-- go.mod --
module example.com/app

go 1.21

require (
	example.com/lib v1.2.0
	example.com/unused v1.0.0
)
-- go.sum --
$SUMS
-- cmd/app/main.go --
package main

import _ "example.com/lib"

func main() {}
-- cmd/other/main.go --
package main

import _ "example.com/unused"

func main() {}
`)
	s := open(t, pkg("p", `steps:
  - sources: [{module: example.com/app@v1.0.0, sum: "`+sum+`", destination: src, packages: [./cmd/app]}]
    env: {GOFLAGS: -mod=mod}
    install:
      - |
        for f in src/* src/cmd/* .gomod/example.com/* .gomod/cache/download/example.com/*/@v/*; do echo $f; done >/files
        echo $GOMODCACHE $GOPROXY $GOSUMDB $GOFLAGS $GOTOOLCHAIN >/env
  - install: ['echo ${GOPROXY-unset} $GOFLAGS >>/env']
finalize: [{from: /files, to: /}, {from: /env, to: /}]
`))
	s.plan.Fetch = &fetch.Fetcher{GoProxy: web.URL}
	s.want("p", `
env -rw-r--r-- /tmp/build/.gomod off off -mod=mod local
    unset -mod=mod
files -rw-r--r-- src/cmd
    src/go.mod
    src/go.sum
    src/cmd/app
    src/cmd/other
    .gomod/example.com/lib@v1.2.0
    .gomod/cache/download/example.com/lib/@v/v1.2.0.mod
    .gomod/cache/download/example.com/lib/@v/v1.2.0.ziphash
`)
	s.write(pkg("q", "steps:\n  - sources: [{module: example.com/app@v1.0.0, sum: 'h1:"+strings.Repeat("A", 43)+"=', destination: src}]\nfinalize: [{from: /tmp/build, to: /}]\n"))
	s.wantError("q", "q: source example.com/app@v1.0.0", sum, "h1:AAAA")
}
