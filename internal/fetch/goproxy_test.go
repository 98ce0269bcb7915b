package fetch

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
)

func describe(entries []proxyEntry) []string {
	var all []string
	for _, e := range entries {
		s := e.word
		if e.url != nil {
			s = e.url.String()
		}
		if e.always {
			s += " |"
		}
		all = append(all, s)
	}
	return all
}

func TestParseProxyList(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"https://a.b":                       {"https://a.b"},
		"https://a.b,direct":                {"https://a.b", "direct"},
		"https://a.b|http://c.d/x,off":      {"https://a.b |", "http://c.d/x", "off"},
		" https://a.b , ,direct,http://c.d": {"https://a.b", "direct"},
		"a.b/c":                             {"https://a.b/c"},
		"file:///a/b":                       {"file:///a/b"},
		"off":                               {"off"},
	} {
		got, err := parseProxyList(list)
		if diff := cmp.Diff(want, describe(got)); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", list, err, diff)
		}
	}
	for list, words := range map[string]string{
		"": "no entries", ",|": "no entries", "/a/b": "file:///a/b", "ftp://a.b": "not an http", "file://host/a": "not an http",
		"https://": "not an http", "https://a b": "invalid character", "http://u:secret@a b/": "invalid",
	} {
		_, err := parseProxyList(list)
		wantError(t, err, words)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error %q tells the password", list, err)
		}
	}
}

func FuzzParseProxyList(f *testing.F) {
	for _, s := range []string{"https://a.b,direct", "a|b|,off", "file:///x", "http://[::1", "/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		entries, err := parseProxyList(list)
		if err == nil && len(entries) == 0 {
			t.Error("no entries and no error")
		}
		for i, e := range entries {
			if (e.url == nil) == (e.word == "") {
				t.Errorf("entry %d has a URL and a word, or none", i)
			}
		}
	})
}

// TestProxyFallback asks lists of proxies: of those that answer with a status,
// and of one that has the module.
func TestProxyFallback(t *testing.T) {
	t.Parallel()
	answer := func(code int) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	r := strings.NewReplacer("404", answer(404), "410", answer(410), "403", answer(403), "500", answer(500), "GOOD", goodProxy(t), "DIR", "file://"+proxyDir(t), "DEAD", "http://127.0.0.1:1")
	for list, words := range map[string][]string{
		"GOOD":            nil,
		"DIR":             nil,
		"404,GOOD":        nil,
		"404,410,DIR":     nil,
		"403,GOOD":        {"403 Forbidden"},
		"403|GOOD":        nil,
		"500|GOOD":        nil,
		"500,GOOD":        {"500 Internal Server Error"},
		"DEAD|GOOD":       nil,
		"DEAD,GOOD":       {"connect"},
		"404,direct":      {"404 Not Found", "GOPROXY says direct"},
		"direct":          {"GOPROXY says direct"},
		"404,off":         {"GOPROXY=off"},
		"404":             {"404 Not Found"},
		"404|file:///nil": {"404 Not Found"},
	} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			f := newFetcher(t)
			f.GoProxy = r.Replace(list)
			_, err := f.ResolveModule(context.Background(), ModuleSource{Path: "example.com/Lib", Version: "v1.2.0"})
			if words != nil {
				wantError(t, err, words...)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func goodProxy(t *testing.T) string {
	s, _ := world(t)
	return s.URL
}

// proxyDir is a proxy as a directory.
func proxyDir(t *testing.T) string {
	s, _ := world(t)
	dir := t.TempDir()
	for name, data := range s.files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGoSettings sets the environment, so it is not parallel.
func TestGoSettings(t *testing.T) {
	home, root := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"GOPROXY", "GOENV", "GOROOT", "GOPRIVATE", "GONOPROXY"} {
		t.Setenv(key, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("PATH", "relative:"+filepath.Join(home, "bin"))
	proxy := func() string {
		t.Helper()
		p, err := readProxies("")
		if err != nil {
			return err.Error()
		}
		return strings.Join(describe(p.list), ",") + " " + p.private
	}
	want := func(want string) {
		t.Helper()
		if got := proxy(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	want("GOPROXY is not set, and no Go installation says what its default is: set GOPROXY to a module proxy")
	write(filepath.Join(root, "go.env"), "# defaults\nGOPROXY=https://root.example,direct\n")
	write(filepath.Join(root, "bin", "go"), "")
	if err := os.Symlink(filepath.Join(root, "bin"), filepath.Join(home, "bin")); err != nil {
		t.Fatal(err)
	}
	want("https://root.example,direct ")
	t.Setenv("GOROOT", t.TempDir())
	want("GOPROXY is not set, and no Go installation says what its default is: set GOPROXY to a module proxy")
	t.Setenv("GOROOT", root)
	want("https://root.example,direct ")
	config, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(config, "go", "env"), "GOPROXY=https://user.example\nGOPRIVATE=*.corp\n")
	want("https://user.example *.corp")
	t.Setenv("GOENV", "off")
	want("https://root.example,direct ")
	other := filepath.Join(home, "other")
	write(other, "GOPROXY=https://other.example\r\nGONOPROXY=x\nGOPRIVATE=y\n")
	t.Setenv("GOENV", other)
	want("https://other.example x")
	t.Setenv("GOPROXY", "https://env.example")
	want("https://env.example x")
}

func TestPrivateModule(t *testing.T) {
	t.Setenv("GOPRIVATE", "example.com/Lib")
	s, _ := world(t)
	_, err := moduleFetcher(t, s).ResolveModule(context.Background(), ModuleSource{Path: "example.com/Lib", Version: "v1.2.0"})
	wantError(t, err, "GOPRIVATE", "example.com/Lib")
}

func TestProxyPath(t *testing.T) {
	t.Parallel()
	got, err := proxyPath(module.Version{Path: "github.com/BurntSushi/toml", Version: "v1.0.0-RC1"}, "zip")
	if want := "github.com/!burnt!sushi/toml/@v/v1.0.0-!r!c1.zip"; err != nil || strings.Join(got, "/") != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}
