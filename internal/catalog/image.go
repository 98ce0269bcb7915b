package catalog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/graftlinux/graft/internal/oci"
)

// Image is a line of image-digests: an image in a registry, pinned.
type Image struct {
	Repository string // with the registry's host: "ghcr.io/siderolabs/gvisor"
	Tag        string // the extension's version; "" if the line has none
	Digest     string // "sha256:" and hex digits, of the index
}

// maxImage bounds a line, in bytes: names have 255, tags 128 by the registries'
// own rules.
const maxImage = 512

// ParseImage reads HOST/PATH[:TAG]@sha256:HEX.
func ParseImage(line string) (Image, error) {
	if len(line) > maxImage {
		return Image{}, fmt.Errorf("%d bytes, more than the %d that are allowed", len(line), maxImage)
	}
	named, digest, ok := strings.Cut(line, "@")
	if !ok {
		return Image{}, errors.New("it has no digest")
	}
	if !validDigest(digest) {
		return Image{}, fmt.Errorf("%q is no digest of the form sha256:HEX with 64 hex digits in lower case", digest)
	}
	repository, tag := oci.CutTag(named)
	if err := checkRepository(repository); err != nil {
		return Image{}, err
	}
	if strings.Contains(named[strings.LastIndexByte(named, '/')+1:], ":") && !validTag(tag) {
		return Image{}, fmt.Errorf("%q is no tag", tag)
	}
	return Image{Repository: repository, Tag: tag, Digest: digest}, nil
}

func validDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != 64 || strings.ToLower(digits) != digits {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil
}

// validTag follows the distribution specification: [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
func validTag(s string) bool {
	const word = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
	return s != "" && len(s) <= 128 && strings.Trim(s[:1], word) == "" && strings.Trim(s, word+".-") == ""
}

// checkRepository wants HOST/PATH, as the distribution specification has it.
func checkRepository(s string) error {
	host, p, ok := strings.Cut(s, "/")
	if !ok {
		return fmt.Errorf("%q names no image in a registry: wanted is HOST/PATH", s)
	}
	const alnum = "abcdefghijklmnopqrstuvwxyz0123456789"
	if host == "" || strings.Trim(strings.ToLower(host), alnum+".-:[]") != "" || strings.ContainsAny(host[:1], ".-:") {
		return fmt.Errorf("%q is no host of a registry", host)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || strings.Trim(part, alnum+"._-") != "" || strings.Trim(part[:1], alnum) != "" || strings.Trim(part[len(part)-1:], alnum) != "" {
			return fmt.Errorf("%q in %q cannot be in the name of an image", part, s)
		}
	}
	return nil
}

// String is the line.
func (i Image) String() string {
	if i.Tag == "" {
		return i.Repository + "@" + i.Digest
	}
	return i.Repository + ":" + i.Tag + "@" + i.Digest
}

// Name is the last element of the repository.
func (i Image) Name() string { return i.Repository[strings.LastIndexByte(i.Repository, '/')+1:] }

// Path is the repository without the registry's host: "siderolabs/gvisor".
func (i Image) Path() string {
	_, p, _ := strings.Cut(i.Repository, "/")
	return p
}

// MarshalText implements encoding.TextMarshaler with the line.
func (i Image) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Image) UnmarshalText(text []byte) (err error) {
	*i, err = ParseImage(string(text))
	return err
}
