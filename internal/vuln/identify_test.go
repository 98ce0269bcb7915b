package vuln

import (
	"testing"

	"github.com/graftlinux/graft/internal/sbom"
)

// TestDebianPackages: what is asked for is the source package, of the release.
func TestDebianPackages(t *testing.T) {
	for _, tt := range []struct {
		purl, debian         string
		name, version, where string
		guessed              bool
		reason               string
	}{
		{"pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc", "", "glibc", "2.36-9+deb12u10", "Debian:12", false, ""},
		{"pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64&distro=debian-12&upstream=bash%405.2.15-2", "13", "bash", "5.2.15-2", "Debian:12", false, ""},
		{"pkg:deb/debian/libselinux1@3.4-1%2Bb6?distro=bookworm&upstream=libselinux", "", "libselinux", "3.4-1", "Debian:12", false, ""},
		{"pkg:deb/debian/open-iscsi@2.1.11-1?arch=source&distro=debian-13", "", "open-iscsi", "2.1.11-1", "Debian:13", false, ""},
		{"pkg:deb/debian/linux-image-6.1.0-50-cloud-amd64@6.1.176-1?arch=amd64&distro=debian-12&upstream=linux-signed-amd64%406.1.176%2B1", "", "linux", "6.1.176-1", "Debian:12", false, ""},
		{"pkg:deb/debian/a@1?distro=debian-12.5", "", "a", "1", "Debian:12", true, ""},
		{"pkg:deb/debian/a@1?distro=debian-jessie", "", "a", "1", "Debian:8", true, ""},
		{"pkg:deb/debian/a@1?distro=99", "", "a", "1", "Debian:99", true, ""},

		// What tells no number is asked for as what was said, or not at all.
		{"pkg:deb/debian/a@1?distro=sid&upstream=b", "", "b", "1", "Debian:sid", false, ""},
		{"pkg:deb/debian/a@1?distro=sid&upstream=b", "forky", "b", "1", "Debian:14", false, ""},
		{"pkg:deb/debian/a@1?distro=debian-testing&upstream=b", "14", "b", "1", "Debian:14", false, ""},
		{"pkg:deb/debian/a@1%2Bdeb12u1?distro=debian", "", "a", "1+deb12u1", "Debian:12", true, ""},
		{"pkg:deb/debian/a@1?distro=debian", "", "a", "1", "Debian", true, NoRelease},
		{"pkg:deb/debian/a@1", "", "a", "1", "Debian", true, NoRelease},
		{"pkg:deb/debian/a@1", "bookworm", "a", "1", "Debian:12", true, ""},
		{"pkg:deb/debian/a@1", "bookworm-security", "a", "1", "Debian:12", true, ""},
	} {
		got, reason := identify(sbom.Package{PURL: tt.purl}, tt.debian)
		if reason != tt.reason || got.name != tt.name || got.version != tt.version || got.ecosystem() != tt.where || got.guessed != tt.guessed {
			t.Errorf("%s, --debian %q: got %s %s of %s, guessed %v, %q; want %s %s of %s, %v, %q",
				tt.purl, tt.debian, got.name, got.version, got.ecosystem(), got.guessed, reason, tt.name, tt.version, tt.where, tt.guessed, tt.reason)
		}
	}
}
