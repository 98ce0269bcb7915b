package build

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/recipe"
	"github.com/graftlinux/graft/internal/tree"
)

// twoPlatforms is an image whose file says what platform it is for.
func twoPlatforms(t *testing.T) string {
	t.Helper()
	var images []oci.Packed
	for _, arch := range []string{"amd64", "arm64"} {
		tr := tree.New()
		if err := tr.Put("image", tree.File(0o644, []byte(arch))); err != nil {
			t.Fatal(err)
		}
		images = append(images, oci.Packed{Platform: oci.Platform{OS: "linux", Arch: arch}, Tree: tr})
	}
	return pack(t, "two", images...)
}

// both builds for both platforms and gives the content of a file of each.
func (s *shop) both(target, name string) []string {
	s.t.Helper()
	s.platforms = []string{"linux/amd64", "linux/arm64"}
	b := s.build(target)
	var all []string
	for i, p := range b[0].Platforms {
		if p.Platform.String() != s.platforms[i] {
			s.t.Errorf("result %d is for %s", i, p.Platform)
		}
		all = append(all, file(s.t, p.Tree, name))
	}
	return all
}

// TestSection8Platforms gives one result per platform, read and made for it.
func TestSection8Platforms(t *testing.T) {
	t.Parallel()
	s := open(t, data("stage", "finalize: [{from: /pkg/t, to: /stage}]\n")+"-- stage/t.tmpl --\n{{ .ARCH }}\n"+
		data("p", "dependencies: [{stage: stage}, {image: 'oci:{{ .BUILD_ARG_TWO }}'}]\nfinalize: [{from: /stage, to: /}, {from: /image, to: /}, {from: /pkg/t, to: /}]\n")+"-- p/t.tmpl --\n{{ .BUILD }} {{ .TARGET }}\n")
	s.args["TWO"] = strings.TrimPrefix(twoPlatforms(t), "oci:")
	for name, want := range map[string][]string{
		"stage": {"x86_64\n", "aarch64\n"},
		"image": {"amd64", "arm64"},
		"t":     {"x86_64-linux-musl x86_64-talos-linux-musl\n", "aarch64-linux-musl aarch64-talos-linux-musl\n"},
	} {
		if diff := cmp.Diff(want, s.both("p", name)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

// TestSection8DependencyPlatform takes the variant of an image, and a native
// build of a stage.
func TestSection8DependencyPlatform(t *testing.T) {
	t.Parallel()
	s := open(t, data("stage", "buildPlatform: linux/amd64\nfinalize: [{from: /pkg/t, to: /t}]\n")+"-- stage/t.tmpl --\n{{ .ARCH }} {{ .BUILD }}\n"+
		data("p", `dependencies:
  - {stage: stage, to: /a}
  - {stage: stage, to: /b, platform: linux/arm64}
  - {image: "oci:{{ .BUILD_ARG_TWO }}", to: /a}
  - {image: "oci:{{ .BUILD_ARG_TWO }}", to: /b, platform: linux/arm64}
finalize: [{from: /a, to: /a}, {from: /b, to: /b}]
`))
	s.args["TWO"] = strings.TrimPrefix(twoPlatforms(t), "oci:")
	s.want("p", `
a drwxr-xr-x
a/image -rw-r--r-- amd64
a/t -rw-r--r-- x86_64 x86_64-linux-musl
b drwxr-xr-x
b/image -rw-r--r-- arm64
b/t -rw-r--r-- aarch64 aarch64-linux-musl
`)
}

// TestSection8BuildPlatform runs the scripts of the package that was asked for
// elsewhere than where its result belongs. What it needs is made for there; its
// templates see the target.
func TestSection8BuildPlatform(t *testing.T) {
	t.Parallel()
	s := open(t, data("stage", "finalize: [{from: /pkg/t, to: /stage}]\n")+"-- stage/t.tmpl --\n{{ .ARCH }}\n"+
		strings.Replace(pkg("p", `  - stage: stage
  - {stage: stage, platform: linux/arm64, to: /other}
  - {image: "oci:{{ .BUILD_ARG_TWO }}"}
steps:
  - install:
      - |
        read stage </stage; read other </other/stage
        echo "$BUILD $HOST $ARCH $TARGET $CFLAGS | {{ .BUILD }} {{ .ARCH }} | $stage $other $(cat /image)" >/f
finalize: [{from: /f, to: /}]
`), "variant:", "buildPlatform: linux/amd64\nvariant:", 1))
	s.args["TWO"] = strings.TrimPrefix(twoPlatforms(t), "oci:")
	want := []string{
		"x86_64-linux-musl x86_64-linux-musl x86_64 x86_64-talos-linux-musl -O2 -g0 -march=x86-64-v2 -mtune=generic | x86_64-linux-musl x86_64 | x86_64 aarch64 amd64\n",
		"x86_64-linux-musl x86_64-linux-musl aarch64 aarch64-talos-linux-musl -O2 -g0 | aarch64-linux-musl aarch64 | x86_64 aarch64 amd64\n",
	}
	if diff := cmp.Diff(want, s.both("p", "f")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.wantRan("p:install-0", "p:install-0")
}

// TestSection8BuildPlatformOfDependency counts for the package only that was
// asked for. This machine cannot run the scripts of the dependency then.
func TestSection8BuildPlatformOfDependency(t *testing.T) {
	t.Parallel()
	s := open(t, strings.Replace(script("dep", "echo $BUILD >f"), "variant:", "buildPlatform: linux/amd64\nvariant:", 1)+
		data("p", "dependencies: [{stage: dep}]\nfinalize: [{from: /f, to: /}]\n"))
	s.platforms = []string{"linux/amd64"}
	s.want("p", "f -rw-r--r-- x86_64-linux-musl")
	s.platforms = []string{"linux/arm64"}
	s.want("dep", "f -rw-r--r-- x86_64-linux-musl")
	s.args["KITCHEN"] = strings.TrimPrefix(twoPlatforms(t), "oci:")
	if _, err := s.try("p"); err == nil || !strings.Contains(err.Error(), "dep:install-0") {
		t.Errorf("got %v", err)
	} else if !errors.Is(err, plan.ErrPlatform) {
		t.Logf("this machine runs programs for arm64: %v", err)
	}
}

// TestSection8Unknown names a platform that there is not.
func TestSection8Unknown(t *testing.T) {
	t.Parallel()
	s := open(t, data("p", "buildPlatform: linux/riscv64\n")+data("q", "dependencies: [{stage: r, platform: plan9/386}]\n")+data("r", ""))
	s.wantError("p", "p/pkg.yaml", "linux/riscv64")
	s.wantError("q", "q/pkg.yaml", "plan9/386")
	s.platforms = []string{"linux/mips"}
	s.wantError("r", "linux/mips")
}

// TestSection8Once loads the recipes once for a platform.
func TestSection8Once(t *testing.T) {
	t.Parallel()
	loaded := map[string]int{}
	s := open(t, data("a", "dependencies: [{stage: b, platform: linux/arm64}, {stage: b}]\n")+data("b", ""))
	b := NewBuilder(PlanOptions{Root: s.root, Load: func(ctx context.Context, platform string) (*recipe.Set, error) {
		loaded[platform]++
		return s.load(ctx, platform)
	}})
	for _, name := range []string{"a", "b", "a"} {
		if _, _, err := b.Package(t.Context(), name, "linux/amd64"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"linux/amd64": 1, "linux/arm64": 1}, loaded); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
