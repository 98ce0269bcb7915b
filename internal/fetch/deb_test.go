package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/cache"
)

func TestParseDeb(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]DebSource{
		"bash=5.2.15-2+b8":               {Name: "bash", Version: "5.2.15-2+b8"},
		"bash:amd64=5.2.15-2+b8":         {Name: "bash", Arch: "amd64", Version: "5.2.15-2+b8"},
		"libstdc++6:arm64=1:12~rc1-1":    {Name: "libstdc++6", Arch: "arm64", Version: "1:12~rc1-1"},
		"linux-image-6.1.0-50-amd64=6.1": {Name: "linux-image-6.1.0-50-amd64", Version: "6.1"},
	} {
		got, err := ParseDeb(s)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", s, err, diff)
		}
		if got.String() != s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
	for _, bad := range []string{"", "bash", "bash=", "=1", "bash:=1", "bash:AMD64=1", "Bash=1", "../x=1", "bash=1/2", "bash=../1", "bash=1 2", "bash:amd64", "b=1=2"} {
		if _, err := ParseDeb(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

// archive is a Debian mirror, with a key, and apt's settings for it.
type archive struct {
	*site
	key   *openpgp.Entity
	dists map[string]map[string]string // text of the indexes, by suite and component
	apt   string
}

func newArchive(t testing.TB) *archive {
	t.Helper()
	key, err := openpgp.NewEntity("archive", "", "a@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{site: newSite(t), key: key, dists: map[string]map[string]string{}, apt: t.TempDir()}
	writeFile(t, filepath.Join(a.apt, "key.asc"), publicKey(t, key))
	writeFile(t, filepath.Join(a.apt, "sources.list.d", "x.sources"),
		fmt.Sprintf("Types: deb\nURIs: %s/debian\nSuites: bookworm\nComponents: main\nSigned-By: %s/key.asc\n", a.URL, a.apt))
	return a
}

func publicKey(t testing.TB, key *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = key.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fetcher is one that knows the archive from apt.
func (a *archive) fetcher(t testing.TB) *Fetcher {
	f := newFetcher(t)
	f.Debian = DebOptions{AptDir: a.apt, ListsDir: filepath.Join(a.apt, "lists")}
	return f
}

// add puts a package into the pool, and into the index of a suite unless that
// is "". Fields are added to its control file.
func (a *archive) add(t testing.TB, suite, component string, s DebSource, fields ...string) DebSource {
	t.Helper()
	data := debFile(t, s, fields...)
	s.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	version := s.Version[strings.Index(s.Version, ":")+1:]
	file := fmt.Sprintf("pool/%s/%s/%s/%s_%s_%s.deb", component, s.Name[:1], "src-"+s.Name, s.Name, version, s.Arch)
	a.files["/debian/"+file] = data
	if suite != "" {
		if a.dists[suite] == nil {
			a.dists[suite] = map[string]string{}
		}
		a.dists[suite][component] += paragraph(debEntry{name: s.Name, version: s.Version, arch: s.Arch, file: file, size: int64(len(data)), sha256: s.SHA256})
	}
	return s
}

// publish writes the indexes.
func (a *archive) publish(t testing.TB, ending string, byHash bool) {
	t.Helper()
	for suite, components := range a.dists {
		base := "/debian/dists/" + suite + "/"
		text := "Origin: Test\nSuite: " + suite + "\nComponents: main non-free-firmware\n"
		if byHash {
			text += "Acquire-By-Hash: yes\n"
		}
		text += "SHA256:\n"
		for component, index := range components {
			data := compress(t, ending, index)
			dir := component + "/binary-amd64/"
			sum := fmt.Sprintf("%x", sha256.Sum256(data))
			text += fmt.Sprintf(" %s %d %sPackages%s\n", sum, len(data), dir, ending)
			if byHash {
				a.files[base+dir+"by-hash/SHA256/"+sum] = data
			} else {
				a.files[base+dir+"Packages"+ending] = data
			}
		}
		a.files[base+"InRelease"] = a.sign(t, text)
	}
}

func (a *archive) sign(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, a.key.PrivateKey, nil)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// debFile is a package with one file, one link and one directory.
func debFile(t testing.TB, s DebSource, fields ...string) []byte {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n%s", s.Name, s.Version, s.Arch, strings.Join(fields, ""))
	data := tarOf(t, []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/hello", Typeflag: tar.TypeReg, Mode: 0o4755, Linkname: s.String()},
		{Name: "./usr/again", Typeflag: tar.TypeLink, Linkname: "./usr/hello"},
		{Name: "./usr/link", Typeflag: tar.TypeSymlink, Linkname: "hello", Mode: 0o777},
	})
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", tarOf(t, []tar.Header{{Name: "./control", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: control}})},
		{"data.tar.xz", compress(t, ".xz", string(data))},
	} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tarOf writes a tar; of a file, Linkname is the content.
func tarOf(t testing.TB, headers []tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var hello = DebSource{Name: "hello", Arch: "amd64", Version: "2.10-3"}

// TestDeb looks for a package that is at different places of the archive.
func TestDeb(t *testing.T) {
	t.Parallel()
	old := hello
	old.Version = "1:2.9-1"
	all := hello
	all.Arch = "all"
	for name, tt := range map[string]struct {
		prepare  func(*testing.T, *archive) DebSource
		requests int // that the archive gets, at most
	}{
		"configured":      {func(t *testing.T, a *archive) DebSource { return a.add(t, "bookworm", "main", hello) }, 3},
		"arch all":        {func(t *testing.T, a *archive) DebSource { return a.add(t, "bookworm", "main", all) }, 3},
		"other component": {func(t *testing.T, a *archive) DebSource { return a.add(t, "bookworm", "non-free-firmware", hello) }, 4},
		"older": {func(t *testing.T, a *archive) DebSource {
			a.add(t, "bookworm", "main", hello)
			return a.add(t, "", "main", old)
		}, 3},
		"other suite": {func(t *testing.T, a *archive) DebSource {
			a.add(t, "bookworm", "main", old)
			return a.add(t, "unstable", "main", hello)
		}, 3},
		"only other suite": {func(t *testing.T, a *archive) DebSource { return a.add(t, "unstable", "main", hello) }, 12},
	} {
		for _, ending := range []string{".gz", ".xz", ""} {
			t.Run(name+ending, func(t *testing.T) {
				t.Parallel()
				a := newArchive(t)
				s := tt.prepare(t, a)
				s.Arch = "amd64"
				a.publish(t, ending, ending == ".gz")
				f := a.fetcher(t)
				b, err := f.Deb(context.Background(), s)
				if got := content(t, b, err); !strings.HasPrefix(got, "!<arch>") {
					t.Errorf("got %q, want a package", got)
				}
				if n := len(a.requests()); n > tt.requests {
					t.Errorf("got %d requests, want %d", n, tt.requests)
				}
				f.Offline = true
				b, err = f.Deb(context.Background(), s)
				content(t, b, err)
				if n := len(a.requests()); n != 0 {
					t.Errorf("got %d requests for what is in the cache", n)
				}
				wantClean(t, f.Cache)
			})
		}
	}
}

// TestDebPool: a source package of the same name has its place in the pool
// even if no index says so.
func TestDebPool(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	data := debFile(t, hello)
	a.files["/debian/pool/main/h/hello/hello_2.10-3_amd64.deb"] = data
	s := hello
	s.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	b, err := a.fetcher(t).Deb(context.Background(), s)
	content(t, b, err)
	got, signed, err := a.fetcher(t).ResolveDeb(context.Background(), hello)
	if err != nil || signed || got != s {
		t.Errorf("got %v, signed %v, %v, want %v unsigned", got, signed, err, s)
	}
}

// TestLocalLists: what apt downloaded is not downloaded again.
func TestLocalLists(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	base := strings.NewReplacer("http://", "", "/", "_", "_", "%5f").Replace(a.URL + "/debian")
	name := filepath.Join(a.apt, "lists", base+"_dists_bookworm_main_binary-amd64_Packages.lz4")
	writeFile(t, name, string(compress(t, ".lz4", a.dists["bookworm"]["main"])))
	got, signed, err := a.fetcher(t).ResolveDeb(context.Background(), hello)
	if err != nil || !signed || got != s {
		t.Errorf("got %v, signed %v, %v, want %v signed", got, signed, err, s)
	}
	if asked := a.requests(); len(asked) != 0 {
		t.Errorf("got the requests %v, want none", asked)
	}
	b, err := a.fetcher(t).Deb(context.Background(), s)
	content(t, b, err)
	if asked := a.requests(); len(asked) != 1 {
		t.Errorf("got the requests %v, want one", asked)
	}
}

func TestResolveDeb(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	older := hello
	older.Version = "2.9-1"
	older = a.add(t, "", "main", older)
	a.publish(t, ".gz", true)
	f := a.fetcher(t)
	for want, wantSigned := range map[DebSource]bool{s: true, older: false} {
		got, signed, err := f.ResolveDeb(context.Background(), DebSource{Name: want.Name, Arch: want.Arch, Version: want.Version, SHA256: sha})
		if err != nil || signed != wantSigned || got != want {
			t.Errorf("got %v, signed %v, %v, want %v, %v", got, signed, err, want, wantSigned)
		}
	}
}

// TestMirror: an option is enough where there is no apt.
func TestMirror(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "unstable", "non-free-firmware", hello)
	a.publish(t, ".gz", false)
	f := newFetcher(t)
	f.Debian = DebOptions{Mirror: a.URL + "/debian", AptDir: t.TempDir(), ListsDir: t.TempDir()}
	got, signed, err := f.ResolveDeb(context.Background(), hello)
	if err != nil || signed || got != s {
		t.Errorf("got %v, signed %v, %v, want %v unsigned", got, signed, err, s)
	}
	f.Debian.AptDir = a.apt // apt's keys, though not its mirror
	if _, signed, err = f.ResolveDeb(context.Background(), hello); err != nil || !signed {
		t.Errorf("got signed %v, %v, want it signed", signed, err)
	}
	f.Debian = DebOptions{AptDir: t.TempDir()}
	_, err = f.Deb(context.Background(), DebSource{Name: "hello", Arch: "amd64", Version: "1", SHA256: sha})
	wantError(t, err, "apt has no Debian mirror")
	f.Debian.Mirror = "ftp://x"
	_, err = f.Deb(context.Background(), DebSource{Name: "hello", Arch: "amd64", Version: "1", SHA256: sha})
	wantError(t, err, "reading the Debian mirror", "not an http")
}

// TestSuites: suites that were asked for come instead of apt's.
func TestSuites(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(t, "bookworm", "main", hello)
	a.add(t, "forky", "main", DebSource{Name: "other", Arch: "amd64", Version: "1"})
	a.publish(t, ".gz", false)
	f := a.fetcher(t)
	f.Debian.Suites = []string{"forky"}
	_, _, err := f.ResolveDeb(context.Background(), hello)
	wantError(t, err, "no mirror has it", "/debian forky main")
	if strings.Contains(err.Error(), "bookworm") {
		t.Errorf("got %v, want nothing of bookworm", err)
	}
}

// TestDebErrors damages an archive, one way after the other.
func TestDebErrors(t *testing.T) {
	t.Parallel()
	inRelease := "/debian/dists/bookworm/InRelease"
	pkg := "/debian/dists/bookworm/main/binary-amd64/Packages.gz"
	deb := "/debian/pool/main/h/src-hello/hello_2.10-3_amd64.deb"
	for name, tt := range map[string]struct {
		damage func(*testing.T, *archive, *DebSource)
		words  []string
	}{
		"other sha256":    {func(_ *testing.T, _ *archive, s *DebSource) { s.SHA256 = sha }, []string{"bookworm lists it", "sha256 wanted 0123456789", "got    "}},
		"no sha256":       {func(_ *testing.T, _ *archive, s *DebSource) { s.SHA256 = "" }, []string{"no checksum"}},
		"no arch":         {func(_ *testing.T, _ *archive, s *DebSource) { s.Arch = "" }, []string{"no architecture"}},
		"other version":   {func(_ *testing.T, _ *archive, s *DebSource) { s.Version = "3" }, []string{"no mirror has it", "bookworm main", "versions 2.10-3"}},
		"package gone":    {func(_ *testing.T, a *archive, _ *DebSource) { delete(a.files, deb) }, []string{"no mirror has it"}},
		"package damaged": {func(_ *testing.T, a *archive, _ *DebSource) { a.files[deb][20]++ }, []string{"hello_2.10-3_amd64.deb", "sha256 wanted"}},
		"index damaged":   {func(_ *testing.T, a *archive, _ *DebSource) { a.files[pkg][20]++ }, []string{"reading the index of", "sha256 wanted"}},
		"index longer":    {func(_ *testing.T, a *archive, _ *DebSource) { a.files[pkg] = append(a.files[pkg], 0) }, []string{"reading the index of", "larger than"}},
		"not signed":      {func(_ *testing.T, a *archive, _ *DebSource) { a.files[inRelease] = []byte("Suite: x\n") }, []string{"no signature"}},
		"signature broken": {func(_ *testing.T, a *archive, _ *DebSource) {
			a.files[inRelease] = bytes.Replace(a.files[inRelease], []byte("Origin: Test"), []byte("Origin: Evil"), 1)
		}, []string{"checking the signature"}},
		"other key": {func(t *testing.T, a *archive, _ *DebSource) {
			a.key = newArchive(t).key
			a.publish(t, ".gz", false)
		}, []string{"checking the signature"}},
		"detached, no signature": {func(_ *testing.T, a *archive, _ *DebSource) {
			a.files["/debian/dists/bookworm/Release"] = []byte("Suite: x\n")
			delete(a.files, inRelease)
		}, []string{"no mirror has it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchive(t)
			s := a.add(t, "bookworm", "main", hello)
			a.publish(t, ".gz", false)
			tt.damage(t, a, &s)
			f := a.fetcher(t)
			_, err := f.Deb(context.Background(), s)
			wantError(t, err, append(tt.words, "fetching Debian package hello")...)
			wantClean(t, f.Cache)
		})
	}
}

// TestBadDay: what a broken mirror says is not kept for the rest of the day.
func TestBadDay(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	f := a.fetcher(t)
	for _, bad := range []string{"<html>log in first</html>", string(newArchive(t).sign(t, "Suite: x\n"))} {
		a.files["/debian/dists/bookworm/InRelease"] = []byte(bad)
		_, _, err := f.ResolveDeb(context.Background(), hello)
		wantError(t, err, "signature")
	}
	a.publish(t, ".gz", false)
	got, signed, err := f.ResolveDeb(context.Background(), hello)
	if err != nil || !signed || got != s {
		t.Errorf("got %v, signed %v, %v, want %v signed", got, signed, err, s)
	}
}

// TestUnsignedXZ: the memory that an xz file takes is its author's choice, so
// an index of a mirror without known keys is not read from one.
func TestUnsignedXZ(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(t, "stable", "main", hello)
	a.publish(t, ".xz", false)
	f := newFetcher(t)
	f.Debian = DebOptions{Mirror: a.URL + "/debian", AptDir: t.TempDir(), ListsDir: t.TempDir()}
	_, _, err := f.ResolveDeb(context.Background(), hello)
	wantError(t, err, "no mirror has it")
	if a.wasAsked("Packages.xz") {
		t.Error("the index was downloaded")
	}
}

// TestDebProxy: apt's proxy is graft's.
func TestDebProxy(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	a.publish(t, ".gz", false)
	writeFile(t, filepath.Join(a.apt, "apt.conf"), fmt.Sprintf("Acquire::http::Proxy %q;\n", a.URL))
	writeFile(t, filepath.Join(a.apt, "sources.list.d", "x.sources"),
		"Types: deb\nURIs: http://nowhere.invalid/debian\nSuites: bookworm\nComponents: main\nTrusted: yes\n")
	b, err := a.fetcher(t).Deb(context.Background(), s)
	content(t, b, err)
}

// TestDetachedSignature: old archives have Release and Release.gpg.
func TestDetachedSignature(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	a.publish(t, ".gz", false)
	dir := "/debian/dists/bookworm/"
	block, _ := clearsign.Decode(a.files[dir+"InRelease"])
	var signature bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&signature, a.key, bytes.NewReader(block.Plaintext), nil); err != nil {
		t.Fatal(err)
	}
	delete(a.files, dir+"InRelease")
	a.files[dir+"Release"], a.files[dir+"Release.gpg"] = block.Plaintext, signature.Bytes()
	got, signed, err := a.fetcher(t).ResolveDeb(context.Background(), hello)
	if err != nil || !signed || got != s {
		t.Errorf("got %v, signed %v, %v, want %v signed", got, signed, err, s)
	}
}

func TestDebOffline(t *testing.T) {
	t.Parallel()
	f := newFetcher(t)
	f.Offline = true
	if _, err := f.Deb(context.Background(), DebSource{Name: "hello", Arch: "amd64", Version: "1", SHA256: sha}); !errors.Is(err, ErrOffline) {
		t.Errorf("got %v, want %v", err, ErrOffline)
	}
	if _, _, err := f.ResolveDeb(context.Background(), DebSource{Name: "hello", Arch: "amd64", Version: "1"}); !errors.Is(err, ErrOffline) {
		t.Errorf("got %v, want %v", err, ErrOffline)
	}
}

func TestDebTree(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	b := blob(t, c, debFile(t, hello))
	tr, err := DebTree(c, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("urwxr-xr-x usr/again\nurwxr-xr-x usr/hello\nLrwxrwxrwx usr/link\n", listing(t, tr)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := tr.ReadFile("usr/again", 100); err != nil || string(got) != hello.String() {
		t.Errorf("got %q, %v, want %q", got, err, hello)
	}
	if len(tr.Problems()) > 0 {
		t.Errorf("got the problems %v, want none", tr.Problems())
	}
	_, err = DebTree(c, blob(t, c, []byte("!<arch>\nnonsense")))
	wantError(t, err, "reading Debian package")
	wantClean(t, c)
}

func blob(t testing.TB, c *cache.Cache, data []byte) *cache.Blob {
	t.Helper()
	b, err := c.Scratch(func(f *os.File) error { _, err := f.Write(data); return err })
	if err != nil {
		t.Fatal(err)
	}
	return b
}
