// Package sbom writes what something is made of as SPDX 2.3 documents, in JSON:
// of a recipe that describes its sources (OfRecipe), and of an extension as it
// was built (Scan).
//
// A document is a function of what it describes: equal input gives equal bytes. So
// does its namespace, which has to be another one for every other document: it ends
// in a UUID made of the content (RFC 4122, version 5). The only time in it is the
// caller's, as a rule SOURCE_DATE_EPOCH.
//
// What SPDX could not hold is left out or written another way, and said in Warnings: a
// document that lacks one detail is worth more than none.
package sbom

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is SPDX' word for "nobody looked".
const noAssertion = "NOASSERTION"

// Document is an SPDX document, complete.
type Document struct {
	// Warnings say what could not be written as it was given, one sentence each.
	Warnings []string

	data []byte
}

// WriteTo writes the document as JSON.
func (d *Document) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(d.data)
	return int64(n), err
}

// Creator says who made a document.
type Creator struct {
	Organization string // "": not named
	Tool         string // with its version, "graft-v0.3.0"; "" is "graft"
}

func (c Creator) list() []common.Creator {
	var list []common.Creator
	if c.Organization != "" {
		list = append(list, common.Creator{CreatorType: "Organization", Creator: plain(c.Organization)})
	}
	return append(list, common.Creator{CreatorType: "Tool", Creator: plain(cmp.Or(c.Tool, "graft"))})
}

// draft is a document in the making.
type draft struct {
	doc       *v2_3.Document
	warnings  []string
	ids       ids
	known     map[string]common.ElementID // by what identifies a package
	relations map[v2_3.Relationship]bool
}

const self common.ElementID = "DOCUMENT"

func newDraft(name string, created time.Time, by Creator) *draft {
	return &draft{
		doc: &v2_3.Document{
			SPDXVersion:    v2_3.Version,
			DataLicense:    v2_3.DataLicense,
			SPDXIdentifier: self,
			DocumentName:   plain(name),
			CreationInfo: &v2_3.CreationInfo{
				Creators: by.list(),
				Created:  created.UTC().Format("2006-01-02T15:04:05Z"),
			},
		},
		ids:       ids{},
		known:     map[string]common.ElementID{},
		relations: map[v2_3.Relationship]bool{},
	}
}

// finish gives the document a namespace that begins with prefix.
func (d *draft) finish(prefix string) (*Document, error) {
	content, err := encode(d.doc)
	if err != nil {
		return nil, err
	}
	d.doc.DocumentNamespace = prefix + url.PathEscape(d.doc.DocumentName) + "-" + uuid.NewSHA1(uuid.NameSpaceURL, content).String()
	content, err = encode(d.doc)
	return &Document{Warnings: d.warnings, data: content}, err
}

func encode(doc *v2_3.Document) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("writing the SBOM %s: %w", doc.DocumentName, err)
	}
	return b.Bytes(), nil
}

func (d *draft) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// relate notes a relation, once.
func (d *draft) relate(a common.ElementID, relation string, b common.ElementID) {
	r := v2_3.Relationship{
		RefA:         common.MakeDocElementID("", string(a)),
		RefB:         common.MakeDocElementID("", string(b)),
		Relationship: relation,
	}
	if !d.relations[r] {
		d.relations[r] = true
		d.doc.Relationships = append(d.doc.Relationships, &r)
	}
}

// newPackage adds a package of which nothing is claimed but its name.
func (d *draft) newPackage(id, name, version string) *v2_3.Package {
	p := &v2_3.Package{
		PackageName:               plain(name),
		PackageSPDXIdentifier:     d.ids.next("Package-" + id),
		PackageVersion:            plain(version),
		PackageDownloadLocation:   noAssertion,
		IsFilesAnalyzedTagPresent: true,
		PackageLicenseConcluded:   noAssertion,
		PackageLicenseDeclared:    noAssertion,
		PackageCopyrightText:      noAssertion,
	}
	d.doc.Packages = append(d.doc.Packages, p)
	return p
}

func addRef(p *v2_3.Package, category, kind, locator string) {
	p.PackageExternalReferences = append(p.PackageExternalReferences,
		&v2_3.PackageExternalReference{Category: category, RefType: kind, Locator: plain(locator)})
}

// plain writes bytes that are no UTF-8, which JSON cannot hold, as \xNN.
func plain(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], string(r)) {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ids are the identifiers that a document has given away.
type ids map[string]int

// next makes an identifier of a text: letters, digits, "." and "-" are kept. A second
// text that would look the same gets a number.
func (i ids) next(text string) common.ElementID {
	id := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '.' || r == '-' || isAlnum(byte(r))) {
			return r
		}
		return '-'
	}, text)
	for {
		i[id]++
		n := i[id]
		if n == 1 {
			return common.ElementID(id)
		}
		if numbered := fmt.Sprintf("%s-%d", id, n); i[numbered] == 0 {
			i[numbered] = 1
			return common.ElementID(numbered)
		}
	}
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// checksum adds a hex digest of so many bytes to a list, if it is one.
func checksum(list []common.Checksum, algorithm common.ChecksumAlgorithm, value string, size int) ([]common.Checksum, error) {
	if value == "" {
		return list, nil
	}
	if raw, err := hex.DecodeString(value); err != nil || len(raw) != size {
		return list, errors.New("it is not " + fmt.Sprint(2*size) + " hexadecimal digits")
	}
	return append(list, common.Checksum{Algorithm: algorithm, Value: strings.ToLower(value)}), nil
}
