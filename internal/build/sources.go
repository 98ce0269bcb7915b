package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/recipe"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/tree"
)

// filesVersion is part of every key. It changes when the same source comes to
// be other files than before.
const filesVersion = "2"

// filesKey names files by how they came to be: the parts are kept apart.
func filesKey(parts ...string) string {
	h := sha256.New()
	h.Write([]byte(filesVersion))
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return parts[0] + ":" + hex.EncodeToString(h.Sum(nil))
}

// contextFiles are all files of the package's directory, and its rendered
// templates, below /pkg. If there are steps there is also the empty temporary
// directory.
func contextFiles(root string, p *recipe.Package) (*plan.Files, error) {
	dir := filepath.Join(root, filepath.FromSlash(p.BaseDir))
	t, err := readContext(dir, p)
	if err != nil {
		return nil, fmt.Errorf("reading the files of %s: %w", p.FileName, err)
	}
	digest, err := t.Digest(context.Background())
	if err != nil {
		return nil, fmt.Errorf("reading the files of %s: %w", p.FileName, err)
	}
	return &plan.Files{Key: filesKey("context", digest), Tree: func(context.Context, plan.Log) (*tree.Tree, error) { return t, nil }}, nil
}

func readContext(dir string, p *recipe.Package) (*tree.Tree, error) {
	own, err := tree.FromDir(dir)
	if err != nil {
		return nil, err
	}
	if p.BaseDir == "." {
		own.Remove("_out")
	}
	t := tree.New()
	if len(p.Steps) > 0 {
		t, err = workTree()
	}
	err = errors.Join(err, normalize(own), graftOnto(t, contextDir, own))
	for _, f := range p.TemplatedFiles {
		err = errors.Join(err, t.Put(path.Join(contextDir[1:], f.Path), tree.File(0o644, f.Content)))
	}
	if err != nil {
		return nil, err
	}
	if ps := own.Problems(); len(ps) > 0 {
		return nil, fmt.Errorf("%s: %s", ps[0].Path, ps[0].Detail)
	}
	return t, nil
}

// graftOnto puts a tree at a path of another.
func graftOnto(t *tree.Tree, at string, sub *tree.Tree) error {
	at = strings.TrimPrefix(at, "/")
	return sub.Walk(func(e tree.Entry) error {
		n := e.Node
		if e.Mode.IsDir() {
			n = tree.Dir(0)
			n.Mode = e.Mode
		}
		return t.Put(path.Join(at, e.Path), n)
	})
}

// normalize gives files the modes that Git keeps: those that its user's umask
// left in a working copy differ from machine to machine.
func normalize(t *tree.Tree) error {
	return t.Walk(func(e tree.Entry) error {
		switch {
		case e.Mode.IsDir():
			e.Node.Mode = fs.ModeDir | 0o755
		case e.Mode.IsRegular() && e.Mode&0o100 != 0:
			e.Node.Mode = 0o755
		case e.Mode.IsRegular():
			e.Node.Mode = 0o644
		case e.Mode&fs.ModeSymlink == 0:
			return fmt.Errorf("%s is a special file (%s): only files, directories and symlinks can be brought along", e.Path, e.Mode.Type())
		}
		return nil
	})
}

// sources puts what a step starts with there. They need nothing of the package,
// so engines get them while other things go on.
func (m *maker) sources(step recipe.Step) error {
	var ops []*plan.Op
	for _, src := range step.Sources {
		op, err := m.source(src)
		if err != nil {
			return fmt.Errorf("%s: sources: %w", m.p.FileName, err)
		}
		ops = append(ops, op)
	}
	if len(ops) > 0 {
		m.add(ops...)
	}
	return nil
}

func (m *maker) source(s recipe.Source) (*plan.Op, error) {
	switch {
	case s.Module != "":
		return m.module(s)
	case s.Deb != "":
		return m.deb(s)
	}
	f := m.b.opts.Fetch
	files := &plan.Files{
		Key: filesKey("url", s.SHA256, s.Destination),
		Tree: func(ctx context.Context, log plan.Log) (*tree.Tree, error) {
			log("downloading " + s.URL)
			blob, err := f.URL(ctx, fetch.URLSource{URL: s.URL, SHA256: s.SHA256, SHA512: s.SHA512})
			if err != nil {
				return nil, err
			}
			m.b.keep(blob)
			return oneFile(path.Join(tempDir, s.Destination), blob)
		},
	}
	return m.op(m.p.Name+": source "+s.Destination, files), nil
}

func (m *maker) deb(s recipe.Source) (*plan.Op, error) {
	d, err := fetch.ParseDeb(s.Deb)
	if err != nil {
		return nil, err
	}
	d.SHA256, d.Suite = s.SHA256, s.Suite
	if d.Arch == "" {
		_, d.Arch, _ = strings.Cut(m.target, "/")
	}
	f := m.b.opts.Fetch
	files := &plan.Files{
		Key: filesKey("deb", s.SHA256, s.Extract, s.Destination),
		Tree: func(ctx context.Context, log plan.Log) (*tree.Tree, error) {
			log("fetching the Debian package " + s.Deb)
			blob, err := f.Deb(ctx, d)
			if err != nil {
				return nil, err
			}
			m.b.keep(blob)
			if s.Extract == "" {
				return oneFile(path.Join(tempDir, s.Destination), blob)
			}
			t, err := fetch.DebTree(f.Cache, blob)
			if err != nil {
				return nil, err
			}
			return below(s.Extract, t)
		},
	}
	return m.op(m.p.Name+": source "+d.Name+" "+d.Version, files), nil
}

