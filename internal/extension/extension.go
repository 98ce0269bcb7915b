// Package extension holds the words of graft: what an extension says about
// itself (Manifest), what Talos Linux it fits (Compatibility), what it has
// become in a boot asset (Layer), and the file that lists all layers of a node
// (Config, the extensions.yaml of the initramfs).
//
// The formats are Talos' own and are read as Talos reads them: unknown keys are
// no error, but their names are kept, so that a checker can point at the
// misspelt one. Nothing here touches a file, the network or the system: PID 1
// of the reference base imports this package, so it stays small.
package extension

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// ManifestName is the file that describes an extension, at the root of its image.
	ManifestName = "manifest.yaml"
	// RootfsName is the directory of an extension's image that is added to the root filesystem.
	RootfsName = "rootfs"
	// ConfigName is the list of layers at the root of an initramfs, and below /etc on a node.
	ConfigName = "extensions.yaml"
	// ManifestVersion is the only manifest format there is.
	ManifestVersion = "v1alpha1"

	// MaxManifestSize bounds manifest.yaml: real ones have less than 2 KiB.
	MaxManifestSize = 256 << 10
	// MaxConfigSize bounds extensions.yaml: a thousand layers fit many times over.
	MaxConfigSize = 16 << 20
)

// Manifest is manifest.yaml, what the author says of an extension.
type Manifest struct {
	// Version of the manifest's format: ManifestVersion.
	Version  string   `yaml:"version" json:"version"`
	Metadata Metadata `yaml:"metadata" json:"metadata"`
}

// Metadata names and describes an extension. It travels unchanged from the
// manifest to extensions.yaml and to the node's ExtensionStatus resource.
type Metadata struct {
	Name          string        `yaml:"name" json:"name"`
	Version       string        `yaml:"version" json:"version"`
	Author        string        `yaml:"author" json:"author"`
	Description   string        `yaml:"description" json:"description"`
	Compatibility Compatibility `yaml:"compatibility" json:"compatibility"`
	// ExtraInfo is free text; the image factory puts its schematic there.
	ExtraInfo string `yaml:"extraInfo,omitempty" json:"extraInfo,omitempty"`
}

// Layer is one squashfs of a boot asset and the extension it was made from.
type Layer struct {
	// Image is the squashfs' file name at the root of the initramfs.
	Image string `yaml:"image" json:"image"`
	// Digest is "sha256:" and the hex digest of that file. It is a key of
	// graft's own: Talos ignores it, graft-init refuses a layer that differs.
	Digest   string   `yaml:"digest,omitempty" json:"digest,omitempty"`
	Metadata Metadata `yaml:"metadata" json:"metadata"`
}

// ID is the name of the layer's ExtensionStatus resource.
func (l Layer) ID() string { return strings.TrimSuffix(l.Image, ".sqsh") }

// Config is extensions.yaml: the layers of a boot asset, the lowest one first.
type Config struct {
	Layers []Layer `yaml:"layers" json:"layers"`
	// Verified is graft's: what was verified of the images that the asset was
	// made of, before anything of them was used. Talos ignores it.
	Verified []Verified `yaml:"verified,omitempty" json:"verified,omitempty"`
}

// Verified is what somebody vouched for when an asset was made.
type Verified struct {
	Image  string `yaml:"image" json:"image"`                       // NAME@DIGEST
	Rule   string `yaml:"rule" json:"rule"`                         // of the policy that let it in
	Signer string `yaml:"signer,omitempty" json:"signer,omitempty"` // an identity, or the fingerprint of a key; "" if the rule asks for none
	Issuer string `yaml:"issuer,omitempty" json:"issuer,omitempty"` // who vouched for the identity
}

// SBOMDir is where extensions carry their SPDX documents, *.spdx.json, relative
// to the root.
const SBOMDir = "usr/local/share/spdx"

// ParseManifest reads manifest.yaml. The second result names every key that
// Talos would ignore, as "metadata.nmae (line 3)"; it is complete even if the
// error is not nil. The error speaks of YAML only: what the values mean is for
// Problems to say.
func ParseManifest(data []byte) (Manifest, []string, error) {
	var m Manifest
	if len(data) > MaxManifestSize {
		return m, nil, fmt.Errorf("parsing %s: %d bytes, more than the %d that are allowed", ManifestName, len(data), MaxManifestSize)
	}
	var node yaml.Node
	if err := decodeOne(data, &node); err != nil {
		return m, nil, fmt.Errorf("parsing %s: %w", ManifestName, err)
	}
	unknown := unknownKeys(&node, manifestKeys, "")
	if err := node.Decode(&m); err != nil {
		return m, unknown, fmt.Errorf("parsing %s: %w", ManifestName, yamlError(err))
	}
	return m, unknown, nil
}

// ParseConfig reads extensions.yaml, of graft or of Talos' own imager.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if len(data) > MaxConfigSize {
		return c, fmt.Errorf("parsing %s: %d bytes, more than the %d that are allowed", ConfigName, len(data), MaxConfigSize)
	}
	if err := decodeOne(data, &c); err != nil && !errors.Is(err, errEmpty) {
		return c, fmt.Errorf("parsing %s: %w", ConfigName, err)
	}
	return c, nil
}

// Encode writes the configuration as extensions.yaml.
func (c Config) Encode() ([]byte, error) { return encode(c) }

// Encode writes the manifest as manifest.yaml.
func (m Manifest) Encode() ([]byte, error) { return encode(m) }

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

var errEmpty = errors.New("the file is empty")

// decodeOne decodes the first document, as Talos does.
func decodeOne(data []byte, v any) error {
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(v)
	if errors.Is(err, io.EOF) {
		return errEmpty
	}
	return yamlError(err)
}

// yamlError puts a library error of several lines on one.
func yamlError(err error) error {
	var te *yaml.TypeError
	if errors.As(err, &te) {
		return errors.New(strings.Join(te.Errors, "; "))
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil
}

// keys is the shape of a document: a nil value stands for anything.
type keys map[string]keys

var manifestKeys = keys{
	"version": nil,
	"metadata": {
		"name": nil, "version": nil, "author": nil, "description": nil, "extraInfo": nil,
		"compatibility": {"talos": {"version": nil}},
	},
}

// unknownKeys lists the keys of a document that shape does not have.
func unknownKeys(n *yaml.Node, shape keys, prefix string) []string {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	var found []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		inner, known := shape[key.Value]
		switch {
		case key.Value == "<<": // a merge: its keys are seen where its anchor stands
		case !known:
			found = append(found, fmt.Sprintf("%s%s (line %d)", prefix, key.Value, key.Line))
		case inner != nil:
			found = append(found, unknownKeys(value, inner, prefix+key.Value+".")...)
		}
	}
	return found
}

// ValidName says whether a name can be that of an extension, which is that of its
// image: a path component of an image reference.
func ValidName(name string) bool {
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		edge := i == 0 || i == len(name)-1
		if !alnum && (edge || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// maxName is the limit of registries for a path component, in bytes.
const maxName = 128
