package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// TestForeign reads a catalog, in a layout, that was written without graft.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	made := testkit.Catalog{Extensions: 20, LayerSize: 10}
	want := made.Write(t, dir)
	c, err := Open(t.Context(), []string{"oci:" + dir + ":" + made.Name()}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, lines(c)); diff != "" {
		t.Error(diff)
	}
	if len(c.Problems) > 0 {
		t.Errorf("problems: %q", c.Problems)
	}
	if e := c.Entries[7]; e.Details != nil || e.Author != "Test" || e.Tier() == "" || e.Summary() != "Extension number 7" {
		t.Errorf("got %+v", e)
	}
}
