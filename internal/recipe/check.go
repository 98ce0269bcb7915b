package recipe

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/lazyregexp"
)

// Names of packages are also those of images and of steps' logs.
var nameForm = lazyregexp.New(`^[a-z0-9]+(?:[._-]+[a-z0-9]+)*$`)

func (d *document) checkPackage(p *Package, at keys) {
	switch {
	case p.Name == "":
		d.fail(at.at("name"), "name is missing")
	case strings.ContainsAny(p.Name, "/\\") || p.Name == "." || p.Name == "..":
		d.fail(at.at("name"), "the name %q has a path in it; wanted is a plain name", p.Name)
	case !nameForm.MatchString(p.Name):
		d.warn(at.at("name"), "the name %q cannot be that of an image: small letters, digits and . _ - between them can", p.Name)
	}
	if p.Variant == 0 && !at.has("variant") {
		d.fail(at.at("variant"), "variant is missing: alpine or scratch")
	}
	if len(p.Steps) > 0 && len(p.Finalize) == 0 {
		d.fail(at.at("finalize"), "there are steps but no finalize, so the result would have no files")
	}
	d.checkPlatform(p.BuildPlatform, "buildPlatform", at.at("buildPlatform"))
}

func (d *document) checkPlatform(name, what string, line int) {
	if _, err := ParsePlatform(name); name != "" && err != nil {
		d.warn(line, "%s is %q, which cannot be built: known are %s", what, name, strings.Join(PlatformNames(), ", "))
	}
}

// checkAbsolute warns of a path that is taken from wherever a command runs.
func (d *document) checkAbsolute(p, what string, line int) {
	if p != "" && !path.IsAbs(p) {
		d.warn(line, "%s is %q, a relative path: it depends on the working directory; absolute ones begin with /", what, p)
	}
}

func (d *document) checkDependency(dep Dependency, what string, at keys) {
	switch {
	case dep.Image == "" && dep.Stage == "":
		d.fail(at.line, "%s has neither stage nor image: one of them says what it is", what)
	case dep.Image != "" && dep.Stage != "":
		d.fail(at.line, "%s has both stage and image: only one of them can be meant", what)
	}
	d.checkPlatform(dep.Platform, what+".platform", at.at("platform"))
	d.checkAbsolute(dep.From, what+".from", at.at("from"))
	d.checkAbsolute(dep.To, what+".to", at.at("to"))
}

func (d *document) checkFinalize(f Finalize, what string, at keys) {
	d.checkAbsolute(f.From, what+".from", at.at("from"))
	d.checkAbsolute(f.To, what+".to", at.at("to"))
}

func (d *document) checkStep(s Step, what string, at keys) {
	scripts := len(s.Prepare) + len(s.Build) + len(s.Install) + len(s.Test)
	if len(s.CachePaths) > 0 && scripts == 0 {
		d.warn(at.at("cachePaths"), "%s.cachePaths has no effect: the step has no scripts", what)
	}
	for _, p := range s.CachePaths {
		d.checkAbsolute(p, what+".cachePaths", at.at("cachePaths"))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			d.fail(at.at("env"), "%s.env has %q, which cannot be the name of a variable", what, name)
		}
	}
	d.checkDestinations(s, what, at)
}

// checkDestinations warns of sources that overwrite each other.
func (d *document) checkDestinations(s Step, what string, at keys) {
	seen := map[string]bool{}
	for i, src := range s.Sources {
		if src.Destination != "" && seen[src.Destination] {
			d.warn(at.at("sources"), "%s.sources[%d] has the destination %q, as one before it, which it replaces", what, i, src.Destination)
		}
		seen[src.Destination] = true
	}
}

// sourceKinds are the ways to say where a source is from, with the keys that
// belong to each.
var sourceKinds = []struct {
	kind  string
	value func(Source) string
	keys  []string
	check func(*document, Source, string, keys)
}{
	{"url", func(s Source) string { return s.URL }, []string{"destination", "sha256", "sha512"}, (*document).checkURL},
	{"module", func(s Source) string { return s.Module }, []string{"destination", "sum", "packages"}, (*document).checkModule},
	{"deb", func(s Source) string { return s.Deb }, []string{"destination", "sha256", "suite", "extract"}, (*document).checkDeb},
}

func (d *document) checkSource(s Source, what string, at keys) {
	given := sourceKindsOf(s, at)
	if len(given) > 1 {
		d.fail(at.line, "%s has more than one of url, module and deb: only one of them can be meant", what)
		return
	}
	kind := sourceKinds[given[0]]
	kind.check(d, s, what, at)
	for _, key := range []string{"sha256", "sha512", "sum", "packages", "suite", "extract"} {
		if at.has(key) && !slices.Contains(kind.keys, key) {
			d.fail(at.at(key), "%s.%s does not belong to a %s", what, key, kind.kind)
		}
	}
	d.checkDestination(s, what, at)
}

// sourceKindsOf are the indexes of the kinds that a source could be of: those
// with a value, or with an empty one, or what bldr knows, a url.
func sourceKindsOf(s Source, at keys) []int {
	var given, empty []int
	for i, k := range sourceKinds {
		if k.value(s) != "" {
			given = append(given, i)
		} else if _, ok := at.of[k.kind]; ok {
			empty = append(empty, i)
		}
	}
	switch {
	case len(given) > 0:
		return given
	case len(empty) > 0:
		return empty
	}
	return []int{0}
}

