package oci

import (
	"io/fs"
	"net/http"
)

// Is says that a registry's answer 404 is fs.ErrNotExist: it has no such image.
func (e *RegistryError) Is(target error) bool {
	return target == fs.ErrNotExist && hasStatus(e.Err, http.StatusNotFound)
}
