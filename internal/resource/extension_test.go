package resource

import (
	"bytes"
	"testing"

	"github.com/siderolabs/protoenc"
	"github.com/siderolabs/talos/pkg/machinery/extensions"

	"github.com/graftlinux/graft/internal/extension"
)

// The judge is the encoder that Talos uses for the same structure.
func TestMarshalProtoIsTalosEncoding(t *testing.T) {
	for _, l := range []extension.Layer{gvisor, schematic, {}, {Image: "0.sqsh"}} {
		m := l.Metadata
		want, err := protoenc.Marshal(&extensions.Layer{
			Image: l.Image,
			Metadata: extensions.Metadata{
				Name: m.Name, Version: m.Version, Author: m.Author, Description: m.Description, ExtraInfo: m.ExtraInfo,
				Compatibility: extensions.Compatibility{Talos: extensions.Constraint{Version: m.Compatibility.Talos.Version}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ExtensionSpec{l}.MarshalProto()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q: got\n%x, want\n%x", l.Image, got, want)
		}
	}
}
