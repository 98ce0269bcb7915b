package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/build"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/recipe"
)

// TestFindingsOf: what all platforms have is said once.
func TestFindingsOf(t *testing.T) {
	both, one := check.Finding{Rule: "both", Source: "x"}, check.Finding{Rule: "one", Source: "x"}
	on := func(arch string, found ...check.Finding) build.Result {
		return build.Result{Platform: oci.Platform{OS: "linux", Arch: arch}, Findings: found}
	}
	got := findingsOf(&build.Built{Platforms: []build.Result{on("amd64", both, one), on("arm64", both)}})
	one.Source = "x for linux/amd64"
	if diff := cmp.Diff([]check.Finding{both, one}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestConcerned names the packages that a script which failed is for.
func TestConcerned(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Pkgfile":         "format: v1alpha2\n",
		"base/pkg.yaml":   "name: base\nvariant: scratch\nfinalize: [{from: /, to: /}]\n",
		"a/pkg.yaml":      "name: a\nvariant: scratch\ndependencies: [{stage: base}]\nfinalize: [{from: /, to: /}]\n",
		"b/pkg.yaml":      "name: b\nvariant: scratch\nfinalize: [{from: /, to: /}]\n",
		"a/vars.yaml":     "TIER: core\n",
		"b/vars.yaml":     "TIER: extra\n",
		"base/vars.yaml":  "INTERNAL_PACKAGE: \"true\"\n",
		"unused/pkg.yaml": "name: unused\nvariant: scratch\nfinalize: [{from: /, to: /}]\n",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	set, err := recipe.Load(t.Context(), dir, recipe.Options{})
	if err != nil || len(set.Problems) > 0 {
		t.Fatal(err, set.Problems)
	}
	r := releasing{work: &work{platforms: []string{"linux/amd64"}, sets: map[string]*recipe.Set{"linux/amd64": set}}}
	script := func(of string) error { return &plan.ExecError{Op: &plan.Op{Package: of}} }
	for _, c := range []struct {
		err  error
		want []string
	}{
		{script("base"), []string{"a"}},
		{script("b"), []string{"b"}},
		{errors.New("no network"), nil},
	} {
		if diff := cmp.Diff(c.want, r.concerned([]string{"a", "b"}, c.err)); diff != "" {
			t.Errorf("%v, -want +got:\n%s", c.err, diff)
		}
	}
}
