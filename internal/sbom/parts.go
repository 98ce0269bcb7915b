package sbom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"

	debian "github.com/graftlinux/graft/internal/format/deb"
)

// Deb is a Debian package.
type Deb struct {
	Name    string
	Version string // "[epoch:]upstream[-revision]"
	Arch    string // of Debian: amd64, arm64, all; source
	SHA256  string // of the .deb file, in hex; "" if it is not known

	// Source and SourceVersion are the source package that it was built from; "" if
	// they are not known, and of a source package.
	Source, SourceVersion string
	// Suite is that of Debian which it is from, by the codename of the release:
	// "bookworm", "bookworm-security"; "" if it is not known.
	Suite string
}

// Module is a Go module.
type Module struct {
	Path    string
	Version string // "v1.2.3"; "" if it is not known
	Sum     string // "h1:…" as in go.sum; "" if it is not known
}

// debs adds a package for each Debian package; their identifiers come in their order.
func (d *draft) debs(list []Deb) []common.ElementID {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Deb) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.SHA256, b.SHA256),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.SourceVersion, b.SourceVersion), cmp.Compare(a.Suite, b.Suite))
	})
	var added []common.ElementID
	for _, deb := range slices.Compact(list) {
		added = append(added, d.deb(deb))
	}
	return added
}

func (d *draft) deb(deb Deb) common.ElementID {
	p := d.newPackage("deb-"+deb.Name+"-"+deb.Version+"-"+deb.Arch, deb.Name, deb.Version)
	var err error
	if p.PackageChecksums, err = checksum(nil, common.SHA256, deb.SHA256, 32); err != nil {
		d.warn("the SHA-256 %q of the Debian package %s is left out: %v", deb.SHA256, deb.Name, err)
	}
	if deb.Source != "" {
		p.PackageSourceInfo = plain("built package from: " + strings.TrimSpace(deb.Source+" "+deb.SourceVersion))
	}
	addRef(p, common.CategoryPackageManager, common.TypePackageManagerPURL, deb.purl())
	return p.PackageSPDXIdentifier
}

// purl is the package URL. Its qualifiers are those that scanners know (type deb of
// the purl specification, and what syft adds): upstream is the source package, and
// its version if that is another one; distro the release, or the codename of what
// has no number.
func (deb Deb) purl() string {
	upstream := deb.Source
	if upstream != "" && deb.SourceVersion != "" && deb.SourceVersion != deb.Version {
		upstream += "@" + deb.SourceVersion
	}
	locator := "pkg:deb/debian/" + escape(strings.ToLower(deb.Name)) + "@" + escape(deb.Version)
	separator := "?"
	for _, q := range []struct{ key, value string }{{"arch", deb.Arch}, {"distro", distro(deb.Suite)}, {"upstream", upstream}} {
		if q.value != "" {
			locator += separator + q.key + "=" + escape(q.value)
			separator = "&"
		}
	}
	return locator
}

// distro is the release of a suite in the form of os-release: "debian-12".
func distro(suite string) string {
	if number, _ := debian.Release(suite); number != "" {
		return "debian-" + number
	}
	return debian.Codename(suite)
}

// modules adds a package for each Go module.
func (d *draft) modules(list []Module) []common.ElementID {
	list = slices.Clone(list)
	slices.SortFunc(list, Module.compare)
	var added []common.ElementID
	for _, m := range slices.Compact(list) {
		added = append(added, d.module(source{Module: m}))
	}
	return added
}

func (m Module) compare(n Module) int {
	return cmp.Or(cmp.Compare(m.Path, n.Path), cmp.Compare(m.Version, n.Version), cmp.Compare(m.Sum, n.Sum))
}

// source is a module and what else is known of where it is from.
type source struct {
	Module
	info string
}

func (s source) compare(t source) int {
	return cmp.Or(s.Module.compare(t.Module), cmp.Compare(s.info, t.info))
}

// module adds a package for a Go module, once.
//
// Its sum is no checksum in SPDX' sense: h1 is the SHA-256 of a list of files and their
// hashes, not of a file that one could get. It is a reference of category OTHER.
func (d *draft) module(s source) common.ElementID {
	identity := strings.Join([]string{s.Path, s.Version, s.Sum, s.info}, "\n")
	if id, ok := d.known[identity]; ok {
		return id
	}
	p := d.newPackage("go-"+s.Path+"-"+s.Version, s.Path, s.Version)
	p.PackageSourceInfo = plain(s.info)
	addRef(p, common.CategoryPackageManager, common.TypePackageManagerPURL, goPURL(s.Module))
	if s.Sum != "" && !strings.ContainsAny(s.Sum, " \t\n") {
		addRef(p, common.CategoryOther, "go-sum", s.Sum)
	}
	d.known[identity] = p.PackageSPDXIdentifier
	return p.PackageSPDXIdentifier
}

// goPURL is the package URL of a module. Letters keep their case, as the case is part of
// a module's path: whoever wants lower case there has it easy to get, and nobody
// could go back.
func goPURL(m Module) string {
	parts := strings.Split(m.Path, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	locator := "pkg:golang/" + strings.Join(parts, "/")
	if m.Version != "" {
		locator += "@" + escape(m.Version)
	}
	return locator
}

// escape percent-encodes what a part of a package URL must not have as it is.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if isAlnum(c) || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}