// checkDestination wants a bare file name: bldr fails in the build with others.
func (d *document) checkDestination(s Source, what string, at keys) {
	unpacked := s.Deb != "" && s.Extract != ""
	switch dest := s.Destination; {
	case dest == "" && !unpacked:
		d.fail(at.at("destination"), "%s.destination is missing: the name that it gets in the step's directory", what)
	case dest != "" && unpacked:
		d.warn(at.at("destination"), "%s.destination has no effect: the package is unpacked into %s", what, s.Extract)
	case dest == "." || dest == ".." || strings.ContainsAny(dest, "/\x00"):
		d.fail(at.at("destination"), "%s.destination is %q: it must be a bare file name", what, dest)
	}
}

func (d *document) checkURL(s Source, what string, at keys) {
	u, err := url.Parse(s.URL)
	switch {
	case s.URL == "":
		d.fail(at.at("url"), "%s.url is missing", what)
	case err != nil:
		d.fail(at.at("url"), "%s.url: %v", what, err)
	case u.Scheme == "" || u.Host == "":
		d.warn(at.at("url"), "%s.url is %q, which names no server", what, s.URL)
	}
	d.checkHash(s.SHA256, 64, what+".sha256", at.at("sha256"))
	d.checkHash(s.SHA512, 128, what+".sha512", at.at("sha512"))
}

// checkHash wants a checksum of so many hex digits.
func (d *document) checkHash(sum string, digits int, what string, line int) {
	_, err := hex.DecodeString(sum)
	switch {
	case sum == "":
		d.fail(line, "%s is missing", what)
	case len(sum) != digits:
		d.fail(line, "%s has %d characters; wanted are %d hex digits", what, len(sum), digits)
	case err != nil:
		d.warn(line, "%s has characters that are no hex digits, so no file can fit it", what)
	}
}

func (d *document) checkModule(s Source, what string, at keys) {
	mod, version, _ := strings.Cut(s.Module, "@")
	if err := module.Check(mod, version); err != nil {
		d.fail(at.at("module"), "%s.module is %q; wanted is a form like example.org/module@v1.2.3: %v", what, s.Module, err)
	}
	if err := checkSum(s.Sum); err != nil {
		d.fail(at.at("sum"), "%s.sum %v", what, err)
	}
	for i, p := range s.Packages {
		if p != "." && !strings.HasPrefix(p, "./") || slices.Contains(strings.Split(p, "/"), "..") {
			d.fail(at.at("packages"), "%s.packages[%d] is %q; wanted is a directory of the module, as ./cmd/name", what, i, p)
		}
	}
}

// checkSum wants the form of go.sum: "h1:" and 32 bytes in base64.
func checkSum(sum string) error {
	if sum == "" {
		return fmt.Errorf("is missing")
	}
	digits, ok := strings.CutPrefix(sum, "h1:")
	data, err := base64.StdEncoding.DecodeString(digits)
	if !ok || err != nil || len(data) != 32 {
		return fmt.Errorf("is %q; wanted is the form of go.sum: h1: and 32 bytes in base64", shorten(sum))
	}
	return nil
}

var debForm = lazyregexp.New(`^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9][a-z0-9-]*)?=(?:[0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+:~-]*$`)

func (d *document) checkDeb(s Source, what string, at keys) {
	if !debForm.MatchString(s.Deb) {
		d.fail(at.at("deb"), "%s.deb is %q; wanted is NAME=VERSION or NAME:ARCH=VERSION", what, s.Deb)
	}
	if s.Extract != "" && !path.IsAbs(s.Extract) {
		d.fail(at.at("extract"), "%s.extract is %q; wanted is an absolute directory", what, s.Extract)
	}
	if at.has("suite") {
		d.checkSuite(s.Suite, what+".suite", at.at("suite"))
	}
	d.checkHash(s.SHA256, 64, what+".sha256", at.at("sha256"))
}

var suiteForm = lazyregexp.New(`^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$`)

// checkSuite wants the codename of a release, or a suite beside it. There will be
// releases that are not known here.
func (d *document) checkSuite(suite, what string, line int) {
	_, known := deb.Release(suite)
	switch {
	case !suiteForm.MatchString(suite):
		d.fail(line, "%s is %q; wanted is the codename of a release of Debian, as bookworm", what, suite)
	case !known:
		d.warn(line, "%s is %q, which is no codename of Debian that is known%s", what, suite, hint(nearest(deb.Codename(suite), deb.Codenames())))
	}
}

func (d *document) checkSBOM(s SBOM, what string, at keys) {
	if s.OutputPath == "" && len(at.of) > 0 {
		d.warn(at.line, "%s has no outputPath, so no document is written", what)
	}
	d.checkAbsolute(s.OutputPath, what+".outputPath", at.at("outputPath"))
	for i, cpe := range s.CPEs {
		if err := CheckCPE(cpe); err != nil {
			d.warn(at.at("cpes"), "%s.cpes[%d]: %v", what, i, err)
		}
	}
}
