package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/survey"
)

// DetailsName is the file with what graft adds to a catalog. Others ignore it.
const DetailsName = "catalog.json"

const (
	// detailsVersion is that of the file's schema. Readers ignore keys that they
	// do not know; a new version is for what they would misunderstand.
	detailsVersion = 1
	// maxDetails bounds catalog.json, in bytes: 100 images on 2 platforms take
	// 100 KiB.
	maxDetails = 8 << 20
)

// Details are what a catalog says of an image beyond the contract of the field.
type Details struct {
	Tier          string `json:"tier,omitempty" yaml:"tier,omitempty"`                   // core, extra, contrib, deprecated
	Category      string `json:"category,omitempty" yaml:"category,omitempty"`           // folder of its recipe: "container-runtime"
	Compatibility string `json:"compatibility,omitempty" yaml:"compatibility,omitempty"` // with Talos: ">= v1.5.0"
	Size          int64  `json:"size,omitempty" yaml:"size,omitempty"`                   // of all layers as they are stored, in bytes
	// Platforms in the order of the image's index.
	Platforms []Platform `json:"platforms,omitempty" yaml:"platforms,omitempty"`
	// Services are the names of the extension's services, sorted.
	Services []string `json:"services,omitempty" yaml:"services,omitempty"`
	// Modules are the names of its kernel modules, sorted.
	Modules []string `json:"modules,omitempty" yaml:"modules,omitempty"`
	// SBOM are the SPDX documents in the image, as paths on the node, sorted.
	SBOM []string `json:"sbom,omitempty" yaml:"sbom,omitempty"`
	// SignedBy are the identities or key IDs that the publisher signed with. It is
	// a hint what to verify with, no proof.
	SignedBy []string `json:"signedBy,omitempty" yaml:"signedBy,omitempty"`
}

// Platform is the image for one platform.
type Platform struct {
	Platform string `json:"platform" yaml:"platform"` // "linux/amd64"
	Digest   string `json:"digest" yaml:"digest"`     // of its manifest
	Size     int64  `json:"size" yaml:"size"`         // of its layers as they are stored, in bytes
	Files    int    `json:"files" yaml:"files"`       // regular files and links that reach the node
}

// detailsFile is catalog.json.
type detailsFile struct {
	Version int            `json:"version"`
	Talos   string         `json:"talos,omitempty"`
	Images  []imageDetails `json:"images"`
}

type imageDetails struct {
	Image string `json:"image"` // the line in image-digests
	Details
}

// parseDetails reads catalog.json: details by line, and the version of Talos.
func parseDetails(data []byte, p *problems) (all map[string]*Details, talos string) {
	var f detailsFile
	if err := json.Unmarshal(data, &f); err != nil {
		p.add("%s: %v", DetailsName, err)
		return nil, ""
	}
	if f.Version != detailsVersion {
		p.add("%s: its version is %d, this graft knows %d: tiers and the like are not shown", DetailsName, f.Version, detailsVersion)
		return nil, ""
	}
	all = map[string]*Details{}
	for i := range f.Images {
		all[f.Images[i].Image] = &f.Images[i].Details
	}
	return all, f.Talos
}

func formatDetails(entries []Entry, talos string) ([]byte, error) {
	f := detailsFile{Version: detailsVersion, Talos: talos, Images: []imageDetails{}}
	for _, e := range entries {
		if e.Details != nil {
			f.Images = append(f.Images, imageDetails{e.Image.String(), *e.Details})
		}
	}
	return formatJSON(DetailsName, f)
}

func formatJSON(name string, v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// Built is an image for one platform, with what is in it.
type Built struct {
	Platform string // "linux/amd64"
	Digest   string // of its manifest
	Size     int64  // of its layers as they are stored, in bytes
	Facts    *survey.Facts
}

// NewEntry describes an image that was built: author, description and
// compatibility are those of its manifest. The tier is that of the recipe; if it is
// "", the one that the description begins with.
func NewEntry(image Image, tier, category string, built []Built) (Entry, error) {
	if len(built) == 0 {
		return Entry{}, fmt.Errorf("describing %s: it is for no platform", image)
	}
	m, _, err := extension.ParseManifest(built[0].Facts.Manifest)
	if err != nil {
		return Entry{}, fmt.Errorf("describing %s: %w", image, err)
	}
	d := &Details{Category: category, Compatibility: m.Metadata.Compatibility.Talos.Version}
	for _, b := range built {
		d.add(b)
	}
	e := Entry{Image: image, Author: m.Metadata.Author, Description: m.Metadata.Description, Details: d}
	if d.Tier = tier; tier == "" {
		d.Tier = e.Tier()
	}
	return e, nil
}

// add counts and names what is in the image for a platform.
func (d *Details) add(b Built) {
	p := Platform{Platform: b.Platform, Digest: b.Digest, Size: b.Size}
	for _, e := range b.Facts.Entries {
		onNode, ok := survey.OnNode(e.Path)
		if !ok || e.Mode.IsDir() {
			continue
		}
		p.Files++
		if isSBOM(onNode) {
			d.SBOM = insert(d.SBOM, onNode)
		}
	}
	d.Platforms = append(d.Platforms, p)
	d.Size += b.Size
	d.Services = union(d.Services, serviceNames(b.Facts))
	d.Modules = union(d.Modules, moduleNames(b.Facts))
}

// isSBOM says whether Talos takes a file for an SBOM of an extension.
func isSBOM(onNode string) bool {
	return strings.HasSuffix(onNode, ".spdx.json") && path.Dir(onNode) == "/"+extension.SBOMDir
}

// serviceNames are those that the files say; a file that says none has its own.
func serviceNames(f *survey.Facts) []string {
	var names []string
	for _, s := range f.Services {
		if path.Ext(s.Path) != ".yaml" {
			continue
		}
		name := strings.TrimSuffix(path.Base(s.Path), ".yaml")
		if spec, err := extension.ParseService(s.Data); err == nil && spec.Name != "" {
			name = spec.Name
		}
		names = append(names, name)
	}
	return names
}

func moduleNames(f *survey.Facts) []string {
	var names []string
	for _, m := range f.Modules {
		base, _, _ := strings.Cut(path.Base(m.Path), ".ko")
		names = append(names, base)
	}
	return names
}

func union(sorted, more []string) []string {
	for _, s := range more {
		sorted = insert(sorted, s)
	}
	return sorted
}

func insert(sorted []string, s string) []string {
	i, found := slices.BinarySearch(sorted, s)
	if found {
		return sorted
	}
	return slices.Insert(sorted, i, s)
}
