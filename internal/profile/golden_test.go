package profile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/qcow2"
	"github.com/graftlinux/graft/internal/format/vhd"
)

var versions = []string{"1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "1.12", "1.13", "1.14"}

func resolve(t *testing.T, p Profile) *Plan {
	t.Helper()
	pl, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	return pl
}

// from is a base profile for an architecture and a version.
func from(base, arch, version string) Profile {
	return Profile{BaseProfileName: base, Arch: arch, Version: version}
}

// listing tells a plan in a few lines.
func listing(pl *Plan) string {
	var b strings.Builder
	o := pl.Profile.Output
	fmt.Fprintf(&b, "  %s %s", o.Kind, pl.File)
	if pl.Bootloader != "" {
		fmt.Fprintf(&b, " %s", pl.Bootloader)
	}
	if pl.EnrollKeys != EnrollOff {
		fmt.Fprintf(&b, " enrol:%s", pl.EnrollKeys)
	}
	if pl.VolumeID != "" {
		fmt.Fprintf(&b, " label:%s", pl.VolumeID)
	}
	if pl.DiskSize > 0 {
		fmt.Fprintf(&b, " %dMiB/%d", pl.DiskSize/mib, pl.SectorSize)
	}
	if pl.QCOW2 != (qcow2.Options{}) || pl.VHD != (vhd.Options{}) {
		fmt.Fprintf(&b, " (%s)", o.ImageOptions.DiskFormatOptions)
	}
	for i, p := range pl.Partitions {
		fmt.Fprintf(&b, "%s%s:%d", map[bool]string{true: "\n  disk ", false: " "}[i == 0], p.Label, p.Size/mib)
		if p.Filesystem != "" {
			fmt.Fprintf(&b, "(%s)", p.Filesystem)
		}
	}
	for i, v := range pl.Meta {
		fmt.Fprintf(&b, "%s%v", map[bool]string{true: "\n  meta ", false: " "}[i == 0], v)
	}
	for _, f := range pl.InstallerFiles {
		fmt.Fprintf(&b, "\n  /%s is %s", f.Path, f.Part)
	}
	for i, e := range pl.UKIProfiles {
		fmt.Fprintf(&b, "%s%s%s", map[bool]string{true: "\n  uki ", false: ", "}[i == 0], e.ID, strings.TrimPrefix(e.Cmdline, pl.Cmdline))
	}
	fmt.Fprintf(&b, "\n  %s\n", strings.Replace(pl.Cmdline, defaultsOf(pl), "DEFAULTS", 1))
	return b.String()
}

// defaultsOf are the arguments that all platforms have.
func defaultsOf(pl *Plan) string {
	var l commandLine
	l.addAll(defaults, pl.Profile.Arch, pl.Quirks)
	return l.String()
}

// table lists all base profiles of a version. Both architectures are told once
// if they differ in their names only.
func table(t *testing.T, version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "DEFAULTS are %s\n", defaultsOf(resolve(t, from("metal", AMD64, version))))
	for _, name := range Names() {
		for _, arch := range []string{AMD64, ARM64} {
			fmt.Fprintf(&b, "%s %s\n%s", name, arch, listing(resolve(t, from(name, arch, "v"+version+".0"))))
		}
	}
	return b.String()
}

// TestTable resolves every base profile for both architectures and all versions.
// UPDATE=1 writes what it gets; look at the difference.
func TestTable(t *testing.T) {
	for _, version := range versions {
		file := filepath.Join("testdata", "v"+version+".txt")
		got := table(t, version)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s:\n%s", file, d)
		}
	}
}
