package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// whiteout prefixes of image layers (OCI image specification, "layer.md").
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// paxXattr is the prefix of extended attributes in PAX records.
const paxXattr = "SCHILY.xattr."

// FromTar reads the tree of a plain tar. The tree's files are sections of r,
// which must stay readable and unchanged as long as the tree is used.
func FromTar(r io.ReaderAt, size int64) (*Tree, error) {
	t := New()
	return t, t.readTar(r, size, false)
}

// ApplyLayer puts an image layer, an uncompressed tar, on top of the tree. Whiteouts
// remove what is below; an opaque directory hides what lower layers had in it.
func (t *Tree) ApplyLayer(r io.ReaderAt, size int64) error {
	return t.readTar(r, size, true)
}

func (t *Tree) readTar(r io.ReaderAt, size int64, whiteouts bool) error {
	a := tarReader{t: t, at: r, in: &counter{r: io.NewSectionReader(r, 0, size)}, fresh: map[*Node]bool{}, whiteouts: whiteouts}
	tr := tar.NewReader(a.in)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the tar at byte %d: %w", a.in.n, err)
		}
		if err := a.entry(h); err != nil {
			return fmt.Errorf("reading the tar at byte %d: %w", a.in.n, err)
		}
	}
}

// counter knows how many bytes were read. The tar reader reads headers in
// whole blocks and no further, so after Next it stands at the content.
type counter struct {
	r io.ReadSeeker
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Seek lets the tar reader skip contents.
func (c *counter) Seek(offset int64, whence int) (int64, error) {
	n, err := c.r.Seek(offset, whence)
	if err == nil {
		c.n = n
	}
	return n, err
}

type tarReader struct {
	t         *Tree
	at        io.ReaderAt
	in        *counter
	fresh     map[*Node]bool // nodes of this layer: its own opaque markers spare them
	whiteouts bool
}

// entry places one entry; what the tree cannot hold becomes a problem.
func (a *tarReader) entry(h *tar.Header) error {
	err := a.place(h)
	var pe *pathError
	if errors.As(err, &pe) {
		a.t.note(Problem{Path: h.Name, Kind: pe.kind, Detail: pe.detail})
		return nil
	}
	return err
}

func (a *tarReader) place(h *tar.Header) error {
	p, err := clean(h.Name)
	if err != nil {
		return err
	}
	base := path.Base(p)
	if a.whiteouts && strings.HasPrefix(base, whiteoutPrefix) {
		a.whiteout(p, base)
		return nil
	}
	if h.Typeflag == tar.TypeLink {
		return a.hardlink(p, h)
	}
	n, err := a.node(h)
	if n == nil || err != nil {
		return err
	}
	if err := a.t.Put(p, n); err != nil {
		return err
	}
	a.markFresh(p)
	return nil
}

// markFresh remembers the entry and the directories above it as this layer's.
func (a *tarReader) markFresh(p string) {
	for ; p != "." && p != ""; p = path.Dir(p) {
		if n := a.t.lookup(p); n != nil {
			a.fresh[n] = true
		}
	}
}

// whiteout removes what lower layers have at the place that a marker names.
func (a *tarReader) whiteout(p, base string) {
	dir := path.Dir(p)
	if base == opaqueMarker {
		if n := a.t.lookup(dir); n != nil {
			a.prune(n)
		}
		return
	}
	target := path.Join(dir, strings.TrimPrefix(base, whiteoutPrefix))
	if n := a.t.lookup(target); n != nil && !a.fresh[n] {
		a.t.Remove(target)
	}
}

// prune removes from a directory what this layer did not bring.
func (a *tarReader) prune(dir *Node) {
	for name, c := range dir.children {
		if !a.fresh[c] {
			a.t.count -= 1 + c.descendants()
			delete(dir.children, name)
			continue
		}
		a.prune(c)
	}
}

func (a *tarReader) hardlink(p string, h *tar.Header) error {
	target, err := clean(h.Linkname)
	if err != nil {
		return err
	}
	n := a.t.lookup(target)
	if n == nil || !n.Mode.IsRegular() {
		return &pathError{BadLink, fmt.Sprintf("a hard link to %q, which is no file before it", h.Linkname)}
	}
	if err := a.t.Put(p, n); err != nil {
		return err
	}
	a.markFresh(p)
	return nil
}

// node makes the node of a header, nil for one that is no file of the tree.
func (a *tarReader) node(h *tar.Header) (*Node, error) {
	n := &Node{Mode: h.FileInfo().Mode(), Label: a.label(h)}
	switch h.Typeflag {
	case tar.TypeReg:
		if sparse(h) {
			return nil, &pathError{SparseFile, "a sparse file: write the tar without --sparse"}
		}
		n.Size = h.Size
		if n.Size > 0 {
			n.Content = section{a.at, a.in.n, h.Size}
		}
	case tar.TypeSymlink:
		if len(h.Linkname) > MaxTarget {
			return nil, &pathError{BadName, fmt.Sprintf("a link target of %d bytes, %d are allowed", len(h.Linkname), MaxTarget)}
		}
		n.Mode, n.Target = fs.ModeSymlink|0o777, h.Linkname
	case tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeGNUSparse:
		return nil, &pathError{SparseFile, "a sparse file: write the tar without --sparse"}
	case tar.TypeXGlobalHeader:
		return nil, nil
	default:
		return nil, &pathError{BadName, fmt.Sprintf("an entry of the unknown tar type %q", h.Typeflag)}
	}
	return n, nil
}

func sparse(h *tar.Header) bool {
	_, real := h.PAXRecords["GNU.sparse.realsize"]
	_, size := h.PAXRecords["GNU.sparse.size"]
	return real || size
}

// label takes the SELinux label out of the header; other attributes are noted.
func (a *tarReader) label(h *tar.Header) string {
	label := ""
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		value := h.PAXRecords[key]
		name, ok := strings.CutPrefix(key, paxXattr)
		switch {
		case !ok:
		case name == SELinuxXattr && len(value) <= MaxLabel:
			label = strings.TrimRight(value, "\x00")
		default:
			a.t.note(Problem{Path: h.Name, Kind: DroppedAttr, Detail: fmt.Sprintf("the extended attribute %q is not kept", name)})
		}
	}
	return label
}

// section is content that is a part of something larger.
type section struct {
	r         io.ReaderAt
	off, size int64
}

// Open implements Content.
func (s section) Open() (Reader, error) {
	return nothingToClose{io.NewSectionReader(s.r, s.off, s.size)}, nil
}
