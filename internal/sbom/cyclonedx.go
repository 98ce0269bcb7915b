package sbom

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

// Properties hold what CycloneDX has no place for.
const (
	propertyCPE    = "graft:cpe"    // names beyond the first
	propertySum    = "graft:go-sum" // of a Go module, as in go.sum
	propertyOrigin = "graft:origin"
)

// CycloneDX writes all that is known of a subject as a document of CycloneDX 1.6, in
// JSON. CycloneDX knows one relation: what something contains, was generated from or
// depends on is what it depends on.
func CycloneDX(s Subject, created time.Time, by Creator) (*Document, error) {
	b := Merge(s)
	w := cyclonedxWriter{texts: b.Licenses}
	doc := cyclonedx.NewBOM()
	doc.SpecVersion, doc.JSONSchema = cyclonedx.SpecVersion1_6, "http://cyclonedx.org/schema/bom-1.6.schema.json"
	doc.Metadata = &cyclonedx.Metadata{
		Timestamp: created.UTC().Format(time.RFC3339),
		Tools:     &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{tool(by)}},
	}
	if by.Organization != "" {
		doc.Metadata.Manufacturer = &cyclonedx.OrganizationalEntity{Name: plain(by.Organization)}
	}
	components := []cyclonedx.Component{}
	for _, p := range b.Packages {
		c := w.component(p)
		if p.ID == b.Roots[0] {
			doc.Metadata.Component = &c
			continue
		}
		components = append(components, c)
	}
	doc.Components, doc.Dependencies = &components, dependencies(b)
	data, err := encodeCycloneDX(doc)
	if err == nil {
		doc.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, data).URN()
		data, err = encodeCycloneDX(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the SBOM %s: %w", b.Name, err)
	}
	return &Document{Warnings: w.warnings, data: data}, nil
}

func encodeCycloneDX(doc *cyclonedx.BOM) ([]byte, error) {
	var b bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(doc)
	return b.Bytes(), err
}

func tool(by Creator) cyclonedx.Component {
	name, version, _ := strings.Cut(cmp.Or(by.Tool, "graft"), "-")
	return cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, Name: plain(name), Version: plain(version)}
}

// dependencies lists for every package what it relates to.
func dependencies(b *BOM) *[]cyclonedx.Dependency {
	to := map[string][]string{}
	for _, r := range b.Relations {
		to[r.From] = append(to[r.From], r.To)
	}
	list := []cyclonedx.Dependency{}
	for _, p := range b.Packages {
		d := cyclonedx.Dependency{Ref: p.ID}
		if on := to[p.ID]; len(on) > 0 {
			slices.Sort(on)
			on = slices.Compact(on)
			d.Dependencies = &on
		}
		list = append(list, d)
	}
	return &list
}

type cyclonedxWriter struct {
	texts    map[string]string // of licenses that are on no list
	warnings []string
}

func (w *cyclonedxWriter) component(p Package) cyclonedx.Component {
	c := cyclonedx.Component{
		BOMRef: p.ID, Type: componentType(p.Purpose), Name: plain(orUnnamed(p.Name)), Version: plain(p.Version),
		Licenses: w.licenses(p.License), Hashes: w.hashes(p),
	}
	switch {
	case purlForm.MatchString(p.PURL):
		c.PackageURL = p.PURL
	case p.PURL != "":
		w.warn("the package URL %q is left out: %v", p.PURL, errPURL)
	}
	var properties []cyclonedx.Property
	for _, cpe := range p.CPEs {
		switch {
		case !cpe23.MatchString(cpe) && !cpe22.MatchString(cpe):
			w.warn("the CPE %q of %s is left out: it is no name of CPE 2.3 or 2.2", cpe, p.Name)
		case c.CPE == "":
			c.CPE = cpe
		default:
			properties = append(properties, cyclonedx.Property{Name: propertyCPE, Value: cpe})
		}
	}
	for _, x := range []cyclonedx.Property{{Name: propertySum, Value: plain(p.Sum)}, {Name: propertyOrigin, Value: plain(p.Origin)}} {
		if x.Value != "" {
			properties = append(properties, x)
		}
	}
	if len(properties) > 0 {
		c.Properties = &properties
	}
	return c
}

func (w *cyclonedxWriter) warn(format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
}

// componentType is CycloneDX' word for a purpose; what nobody says is a library.
func componentType(purpose string) cyclonedx.ComponentType {
	for word, p := range purposes {
		if p == purpose {
			return cyclonedx.ComponentType(word)
		}
	}
	return cyclonedx.ComponentTypeLibrary
}

// licenses are an expression, or what is none as the name of a license.
func (w *cyclonedxWriter) licenses(expression string) *cyclonedx.Licenses {
	text, own := w.texts[expression]
	switch {
	case expression == "":
		return nil
	case !own && validExpression(expression):
		return &cyclonedx.Licenses{{Expression: expression}}
	}
	l := cyclonedx.License{Name: plain(expression)}
	if own {
		l.Text = &cyclonedx.AttachedText{Content: plain(text), ContentType: "text/plain"}
	}
	return &cyclonedx.Licenses{{License: &l}}
}

// cyclonedxAlgorithms are CycloneDX' names of hashes where they are not SPDX' own.
var cyclonedxAlgorithms = map[string]cyclonedx.HashAlgorithm{
	"SHA1": cyclonedx.HashAlgoSHA1, "SHA256": cyclonedx.HashAlgoSHA256, "SHA384": cyclonedx.HashAlgoSHA384, "SHA512": cyclonedx.HashAlgoSHA512,
}

func (w *cyclonedxWriter) hashes(p Package) *[]cyclonedx.Hash {
	var list []cyclonedx.Hash
	for _, c := range p.Checksums {
		size, ok := checksumSizes[c.Algorithm]
		if !ok || c.Algorithm == "SHA224" { // CycloneDX has none of these
			continue
		}
		good, err := checksum(nil, common.ChecksumAlgorithm(c.Algorithm), c.Value, size)
		if err != nil || len(good) == 0 {
			w.warn("the %s %q of %s is left out: %v", c.Algorithm, c.Value, p.Name, err)
			continue
		}
		name, ok := cyclonedxAlgorithms[c.Algorithm]
		if !ok {
			name = cyclonedx.HashAlgorithm(c.Algorithm)
		}
		list = append(list, cyclonedx.Hash{Algorithm: name, Value: good[0].Value})
	}
	if len(list) == 0 {
		return nil
	}
	return &list
}
