package sbom

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/ctxio"
	"github.com/graftlinux/graft/internal/tree"
)

// Options say what is known of an extension beside its files.
type Options struct {
	Name    string // of the extension
	Version string
	Created time.Time // the zero Time is written as such
	Creator Creator
	Debs    []Deb    // Debian packages that it was made from
	Modules []Module // Go modules that it was made from
}

// Scan makes the document of an extension from its image tree. What it says:
//
//   - the extension CONTAINS each regular file, with SHA-1 (which SPDX demands) and
//     SHA-256;
//   - the extension was GENERATED_FROM the Debian packages and Go modules that its
//     recipe names;
//   - a Go program was GENERATED_FROM its main module, which DEPENDS_ON the modules that
//     were linked and on the standard library ("stdlib", of the toolchain's
//     version). They are read from the program itself, stripped or not. Not found are
//     those of packed programs, and of position-independent ones without even a
//     table of sections.
//
// Every file is read once, if the tree is hashed already.
func Scan(ctx context.Context, t *tree.Tree, opts Options) (*Document, error) {
	if opts.Name == "" {
		return nil, errors.New("making the SBOM of an extension: it has no name")
	}
	files, err := readFiles(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("making the SBOM of %s: %w", opts.Name, err)
	}
	s := scan{draft: newDraft(strings.Trim(opts.Name+"-"+opts.Version, "-"), opts.Created, opts.Creator)}
	s.extension = s.newPackage("extension-"+opts.Name, opts.Name, opts.Version)
	s.relate(self, common.TypeRelationshipDescribe, s.extension.PackageSPDXIdentifier)
	s.learnVersions(opts.Modules)
	for _, id := range append(s.debs(opts.Debs), s.modules(opts.Modules)...) {
		s.relate(s.extension.PackageSPDXIdentifier, common.TypeRelationshipGeneratedFrom, id)
	}
	s.files(files)
	s.programs(files)
	return s.finish(namespace)
}

type scan struct {
	*draft
	extension *v2_3.Package
	versions  map[string]Module // of modules that the recipe names, by path
}

// learnVersions notes what modules the extension is known to be made from: a program
// that was built in its module's directory does not know its own version.
func (s *scan) learnVersions(list []Module) {
	s.versions = map[string]Module{}
	for _, m := range list {
		other, ok := s.versions[m.Path]
		s.versions[m.Path] = m
		if ok && other != m {
			s.versions[m.Path] = Module{} // it could be either
		}
	}
}

// file is a regular file of the tree, read.
type file struct {
	entry   tree.Entry
	id      common.ElementID
	sha1    [sha1.Size]byte
	elf     bool
	program *program // nil if it is none of Go
}

// readFiles reads all regular files, in parallel; their order is that of the walk.
func readFiles(ctx context.Context, t *tree.Tree) ([]*file, error) {
	if err := t.Hash(ctx); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	var files []*file
	walked := t.Walk(func(e tree.Entry) error {
		if !e.Mode.IsRegular() {
			return ctx.Err()
		}
		f := &file{entry: e}
		files = append(files, f)
		if e.Hardlink == "" {
			g.Go(func() error { return f.read(ctx) })
		}
		return ctx.Err()
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	shareLinks(files)
	return files, walked
}

// shareLinks gives the other names of a file what its first one has.
func shareLinks(files []*file) {
	first := map[*tree.Node]*file{}
	for _, f := range files {
		if f.entry.Hardlink == "" {
			first[f.entry.Node] = f
			continue
		}
		of := first[f.entry.Node]
		f.sha1, f.elf, f.program = of.sha1, of.elf, of.program
	}
}

func (f *file) read(ctx context.Context) error {
	if f.entry.Size == 0 {
		f.sha1 = sha1.Sum(nil)
		return nil
	}
	r, err := f.entry.Open()
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.entry.Path, err)
	}
	defer r.Close()
	h := sha1.New()
	n, err := io.Copy(h, io.LimitReader(ctxio.NewReader(ctx, r), f.entry.Size+1))
	if err == nil && n != f.entry.Size {
		err = tree.ErrChanged
	}
	if err == nil {
		h.Sum(f.sha1[:0])
		f.elf, f.program, err = readProgram(r, f.entry.Size)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.entry.Path, err)
	}
	return nil
}

// files adds the files, and to the extension the code that stands for all of them.
func (s *scan) files(files []*file) {
	sums := make([]string, 0, len(files))
	for _, f := range files {
		sum1, sum256 := hex.EncodeToString(f.sha1[:]), f.entry.Sum()
		sums = append(sums, sum1)
		entry := &v2_3.File{
			FileName:           "./" + plain(f.entry.Path),
			FileSPDXIdentifier: s.ids.next("File-" + f.entry.Path),
			Checksums: []common.Checksum{
				{Algorithm: common.SHA1, Value: sum1},
				{Algorithm: common.SHA256, Value: hex.EncodeToString(sum256[:])},
			},
			LicenseConcluded:   noAssertion,
			LicenseInfoInFiles: []string{noAssertion},
			FileCopyrightText:  noAssertion,
		}
		if f.elf {
			entry.FileTypes = []string{"BINARY"}
		}
		f.id = entry.FileSPDXIdentifier
		s.doc.Files = append(s.doc.Files, entry)
		s.relate(s.extension.PackageSPDXIdentifier, common.TypeRelationshipContains, f.id)
	}
	if len(files) > 0 {
		s.extension.FilesAnalyzed = true
		s.extension.PackageLicenseInfoFromFiles = []string{noAssertion}
		s.extension.PackageVerificationCode = &common.PackageVerificationCode{Value: verificationCode(sums)}
	}
}

// verificationCode is the SHA-1 of all SHA-1s, sorted (SPDX 2.3, 7.9).
func verificationCode(sums []string) string {
	slices.Sort(sums)
	sum := sha1.Sum([]byte(strings.Join(sums, "")))
	return hex.EncodeToString(sum[:])
}

// programs adds what the Go programs were built from.
func (s *scan) programs(files []*file) {
	for _, f := range files {
		p := f.program
		if p == nil {
			continue
		}
		if p.skipped != "" {
			s.warn("not all modules of %s are listed: %s", f.entry.Path, p.skipped)
		}
		user := f.id
		if p.main.Path != "" {
			user = s.module(s.completed(p.main))
			s.relate(f.id, common.TypeRelationshipGeneratedFrom, user)
		}
		for _, m := range p.modules {
			s.relate(user, common.TypeRelationshipDependsOn, s.module(m))
		}
		if p.toolchain != "" {
			std := s.module(source{Module: Module{Path: "stdlib", Version: p.toolchain}})
			s.relate(user, common.TypeRelationshipDependsOn, std)
		}
	}
}

// completed adds the version of a module that was built in its own directory.
func (s *scan) completed(m source) source {
	if known := s.versions[m.Path]; m.Version == "" && m.info == "" && known.Path == m.Path {
		m.Module = known
	}
	return m
}
