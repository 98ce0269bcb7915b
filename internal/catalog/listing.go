package catalog

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// ListingName is the file with what is in the images, a JSON object per line: one
// for each image and platform. It is for finding overlaps without pulling
// everything, and large; nothing else reads it.
const ListingName = "catalog-files.jsonl"

const (
	// maxListings bounds catalog-files.jsonl, in bytes: a file of an extension
	// takes 130.
	maxListings = 128 << 20
	// maxListing bounds a line of it.
	maxListing = 16 << 20
	// maxListed bounds the files of all listings together: each takes some 300
	// bytes of memory while overlaps are looked for.
	maxListed = 1 << 20
)

// Listing is what an image brings to a node of one platform.
type Listing struct {
	Image    string `json:"image"`    // the line in image-digests, or what the user called it
	Platform string `json:"platform"` // "linux/amd64"
	// Files are all entries that reach the node, directories as well, in the order
	// of tree.Walk.
	Files []File `json:"files"`
}

// File is an entry of a listing.
type File struct {
	Path   string `json:"path"` // on the node: "/usr/local/bin/runsc"
	Mode   Mode   `json:"mode"`
	Size   int64  `json:"size,omitempty"` // bytes of a regular file
	Sum    string `json:"sum,omitempty"`  // hex SHA-256 of a regular file
	Target string `json:"target,omitempty"`
	Label  string `json:"label,omitempty"` // SELinux
}

// Mode is the type and the permissions of a file; as text it is Linux' st_mode in
// octal digits, as "100644" and "040755".
type Mode fs.FileMode

// types are those of fs.FileMode in Linux' words (S_IFMT).
var types = map[fs.FileMode]uint64{
	0: 0o100000, fs.ModeDir: 0o040000, fs.ModeSymlink: 0o120000, fs.ModeNamedPipe: 0o010000, fs.ModeSocket: 0o140000,
	fs.ModeDevice: 0o060000, fs.ModeDevice | fs.ModeCharDevice: 0o020000,
}

// flags are the bits above the permissions.
var flags = map[fs.FileMode]uint64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) {
	mode := fs.FileMode(m)
	n := types[mode.Type()] | uint64(mode.Perm())
	for flag, bit := range flags {
		if mode&flag != 0 {
			n |= bit
		}
	}
	return fmt.Appendf(nil, "%06o", n), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil {
		return fmt.Errorf("%q is no mode of the form 100644", text)
	}
	mode := fs.FileMode(n & 0o777)
	for flag, bit := range flags {
		if n&bit != 0 {
			mode |= flag
		}
	}
	for kind, bits := range types {
		if n&0o170000 == bits {
			*m = Mode(mode | kind)
			return nil
		}
	}
	return fmt.Errorf("%q is no mode of the form 100644: it has no type", text)
}

// NewListing lists what an image brings.
func NewListing(image, platform string, facts *survey.Facts) Listing {
	l := Listing{Image: image, Platform: platform, Files: []File{}}
	for _, e := range facts.Entries {
		if onNode, ok := survey.OnNode(e.Path); ok {
			l.Files = append(l.Files, File{onNode, Mode(e.Mode), e.Size, e.Sum, e.Target, e.Label})
		}
	}
	return l
}

// eachListing calls fn for each listing that is in the image of a catalog. There are
// none in catalogs that graft did not write.
func eachListing(t *tree.Tree, fn func(Listing) error) error {
	n := t.Get(ListingName)
	if n == nil {
		return nil
	}
	if !n.Mode.IsRegular() || n.Size > maxListings {
		return fmt.Errorf("reading %s: it is no file of at most %d MiB", ListingName, maxListings>>20)
	}
	r, err := n.Open()
	if err != nil {
		return fmt.Errorf("reading %s: %w", ListingName, err)
	}
	defer r.Close()
	return readListings(r, fn)
}

func readListings(r io.Reader, fn func(Listing) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxListing)
	files := 0
	for number := 1; lines.Scan(); number++ {
		var l Listing
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("reading %s, line %d: %w", ListingName, number, err)
		}
		if files += len(l.Files); files > maxListed {
			return fmt.Errorf("reading %s, line %d: more than %d files", ListingName, number, maxListed)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", ListingName, err)
	}
	return nil
}

func formatListings(listings []Listing) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, l := range listings {
		if err := enc.Encode(l); err != nil {
			return nil, fmt.Errorf("writing %s: %w", ListingName, err)
		}
	}
	return b.Bytes(), nil
}

func compareListings(a, b Listing) int {
	return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Platform, b.Platform))
}
