package sbom

import (
	"encoding/json"
	"fmt"
	"strings"
)

// spdxDocument is what is read of an SPDX 2.3 document. Its own types are used, not
// those of the library: these take what is there and need nothing else.
type spdxDocument struct {
	ID        string        `json:"SPDXID"`
	Name      string        `json:"name"`
	Describes []string      `json:"documentDescribes"`
	Packages  []spdxPackage `json:"packages"`
	Files     []struct {
		ID   string `json:"SPDXID"`
		Name string `json:"fileName"`
	} `json:"files"`
	Relationships []struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	} `json:"relationships"`
	Licenses []struct {
		ID   string `json:"licenseId"`
		Text string `json:"extractedText"`
	} `json:"hasExtractedLicensingInfos"`
}

type spdxPackage struct {
	ID        string `json:"SPDXID"`
	Name      string `json:"name"`
	Version   string `json:"versionInfo"`
	Declared  string `json:"licenseDeclared"`
	Concluded string `json:"licenseConcluded"`
	Info      string `json:"sourceInfo"`
	Purpose   string `json:"primaryPackagePurpose"`
	Checksums []struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	} `json:"checksums"`
	References []struct {
		Type    string `json:"referenceType"`
		Locator string `json:"referenceLocator"`
	} `json:"externalRefs"`
	HasFiles []string `json:"hasFiles"`
}

func parseSPDX(data []byte) (*BOM, error) {
	var doc spdxDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading it as SPDX: %w", err)
	}
	b := &BOM{Name: doc.Name, Roots: doc.Describes}
	for _, l := range doc.Licenses {
		if b.Licenses == nil {
			b.Licenses = map[string]string{}
		}
		b.Licenses[l.ID] = l.Text
	}
	for _, f := range doc.Files {
		b.Files = append(b.Files, File{f.ID, f.Name})
	}
	for _, p := range doc.Packages {
		b.Packages = append(b.Packages, p.read())
		for _, f := range p.HasFiles {
			b.Relations = append(b.Relations, Relation{p.ID, Contains, f})
		}
	}
	for _, r := range doc.Relationships {
		b.relate(doc.ID, r.From, r.Kind, r.To)
	}
	return b, nil
}

// relate adds a relation in the direction that a BOM has.
func (b *BOM) relate(document, from, kind, to string) {
	switch kind {
	case "DESCRIBES":
		if from == document {
			b.Roots = append(b.Roots, to)
		}
	case "DESCRIBED_BY":
		if to == document {
			b.Roots = append(b.Roots, from)
		}
	case "CONTAINS":
		if from == document {
			b.Roots = append(b.Roots, to)
			return
		}
		b.Relations = append(b.Relations, Relation{from, Contains, to})
	case "CONTAINED_BY", "PACKAGE_OF":
		b.Relations = append(b.Relations, Relation{to, Contains, from})
	case "GENERATED_FROM":
		b.Relations = append(b.Relations, Relation{from, GeneratedFrom, to})
	case "GENERATES":
		b.Relations = append(b.Relations, Relation{to, GeneratedFrom, from})
	case "DEPENDS_ON", "DYNAMIC_LINK", "STATIC_LINK":
		b.Relations = append(b.Relations, Relation{from, DependsOn, to})
	case "DEPENDENCY_OF", "RUNTIME_DEPENDENCY_OF":
		b.Relations = append(b.Relations, Relation{to, DependsOn, from})
	}
}

func (s spdxPackage) read() Package {
	p := Package{ID: s.ID, Name: s.Name, Version: s.Version, Origin: s.Info, Purpose: strings.ReplaceAll(s.Purpose, "-", "_"), License: known(s.Declared)}
	if p.License == "" {
		p.License = known(s.Concluded)
	}
	for _, c := range s.Checksums {
		p.Checksums = append(p.Checksums, Checksum{c.Algorithm, strings.ToLower(c.Value)})
	}
	for _, r := range s.References {
		switch last := r.Type[strings.LastIndexByte(r.Type, '/')+1:]; {
		case last == "purl" && p.PURL == "":
			p.PURL = r.Locator
		case last == "cpe23Type", last == "cpe22Type":
			p.CPEs = append(p.CPEs, r.Locator)
		case last == "go-sum":
			p.Sum = r.Locator
		}
	}
	return p
}

// known is a value, or "" if nobody knows it.
func known(s string) string {
	if s == noAssertion {
		return ""
	}
	return s
}
