package fetch

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxAptFile bounds a file of apt's settings, and a keyring.
const maxAptFile = 4 << 20

// aptSource is one repository of apt's settings: a suite at a URL.
type aptSource struct {
	base       *url.URL // dists/ and pool/ are below it
	suite      string
	components []string
	archs      []string // "" of them is all
	// signedBy names keyrings, or is a key itself; "" stands for all that apt trusts.
	signedBy string
	trusted  bool // apt takes it without a signature
}

// readAptSources reads sources.list and what is beside it. Repositories that
// are not on the web are left out.
func readAptSources(dir string) ([]aptSource, error) {
	files := []string{filepath.Join(dir, "sources.list")}
	more, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading apt's sources: %w", err)
	}
	for _, f := range more { // in the order of their names, as apt
		files = append(files, filepath.Join(dir, "sources.list.d", f.Name()))
	}
	var all []aptSource
	for _, file := range files {
		sources, err := readAptFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading apt's sources in %s: %w", file, err)
		}
		all = append(all, sources...)
	}
	return all, nil
}

func readAptFile(name string) ([]aptSource, error) {
	parse := map[string]func(string) ([]aptSource, error){".list": parseSourcesList, ".sources": parseDeb822Sources}[filepath.Ext(name)]
	if parse == nil {
		return nil, nil
	}
	data, err := readFile(name, maxAptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(string(data))
}

// parseSourcesList reads lines "deb [option=value …] URI suite component…"
// (sources.list(5)).
func parseSourcesList(text string) ([]aptSource, error) {
	var all []aptSource
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" {
			continue
		}
		var s aptSource
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return nil, fmt.Errorf("line %d: the options have no closing bracket", n)
			}
			s.options(strings.Fields(options))
			rest = after
		}
		words := strings.Fields(rest)
		if len(words) < 2 {
			return nil, fmt.Errorf("line %d: a URI and a suite are missing", n)
		}
		s.suite, s.components = words[1], words[2:]
		var err error
		if all, err = appendSource(all, s, words[0]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return all, nil
}

func (s *aptSource) options(options []string) {
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch strings.ToLower(strings.TrimRight(key, "+-")) {
		case "arch":
			s.archs = strings.Split(value, ",")
		case "signed-by":
			s.signedBy = strings.ReplaceAll(value, ",", "\n")
		case "trusted":
			s.trusted = isYes(value)
		}
	}
}

// appendSource adds a source that is on the web.
func appendSource(all []aptSource, s aptSource, uri string) ([]aptSource, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, withoutURL(err)
	}
	flat := strings.HasSuffix(s.suite, "/") // a directory of packages: it has no pool, and no releases
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || flat {
		return all, nil
	}
	s.base = u
	return append(all, s), nil
}

// stanza is a paragraph of "Field: value" lines, names in lower case.
type stanza map[string]string

// words are the words of a field.
func (s stanza) words(field string) []string { return strings.Fields(s[field]) }

// maxStanzas bounds the paragraphs of a settings file.
const maxStanzas = 10_000

// parseStanzas reads a short control file (deb822(5)). Continuation lines keep
// their newlines and lose their indentation.
func parseStanzas(text string) ([]stanza, error) {
	var all []stanza
	var p stanzaParser
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line == "" {
			all = p.end(all)
			continue
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d %w", n, err)
		}
		if len(all) > maxStanzas {
			return nil, fmt.Errorf("more than %d paragraphs", maxStanzas)
		}
	}
	return p.end(all), nil
}

// stanzaParser reads one paragraph.
type stanzaParser struct {
	at    stanza
	field string
	value []string // the lines of the field
}

func (p *stanzaParser) line(line string) error {
	if line[0] == ' ' || line[0] == '\t' {
		if p.field == "" {
			return errors.New("continues nothing")
		}
		p.value = append(p.value, strings.TrimLeft(line, " \t"))
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
		return errors.New("is no field: it has no name with a colon")
	}
	p.endField()
	p.field, p.value = name, []string{strings.TrimSpace(value)}
	return nil
}

func (p *stanzaParser) endField() {
	if p.field == "" {
		return
	}
	if p.at == nil {
		p.at = stanza{}
	}
	p.at[p.field] = strings.Join(p.value, "\n")
	p.field = ""
}

