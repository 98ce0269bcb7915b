package boot

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/extension"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	sumA = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	sumB = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// layersNamed makes layers of the given images, which belong to extensions a, b and so on.
func layersNamed(images ...string) []extension.Layer {
	var layers []extension.Layer
	for i, image := range images {
		name := string(rune('a' + i%26))
		layers = append(layers, extension.Layer{Image: image, Metadata: extension.Metadata{Name: name, Version: "v1.0"}})
	}
	return layers
}

// upstream names n layers as Talos' imager does.
func upstream(n int) []extension.Layer {
	var images []string
	for i := range n {
		images = append(images, fmt.Sprintf("%d.sqsh", i))
	}
	return layersNamed(images...)
}

// asset is what an initramfs with these layers looks like.
func asset(layers []extension.Layer) Facts {
	f := Facts{Extensions: &extension.Config{Layers: layers}, Files: []string{"init", "rootfs.sqsh"}}
	for _, l := range layers {
		f.Files = append(f.Files, l.Image)
	}
	return f
}

func TestPlan(t *testing.T) {
	gvisor := layersNamed("000.ghcr.io-siderolabs-gvisor-20220117.0-v1.0.0.sqsh", "001.example.org-tool-2.sqsh", "modules.dep.sqsh")
	gvisor[0].Metadata = extension.Metadata{Name: "gvisor", Version: "20220117.0-v1.0.0"}
	gvisor[2].Metadata = extension.ModulesDep("6.1.0-50-cloud-amd64")
	gvisor[0].Digest, gvisor[2].Digest = sumA, sumB

	tests := []struct {
		name    string
		modules []string
		facts   func() Facts
	}{
		{"no extensions", nil, func() Facts { return Facts{Files: []string{"rootfs.sqsh"}} }},
		{"empty list", nil, func() Facts { return asset(nil) }},
		{"modules", []string{"01-squashfs.ko", "02-overlay.ko", "00-loop.ko"}, func() Facts { return asset(upstream(1)) }},
		{"2 layers", nil, func() Facts { return asset(upstream(2)) }},
		{"digests", nil, func() Facts { return asset(gvisor) }},
		{"40 layers on an old kernel", nil, func() Facts { return asset(upstream(40)) }},
		{"500 layers on an old kernel", nil, func() Facts { return asset(upstream(500)) }},
		{"499 layers on a new kernel", nil, func() Facts { f := asset(upstream(499)); f.LowerdirAdd = true; return f }},
		{"500 layers on a new kernel", nil, func() Facts { f := asset(upstream(500)); f.LowerdirAdd = true; return f }},
		{"firmware", nil, func() Facts {
			f := asset(upstream(2))
			f.Firmware, f.Extra, f.LowerdirAdd = []string{"/usr/lib/firmware"}, true, true
			return f
		}},
		{"firmware without extensions", nil, func() Facts {
			return Facts{Files: []string{"rootfs.sqsh"}, Firmware: []string{"/lib/firmware", "/usr/lib/firmware"}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := Plan(tt.facts())
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.ReplaceAll(tt.name, " ", "-"), listing(append(Prepare(tt.modules), plan...)))
		})
	}
}

// listing shows each step as the log and as the program see it. Of a long run
// of layers it shows the ends.
func listing(steps []Step) string {
	var b strings.Builder
	for i, s := range steps {
		if inLongRun(steps, i) {
			if !inLongRun(steps, i-1) {
				b.WriteString("...\n")
			}
			continue
		}
		fmt.Fprintf(&b, "%s\n\t%s\n", s, fields(s))
	}
	return b.String()
}

// inLongRun says whether the two steps before and after are layers as well.
func inLongRun(steps []Step, i int) bool {
	for _, near := range []int{i - 2, i - 1, i, i + 1, i + 2} {
		if near < 0 || near >= len(steps) {
			return false
		}
		if m, ok := steps[near].(MountImage); !ok || m.Extension == "" {
			return false
		}
	}
	return true
}

func fields(s Step) string {
	switch s := s.(type) {
	case MountOverlay:
		return fmt.Sprintf("boot.MountOverlay{Lowers:%s, Target:%q, OneByOne:%v}, option of %d bytes",
			ends(s.Lowers), s.Target, s.OneByOne, len(lowerdir(s.Lowers)))
	case Detach:
		return fmt.Sprintf("boot.Detach{Names:%s}", ends(s.Names))
	}
	return fmt.Sprintf("%#v", s)
}

