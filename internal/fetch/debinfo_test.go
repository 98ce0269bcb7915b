package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lose removes the content of a package from the cache.
func lose(t *testing.T, f *Fetcher, s DebSource) {
	t.Helper()
	b, err := f.Cache.Get(s.Key())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(b.Name()), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDebInfo: what a package says of itself is there as long as the cache is,
// and asked for again if it is not.
func TestDebInfo(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello, "Source: greetings (2.10-3~src)\n")
	a.publish(t, ".gz", false)
	want := DebInfo{Arch: "amd64", Source: "greetings", SourceVersion: "2.10-3~src"}
	is := func(f *Fetcher, requests int) {
		t.Helper()
		a.requests()
		got, err := f.DebInfo(context.Background(), s)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if n := len(a.requests()); n > requests {
			t.Errorf("got %d requests, want at most %d", n, requests)
		}
		wantClean(t, f.Cache)
	}
	f := a.fetcher(t)
	b, err := f.Deb(context.Background(), s)
	if got := content(t, b, err); !strings.HasPrefix(got, "!<arch>") {
		t.Errorf("got %.20q, want a package from its start", got)
	}
	f.Offline = true
	lose(t, f, s)
	is(f, 0)

	f = a.fetcher(t)
	is(f, 3) // the Release file, the index, the package
	is(f, 0)

	// A cache of before that has the package only.
	f = a.fetcher(t)
	if b, err = f.deb(context.Background(), s); err != nil || b.Close() != nil {
		t.Fatal(err)
	}
	f.Offline = true
	is(f, 0)

	f = a.fetcher(t)
	f.Offline = true
	_, err = f.DebInfo(context.Background(), s)
	wantError(t, err, "fetching Debian package hello:amd64=2.10-3", ErrOffline.Error())
	var failed *Error
	if !errors.As(err, &failed) || failed.Hint == "" {
		t.Errorf("got %#v, want one with a hint", err)
	}
}

// TestDebInfoOfAll: a package for all architectures says so; a source package
// says nothing that is not known already.
func TestDebInfoOfAll(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := hello
	s.Arch = "all"
	s = a.add(t, "bookworm", "main", s)
	a.publish(t, ".gz", false)
	s.Arch = "amd64"
	got, err := a.fetcher(t).DebInfo(context.Background(), s)
	if want := (DebInfo{"all", "hello", "2.10-3"}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	a.requests()
	s.Arch = SourceArch
	got, err = a.fetcher(t).DebInfo(context.Background(), s)
	if want := (DebInfo{"source", "hello", "2.10-3"}); err != nil || got != want || len(a.requests()) > 0 {
		t.Errorf("got %v, %v, want %v without a request", got, err, want)
	}
}

// TestOtherPackage: a checksum that was forgotten in a recipe is that of another
// version, which may well be in the cache.
func TestOtherPackage(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "bookworm", "main", hello)
	a.publish(t, ".gz", false)
	f := a.fetcher(t)
	b, err := f.Deb(context.Background(), s)
	content(t, b, err)
	for name, change := range map[string]func(*DebSource){
		"version": func(s *DebSource) { s.Version = "2.10-4" },
		"name":    func(s *DebSource) { s.Name = "hello2" },
		"arch":    func(s *DebSource) { s.Arch = "arm64" },
	} {
		other := s
		change(&other)
		_, err = f.Deb(context.Background(), other)
		wantError(t, err, "fetching Debian package "+other.String(), "the file with this checksum is another package: hello:amd64=2.10-3")
		_, err = f.DebInfo(context.Background(), other)
		var failed *Error
		if !errors.As(err, &failed) || !strings.Contains(failed.Hint, "graft update") {
			t.Errorf("%s: got %v, want an error with a hint", name, err)
		}
	}
}

// TestNoPackage: what a checksum stands for may be anything.
func TestNoPackage(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	data := debFile(t, hello, "Source: (1)\n")
	a.files["/debian/pool/main/h/hello/hello_2.10-3_amd64.deb"] = data
	s := hello
	s.SHA256 = fmt.Sprintf("%x", sha256.Sum256(data))
	f := a.fetcher(t)
	_, err := f.Deb(context.Background(), s)
	wantError(t, err, "fetching Debian package hello:amd64=2.10-3: reading Debian package: the field Source")
	wantClean(t, f.Cache)
}

// TestSuiteFirst: the suite that a package is said to be of is looked into before
// those of apt, and before those that an option names.
func TestSuiteFirst(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	old := a.add(t, "bookworm", "main", hello)
	a.files["/debian/pool/main/h/src-hello/other.deb"] = a.files["/debian/pool/main/h/src-hello/hello_2.10-3_amd64.deb"]
	a.dists["bookworm"]["main"] = strings.Replace(a.dists["bookworm"]["main"], "hello_2.10-3_amd64", "other", 1)
	newer := a.add(t, "trixie", "non-free-firmware", hello, "Section: new\n")
	a.publish(t, ".gz", false)
	for _, option := range [][]string{nil, {"bookworm"}} {
		for _, suite := range []string{"trixie", "trixie-updates"} {
			f := a.fetcher(t)
			f.Debian.Suites = option
			s := hello
			s.Suite = suite
			got, signed, err := f.ResolveDeb(context.Background(), s)
			want := newer.SHA256
			if suite == "trixie-updates" { // there is none
				want = old.SHA256
			}
			if err != nil || !signed || got.SHA256 != want || got.Suite != suite {
				t.Errorf("%s: got %v, %v, %v, want %s", suite, got, signed, err, want)
			}
			asked := a.requests()
			if i := slices.IndexFunc(asked, func(p string) bool { return strings.Contains(p, "/bookworm/") }); (i >= 0) != (want == old.SHA256) {
				t.Errorf("%s: got the requests %v", suite, asked)
			}
		}
	}
	f := a.fetcher(t)
	newer.Suite = "trixie"
	b, err := f.Deb(context.Background(), newer)
	content(t, b, err)
	newer.Suite = "../x"
	_, err = f.Deb(context.Background(), newer)
	wantError(t, err, `"../x" is no suite of Debian`)
}

// TestSuiteOfMirror: there is a mirror and no apt.
func TestSuiteOfMirror(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	s := a.add(t, "trixie-updates", "main", hello)
	a.publish(t, ".gz", false)
	f := newFetcher(t)
	f.Debian = DebOptions{Mirror: a.URL + "/debian", AptDir: t.TempDir(), ListsDir: t.TempDir()}
	want := s
	want.Suite = "trixie"
	s.Suite, s.SHA256 = "trixie", ""
	if got, _, err := f.ResolveDeb(context.Background(), s); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestSameOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ suite, wanted, want string }{
		{"bookworm", "trixie", "trixie"},
		{"bookworm-security", "trixie", "trixie-security"},
		{"stable-updates", "sid", "sid-updates"},
		{"oldstable", "trixie", "trixie"},
		{"bookworm", "trixie-backports", "trixie-backports"},
		{"bookworm-updates", "trixie-backports", "trixie-backports"},
		{"nodistro", "trixie", ""},
		{"cloud-sdk-bookworm", "trixie", ""},
		{"jammy", "trixie", ""},
	} {
		if got, ok := sameOf(tt.suite, tt.wanted); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s for %s: got %q, %v, want %q", tt.suite, tt.wanted, got, ok, tt.want)
		}
	}
}
