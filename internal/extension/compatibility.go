package extension

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/blang/semver/v4"
)

// Compatibility says which versions of the host an extension fits.
type Compatibility struct {
	Talos Constraint `yaml:"talos" json:"talos"`
}

// Constraint is a range of versions such as ">= v1.5.0 < v1.9.0 || v2.0.0".
// The empty constraint fits every version.
type Constraint struct {
	Version string `yaml:"version" json:"version"`
}

// ErrIncompatible says that a well-formed constraint excludes the version.
var ErrIncompatible = errors.New("incompatible version")

// Allows returns nil if the constraint is met by a Talos version such as
// "v1.9.2", ErrIncompatible if it is not, and another error if one of the two
// cannot be parsed. An unknown version meets every constraint. As in Talos, a pre-release counts as its release, so that
// v1.10.0-alpha.1 meets ">= v1.10.0".
func (c Constraint) Allows(version string) error {
	if strings.TrimSpace(c.Version) == "" {
		return nil
	}
	fits, err := semver.ParseRange(bareVersions(c.Version))
	if err != nil {
		return fmt.Errorf("parsing version constraint %q: %w", c.Version, err)
	}
	v, err := ParseVersion(version)
	if err != nil {
		return err
	}
	if v.Known() && !fits(v.semver()) {
		return fmt.Errorf("%w: constraint %q is not met by Talos %s", ErrIncompatible, c.Version, v)
	}
	return nil
}

// Check parses the constraint and nothing more.
func (c Constraint) Check() error {
	return c.Allows("")
}

// bareVersions drops each "v" that stands before a digit: the grammar of
// ranges is semver's, the versions in it are written the Talos way.
func bareVersions(s string) string {
	var b strings.Builder
	for i := range len(s) {
		before := i > 0 && isWord(s[i-1])
		if s[i] == 'v' && !before && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-'
}

// Version is a Talos version without its pre-release: what contracts depend on.
// The zero Version means "not known" and is treated as the newest.
type Version struct {
	Major, Minor, Patch uint64
}

// ParseVersion reads "v1.9.2", "1.9.2" or "v1.10.0-beta.1". The empty string
// is the unknown version.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return Version{}, nil
	}
	v, err := semver.ParseTolerant(s)
	if err != nil {
		return Version{}, fmt.Errorf("parsing Talos version %q (wanted is a form like v1.9.2): %w", s, err)
	}
	return Version{Major: v.Major, Minor: v.Minor, Patch: v.Patch}, nil
}

// versionIn finds what looks like a version.
var versionIn = regexp.MustCompile(`(?:^|[^0-9.])0*([1-9][0-9]*)\.(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*))?`)

// FullVersion says whether a person has written a whole version, as v1.9.2, and
// not what ParseVersion completes or takes for unknown. If not, near is the
// version that may be meant, "" if there is none.
func FullVersion(s string) (near string, ok bool) {
	v, err := semver.Parse(strings.TrimPrefix(s, "v"))
	if err == nil && v.Major|v.Minor|v.Patch > 0 {
		return s, true
	}
	if m := versionIn.FindStringSubmatch(s); m != nil {
		near = "v" + m[1] + "." + m[2] + "." + cmp.Or(m[3], "0")
	}
	return near, false
}

// Known is false for the zero Version.
func (v Version) Known() bool { return v != Version{} }

// AtLeast says whether v is major.minor or newer; an unknown version is.
func (v Version) AtLeast(major, minor uint64) bool {
	return !v.Known() || v.Major > major || v.Major == major && v.Minor >= minor
}

// UsrMerge says whether modules and firmware live below /usr/lib (Talos 1.10)
// and not below /lib.
func (v Version) UsrMerge() bool { return v.AtLeast(1, 10) }

// Zstd says whether Talos' kernel reads zstd squashfs and initramfs (Talos
// 1.8), and not only xz.
func (v Version) Zstd() bool { return v.AtLeast(1, 8) }

// LibDir is the directory, relative to the root, of modules and firmware.
func (v Version) LibDir() string {
	if v.UsrMerge() {
		return "usr/lib"
	}
	return "lib"
}

// String is the form "v1.9.2", or "unknown".
func (v Version) String() string {
	if !v.Known() {
		return "unknown"
	}
	return fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// Compare is -1 if v is older than o, 0 if it is the same, 1 if it is newer.
func (v Version) Compare(o Version) int { return v.semver().Compare(o.semver()) }

func (v Version) semver() semver.Version {
	return semver.Version{Major: v.Major, Minor: v.Minor, Patch: v.Patch}
}
