package bootasset

import (
	"path/filepath"
	"testing"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

func TestIsInstaller(t *testing.T) {
	for name, c := range map[string]struct {
		file       string
		entrypoint []string
		want       bool
	}{
		"program":              {"bin/installer", nil, true},
		"program in usr":       {"usr/bin/installer", []string{"/bin/imager"}, true},
		"it starts it":         {"anything", []string{"/bin/installer"}, true},
		"it starts another":    {"anything", []string{"/bin/sh"}, false},
		"another place":        {"opt/bin/installer", nil, false},
		"assets of a base too": {"usr/install/amd64/vmlinuz", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree.New()
			if err := root.Put(c.file, tree.File(0o755, nil)); err != nil {
				t.Fatal(err)
			}
			dest := "oci:" + filepath.Join(t.TempDir(), "image")
			images := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: "amd64"}, Tree: root}}
			if _, err := oci.Pack(t.Context(), images, dest, oci.PackOptions{Entrypoint: c.entrypoint}); err != nil {
				t.Fatal(err)
			}
			img, err := oci.Open(t.Context(), dest, oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			store, err := cache.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time it is in the cache
				if got, err := IsInstaller(t.Context(), store, img); err != nil || got != c.want {
					t.Errorf("got %v, %v, want %v", got, err, c.want)
				}
			}
		})
	}
}
