package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/graftlinux/graft/internal/oci"
)

// How files at one path differ.
const (
	Identical   = "identical"   // the same in all images: whoever comes first does not matter
	OtherFile   = "content"     // other bytes
	OtherTarget = "target"      // of a symlink
	OtherType   = "type"        // a file here, a symlink or directory there
	OtherMode   = "permissions" // of the same file or of a directory
	OtherLabel  = "label"       // SELinux
)

// Overlap is a path that several images bring to a node. The node sees what the
// last of them has.
type Overlap struct {
	Platform string   `json:"platform" yaml:"platform"`
	Path     string   `json:"path" yaml:"path"` // on the node
	Kind     string   `json:"kind" yaml:"kind"`
	Images   []string `json:"images" yaml:"images"` // sorted
}

// Exception says that some images may share some files.
type Exception struct {
	// Images are names ("gvisor"), paths ("siderolabs/gvisor") or repositories, and
	// may be patterns of path.Match.
	Images []string `yaml:"images"`
	// Files are patterns of path.Match: without a slash for the name of a file
	// in any directory, else for its path on the node.
	Files []string `yaml:"files"`
}

// maxExceptions bounds a file of exceptions, in bytes.
const maxExceptions = 1 << 20

// ParseExceptions reads a YAML list of {images, files}.
func ParseExceptions(data []byte) ([]Exception, error) {
	if len(data) > maxExceptions {
		return nil, fmt.Errorf("%d bytes, more than the %d that are allowed", len(data), maxExceptions)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var all []Exception
	if err := dec.Decode(&all); err != nil && !errors.Is(err, io.EOF) {
		var te *yaml.TypeError
		if errors.As(err, &te) {
			return nil, fmt.Errorf("wanted is a list of {images, files}: %s", strings.Join(te.Errors, "; "))
		}
		return nil, err
	}
	for i, e := range all {
		if len(e.Images) == 0 || len(e.Files) == 0 {
			return nil, fmt.Errorf("exception %d: it needs images and files", i+1)
		}
		for _, pattern := range slices.Concat(e.Images, e.Files) {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("exception %d: the pattern %q: %w", i+1, pattern, err)
			}
		}
	}
	return all, nil
}

// allows says whether all images of an overlap may share its file.
func (e Exception) allows(o Overlap) bool {
	return slices.ContainsFunc(e.Files, func(pattern string) bool { return matchesFile(pattern, o.Path) }) &&
		!slices.ContainsFunc(o.Images, func(image string) bool { return !e.concerns(image) })
}

func (e Exception) concerns(image string) bool {
	repository, _ := oci.CutRef(image)
	img := Image{Repository: repository}
	return slices.ContainsFunc(e.Images, func(pattern string) bool {
		for _, name := range []string{img.Name(), img.Path(), repository, image} {
			if ok, _ := path.Match(pattern, name); ok { // the pattern has been checked
				return true
			}
		}
		return false
	})
}

func matchesFile(pattern, onNode string) bool {
	subject := onNode
	if !strings.Contains(pattern, "/") {
		subject = path.Base(onNode)
	} else if !strings.HasPrefix(pattern, "/") {
		subject = strings.TrimPrefix(onNode, "/")
	}
	ok, _ := path.Match(pattern, subject) // the pattern has been checked
	return ok
}

// Overlaps finds what several images bring to one path of one platform. Directories
// that are alike overlap in peace, and so do the indexes that depmod makes anew.
// Listings are added one by one, and only what is needed of them is kept.
type Overlaps struct {
	places map[place]*tenants
}

type place struct{ platform, path string }

// tenants of a path.
type tenants struct {
	first  File
	kind   string // of the worst difference yet, "" with one tenant
	images []string
}

// Add takes a listing in. Calls must not run at the same time.
func (o *Overlaps) Add(l Listing) {
	if o.places == nil {
		o.places = map[place]*tenants{}
	}
	for _, f := range l.Files {
		if isModuleIndex(f.Path) {
			continue
		}
		at := place{l.Platform, f.Path}
		t := o.places[at]
		if t == nil {
			o.places[at] = &tenants{first: f, images: []string{l.Image}}
			continue
		}
		if slices.Contains(t.images, l.Image) {
			continue // an image that was given twice
		}
		t.images = append(t.images, l.Image)
		t.kind = worse(t.kind, kindOf(t.first, f))
	}
}

// kinds from the harmless to the worst.
var kinds = []string{"", Identical, OtherLabel, OtherMode, OtherTarget, OtherFile, OtherType}

func worse(a, b string) string {
	if slices.Index(kinds, a) < slices.Index(kinds, b) {
		return b
	}
	return a
}

// kindOf is how two entries at one path differ, "" for directories that do not.
func kindOf(a, b File) string {
	switch {
	case fs.FileMode(a.Mode).Type() != fs.FileMode(b.Mode).Type():
		return OtherType
	case a.Sum != b.Sum:
		return OtherFile
	case a.Target != b.Target:
		return OtherTarget
	case a.Mode != b.Mode:
		return OtherMode
	case a.Label != b.Label:
		return OtherLabel
	case fs.FileMode(a.Mode).IsDir():
		return ""
	}
	return Identical
}

// isModuleIndex is true for the modules.* files of a kernel release.
func isModuleIndex(p string) bool {
	return strings.HasPrefix(path.Base(p), "modules.") && path.Base(path.Dir(path.Dir(p))) == "modules"
}

// Found are the overlaps that no exception allows, by platform and path, how many
// are allowed, and the numbers, from 0, of the exceptions that allowed nothing.
func (o *Overlaps) Found(exceptions []Exception) (found []Overlap, allowed int, unused []int) {
	used := make([]bool, len(exceptions))
	for at, t := range o.places {
		if t.kind == "" {
			continue
		}
		slices.Sort(t.images)
		overlap := Overlap{at.platform, at.path, t.kind, t.images}
		excepted := false
		for i, e := range exceptions {
			if e.allows(overlap) {
				used[i], excepted = true, true
			}
		}
		if excepted {
			allowed++
		} else {
			found = append(found, overlap)
		}
	}
	for i := range used {
		if !used[i] {
			unused = append(unused, i)
		}
	}
	slices.SortFunc(found, func(a, b Overlap) int {
		return cmp.Or(cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Path, b.Path))
	})
	return found, allowed, unused
}
