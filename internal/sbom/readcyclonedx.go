package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cyclonedxDocument is what is read of a CycloneDX document.
type cyclonedxDocument struct {
	Metadata struct {
		Component *cyclonedxComponent `json:"component"`
	} `json:"metadata"`
	Components   []cyclonedxComponent `json:"components"`
	Dependencies []struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	} `json:"dependencies"`
}

type cyclonedxComponent struct {
	Ref      string `json:"bom-ref"`
	Type     string `json:"type"`
	Group    string `json:"group"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	PURL     string `json:"purl"`
	CPE      string `json:"cpe"`
	Licenses []struct {
		Expression string `json:"expression"`
		License    struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"license"`
	} `json:"licenses"`
	Hashes []struct {
		Algorithm string `json:"alg"`
		Value     string `json:"content"`
	} `json:"hashes"`
	Properties []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"properties"`
	Components []cyclonedxComponent `json:"components"`
}

func parseCycloneDX(data []byte) (*BOM, error) {
	var doc cyclonedxDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading it as CycloneDX: %w", err)
	}
	b := &BOM{}
	if c := doc.Metadata.Component; c != nil {
		b.Name = c.name()
		id, err := b.component(c, "", 0)
		if err != nil {
			return nil, err
		}
		b.Roots = append(b.Roots, id)
	}
	for i := range doc.Components {
		if _, err := b.component(&doc.Components[i], "", 0); err != nil {
			return nil, err
		}
	}
	for _, d := range doc.Dependencies {
		for _, to := range d.DependsOn {
			b.Relations = append(b.Relations, Relation{d.Ref, DependsOn, to})
		}
	}
	return b, nil
}

var errDeep = errors.New("its components are nested too deeply")

// component adds one, and those in it. A file is one of the BOM's files.
func (b *BOM) component(c *cyclonedxComponent, parent string, depth int) (id string, err error) {
	if depth > maxNested {
		return "", errDeep
	}
	id = c.Ref
	if id == "" {
		id = fmt.Sprintf("component %d", len(b.Packages)+len(b.Files)) // nothing refers to it
	}
	if c.Type == "file" && depth+len(b.Packages)+len(b.Files) > 0 {
		b.Files = append(b.Files, File{id, c.Name})
	} else {
		b.Packages = append(b.Packages, c.read(id))
	}
	if parent != "" {
		b.Relations = append(b.Relations, Relation{parent, Contains, id})
	}
	for i := range c.Components {
		if _, err := b.component(&c.Components[i], id, depth+1); err != nil {
			return "", err
		}
	}
	return id, nil
}

func (c *cyclonedxComponent) name() string {
	if c.Group == "" {
		return c.Name
	}
	return c.Group + "/" + c.Name
}

func (c *cyclonedxComponent) read(id string) Package {
	p := Package{ID: id, Name: c.name(), Version: c.Version, PURL: c.PURL, License: c.license(), Purpose: purposes[c.Type]}
	for _, h := range c.Hashes {
		p.Checksums = append(p.Checksums, Checksum{spdxAlgorithm(h.Algorithm), strings.ToLower(h.Value)})
	}
	if c.CPE != "" {
		p.CPEs = []string{c.CPE}
	}
	for _, x := range c.Properties {
		switch x.Name {
		case "syft:cpe23", propertyCPE:
			if !slices.Contains(p.CPEs, x.Value) {
				p.CPEs = append(p.CPEs, x.Value)
			}
		case propertySum:
			p.Sum = x.Value
		case propertyOrigin:
			p.Origin = x.Value
		}
	}
	return p
}

// license makes one expression of a list, all of which apply.
func (c *cyclonedxComponent) license() string {
	var terms []string
	for _, l := range c.Licenses {
		for _, term := range []string{l.Expression, l.License.ID, l.License.Name} {
			if term == "" {
				continue
			}
			if len(c.Licenses) > 1 && strings.Contains(term, " OR ") {
				term = "(" + term + ")"
			}
			terms = append(terms, term)
			break
		}
	}
	return strings.Join(terms, " AND ")
}

// spdxAlgorithm is CycloneDX' name of a hash in SPDX' words.
func spdxAlgorithm(name string) string {
	if rest, ok := strings.CutPrefix(name, "SHA-"); ok {
		return "SHA" + rest
	}
	return name
}

// purposes are CycloneDX' types of components in SPDX' words.
var purposes = map[string]string{
	"application": "APPLICATION", "framework": "FRAMEWORK", "library": "LIBRARY", "container": "CONTAINER",
	"operating-system": "OPERATING_SYSTEM", "device": "DEVICE", "firmware": "FIRMWARE", "file": "FILE",
}
