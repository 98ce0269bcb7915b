package oci

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is what an image runs on, in Go's names: linux/amd64, linux/arm64/v8.
// The zero Platform means "not said".
type Platform struct {
	OS, Arch, Variant string
}

// defaultPlatform is taken out of an index if none was asked for.
var defaultPlatform = Platform{OS: "linux", Arch: "amd64"}

// ParsePlatform reads "linux/amd64" or "linux/arm64/v8".
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Platform{}, badPlatform(s)
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return Platform{}, badPlatform(s)
		}
	}
	p := Platform{OS: parts[0], Arch: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func badPlatform(s string) error {
	return fmt.Errorf("parsing platform %q: wanted is a form like linux/amd64 or linux/arm64/v8", s)
}

// String is the form that ParsePlatform reads; "" for the zero Platform.
func (p Platform) String() string {
	s := p.OS + "/" + p.Arch
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return strings.TrimSuffix(s, "/")
}

// known is false for a platform that says nothing: the zero one, and the
// "unknown/unknown" that BuildKit gives to attestations.
func (p Platform) known() bool {
	return p.OS != "" && p.Arch != "" && p.OS != "unknown" && p.Arch != "unknown"
}

// fits says whether an image for p is what a person means who asks for want: a
// variant counts only if it was asked for.
func (p Platform) fits(want Platform) bool {
	return p.OS == want.OS && p.Arch == want.Arch && (want.Variant == "" || p.Variant == want.Variant)
}

func platformOf(p *v1.Platform) Platform {
	if p == nil {
		return Platform{}
	}
	return Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
}

func (p Platform) descriptor() *v1.Platform {
	return &v1.Platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant}
}
