package bootasset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// embeddedConfigPath is where Talos looks for a machine configuration that its
// image brings, since 1.12, and embeddedConfigLabel who may read it.
const (
	embeddedConfigPath  = "usr/local/etc/talos/config.yaml"
	embeddedConfigLabel = "system_u:object_r:system_state_t:s0"
)

// EmbeddedConfig is the extension that carries a machine configuration.
func EmbeddedConfig(config []byte) (Extension, error) {
	sum := sha256.Sum256(config)
	manifest, err := (extension.Manifest{Version: "v1alpha1", Metadata: extension.Metadata{
		Name: "embedded-config", Version: hex.EncodeToString(sum[:]), Author: "Talos Machinery",
		Description: "Machine configuration that is part of the image",
	}}).Encode()
	if err != nil {
		return Extension{}, fmt.Errorf("embedding the machine configuration: %w", err)
	}
	t := tree.New()
	file := tree.File(0o400, config)
	file.Label = embeddedConfigLabel
	if err := t.Put(extension.ManifestName, tree.File(0o644, manifest)); err != nil {
		return Extension{}, fmt.Errorf("embedding the machine configuration: %w", err)
	}
	if err := t.Put(extension.RootfsName+"/"+embeddedConfigPath, file); err != nil {
		return Extension{}, fmt.Errorf("embedding the machine configuration: %w", err)
	}
	return Extension{Source: "embedded-config", Image: oci.OfTree(t)}, nil
}
