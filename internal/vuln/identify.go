package vuln

import (
	"cmp"
	"strings"

	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/lazyregexp"
	"github.com/graftlinux/graft/internal/sbom"
)

// target is what to ask a database about a package.
type target struct {
	eco     *ecosystem
	name    string
	version string
	release string // of Debian
	guessed bool   // the name of its source is not known
}

// ecosystem is that of the package with the release, as it is written in entries.
func (t target) ecosystem() string { return strings.TrimSuffix(t.eco.name+":"+t.release, ":") }

// Why a package cannot be looked for.
const (
	noPURL      = "it has no package URL"
	noVersion   = "its version is not known"
	oddVersion  = "its version cannot be compared"
	noEcosystem = "packages of this kind are not looked for: "
)

// NoRelease is why a Debian package cannot be looked for whose release is neither in
// its package URL nor in its version. Options.Debian helps.
const NoRelease = "it is not known of which release of Debian it is"

// identify says how a database calls a package; or why it cannot.
func identify(p sbom.Package, debianRelease string) (t target, reason string) {
	if version, ok := kernelVersion(p); ok {
		return target{eco: linuxKernel, name: "Kernel", version: version}.checked()
	}
	if p.PURL == "" {
		return t, noPURL
	}
	u, err := sbom.ParsePURL(p.PURL)
	if err != nil {
		return t, noPURL
	}
	switch {
	case u.Type == "golang":
		return target{eco: goModules, name: u.Path(), version: u.Version}.checked()
	case u.Type == "deb" && u.Namespace == "debian":
		return debianTarget(u, debianRelease)
	}
	return t, noEcosystem + strings.TrimSuffix(u.Type+"/"+u.Namespace, "/")
}

// checked refuses versions that nothing can be said of.
func (t target) checked() (target, string) {
	switch {
	case t.version == "":
		return t, noVersion
	case !t.eco.valid(t.version):
		return t, oddVersion
	case t.eco == debian && t.release == "":
		return t, NoRelease
	}
	return t, ""
}

// debianTarget finds the source package: OSV's entries for Debian are of sources. The
// qualifier upstream names it, and its version where that is another one.
func debianTarget(u sbom.PURL, release string) (target, string) {
	t := target{eco: debian, name: u.Name, version: u.Version}
	source, version, _ := strings.Cut(u.Qualifiers["upstream"], "@")
	if t.guessed = source == "" && u.Qualifiers["arch"] != "source"; source != "" {
		t.name = source
	}
	switch {
	case strings.HasPrefix(source, signedLinux):
		t.name = "linux"
	case version != "":
		t.version = version
	default:
		t.version = binaryRebuild.ReplaceAllString(t.version, "")
	}
	t.release = debianRelease(u, release)
	return t.checked()
}

// signedLinux begins the names of sources that have what is built from the source
// linux, with its version, and a signature: no entry is about them.
const signedLinux = "linux-signed-"

var (
	// binaryRebuild is what a package has that was built again from the same source.
	binaryRebuild = lazyregexp.New(`\+b[0-9]+$`)
	// debianUpdate is in versions that were made for a release.
	debianUpdate  = lazyregexp.New(`[+~]deb([0-9]+)u[0-9]+`)
	leadingNumber = lazyregexp.New(`^[0-9]+`)
)

// debianRelease is the number of the release that a package is of: that which its URL
// names, else that of its version, else the one that was said. What has no number,
// such as sid, is its name if nothing else was said: no database has it.
func debianRelease(u sbom.PURL, otherwise string) string {
	distro := strings.TrimPrefix(strings.TrimPrefix(u.Qualifiers["distro"], "debian"), "-")
	if number := releaseNumber(distro); number != "" {
		return number
	}
	if m := debianUpdate.FindStringSubmatch(u.Version); m != nil {
		return m[1]
	}
	return cmp.Or(releaseNumber(otherwise), otherwise, distro)
}

// releaseNumber is that of a codename or of a point release: 12 of bookworm and of 12.5.
func releaseNumber(release string) string {
	if number, _ := deb.Release(release); number != "" {
		return number
	}
	return leadingNumber.FindString(release)
}

// kernelVersion is that of a package that is the Linux kernel, by its CPE, without what
// its builder added: 6.18.1 of 6.18.1-talos.
func kernelVersion(p sbom.Package) (string, bool) {
	for _, c := range p.CPEs {
		if strings.HasPrefix(c, "cpe:2.3:o:linux:linux_kernel:") {
			if distributionKernel.MatchString(p.Version) {
				return "", true
			}
			return kernelRelease.FindString(p.Version), true
		}
	}
	return "", false
}

// distributionKernel is a release that keeps the third number at 0, whatever it is: the
// interface's, of Debian and Ubuntu (6.1.0-50-cloud-amd64).
var distributionKernel = lazyregexp.New(`^[0-9]+\.[0-9]+\.0-[0-9]+-`)

var kernelRelease = lazyregexp.New(`^[0-9]+(?:\.[0-9]+)+(?:-rc[0-9]+)?`)