func ends(names []string) string {
	if len(names) > 6 {
		names = append(append(names[:3:3], fmt.Sprintf("...%d more...", len(names)-5)), names[len(names)-2:]...)
	}
	return fmt.Sprintf("%q", names)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "plan", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestPlanErrors(t *testing.T) {
	one := func(change func(*extension.Layer)) Facts {
		layers := upstream(2)
		f := asset(layers)
		change(&layers[1])
		return f
	}
	tests := []struct {
		name  string
		facts Facts
		want  string
	}{
		{"no root", Facts{Files: []string{"0.sqsh"}}, "the initramfs has no /rootfs.sqsh"},
		{"image is missing", one(func(l *extension.Layer) { l.Image = "9.sqsh" }), `layer 1 of /extensions.yaml: the initramfs has no file "9.sqsh"`},
		{"no image", one(func(l *extension.Layer) { l.Image = "" }), `layer 1 of /extensions.yaml: image "" is no file name`},
		{"image is a path", one(func(l *extension.Layer) { l.Image = "../etc/passwd" }), `layer 1 of /extensions.yaml: image "../etc/passwd" is no file name`},
		{"image is the root", one(func(l *extension.Layer) { l.Image = "/" }), `layer 1 of /extensions.yaml: the initramfs has no file "/"`},
		{"other hash", one(func(l *extension.Layer) { l.Digest = "md5:1111" }), `digest "md5:1111" of 1.sqsh is not sha256: and 64 digits`},
		{"short digest", one(func(l *extension.Layer) { l.Digest = sumA[:70] }), "of 1.sqsh is not sha256: and 64 digits"},
		{"upper case", one(func(l *extension.Layer) { l.Digest = "sha256:" + strings.Repeat("A", 64) }), "of 1.sqsh is not sha256: and 64 digits"},
		{"no hex", one(func(l *extension.Layer) { l.Digest = "sha256:" + strings.Repeat("g", 64) }), "of 1.sqsh is not sha256: and 64 digits"},
		{"too many", asset(layersNamed(strings.Split(strings.Repeat("0.sqsh ", 250_001), " ")[:250_000]...)), "more layers than the kernel can put over each other: 250"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.facts.LowerdirAdd = true
			plan, err := Plan(tt.facts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %d steps and error %v, want %q", len(plan), err, tt.want)
			}
			if adviceFor(fmt.Errorf("planning: %w", err)) == "" {
				t.Error("the error does not say what to do")
			}
		})
	}
}

// FuzzPlan reads extensions.yaml as init does. Whatever is in it, a plan stays
// within the places that the package comment names.
func FuzzPlan(f *testing.F) {
	f.Add([]byte("layers:\n  - image: 0.sqsh\n    metadata: {name: gvisor, version: v1.0.0}\n"), true)
	f.Add([]byte("layers:\n  - image: 0.sqsh\n    digest: "+sumA+"\n  - image: 1.sqsh\n"), false)
	f.Add([]byte("layers: []\n"), false)
	f.Add([]byte("layers: [{image: ../0.sqsh}]\n"), false)
	f.Add([]byte(""), true)
	f.Fuzz(func(t *testing.T, data []byte, oneByOne bool) {
		c, err := extension.ParseConfig(data)
		if err != nil {
			return
		}
		facts := Facts{Extensions: &c, Files: []string{"rootfs.sqsh", "0.sqsh", "1.sqsh"}, LowerdirAdd: oneByOne}
		plan, err := Plan(facts)
		if err != nil {
			return
		}
		for _, s := range plan {
			checkPlaces(t, s)
			_ = s.String()
		}
		if last := plan[len(plan)-1]; last != (Exec{"/sbin/init"}) {
			t.Errorf("the last step is %v", last)
		}
	})
}

func checkPlaces(t *testing.T, s Step) {
	t.Helper()
	switch s := s.(type) {
	case MountImage:
		if path.Dir(s.File) != "/" || s.Target != newRoot && path.Dir(s.Target) != layersDir {
			t.Errorf("mounting %q at %q", s.File, s.Target)
		}
	case MountOverlay:
		if !fits(s.Lowers, s.OneByOne) || len(s.Lowers) < 2 {
			t.Errorf("an overlay of %d directories", len(s.Lowers))
		}
	case Verify:
		for _, d := range s.Files {
			if path.Dir(d.File) != "/" {
				t.Errorf("verifying %q", d.File)
			}
		}
	}
}
