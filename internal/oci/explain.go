package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// RegistryError is an error of a registry, or of the way to it.
type RegistryError struct {
	Registry string // the host, and the port if it was said
	Err      error
	Hint     string // what a person may do, "" if nothing comes to mind
}

// Error implements error.
func (e *RegistryError) Error() string { return fmt.Sprintf("registry %s: %v", e.Registry, e.Err) }

// Unwrap gives the cause.
func (e *RegistryError) Unwrap() error { return e.Err }

// explain makes a RegistryError of what came from the network; other errors,
// such as those of a bad image or of the local disk, stay what they are.
func explain(ref name.Reference, err error) error {
	var known *RegistryError
	var source sourceError
	if err == nil || errors.As(err, &known) || errors.As(err, &source) || errors.Is(err, context.Canceled) || onDisk(err) {
		return err
	}
	host := ref.Context().RegistryStr()
	var answer *transport.Error
	if errors.As(err, &answer) {
		return &RegistryError{host, err, statusHint(answer.StatusCode, ref)}
	}
	var bad damagedError
	if errors.As(err, &bad) {
		return &RegistryError{host, err, "what the registry sends is damaged or forged: have it repaired, or push the image again"}
	}
	var op net.Error
	if hint := networkHint(err, ref); hint != "" || errors.As(err, &op) {
		return &RegistryError{host, err, hint}
	}
	return err
}

// onDisk says whether it was the disk of this machine that failed. What ends an error
// of a file system is a syscall.Errno, which has the methods of a net.Error; the
// network's stand in a net.OpError.
func onDisk(err error) bool {
	var file *fs.PathError
	var link *os.LinkError
	var number syscall.Errno
	var op *net.OpError
	return !errors.As(err, &op) && (errors.As(err, &file) || errors.As(err, &link) || errors.As(err, &number))
}

func statusHint(status int, ref name.Reference) string {
	host := ref.Context().RegistryStr()
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("log in with `docker login %[1]s` or `podman login %[1]s`, or check the name: many registries answer so for what they do not have", host)
	case http.StatusNotFound:
		if _, ok := ref.(name.Tag); ok && !hasTag(ref.String()) {
			return fmt.Sprintf("no tag was given, and %s is the one that stands for none: check the name %s, or give the tag", ref.Identifier(), ref.Context().RepositoryStr())
		}
		return fmt.Sprintf("check the name %s and %s", ref.Context().RepositoryStr(), ref.Identifier())
	case http.StatusTooManyRequests:
		return fmt.Sprintf("log in with `docker login %s` for a higher limit, or try again later", host)
	}
	if status >= 500 {
		return "try again later"
	}
	return ""
}

func networkHint(err error, ref name.Reference) string {
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &cert):
		return "--insecure accepts any certificate; SSL_CERT_FILE names a file of certificates to trust"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the registry does not speak https there: --insecure allows plain http"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the registry running, and is the port right?"
	case errors.As(err, &dns):
		return fmt.Sprintf("check the name of the registry, %s, and the network", ref.Context().RegistryStr())
	case errors.Is(err, errStalled), errors.Is(err, errBroken), errors.Is(err, errSlow):
		return "try again later"
	case isTimeout(err):
		return "check the name of the registry and the network, or try again later"
	}
	return ""
}
