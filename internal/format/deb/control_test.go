package deb

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// controls are control files by what their field Source says, with the source
// package that is meant; "" of one that cannot be read.
var controls = []struct{ field, name, version string }{
	{"", "hello", "1:2.0-1+b1"},
	{"Source:\n", "hello", "1:2.0-1+b1"},
	{"Source: glibc\n", "glibc", "1:2.0-1+b1"},
	{"Source: hello (1:2.0-1)\n", "hello", "1:2.0-1"},
	{"source:gcc-12-cross(17~x)  \n", "gcc-12-cross", "17~x"},
	{"Source: linux-signed-amd64 ( 6.1.176+1 )\n", "linux-signed-amd64", "6.1.176+1"},
	{"Source: (1)\n", "", ""},
	{"Source: a ()\n", "", ""},
	{"Source: a (1\n", "", ""},
	{"Source: a (1) b\n", "", ""},
	{"Source: a b\n", "", ""},
	{"Source: a (1 2)\n", "", ""},
	{"Source: a\x00b\n", "", ""},
	{"Source: ä\n", "", ""},
}

func TestControlSource(t *testing.T) {
	for _, tt := range controls {
		c, err := parseControl("Package: hello\n" + tt.field + "Version: 1:2.0-1+b1\nArchitecture: amd64\nDescription: d\n Source: not this\n")
		if (err == nil) != (tt.name != "") {
			t.Errorf("%q: got the error %v", tt.field, err)
		}
		if err == nil && (c.Source != tt.name || c.SourceVersion != tt.version) {
			t.Errorf("%q: got %s %s, want %s %s", tt.field, c.Source, c.SourceVersion, tt.name, tt.version)
		}
	}
}

// TestReadControl needs no more of a package than its control file.
func TestReadControl(t *testing.T) {
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		whole := hello(t, ending)
		c, err := ReadControl(bytes.NewReader(whole[:bytes.Index(whole, []byte("data.tar"))]))
		want := Control{Package: "hello", Version: "1:2.0-1", Architecture: "amd64", Source: "hello", SourceVersion: "1:2.0-1"}
		if diff := cmp.Diff(want, c); err != nil || diff != "" {
			t.Errorf("control.tar%s: %v (-want +got):\n%s", ending, err, diff)
		}
	}
	if _, err := ReadControl(strings.NewReader("!<arch>\n")); err == nil || !strings.HasPrefix(err.Error(), "reading Debian package: ") {
		t.Errorf("got %v", err)
	}
}

// TestDpkgSource has dpkg-deb make packages, and say what their source is.
func TestDpkgSource(t *testing.T) {
	dpkg := testkit.Judge(t, "dpkg-deb")
	for _, field := range []string{"", "Source: other\n", "Source: other (1:2~x-1)\n"} {
		for _, kind := range []string{"none", "gzip", "xz", "zstd"} {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "x/DEBIAN/control"), "Package: x\n"+field+"Version: 1-1+b1\nArchitecture: all\nMaintainer: m <m@example.org>\nDescription: d\n")
			name := filepath.Join(dir, "x.deb")
			testkit.Run(t, dpkg, "-Z"+kind, "--uniform-compression", "--root-owner-group", "-b", filepath.Join(dir, "x"), name)
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ReadControl(f)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			said := strings.TrimSpace(testkit.Run(t, dpkg, "-W", "--showformat=${source:Package} ${source:Version}", name))
			if got := c.Source + " " + c.SourceVersion; got != said {
				t.Errorf("%q, %s: got %s, dpkg-deb says %s", field, kind, got, said)
			}
		}
	}
}

// TestReleases compares with the list that Debian's tools have.
func TestReleases(t *testing.T) {
	f, err := os.Open("/usr/share/distro-info/debian.csv")
	if err != nil {
		t.Skip("the list of releases is not installed (package distro-info-data)")
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]string{}
	for _, l := range lines[1:] {
		numbers[l[2]] = l[0]
	}
	for _, codename := range Codenames() {
		number, listed := numbers[codename]
		got, known := Release(codename + "-security")
		if !listed || !known || got != number {
			t.Errorf("%s: got %q, %v, want %q, %v", codename, got, known, number, listed)
		}
	}
	if _, known := Release("stable"); known {
		t.Error("stable is another release from time to time")
	}
}

func FuzzReadControl(f *testing.F) {
	for _, ending := range []string{"", ".gz", ".xz", ".zst"} {
		for _, tt := range controls {
			text := control + tt.field
			f.Add(ar(member{"debian-binary", []byte("2.0\n")}, member{"control.tar" + ending, compress(f, ending, tarball(f, file("control", text)))}), text)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		read, err := ReadControl(bytes.NewReader(data))
		if err == nil {
			wantComplete(t, read)
		}
		c, err := parseControl(text)
		if err != nil {
			return
		}
		wantComplete(t, c)
		again, err := parseControl(fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nSource: %s (%s)\n", c.Package, c.Version, c.Architecture, c.Source, c.SourceVersion))
		if err == nil && again != c {
			t.Errorf("got %+v, then %+v", c, again)
		}
	})
}

func wantComplete(t *testing.T, c Control) {
	t.Helper()
	for _, s := range []string{c.Package, c.Version, c.Architecture, c.Source, c.SourceVersion} {
		if s == "" || strings.ContainsAny(s, "\n") {
			t.Errorf("got %+v", c)
		}
	}
}
