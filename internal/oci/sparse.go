package oci

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SparseError says that a layout holds an index, and not all of its images: it
// was written by a copy of some platforms. Those that are there can be copied.
type SparseError struct {
	Digest string   // of the index
	Lacks  []string // platforms
	Has    []string // platforms
}

// Error implements error.
func (e *SparseError) Error() string {
	return fmt.Sprintf("index %s names images that the layout does not hold, as one that was mirrored with --platform: it lacks %s, and has %s",
		e.Digest, orNone(e.Lacks), orNone(e.Has))
}

func orNone(platforms []string) string {
	if len(platforms) == 0 {
		return "none"
	}
	return strings.Join(platforms, ", ")
}

// lacking finds out, for a layout, whether manifests that an index names are
// missing.
func (w *loading) lacking(index v1.Hash, children []v1.Descriptor) error {
	l, ok := w.from.(*layoutPlace)
	if !ok {
		return nil
	}
	e := &SparseError{Digest: index.String()}
	missing := false
	for _, d := range children {
		if !isManifestType(d) {
			continue
		}
		into := &e.Has
		if d.Data == nil && !l.holds(d.Digest) {
			into, missing = &e.Lacks, true
		}
		if p := platformOf(d.Platform); p.known() && !slices.Contains(*into, p.String()) {
			*into = append(*into, p.String())
		}
	}
	if missing {
		return e
	}
	return nil
}

func (l *layoutPlace) holds(h v1.Hash) bool {
	f, err := l.files.open(blobPath(h))
	if err == nil {
		f.Close()
	}
	return !isAbsent(err) && !errors.Is(err, errNotInTarball)
}
