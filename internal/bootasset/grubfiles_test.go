package bootasset

import (
	"io/fs"
	"testing"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/tree"
)

// TestGRUBOnce: GRUB's files are unpacked and verified once for an asset, and
// closed with it.
func TestGRUBOnce(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New()
	if err := root.Put(grubDir+"/"+grubBIOS+"/kernel.img", tree.File(0o644, []byte("GRUB"))); err != nil {
		t.Fatal(err)
	}
	a := &Asset{opts: Options{Cache: c, Base: &Base{image: oci.OfTree(root)}}}
	b := &builder{asset: a, grub: map[string]*grubFiles{}}
	first, err := b.grubFiles(t.Context(), grubBIOS)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.grubFiles(t.Context(), grubBIOS); err != nil || again != first {
		t.Errorf("got %p, %v the second time, want %p", again, err, first)
	}
	if data, err := fs.ReadFile(first, "kernel.img"); err != nil || string(data) != "GRUB" {
		t.Errorf("read %q, %v", data, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := fs.ReadFile(first, "kernel.img"); err == nil {
		t.Error("it is still open when the asset is closed")
	}
}