func (p *stanzaParser) end(all []stanza) []stanza {
	p.endField()
	if p.at != nil {
		all = append(all, p.at)
	}
	p.at = nil
	return all
}

// maxSources bounds the repositories of one paragraph, which are the product of
// its URIs and suites.
const maxSources = 1000

// parseDeb822Sources reads a .sources file (sources.list(5), "DEB822-STYLE FORMAT").
func parseDeb822Sources(text string) ([]aptSource, error) {
	stanzas, err := parseStanzas(text)
	if err != nil {
		return nil, err
	}
	var all []aptSource
	for _, st := range stanzas {
		if !slices.Contains(st.words("types"), "deb") || st["enabled"] != "" && !isYes(st["enabled"]) {
			continue
		}
		uris, suites := st.words("uris"), st.words("suites")
		if len(uris)*len(suites) > maxSources {
			return nil, fmt.Errorf("a paragraph of more than %d repositories", maxSources)
		}
		for _, uri := range uris {
			for _, suite := range suites {
				s := aptSource{
					suite: suite, components: st.words("components"), archs: st.words("architectures"),
					signedBy: st["signed-by"], trusted: isYes(st["trusted"]),
				}
				if all, err = appendSource(all, s, uri); err != nil {
					return nil, err
				}
			}
		}
	}
	return all, nil
}

// isYes reads apt's booleans.
func isYes(s string) bool {
	return slices.Contains([]string{"yes", "true", "with", "on", "enable", "1"}, strings.ToLower(strings.TrimSpace(s)))
}

// maxConfDepth bounds the nesting of apt.conf.
const maxConfDepth = 64

// parseAptConf reads a file as apt.conf(5): `A::B "value";` or `A { B "value"; };`.
// Names are in lower case in the result; what is no setting is skipped.
func parseAptConf(text string) map[string]string {
	settings := map[string]string{}
	var scopes []string
	var words []string
	end := func() {
		if len(words) >= 2 {
			settings[strings.ToLower(strings.Join(append(slices.Clone(scopes), words[0]), "::"))] = words[1]
		}
		words = nil
	}
	for token := range confTokens(text) {
		switch token {
		case ";":
			end()
		case "{":
			if len(scopes) == maxConfDepth {
				return settings
			}
			scopes, words = append(scopes, strings.Join(words, "::")), nil
		case "}":
			end()
			scopes = scopes[:max(len(scopes)-1, 0)]
		default:
			words = append(words, strings.TrimPrefix(token, `"`))
		}
	}
	return settings
}

// confTokens gives the words and marks of an apt.conf; a quoted word begins
// with its quote.
func confTokens(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for text != "" {
			var token string
			token, text = nextToken(text)
			if token != "" && !yield(token) {
				return
			}
		}
	}
}

// nextToken takes the first token off a text; comments and spaces are none.
func nextToken(text string) (token, rest string) {
	switch {
	case strings.HasPrefix(text, "/*"):
		_, rest, _ = strings.Cut(text, "*/")
		return "", rest
	case strings.HasPrefix(text, "//"), text[0] == '#':
		_, rest, _ = strings.Cut(text, "\n")
		return "", rest
	case strings.ContainsRune("{};", rune(text[0])):
		return text[:1], text[1:]
	case text[0] == '"':
		token, rest, _ = strings.Cut(text[1:], `"`)
		return `"` + token, rest
	case strings.ContainsRune(" \t\r\n", rune(text[0])):
		return "", text[1:]
	}
	end := strings.IndexAny(text, " \t\r\n{};\"")
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

// aptProxy finds the proxy of apt's settings for http or https; nil if it has none.
func aptProxy(dir, scheme string) *url.URL {
	files, _ := filepath.Glob(filepath.Join(dir, "apt.conf.d", "*")) // the pattern is good
	value := ""
	for _, file := range append(files, filepath.Join(dir, "apt.conf")) {
		data, err := readFile(file, maxAptFile)
		if err != nil {
			continue // apt skips what it cannot read
		}
		settings := parseAptConf(string(data))
		value = cmp.Or(settings["acquire::"+scheme+"::proxy"], value)
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" { // also DIRECT
		return nil
	}
	return u
}
