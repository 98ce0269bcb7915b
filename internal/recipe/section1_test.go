package recipe

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSection1NamesAndPlaces(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+`-- pkg.yaml --
name: at-root
variant: scratch
-- a/b/c/pkg.yaml --
name: deep
variant: scratch
-- other/name/pkg.yaml --
name: not-the-directory
variant: scratch
-- other/Pkgfile --
this: is not read
-- only-vars/vars.yaml --
A: "1"
-- only-vars/below/pkg.yaml --
name: below
variant: scratch
`)
	equal(t, "packages", names(s.Packages), "at-root below deep not-the-directory")
	equal(t, "directories", []string{s.Package("at-root").BaseDir, s.Package("deep").BaseDir}, []string{".", "a/b/c"})
	equal(t, "files", []string{s.Package("at-root").FileName, s.Package("deep").FileName}, []string{"pkg.yaml", "a/b/c/pkg.yaml"})
	equal(t, "variable of a directory without a package", s.Package("below").Context["A"], "1")
	if _, ok := s.Package("deep").Context["A"]; ok {
		t.Error("a vars.yaml applies beside its directory")
	}
}

func TestSection1Discovery(t *testing.T) {
	t.Parallel()
	s := load(t, pkgfile+`-- .hidden/pkg.yaml --
name: hidden
variant: scratch
-- a/.git/pkg.yaml --
name: hidden-below
variant: scratch
-- _out/pkg.yaml --
name: result-of-a-build
variant: scratch
-- a/_out/pkg.yaml --
name: out-below
variant: scratch
-- real/pkg.yaml --
name: real
variant: scratch
-- link -> real --
-- pkg.yaml -> real.yaml --
-- real.yaml --
name: through-a-link
variant: scratch
`)
	equal(t, "packages", names(s.Packages), "out-below real through-a-link")
}

func TestSection1RootIsALink(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tree(t, minimal), link); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), link, amd64)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "packages", names(s.Packages), "p")
}

// The format's own tool gives an empty set for a root that there is not.
func TestSection1NoRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{filepath.Join(dir, "missing"), file} {
		_, err := Load(t.Context(), root, amd64)
		if err == nil || !strings.HasPrefix(err.Error(), "reading recipes of "+root+": ") {
			t.Errorf("Load(%s) = %v", root, err)
		}
	}
}

func TestSection1EscapingLinkAndOddFiles(t *testing.T) {
	t.Parallel()
	dir := tree(t, minimal+`-- a/pkg.yaml -> /etc/hostname --
-- b/vars.yaml -> missing --
-- c/x.tmpl -> /dev/zero --
`)
	for _, d := range []string{"d", "e/pkg.yaml"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "d/pkg.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), dir, amd64)
	if err != nil {
		t.Fatal(err)
	}
	checkMessages(t, "problems", s.Problems,
		"a/pkg.yaml: reading it: path escapes from parent",
		"b/vars.yaml: reading it: no such file",
		"c/x.tmpl: reading it: path escapes from parent",
		"d/pkg.yaml: reading it: it is not a regular file")
	equal(t, "packages", names(s.Packages), "p")
}

func TestSection1UnreadableDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root can read everything")
	}
	dir := tree(t, minimal+"-- secret/pkg.yaml --\nname: secret\n")
	if err := os.Chmod(filepath.Join(dir, "secret"), 0); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), dir, amd64)
	if err != nil {
		t.Fatal(err)
	}
	checkMessages(t, "problems", s.Problems)
	checkMessages(t, "warnings", s.Warnings, "secret: is left out: reading it: permission denied")
}

func TestSection1LargeFile(t *testing.T) {
	t.Parallel()
	dir := tree(t, minimal+"-- big/pkg.yaml --\n")
	if err := os.Truncate(filepath.Join(dir, "big/pkg.yaml"), MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	s, err := Load(t.Context(), dir, amd64)
	if err != nil {
		t.Fatal(err)
	}
	checkMessages(t, "problems", s.Problems, "big/pkg.yaml: reading it: it has more than the 4194304 bytes")
}

// Templates see variables of the platform, so each platform is read for itself.
func TestSection1OncePerPlatform(t *testing.T) {
	t.Parallel()
	const archive = pkgfile + "-- pkg.yaml --\nname: p-{{ .ARCH }}\nvariant: scratch\n"
	for target, want := range map[string]string{"linux/amd64": "p-x86_64", "linux/arm64": "p-aarch64"} {
		equal(t, target, names(loadWith(t, archive, Options{Target: target}).Packages), want)
	}
}

func TestLoadCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, tree(t, minimal), amd64); !errors.Is(err, context.Canceled) {
		t.Errorf("Load = %v, want context.Canceled", err)
	}
}
