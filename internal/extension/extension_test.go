package extension

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const gvisor = `version: v1alpha1
metadata:
  name: gvisor
  version: 20220117.0-v1.0.0
  author: Andrew Rynhard
  description: |
    This system extension provides gVisor.
  compatibility:
    talos:
      version: ">= v1.0.0"
`

func TestParseManifest(t *testing.T) {
	want := Manifest{
		Version: "v1alpha1",
		Metadata: Metadata{
			Name: "gvisor", Version: "20220117.0-v1.0.0", Author: "Andrew Rynhard",
			Description:   "This system extension provides gVisor.\n",
			Compatibility: Compatibility{Talos: Constraint{Version: ">= v1.0.0"}},
		},
	}
	got, unknown, err := ParseManifest([]byte(gvisor))
	if err != nil || len(unknown) > 0 {
		t.Fatalf("got %v, unknown keys %v", err, unknown)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	data, err := got.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := ParseManifest(data)
	if d := cmp.Diff(want, again); err != nil || d != "" {
		t.Errorf("written and read again: %v\n%s", err, d)
	}
}

func TestParseManifestErrors(t *testing.T) {
	for name, data := range map[string]string{
		"empty":      "",
		"comment":    "# nothing\n",
		"wrong type": "metadata: 1\n",
		"not YAML":   "a: [",
		"too long":   "#" + strings.Repeat("x", MaxManifestSize),
		"alias bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nmetadata: {name: [*b,*b]}\n",
	} {
		if _, _, err := ParseManifest([]byte(data)); err == nil || !strings.Contains(err.Error(), ManifestName) {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}

func TestConstraint(t *testing.T) {
	for _, c := range []struct {
		constraint, version string
		want                string // "", "incompatible" or "bad"
	}{
		{"", "v1.0.0", ""},
		{">= v1.0.0", "v1.9.2", ""},
		{">= v1.10.0", "v1.9.2", "incompatible"},
		{">= v1.10.0", "v1.10.0-beta.1", ""},
		{">= 1.5.0 < 1.9.0 || v2.0.0", "v2.0.0", ""},
		{">=v1.5.0 <v1.9.0", "1.9.0", "incompatible"},
		{">= v1.0.0", "", ""}, // an unknown version
		{"newest", "v1.0.0", "bad"},
		{">= v1.0.0", "one", "bad"},
		{"newest", "", "bad"},
	} {
		err := Constraint{c.constraint}.Allows(c.version)
		got := ""
		switch {
		case errors.Is(err, ErrIncompatible):
			got = "incompatible"
		case err != nil:
			got = "bad"
		}
		if got != c.want {
			t.Errorf("%q allows %q: got %q (%v), want %q", c.constraint, c.version, got, err, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		version  string
		usrMerge bool
		zstd     bool
	}{
		{"v1.7.6", false, false},
		{"v1.8.0", false, true},
		{"v1.10.0-alpha.0", true, true},
		{"v2.0.0", true, true},
		{"", true, true},
	} {
		v, err := ParseVersion(c.version)
		if err != nil || v.UsrMerge() != c.usrMerge || v.Zstd() != c.zstd {
			t.Errorf("%q: got usrmerge %v, zstd %v, %v", c.version, v.UsrMerge(), v.Zstd(), err)
		}
	}
}

func TestLayerImage(t *testing.T) {
	want := "000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0.sqsh"
	if got := LayerImage(0, "ghcr.io/siderolabs/gvisor:20220117.0-v1.0.0"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := LayerImage(123, "x"); got != "123.x.sqsh" {
		t.Errorf("got %s", got)
	}
	if got, want := (Layer{Image: want}).ID(), strings.TrimSuffix(want, ".sqsh"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestConfig reads what Talos' imager writes and what graft writes.
func TestConfig(t *testing.T) {
	const upstream = `layers:
    - image: 0.sqsh
      metadata:
        name: gvisor
        version: 20220117.0-v1.0.0
        author: Andrew Rynhard
        description: |
            [core] This system extension provides gVisor.
        compatibility:
            talos:
                version: '>= v1.0.0'
`
	c, err := ParseConfig([]byte(upstream))
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(upstream, string(data)); d != "" {
		t.Errorf("written again (-want +got):\n%s", d)
	}
	c.Layers[0].Digest = "sha256:00"
	if data, err = c.Encode(); err != nil {
		t.Fatal(err)
	}
	again, err := ParseConfig(data)
	if d := cmp.Diff(c, again); err != nil || d != "" {
		t.Errorf("with a digest: %v\n%s", err, d)
	}
	if c, err := ParseConfig(nil); err != nil || len(c.Layers) > 0 {
		t.Errorf("the base's empty file: got %v, %v", c, err)
	}
	if _, err := ParseConfig([]byte("layers: 1")); err == nil {
		t.Error("a wrong type: got no error")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(gvisor))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _, err := ParseManifest(data)
		if err == nil {
			_ = m.Metadata.Compatibility.Talos.Check()
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("layers: [{image: 0.sqsh, metadata: {name: a}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(out)
		if d := cmp.Diff(c, again, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("written and read again: %v\n%s", err, d)
		}
	})
}

func FuzzParseService(f *testing.F) {
	f.Add([]byte("name: x\ncontainer: {entrypoint: ./x}\nrestart: always\ndepends: [{time: true}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ParseService(data); err == nil {
			s.Problems()
		}
	})
}

func TestFullVersion(t *testing.T) {
	for _, s := range []string{"v1.9.2", "1.9.2", "v1.10.0-beta.1", "v1.13.0-alpha.2-17-g0123456789", "v1.12.0+dirty", "v10.0.0", "v0.14.3"} {
		if _, ok := FullVersion(s); !ok {
			t.Errorf("%q is refused", s)
		}
	}
	for s, want := range map[string]string{
		"": "", "latest": "", "main": "", "v": "", "v1": "", "v0.0.0": "", "v0.1.2.3": "", "1.12": "v1.12.0", "v1.12": "v1.12.0", "v1.12.x": "v1.12.0",
		"v1.12.3.4": "v1.12.3", "V1.12.3": "v1.12.3", "vv1.12.3": "v1.12.3", " v1.12.3": "v1.12.3", "v01.12.3": "v1.12.3", "talos-v1.12.3": "v1.12.3",
	} {
		if near, ok := FullVersion(s); ok || near != want {
			t.Errorf("%q: got %q, %v, want %q", s, near, ok, want)
		}
	}
}
