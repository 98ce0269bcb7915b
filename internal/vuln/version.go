package vuln

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/blang/semver/v4"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// ecosystem is a kind of packages: how their versions are ordered.
type ecosystem struct {
	name    string
	compare func(a, b string) int // of valid versions
	valid   func(version string) bool
}

var (
	goModules   = &ecosystem{"Go", compareSemver, validSemver}
	debian      = &ecosystem{"Debian", compareDebian, validDebian}
	linuxKernel = &ecosystem{"Linux", compareKernel, validKernel}
)

// ecosystemOf finds the ecosystem of an entry, and the release in its name.
func ecosystemOf(name string) (*ecosystem, string) {
	name, release, _ := strings.Cut(name, ":")
	for _, e := range []*ecosystem{goModules, debian, linuxKernel} {
		if e.name == name {
			return e, release
		}
	}
	return nil, ""
}

// toolchainVersion is one of Go, or of the kernel, that is no semantic version:
// 1.21rc2, 1.21, 6.19-rc1.
var toolchainVersion = lazyregexp.New(`^(\d+(?:\.\d+){0,2})-?((?:alpha|beta|rc)\d+)$`)

// parseSemver reads a version of a Go module, of Go, or of the kernel, by Semantic
// Versioning 2.0 as far as it goes: parts that are missing are 0.
func parseSemver(version string) (semver.Version, bool) {
	version = strings.TrimPrefix(version, "v")
	if m := toolchainVersion.FindStringSubmatch(version); m != nil {
		word := strings.TrimRight(m[2], "0123456789")
		version = m[1] + strings.Repeat(".0", 2-strings.Count(m[1], ".")) + "-" + word + "." + strings.TrimLeft(m[2][len(word):], "0")
		version = strings.TrimSuffix(version, ".")
	}
	core, rest := version, ""
	if i := strings.IndexAny(version, "-+"); i >= 0 {
		core, rest = version[:i], version[i:]
	}
	if n := strings.Count(core, "."); n < 2 && core != "" {
		core += strings.Repeat(".0", 2-n)
	}
	v, err := semver.Parse(core + rest)
	return v, err == nil
}

func validSemver(version string) bool {
	_, ok := parseSemver(version)
	return ok
}

func compareSemver(a, b string) int {
	v, _ := parseSemver(a)
	w, _ := parseSemver(b)
	return v.Compare(w)
}

// fourNumbers is a version of the kernel's stable series of 2.6: 2.6.32.9.
var fourNumbers = lazyregexp.New(`^(2\.6\.\d+)\.(\d{1,9})$`)

// parseKernel reads a version of the kernel, and its fourth number.
func parseKernel(version string) (v semver.Version, fourth int, ok bool) {
	if m := fourNumbers.FindStringSubmatch(version); m != nil {
		version = m[1]
		fourth, _ = strconv.Atoi(m[2]) // nine digits at most
	}
	v, ok = parseSemver(version)
	return v, fourth, ok
}

func validKernel(version string) bool {
	_, _, ok := parseKernel(version)
	return ok
}

func compareKernel(a, b string) int {
	v, x, _ := parseKernel(a)
	w, y, _ := parseKernel(b)
	return cmp.Or(v.Compare(w), cmp.Compare(x, y))
}

// debianVersion is one by deb-version(7): [epoch:]upstream[-revision].
type debianVersion struct {
	epoch              int64
	upstream, revision string
}

// validDebian says whether a version has the characters of one. It is asked for every
// version in a database.
func validDebian(version string) bool {
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		if strings.Trim(epoch, "0123456789") != "" || len(epoch) > 9 || epoch == "" {
			return false
		}
		version = rest
	}
	for i := range len(version) {
		if c := version[i]; !isDigit(c) && !isLetter(c) && strings.IndexByte(".+~:_-", c) < 0 {
			return false
		}
	}
	return version != ""
}

func parseDebian(version string) (v debianVersion) {
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		if n, err := strconv.ParseInt(epoch, 10, 64); err == nil {
			v.epoch, version = n, rest
		}
	}
	v.upstream = version
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		v.upstream, v.revision = version[:i], version[i+1:]
	}
	return v
}

func compareDebian(a, b string) int {
	v, w := parseDebian(a), parseDebian(b)
	switch {
	case v.epoch < w.epoch:
		return -1
	case v.epoch > w.epoch:
		return 1
	}
	if c := compareDebianPart(v.upstream, w.upstream); c != 0 {
		return c
	}
	return compareDebianPart(v.revision, w.revision)
}

// compareDebianPart compares stretches of non-digits by their order, then numbers
// by their value, in turn.
func compareDebianPart(a, b string) int {
	for a != "" || b != "" {
		for len(a) > 0 && !isDigit(a[0]) || len(b) > 0 && !isDigit(b[0]) {
			x, y := debianOrder(a), debianOrder(b)
			if x != y {
				return sign(x - y)
			}
			a, b = a[1:], b[1:] // both have one: equal orders are of equal bytes
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if len(x) != len(y) {
			return sign(len(x) - len(y))
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// debianOrder is that of a text's first byte: "~" comes even before the end, and
// letters before all others.
func debianOrder(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// number takes the digits off a text, without zeros in front.
func number(s string) (digits, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
