package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Media types of documents, and the types of artifacts that are one.
const (
	TypeSPDX      = "application/spdx+json"
	TypeCycloneDX = "application/vnd.cyclonedx+json"
)

// BOM is what documents say that something is made of: packages, and how they
// relate. Files are in it only where they are asked for.
type BOM struct {
	Name      string            `json:"name"`            // of the document
	Roots     []string          `json:"roots,omitempty"` // IDs of what it describes
	Packages  []Package         `json:"packages"`
	Files     []File            `json:"files,omitempty"`
	Relations []Relation        `json:"relations,omitempty"`
	Licenses  map[string]string `json:"licenses,omitempty"` // texts of those named LicenseRef-…
}

// Package is a part with a name: a module, a Debian package, a program.
type Package struct {
	ID        string     `json:"id"` // in its BOM
	Name      string     `json:"name"`
	Version   string     `json:"version,omitempty"`
	PURL      string     `json:"purl,omitempty"`
	CPEs      []string   `json:"cpes,omitempty"` // 2.3 formatted strings or 2.2 URIs
	License   string     `json:"license,omitempty"`
	Checksums []Checksum `json:"checksums,omitempty"`
	Sum       string     `json:"sum,omitempty"`     // of a Go module, "h1:…" as in go.sum
	Origin    string     `json:"origin,omitempty"`  // where it is from, in words
	Purpose   string     `json:"purpose,omitempty"` // in SPDX' words: APPLICATION, LIBRARY …
}

// Checksum is a digest of what a package was got as.
type Checksum struct {
	Algorithm string `json:"algorithm"` // in SPDX' words: SHA256
	Value     string `json:"value"`     // hexadecimal
}

// File is one that a document lists.
type File struct {
	ID   string `json:"id"`
	Name string `json:"name"` // as it is written: "./rootfs/usr/bin/x"
}

// Relation says how From, a package or a file, relates to To.
type Relation struct {
	From string       `json:"from"`
	Kind RelationKind `json:"kind"`
	To   string       `json:"to"`
}

// RelationKind is a relation in SPDX' words.
type RelationKind string

// The kinds that a BOM has. Others are not read.
const (
	Contains      RelationKind = "CONTAINS"
	GeneratedFrom RelationKind = "GENERATED_FROM"
	DependsOn     RelationKind = "DEPENDS_ON"
)

// Limits of what is read. Documents come from strangers.
const (
	MaxDocument  = 64 << 20 // bytes; syft's of a large image have a tenth
	maxPackages  = 100_000
	maxRelations = 1_000_000
	maxNested    = 64 // components in components
)

// ErrFormat says that a document is neither SPDX nor CycloneDX, in JSON and in a
// version that is read.
var ErrFormat = errors.New("it is neither SPDX 2.2 or 2.3 nor CycloneDX 1.2 to 1.7, in JSON")

// Read reads a document of SPDX 2.2 or 2.3 or CycloneDX 1.2 to 1.7, in JSON.
// Anything else is an ErrFormat. What a document lacks is not missed: relations to
// what is not in it are left out.
func Read(r io.Reader) (*BOM, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("it has more than %d MiB", MaxDocument>>20)
	}
	b, err := parse(data)
	if err != nil {
		return nil, err
	}
	if len(b.Packages) > maxPackages || len(b.Relations) > maxRelations {
		return nil, fmt.Errorf("it has %d packages and %d relations; more than %d and %d are not read", len(b.Packages), len(b.Relations), maxPackages, maxRelations)
	}
	b.connect()
	return b, nil
}

func parse(data []byte) (*BOM, error) {
	var which struct {
		SPDX        string `json:"spdxVersion"`
		BOMFormat   string `json:"bomFormat"`
		SpecVersion string `json:"specVersion"`
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if err := json.Unmarshal(data, &which); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case which.SPDX == "SPDX-2.3", which.SPDX == "SPDX-2.2":
		return parseSPDX(data)
	case which.BOMFormat == "CycloneDX" && slices.Contains([]string{"1.2", "1.3", "1.4", "1.5", "1.6", "1.7"}, which.SpecVersion):
		return parseCycloneDX(data)
	}
	said := strings.TrimSpace(which.SPDX + " " + which.BOMFormat + " " + which.SpecVersion)
	if said == "" {
		return nil, ErrFormat
	}
	return nil, fmt.Errorf("%w, but %.40q", ErrFormat, said)
}

// connect leaves out relations and roots that lead nowhere.
func (b *BOM) connect() {
	known := map[string]bool{}
	for _, p := range b.Packages {
		known[p.ID] = true
	}
	for _, f := range b.Files {
		known[f.ID] = true
	}
	b.Roots = slices.DeleteFunc(b.Roots, func(id string) bool { return !known[id] })
	b.Relations = slices.DeleteFunc(b.Relations, func(r Relation) bool { return !known[r.From] || !known[r.To] })
}

// WithoutFiles is the BOM without files and without relations to files. What a
// file was generated from is left to the package that contains the file.
func (b *BOM) WithoutFiles() *BOM {
	owner := map[string]string{} // of files: a package that contains them
	for _, f := range b.Files {
		owner[f.ID] = ""
	}
	for _, r := range b.Relations {
		if of, isFile := owner[r.To]; isFile && of == "" && r.Kind == Contains {
			owner[r.To] = r.From
		}
	}
	slim := *b
	slim.Files, slim.Relations = nil, nil
	seen := map[Relation]bool{}
	for _, r := range b.Relations {
		if of, isFile := owner[r.From]; isFile {
			r.From = of
		}
		if _, isFile := owner[r.To]; isFile || r.From == "" || r.From == r.To || seen[r] {
			continue
		}
		seen[r] = true
		slim.Relations = append(slim.Relations, r)
	}
	return &slim
}
