package fetch

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show is a source on one line.
func (s aptSource) show() string {
	words := []string{s.base.String(), s.suite, strings.Join(s.components, ","), strings.Join(s.archs, ",")}
	if s.signedBy != "" {
		words = append(words, "["+strings.ReplaceAll(s.signedBy, "\n", "|")+"]")
	}
	if s.trusted {
		words = append(words, "trusted")
	}
	return strings.Join(words, " ")
}

func TestParseSourcesList(t *testing.T) {
	t.Parallel()
	got, err := parseSourcesList(`# a comment
deb http://a.example/debian bookworm main contrib # and more
deb-src http://a.example/debian bookworm main
deb	[ arch=amd64,arm64 signed-by=/a.gpg,/b.gpg trusted=yes ] https://b.example/ sid main

deb cdrom:[Debian]/ bookworm main
deb http://flat.example/ ./
deb [arch+=i386] http://c.example x
`)
	want := []string{
		"http://a.example/debian bookworm main,contrib ",
		"https://b.example/ sid main amd64,arm64 [/a.gpg|/b.gpg] trusted",
		"http://c.example x  i386",
	}
	if diff := cmp.Diff(want, showAll(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, words := range map[string]string{
		"\ndeb http://a.example":              "line 2: a URI and a suite are missing",
		"deb [ arch=amd64 http://a.example x": "line 1: the options have no closing bracket",
		"deb http://a.example:port/ x":        "line 1: ",
		"deb":                                 "line 1: ",
	} {
		_, err := parseSourcesList(text)
		wantError(t, err, words)
	}
}

func showAll(sources []aptSource) []string {
	var all []string
	for _, s := range sources {
		all = append(all, s.show())
	}
	return all
}

func TestParseDeb822Sources(t *testing.T) {
	t.Parallel()
	got, err := parseDeb822Sources(`Types: deb deb-src
# a comment in between
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/x.gpg

Types: deb
Enabled: no
URIs: http://off.example
Suites: x

types: deb
URIs: mirror+file:/etc/apt/mirrors
Suites: x

Types: deb
URIs: http://c.example
Suites: x
Trusted: yes
Architectures: amd64
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`)
	want := []string{
		"http://a.example/debian bookworm main,contrib  [/usr/share/keyrings/x.gpg]",
		"http://a.example/debian bookworm-updates main,contrib  [/usr/share/keyrings/x.gpg]",
		"http://b.example/debian bookworm main,contrib  [/usr/share/keyrings/x.gpg]",
		"http://b.example/debian bookworm-updates main,contrib  [/usr/share/keyrings/x.gpg]",
		"http://c.example x  amd64 [|-----BEGIN PGP PUBLIC KEY BLOCK-----|.|abc] trusted",
	}
	if diff := cmp.Diff(want, showAll(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, words := range map[string]string{
		" x":            "line 1 continues nothing",
		"Types: deb\nx": "line 2 is no field",
		": x":           "line 1 is no field",
		"Types: deb\nURIs:" + strings.Repeat(" http://a.example", 100) + "\nSuites:" + strings.Repeat(" x", 100): "more than 1000 repositories",
	} {
		_, err := parseDeb822Sources(text)
		wantError(t, err, words)
	}
}

func TestReadAptSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sources.list"), "deb http://first.example x main\n")
	writeFile(t, filepath.Join(dir, "sources.list.d", "b.sources"), "Types: deb\nURIs: http://third.example\nSuites: x\n")
	writeFile(t, filepath.Join(dir, "sources.list.d", "a.list"), "deb http://second.example x main\n")
	writeFile(t, filepath.Join(dir, "sources.list.d", "c.list.disabled"), "deb nonsense\n")
	got, err := readAptSources(dir)
	want := []string{"http://first.example x main ", "http://second.example x main ", "http://third.example x  "}
	if diff := cmp.Diff(want, showAll(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := readAptSources(filepath.Join(dir, "none")); err != nil || got != nil {
		t.Errorf("without apt: got %v, %v, want nothing", got, err)
	}
	writeFile(t, filepath.Join(dir, "sources.list.d", "d.list"), "deb x\n")
	_, err = readAptSources(dir)
	wantError(t, err, "d.list", "line 1")
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestParseAptConf(t *testing.T) {
	t.Parallel()
	got := parseAptConf(`// a comment
Acquire::http::Proxy "http://proxy.example:3128/"; # more
/* Acquire::ftp::Proxy "x"; */
Acquire { Retries "3"; https::Proxy "DIRECT"; http { Timeout 5; }; };
APT::NeverAutoRemove { "^linux$"; "b"; };
Broken "never ends`)
	want := map[string]string{
		"acquire::http::proxy": "http://proxy.example:3128/", "acquire::retries": "3",
		"acquire::https::proxy": "DIRECT", "acquire::http::timeout": "5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAptProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "apt.conf.d", "10proxy"), `Acquire { http::Proxy "http://a.example:1"; https::Proxy "DIRECT"; };`)
	writeFile(t, filepath.Join(dir, "apt.conf.d", "20proxy"), `Acquire::http::Proxy "http://b.example:2";`)
	if got, want := aptProxy(dir, "http"), (&url.URL{Scheme: "http", Host: "b.example:2"}); got == nil || *got != *want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := aptProxy(dir, "https"); got != nil {
		t.Errorf("got %v, want none", got)
	}
}

func FuzzApt(f *testing.F) {
	f.Add("deb [ arch=a,b ] http://a.example/x y z\n")
	f.Add("Types: deb\nURIs: http://a.example\nSuites: a b\n c\n\n# x\nSigned-By:\n -----BEGIN PGP\n .\n")
	f.Add(`A::B { C "d"; }; /* x */ // y`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) ([]aptSource, error){parseSourcesList, parseDeb822Sources} {
			sources, err := parse(text)
			if err != nil {
				continue
			}
			for _, s := range sources {
				if s.base.Host == "" || s.suite == "" {
					t.Errorf("a source without host or suite: %+v", s)
				}
			}
		}
		parseAptConf(text)
	})
}
