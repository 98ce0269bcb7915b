package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
)

// proxyEntry is one entry of a GOPROXY list.
type proxyEntry struct {
	url    *url.URL // nil for a word
	word   string   // "direct" or "off"
	always bool     // after any error the next entry is asked (the list has "|" there), not only after 404 and 410
}

// parseProxyList reads a list as the go command does (`go help goproxy`).
func parseProxyList(list string) ([]proxyEntry, error) {
	var entries []proxyEntry
	for rest := list; rest != ""; {
		var e proxyEntry
		text := rest
		rest = ""
		if i := strings.IndexAny(text, ",|"); i >= 0 {
			text, rest, e.always = text[:i], text[i+1:], text[i] == '|'
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if text == "direct" || text == "off" {
			e.word = text
			return append(entries, e), nil // neither has a next one
		}
		var err error
		if e.url, err = parseProxy(text); err != nil {
			return nil, fmt.Errorf("reading GOPROXY: %w", err)
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, errors.New("reading GOPROXY: the list has no entries")
	}
	return entries, nil
}

func parseProxy(text string) (*url.URL, error) {
	if filepath.IsAbs(text) {
		return nil, fmt.Errorf("%q is a path: write it as file://%s", text, text)
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text // as the go command
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, withoutURL(err)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && u.Path != "":
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	default:
		return nil, fmt.Errorf("%q is not an http, https or file URL", u.Redacted())
	}
	return u, nil
}

// goSettings are what the go command knows beside the environment.
type goSettings struct {
	user map[string]string // of $GOENV
	root map[string]string // of $GOROOT/go.env, less important
}

func (s goSettings) get(key string) string {
	return cmp.Or(os.Getenv(key), s.user[key], s.root[key])
}

// readGoSettings reads the files that there are.
func readGoSettings() (goSettings, error) {
	var s goSettings
	var err error
	if file := userGoEnv(); file != "" {
		if s.user, err = readGoEnv(file); err != nil {
			return s, err
		}
	}
	if dir := goroot(s); dir != "" {
		s.root, err = readGoEnv(filepath.Join(dir, "go.env"))
	}
	return s, err
}

// userGoEnv is the file that `go env -w` writes, "" if there shall be none.
func userGoEnv() string {
	file := os.Getenv("GOENV")
	if file == "off" {
		return ""
	}
	if file != "" {
		return file
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "" // no home, no settings: as the go command
	}
	return filepath.Join(dir, "go", "env")
}

// goroot finds the Go installation: GOROOT, or where the go command in PATH is.
func goroot(s goSettings) string {
	if dir := s.get("GOROOT"); dir != "" {
		return dir
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if file, err := filepath.EvalSymlinks(filepath.Join(dir, "go")); err == nil {
			return filepath.Dir(filepath.Dir(file))
		}
	}
	return ""
}

// maxGoEnv bounds the file of `go env -w`, which has a line per setting.
const maxGoEnv = 1 << 20

// readGoEnv reads lines "KEY=VALUE"; no file is no settings.
func readGoEnv(name string) (map[string]string, error) {
	data, err := readFile(name, maxGoEnv)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the settings of the go command: %w", err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			settings[key] = value
		}
	}
	return settings, nil
}

// proxies is where modules come from.
type proxies struct {
	list []proxyEntry
	// private are the patterns of modules that no proxy shall be asked for.
	private string
}

func readProxies(list string) (proxies, error) {
	settings, err := readGoSettings()
	if err != nil {
		return proxies{}, err
	}
	p := proxies{private: cmp.Or(settings.get("GONOPROXY"), settings.get("GOPRIVATE"))}
	if list = cmp.Or(list, settings.get("GOPROXY")); list == "" {
		return p, errors.New("GOPROXY is not set, and no Go installation says what its default is: set GOPROXY to a module proxy")
	}
	p.list, err = parseProxyList(list)
	return p, err
}

var (
	errDirect = errors.New("GOPROXY says direct: graft does not speak to version control systems, it needs a module proxy")
	errOff    = errors.New("GOPROXY=off forbids to fetch modules")
)

// moduleFile downloads a file of a module, "zip" or "mod", from the first proxy
// that has it.
func (c *call) moduleFile(ctx context.Context, m module.Version, ending string, limit int64, dst *os.File) error {
	if c.Offline {
		return ErrOffline // whatever the proxies are
	}
	p, err := c.proxies()
	if err != nil {
		return err
	}
	if module.MatchPrefixPatterns(p.private, m.Path) {
		return fmt.Errorf("GONOPROXY or GOPRIVATE says that no proxy shall be asked for %s: graft does not speak to version control systems", m.Path)
	}
	name, err := proxyPath(m, ending)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range p.list {
		if e.word != "" {
			return errors.Join(append(errs, e.wordError())...)
		}
		err := c.download(ctx, e.url.JoinPath(name...), limit, dst)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e.url.Redacted(), err))
		var status *StatusError
		if gone := errors.As(err, &status) && status.gone(); !gone && !e.always || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (e proxyEntry) wordError() error {
	if e.word == "off" {
		return errOff
	}
	return errDirect
}

// proxyPath is where a proxy has a file: "path/@v/version.ending", with capital
// letters escaped (https://go.dev/ref/mod#goproxy-protocol).
func proxyPath(m module.Version, ending string) ([]string, error) {
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return nil, err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return nil, err
	}
	return []string{escaped, "@v", version + "." + ending}, nil
}
