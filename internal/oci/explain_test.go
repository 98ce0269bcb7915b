package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

// TestExplainDisk: the disk of this machine is not the registry's, though its errors
// have the methods of the network's.
func TestExplainDisk(t *testing.T) {
	ref := name.MustParseReference("registry.example/hello:v1")
	for _, c := range []struct {
		name     string
		err      error
		registry bool
	}{
		{"full", &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, false},
		{"full, without a name", syscall.ENOSPC, false},
		{"read-only", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, false},
		{"not allowed", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, false},
		{"renaming", &os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EACCES}, false},
		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		{"a firewall", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := explain(ref, fmt.Errorf("reading layer 1: %w", c.err))
			var blamed *RegistryError
			if got := errors.As(err, &blamed); got != c.registry {
				t.Errorf("the registry is blamed: %t, want %t: %v", got, c.registry, err)
			}
			if !errors.Is(err, c.err) {
				t.Errorf("%v does not have its cause", err)
			}
		})
	}
}

// TestSpoolFails: an image in a registry cannot be read as there is nowhere to spool
// it to.
func TestSpoolFails(t *testing.T) {
	src := newTestRegistry(t) + "/me/hello:1"
	signedImage(t, src)
	dir := filepath.Join(t.TempDir(), "none")
	img, err := Open(t.Context(), src, Options{SpoolDir: dir})
	if err == nil {
		defer img.Close()
		_, err = img.Tree(t.Context())
	}
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*RegistryError)) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error of the directory %s, not of the registry", err, dir)
	}
}
