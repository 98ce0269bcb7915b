package cpio

import (
	"path"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// File is an entry whose content is somewhere else.
type File struct {
	Header                // Size is that of the content
	Content *sparse.Image // nil: none
}

// Image is an archive of the files, uncompressed, in their order: headers in
// memory, contents where they are. Directories that are not among the files
// are put before the first that needs them, as like describes them.
func Image(files []File, like Header) (*sparse.Image, error) {
	p := &placer{}
	w := NewWriter(p)
	for _, f := range files {
		if f.Content != nil {
			f.Size = f.Content.Size()
		}
		if err := w.MkdirAll(path.Dir(f.Name), like); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, err
		}
		if f.Content != nil {
			w.written, w.body = w.written+f.Size, 0
			p.place(f.Content)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return p.image(), nil
}

// placer gathers what a Writer writes, and what is placed between.
type placer struct {
	parts   []*sparse.Image
	pending []byte
}

func (p *placer) Write(b []byte) (int, error) {
	p.pending = append(p.pending, b...)
	return len(b), nil
}

func (p *placer) place(m *sparse.Image) {
	p.parts = append(p.parts, sparse.Bytes(p.pending), m)
	p.pending = nil
}

func (p *placer) image() *sparse.Image {
	return sparse.Concat(1, append(p.parts, sparse.Bytes(p.pending))...)
}
