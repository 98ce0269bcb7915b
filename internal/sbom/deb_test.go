package sbom

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// debs are Debian packages with their package URLs.
var debs = []struct {
	deb  Deb
	purl string
}{
	{Deb{Name: "bash", Version: "5.2.15-2+b13", Arch: "amd64", Source: "bash", SourceVersion: "5.2.15-2", Suite: "bookworm"},
		"pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64&distro=debian-12&upstream=bash%405.2.15-2"},
	{Deb{Name: "libgcc-s1", Version: "12.2.0-14+deb12u1", Arch: "arm64", Source: "gcc-12", SourceVersion: "12.2.0-14+deb12u1", Suite: "bookworm-security"},
		"pkg:deb/debian/libgcc-s1@12.2.0-14%2Bdeb12u1?arch=arm64&distro=debian-12&upstream=gcc-12"},
	{Deb{Name: "g++", Version: "4:1~2", Arch: "all", Source: "gcc+x", SourceVersion: "1:1~2", Suite: "sid"},
		"pkg:deb/debian/g%2B%2B@4:1~2?arch=all&distro=sid&upstream=gcc%2Bx%401:1~2"},
	{Deb{Name: "open-iscsi", Version: "2.1.11-1", Arch: "source", Suite: "trixie"}, "pkg:deb/debian/open-iscsi@2.1.11-1?arch=source&distro=debian-13"},
	{Deb{Name: "a", Version: "1", Source: "b"}, "pkg:deb/debian/a@1?upstream=b"},
	{Deb{Name: "a", Version: "1", Suite: "unheard-of"}, "pkg:deb/debian/a@1?distro=unheard"},
	{Deb{Name: "a", Version: "1"}, "pkg:deb/debian/a@1"},
}

// TestDebPURL has the library of package URLs say what is canonical.
func TestDebPURL(t *testing.T) {
	judge := testkit.GoProgram(t, "test/scanners", "./purl")
	var got, want []string
	for _, tt := range debs {
		got, want = append(got, tt.deb.purl()), append(want, tt.purl)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	ask := exec.Command(judge)
	ask.Stdin = strings.NewReader(strings.Join(got, "\n") + "\n")
	said, err := ask.Output()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Fields(string(said)), got); d != "" {
		t.Errorf("-canonical +got:\n%s", d)
	}
}

// TestDebsRoundTrip: what is said of Debian packages stays the same through every form.
func TestDebsRoundTrip(t *testing.T) {
	var list []Deb
	want := map[string]string{} // where packages are from, by their URLs
	for _, tt := range debs {
		list = append(list, tt.deb)
		want[tt.purl] = ""
		if tt.deb.Source != "" {
			want[tt.purl] = strings.TrimSpace("built package from: " + tt.deb.Source + " " + tt.deb.SourceVersion)
		}
	}
	d, err := OfRecipe(Recipe{Package: "p", Debs: list})
	if err != nil {
		t.Fatal(err)
	}
	judge(t, d)
	conforms(t, spdxSchema(t), textOf(t, d))
	for range 2 {
		b, err := Read(strings.NewReader(textOf(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, p := range b.Packages {
			if p.PURL != "" {
				got[p.PURL] = p.Origin
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		s := Subject{Package: Package{Name: "x"}, BOMs: []*BOM{b, b}}
		if d, err = CycloneDX(s, created, Creator{}); err != nil {
			t.Fatal(err)
		}
		conforms(t, cyclonedxSchema(t), textOf(t, d))
		if b, err = Read(strings.NewReader(textOf(t, d))); err != nil {
			t.Fatal(err)
		}
		if d, err = SPDX(Subject{Package: Package{Name: "x"}, BOMs: []*BOM{b}}, created, Creator{}); err != nil {
			t.Fatal(err)
		}
	}
}
