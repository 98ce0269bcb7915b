package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/build"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/publish"
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

// TestUnfinished: a release that a person ended says how far it came.
func TestUnfinished(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	stopped, refused := fmt.Errorf("publishing a: %w", context.Canceled), errors.New("publishing a: refused")
	for _, c := range []struct {
		ctx    context.Context
		err    error
		dryRun bool
		want   string
	}{
		{ended, stopped, false, "  hint: 2 of 5 extensions were published; the same command sends the others, and then the catalog\n"},
		{ended, stopped, true, ""},
		{ended, refused, false, ""},
		{t.Context(), stopped, false, ""},
	} {
		r := releasing{publishing: &publishing{dryRun: c.dryRun}, published: make([]publish.Published, 2)}
		var said strings.Builder
		hint(&said, r.unfinished(c.ctx, 5, c.err))
		if said.String() != c.want {
			t.Errorf("%v: got %q, want %q", c.err, said.String(), c.want)
		}
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
