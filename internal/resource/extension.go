package resource

import (
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/graftlinux/graft/internal/extension"
)

const (
	// ExtensionStatusType is the type of the resources that stand for the
	// layers of a node.
	ExtensionStatusType = "ExtensionStatuses.runtime.talos.dev"
	// RuntimeNamespace holds what the node has found out while it runs.
	RuntimeNamespace = "runtime"

	// extensionOwner is the controller that makes these resources in Talos.
	extensionOwner = "runtime.ExtensionStatusController"
)

// ExtensionStatus says that an extension is part of the running system.
type ExtensionStatus = typed.Resource[ExtensionSpec, extensionDefinition]

// NewExtensionStatus makes the resource of a layer. Its id is the layer's.
func NewExtensionStatus(l extension.Layer) *ExtensionStatus {
	md := resource.NewMetadata(RuntimeNamespace, ExtensionStatusType, l.ID(), resource.VersionUndefined)
	return typed.NewResource[ExtensionSpec, extensionDefinition](md, ExtensionSpec{l})
}

// ExtensionSpec is a layer as Talos shows it: without the digest, which is
// graft's own.
type ExtensionSpec struct{ extension.Layer }

// DeepCopy copies the spec.
func (s ExtensionSpec) DeepCopy() ExtensionSpec { return s }

// MarshalYAML gives the spec the keys image and metadata.
func (s ExtensionSpec) MarshalYAML() (any, error) {
	s.Layer.Digest = ""
	return s.Layer, nil
}

// Field numbers of talos.resource.definitions.extensions in Talos' API.
const (
	layerImage    = 1
	layerMetadata = 2

	metadataName          = 1
	metadataVersion       = 2
	metadataAuthor        = 3
	metadataDescription   = 4
	metadataCompatibility = 5
	metadataExtraInfo     = 6

	compatibilityTalos = 1
	constraintVersion  = 1
)

// MarshalProto encodes the spec as the message Layer of Talos' API, written by
// hand because Talos' own code for it is a hundred times as big.
func (s ExtensionSpec) MarshalProto() ([]byte, error) {
	m := s.Metadata
	constraint := appendField(nil, constraintVersion, m.Compatibility.Talos.Version)
	compatibility := appendField(nil, compatibilityTalos, string(constraint))

	var metadata []byte
	metadata = appendField(metadata, metadataName, m.Name)
	metadata = appendField(metadata, metadataVersion, m.Version)
	metadata = appendField(metadata, metadataAuthor, m.Author)
	metadata = appendField(metadata, metadataDescription, m.Description)
	metadata = appendField(metadata, metadataCompatibility, string(compatibility))
	metadata = appendField(metadata, metadataExtraInfo, m.ExtraInfo)

	layer := appendField(nil, layerImage, s.Image)
	return appendField(layer, layerMetadata, string(metadata)), nil
}

// appendField appends a string or a message; an empty one is an absent field,
// as in the encoder of Talos.
func appendField(b []byte, field protowire.Number, value string) []byte {
	if value == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}

type extensionDefinition struct{}

// ResourceDefinition describes the type to clients.
func (extensionDefinition) ResourceDefinition() meta.ResourceDefinitionSpec {
	return meta.ResourceDefinitionSpec{
		Type:             ExtensionStatusType,
		Aliases:          []resource.Type{"extensions"},
		DefaultNamespace: RuntimeNamespace,
		PrintColumns: []meta.PrintColumn{
			{Name: "Name", JSONPath: "{.metadata.name}"},
			{Name: "Version", JSONPath: "{.metadata.version}"},
		},
	}
}