func (m *maker) module(s recipe.Source) (*plan.Op, error) {
	src, err := fetch.ParseModule(s.Module)
	if err != nil {
		return nil, err
	}
	src.Sum, src.Packages = s.Sum, s.Packages
	src.GOOS, src.GOARCH, _ = strings.Cut(m.target, "/")
	f := m.b.opts.Fetch
	files := &plan.Files{
		Key: filesKey("module", src.Key(), s.Destination),
		Tree: func(ctx context.Context, log plan.Log) (*tree.Tree, error) {
			log("fetching the Go module " + s.Module + " and what it imports")
			mod, err := f.Module(ctx, src)
			if err != nil {
				return nil, err
			}
			m.b.keep(mod)
			t, err := workTree()
			err = errors.Join(err, graftOnto(t, path.Join(tempDir, s.Destination), mod.Source()))
			if cache := mod.ModCache(); cache != nil {
				err = errors.Join(err, graftOnto(t, modCache, cache))
			}
			return t, err
		},
	}
	return m.op(m.p.Name+": source "+s.Module, files), nil
}

// below is a tree at a path.
func below(dir string, sub *tree.Tree) (*tree.Tree, error) {
	t := tree.New()
	if ps := sub.Problems(); len(ps) > 0 {
		return nil, fmt.Errorf("%s: %s", ps[0].Path, ps[0].Detail)
	}
	return t, graftOnto(t, dir, sub)
}

// workTree is a tree with the temporary directory. What is above that has the mode
// that it has on every system: a layer decides on the modes of all directories
// that it names.
func workTree() (*tree.Tree, error) {
	t := tree.New()
	tmp := tree.Dir(0)
	tmp.Mode = fs.ModeDir | fs.ModeSticky | 0o777
	return t, errors.Join(t.Put("tmp", tmp), t.Put(tempDir, tree.Dir(0o755)))
}

// oneFile is a tree of one file that belongs to root alone, as BuildKit's
// downloads do.
func oneFile(name string, blob *cache.Blob) (*tree.Tree, error) {
	t, err := workTree()
	n := &tree.Node{Mode: 0o600, Size: blob.Size, Content: section{blob}}
	return t, errors.Join(err, t.Put(strings.TrimPrefix(name, "/"), n))
}

// section is content of a file that is open.
type section struct{ blob *cache.Blob }

// Open implements tree.Content.
func (s section) Open() (tree.Reader, error) {
	return nothingToClose{io.NewSectionReader(s.blob, 0, s.blob.Size)}, nil
}

type nothingToClose struct{ *io.SectionReader }

func (nothingToClose) Close() error { return nil }

// sbom writes the document that a step's sbom section asks for.
func (m *maker) sbom(s recipe.SBOM) error {
	if s.OutputPath == "" {
		return nil
	}
	in := sbom.Recipe{
		Package: m.p.Name, Name: s.Name, Version: s.Version, CPEs: s.CPEs, PURL: s.PURL, Licenses: s.Licenses,
		Created: m.b.opts.Epoch, Creator: sbom.Creator{Tool: "graft-" + m.b.opts.Version},
	}
	for _, step := range m.p.Steps {
		for _, src := range step.Sources {
			if src.URL != "" {
				in.Sources = append(in.Sources, sbom.Source{URL: src.URL, SHA256: src.SHA256, SHA512: src.SHA512})
			}
		}
	}
	in.Debs, in.Modules = parts(m.p, m.target)
	doc, err := sbom.OfRecipe(in)
	if err != nil {
		return fmt.Errorf("%s: sbom: %w", m.p.FileName, err)
	}
	for _, w := range doc.Warnings {
		m.b.Warnings = append(m.b.Warnings, recipe.Problem{File: m.p.FileName, Message: "sbom: " + w})
	}
	files, err := m.b.document(s.OutputPath, in, doc)
	if err != nil {
		return err
	}
	m.add(m.op(m.p.Name+": sbom", files))
	return nil
}

// document is a file with the document of a recipe. What Debian packages say of
// themselves is added when it is written: nobody may have fetched them yet. It
// follows from their checksums, which are in the key with the rest.
func (b *Builder) document(name string, in sbom.Recipe, doc *sbom.Document) (*plan.Files, error) {
	plain, err := contentOf(doc)
	if err != nil {
		return nil, err
	}
	key := []string{"sbom", name, string(plain)}
	if len(in.Debs) > 0 {
		key = append(key, sbomVersion)
	}
	return &plan.Files{Key: filesKey(key...), Tree: func(ctx context.Context, _ plan.Log) (*tree.Tree, error) {
		described := in
		var err error
		if described.Debs, err = b.describe(ctx, in.Debs); err != nil {
			return nil, err
		}
		doc, err := sbom.OfRecipe(described)
		if err != nil {
			return nil, err
		}
		data, err := contentOf(doc)
		t := tree.New()
		return t, errors.Join(err, t.Put(strings.TrimPrefix(absolute(name, tempDir), "/"), tree.File(0o644, data)))
	}}, nil
}

func contentOf(d *sbom.Document) ([]byte, error) {
	var b bytes.Buffer
	_, err := d.WriteTo(&b)
	return b.Bytes(), err
}
