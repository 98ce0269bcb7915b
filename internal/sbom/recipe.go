package sbom

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

// Recipe is the "sbom" section of a recipe, and what of the recipe it speaks of.
type Recipe struct {
	Package  string // the recipe's name
	Name     string // "" stands for the recipe's name
	Version  string
	CPEs     []string // 2.3 formatted strings or 2.2 URIs
	PURL     string
	Licenses []string // SPDX expressions; all of them apply
	Sources  []Source // of all steps
	Modules  []Module
	Debs     []Deb
	Created  time.Time // the zero Time is written as such
	Creator  Creator
}

// Source is a file that was downloaded.
type Source struct {
	URL    string
	SHA256 string // hex
	SHA512 string // hex
}

// OfRecipe makes the document that a recipe asks for. Names are bldr's, so that
// whoever collects its documents finds these as well. It describes a root, which contains
// the package, which contains the files of its sources; what else it was made
// from are packages.
func OfRecipe(r Recipe) (*Document, error) {
	name := cmp.Or(r.Name, r.Package)
	if name == "" {
		return nil, errors.New("making the SBOM of a recipe: it has no name")
	}
	d := newDraft("sidero-pkgs-"+name, r.Created, r.Creator)
	p := d.newPackage("bldr-package-"+name, name, r.Version)
	p.PackageLicenseDeclared = d.licenses(r.Licenses)
	d.cpes(p, r.CPEs)
	if r.PURL != "" {
		d.purl(p, r.PURL)
	}
	root := d.newPackage("root-"+name, d.doc.DocumentName, r.Version)
	root.PrimaryPackagePurpose = "FILE"
	d.relate(self, common.TypeRelationshipDescribe, root.PackageSPDXIdentifier)
	d.relate(root.PackageSPDXIdentifier, common.TypeRelationshipContains, p.PackageSPDXIdentifier)
	for _, id := range d.sources(r.Sources) {
		d.relate(p.PackageSPDXIdentifier, common.TypeRelationshipContains, id)
	}
	for _, id := range append(d.debs(r.Debs), d.modules(r.Modules)...) {
		d.relate(p.PackageSPDXIdentifier, common.TypeRelationshipGeneratedFrom, id)
	}
	return d.finish("https://anchore.com/bldr/dir/")
}

// sources adds a file for each URL, in the order of the recipe.
func (d *draft) sources(list []Source) []common.ElementID {
	var added []common.ElementID
	seen := map[Source]bool{}
	for _, s := range list {
		if seen[s] {
			continue
		}
		seen[s] = true
		name := withoutUser(s.URL)
		f := &v2_3.File{
			FileName:           plain(name),
			FileSPDXIdentifier: d.ids.next("File-" + name),
			Checksums:          []common.Checksum{},
			LicenseConcluded:   noAssertion,
			FileCopyrightText:  noAssertion,
		}
		for _, c := range []struct {
			algorithm common.ChecksumAlgorithm
			value     string
			size      int
		}{{common.SHA256, s.SHA256, 32}, {common.SHA512, s.SHA512, 64}} {
			var err error
			if f.Checksums, err = checksum(f.Checksums, c.algorithm, c.value, c.size); err != nil {
				d.warn("the %s %q of %s is left out: %v", c.algorithm, c.value, name, err)
			}
		}
		d.doc.Files = append(d.doc.Files, f)
		added = append(added, f.FileSPDXIdentifier)
	}
	return added
}

// withoutUser takes a name and a password out of a URL.
func withoutUser(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = nil
	return u.String()
}

// The forms of names in the Common Platform Enumeration: NIST IR 7695, figures
// 6-3 and 6-1.
var (
	cpe23 = lazyregexp.New(`^cpe:2\.3:[aho*\-](:(((\?*|\*?)([a-zA-Z0-9\-._]|(\\[\\*?!"#$%&'()+,/:;<=>@\[\]^` + "`" + `{|}~]))+(\?*|\*?))|[*\-])){5}` +
		`(:(([a-zA-Z]{2,3}(-([a-zA-Z]{2}|[0-9]{3}))?)|[*\-]))(:(((\?*|\*?)([a-zA-Z0-9\-._]|(\\[\\*?!"#$%&'()+,/:;<=>@\[\]^` + "`" + `{|}~]))+(\?*|\*?))|[*\-])){4}$`)
	cpe22 = lazyregexp.New(`^[cC][pP][eE]:/[AHOaho]?(:[A-Za-z0-9._\-~%]*){0,6}$`)
)

// cpes adds a reference for each name.
func (d *draft) cpes(p *v2_3.Package, names []string) {
	for i, name := range names {
		switch {
		case slices.Contains(names[:i], name):
		case cpe23.MatchString(name):
			addRef(p, common.CategorySecurity, common.TypeSecurityCPE23Type, name)
		case cpe22.MatchString(name):
			addRef(p, common.CategorySecurity, common.TypeSecurityCPE22Type, name)
		default:
			d.warn("the CPE %q is left out: it is no name of CPE 2.3, which has 13 parts as in cpe:2.3:a:openssl:openssl:3.0.0:*:*:*:*:*:*:*", name)
		}
	}
}

var purlForm = lazyregexp.New(`^pkg:[A-Za-z][A-Za-z0-9.+-]*/[^\s\pC]+$`)

func (d *draft) purl(p *v2_3.Package, locator string) {
	if !purlForm.MatchString(locator) {
		d.warn("the package URL %q is left out: it is not of the form pkg:TYPE/NAME@VERSION", locator)
		return
	}
	addRef(p, common.CategoryPackageManager, common.TypePackageManagerPURL, locator)
}

// licenses makes one expression of several. What is no expression, such as a name in
// plain words, becomes a license of this document.
func (d *draft) licenses(list []string) string {
	var terms []string
	for _, l := range list {
		l = strings.TrimSpace(l)
		switch {
		case l == "":
			continue
		case len(list) == 1 && (l == "NONE" || l == noAssertion):
			return l
		case !validExpression(l):
			id := "LicenseRef-" + string(d.ids.next("license-"+l))
			d.warn("the license %q is no SPDX expression: it is called %s", l, id)
			d.otherLicense(id, l)
			l = id
		}
		if !slices.Contains(terms, l) {
			terms = append(terms, l)
		}
		d.referredLicenses(l)
	}
	if len(terms) > 1 {
		for i, t := range terms {
			if strings.Contains(t, " OR ") {
				terms[i] = "(" + t + ")"
			}
		}
	}
	return cmp.Or(strings.Join(terms, " AND "), noAssertion)
}
