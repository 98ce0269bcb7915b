package oci

import (
	"errors"
	"strings"

	"github.com/graftlinux/graft/internal/lazyregexp"
)

var (
	errURL      = errors.New("a reference is no URL: it begins with the registry's name, as in registry.example/path/name:tag")
	errUserInfo = errors.New("a reference has no room for a user and a password: `docker login` or `podman login` keeps them for graft, too")
)

// refuseURL refuses what a reference cannot be, in words that repeat nothing of
// it: there may be a password in it.
func refuseURL(ref string) error {
	switch {
	case Redact(ref) != ref:
		return errUserInfo
	case strings.Contains(ref, "://"):
		return errURL
	}
	return nil
}

var (
	digestEnd   = lazyregexp.New(`@[a-z0-9]+([+._-][a-z0-9]+)*:[0-9A-Za-z]*$`)
	localPrefix = lazyregexp.New(`^(dir|tar|oci|oci-archive|docker-archive):`)
)

// Redact takes out of a reference or URL the user and the password that it may
// have, as in user:password@registry.example/name.
func Redact(s string) string {
	digest := digestEnd.FindString(s)
	rest := strings.TrimSuffix(s, digest)
	scheme := ""
	if before, after, ok := strings.Cut(rest, "://"); ok {
		scheme, rest = before+"://", after
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 || scheme == "" && (explicitPath(rest) || localPrefix.MatchString(rest) || !strings.Contains(rest[:at], ":")) {
		return s
	}
	return scheme + "…@" + rest[at+1:] + digest
}
