package sbom

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/tree"
)

// Found is what a root filesystem says of its parts.
type Found struct {
	BOMs []*BOM `json:"boms,omitempty"`
	// Documents are the paths of those that were read.
	Documents []string `json:"documents,omitempty"`
	// Programs are the paths of programs of Go that no document lists. What they were
	// linked from is in one of the BOMs all the same: it was read from them.
	Programs []string `json:"programs,omitempty"`
	// VEX has the documents of exploitability that lie beside, by path.
	VEX map[string][]byte `json:"vex,omitempty"`
	// Problems are documents that could not be read, and why.
	Problems []string `json:"problems,omitempty"`
}

var (
	// documentDirs are where Talos looks for documents of its own, and of extensions.
	documentDirs = []string{"usr/share/spdx", "usr/local/share/spdx"}
	vexDirs      = []string{"usr/share/vex", "usr/local/share/vex"}
	documentEnds = []string{".spdx.json", ".cdx.json"}
)

// maxDocuments bounds the documents of one root, and maxDocumentBytes those together.
const (
	maxDocuments     = 1024
	maxDocumentBytes = 256 << 20
)

// Collect reads the documents in a root filesystem, which for an extension is its
// directory rootfs, and the programs of Go that none of them lists. Name and version
// are the extension's.
func Collect(ctx context.Context, root *tree.Tree, name, version string) (*Found, error) {
	c := collector{root: root, found: &Found{}, left: maxDocumentBytes}
	for _, dir := range documentDirs {
		c.documents(dir)
	}
	for _, dir := range vexDirs {
		c.vex(dir)
	}
	programs, err := c.unlisted(ctx)
	if err == nil && programs.Len() > 0 {
		err = c.scan(ctx, programs, name, version)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for what %s is made of: %w", name, err)
	}
	for i, b := range c.found.BOMs {
		c.found.BOMs[i] = b.WithoutFiles()
	}
	return c.found, nil
}

type collector struct {
	root  *tree.Tree
	found *Found
	read  int
	left  int64 // bytes that may still be read
}

// eachFile shows the files in a directory whose names end in one way.
func (c *collector) eachFile(dir string, ends []string, use func(p string, data []byte) error) {
	for _, name := range c.root.Names(dir) {
		p := path.Join(dir, name)
		n := c.root.Get(p)
		if !n.Mode.IsRegular() || !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(name, end) }) {
			continue
		}
		if c.read++; c.read > maxDocuments || n.Size > c.left {
			c.problem(p, fmt.Errorf("there are too many documents: more than %d, or %d MiB", maxDocuments, maxDocumentBytes>>20))
			return
		}
		c.left -= n.Size
		data, err := c.root.ReadFile(p, MaxDocument)
		if err == nil {
			err = use(p, data)
		}
		if err != nil {
			c.problem(p, err)
		}
	}
}

func (c *collector) problem(p string, err error) {
	c.found.Problems = append(c.found.Problems, fmt.Sprintf("reading %s: %v", p, err))
}

func (c *collector) documents(dir string) {
	c.eachFile(dir, documentEnds, func(p string, data []byte) error {
		b, err := Read(bytes.NewReader(data))
		if err == nil {
			c.found.BOMs = append(c.found.BOMs, b)
			c.found.Documents = append(c.found.Documents, p)
		}
		return err
	})
}

func (c *collector) vex(dir string) {
	c.eachFile(dir, []string{".json"}, func(p string, data []byte) error {
		if c.found.VEX == nil {
			c.found.VEX = map[string][]byte{}
		}
		c.found.VEX[p] = data
		return nil
	})
}

// unlisted are the programs that are in no document. Documents name files from the
// root, or from that of the image.
func (c *collector) unlisted(ctx context.Context) (*tree.Tree, error) {
	listed := map[string]bool{}
	for _, b := range c.found.BOMs {
		for _, f := range b.Files {
			listed[strings.TrimPrefix(strings.TrimPrefix(path.Clean("/"+f.Name), "/"), "rootfs/")] = true
		}
	}
	var failed error
	programs, err := c.root.Filter(func(e tree.Entry) bool {
		if failed != nil || !e.Mode.IsRegular() || listed[e.Path] {
			return false
		}
		if failed = ctx.Err(); failed != nil {
			return false
		}
		is, err := isELF(e)
		if err != nil {
			failed = fmt.Errorf("reading %s: %w", e.Path, err)
		}
		return is
	})
	if failed != nil {
		err = failed
	}
	return programs, err
}

func isELF(e tree.Entry) (bool, error) {
	if e.Size < int64(len(elf.ELFMAG)) {
		return false, nil
	}
	f, err := e.Open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	_, err = io.ReadFull(f, magic)
	return string(magic) == elf.ELFMAG, err
}

// scan reads what programs were linked from.
func (c *collector) scan(ctx context.Context, programs *tree.Tree, name, version string) error {
	doc, err := Scan(ctx, programs, Options{Name: orUnnamed(name), Version: version})
	if err != nil {
		return err
	}
	b, err := Read(bytes.NewReader(doc.data))
	if err != nil {
		return err
	}
	c.found.Problems = append(c.found.Problems, doc.Warnings...)
	names := map[string]string{}
	for _, f := range b.Files {
		names[f.ID] = strings.TrimPrefix(f.Name, "./")
	}
	for _, r := range b.Relations {
		if p, ok := names[r.From]; ok && !slices.Contains(c.found.Programs, p) {
			c.found.Programs = append(c.found.Programs, p)
		}
	}
	if len(c.found.Programs) > 0 {
		c.found.BOMs = append(c.found.BOMs, b)
	}
	return nil
}
