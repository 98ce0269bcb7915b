// Package survey looks through the image tree of an extension once and writes
// down what everything later needs to know of it: the listing with the sums of
// all contents, the manifest, the services, the ELF binaries, the kernel
// modules. These Facts are a pure function of the tree, small against it, and
// can be kept in a cache: checks, conflicts between extensions, inspection and
// depmod then work without the files themselves.
package survey

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/kmod"
	"github.com/graftlinux/graft/internal/tree"
)

// Version changes when Facts of the same tree change: a cache keeps it in its keys.
const Version = "1"

// Facts are what a tree holds. Paths are relative to the image's root, so those
// of the files on the node begin with "rootfs/".
type Facts struct {
	// Digest of the tree, see tree.Tree.Digest.
	Digest string `json:"digest"`
	// Entries are all entries below the root, in the order of tree.Walk.
	Entries []Entry `json:"entries"`
	// Problems are what the tree could not hold.
	Problems []tree.Problem `json:"problems,omitempty"`
	// Manifest is the content of manifest.yaml, nil if there is none.
	Manifest []byte `json:"manifest,omitempty"`
	// ManifestError says why a manifest.yaml that is there was not read.
	ManifestError string `json:"manifestError,omitempty"`
	// Services are the files in the services' directory.
	Services []Service `json:"services,omitempty"`
	// Binaries are the ELF files outside of the firmware and modules directories.
	Binaries []Binary `json:"binaries,omitempty"`
	// Modules are the kernel modules, of any release.
	Modules []Module `json:"modules,omitempty"`
}

// Entry is one name of the listing.
type Entry struct {
	Path     string      `json:"path"`
	Mode     fs.FileMode `json:"mode"`
	Size     int64       `json:"size,omitempty"`
	Sum      string      `json:"sum,omitempty"` // hex SHA-256 of a regular file
	Target   string      `json:"target,omitempty"`
	Label    string      `json:"label,omitempty"`
	Hardlink string      `json:"hardlink,omitempty"`
}

// Service is a file in the services' directory.
type Service struct {
	Path  string `json:"path"`
	Data  []byte `json:"data,omitempty"`
	Error string `json:"error,omitempty"` // why it was not read
}

// Module is a kernel module.
type Module struct {
	Path    string    `json:"path"`
	Release string    `json:"release"` // the kernel release whose directory it is in
	Info    kmod.Info `json:"info"`
	Error   string    `json:"error,omitempty"` // why it is no module
}

// InRelease is the module at its place in the kernel release's directory.
func (m Module) InRelease() kmod.Module {
	_, below, _ := strings.Cut(m.Path, "/modules/"+m.Release+"/")
	return kmod.Module{Path: below, Info: m.Info}
}

// rootfs is the prefix of paths on the node.
const rootfs = extension.RootfsName + "/"

// libDirs are where modules and firmware are: since Talos 1.10, and before.
var libDirs = []string{rootfs + "usr/lib/", rootfs + "lib/"}

// Of surveys the image tree of an extension.
func Of(ctx context.Context, t *tree.Tree) (*Facts, error) {
	digest, err := t.Digest(ctx)
	if err != nil {
		return nil, err
	}
	s := surveyor{facts: &Facts{Digest: digest, Problems: t.Problems()}, tree: t}
	s.workers, ctx = errgroup.WithContext(ctx)
	s.workers.SetLimit(runtime.GOMAXPROCS(0))
	walked := t.Walk(func(e tree.Entry) error {
		s.entry(e)
		return ctx.Err()
	})
	if err := s.workers.Wait(); err != nil {
		return nil, err
	}
	if walked != nil {
		return nil, walked
	}
	s.facts.sort()
	return s.facts, nil
}

type surveyor struct {
	facts   *Facts
	tree    *tree.Tree
	workers *errgroup.Group
	mu      sync.Mutex // guards what workers append to
}

func (s *surveyor) entry(e tree.Entry) {
	if e.Path == "." {
		return
	}
	s.facts.Entries = append(s.facts.Entries, entryOf(e))
	if !e.Mode.IsRegular() {
		return
	}
	switch release, kind := classify(e.Path); {
	case e.Path == extension.ManifestName:
		s.manifest()
	case kind == isService:
		s.service(e)
	case kind == isModule:
		s.workers.Go(func() error { return s.module(e, release) })
	case kind == isOther && e.Hardlink == "":
		s.workers.Go(func() error { return s.binary(e) })
	}
}

func entryOf(e tree.Entry) Entry {
	entry := Entry{Path: e.Path, Mode: e.Mode, Size: e.Size, Target: e.Target, Label: e.Label, Hardlink: e.Hardlink}
	if e.Mode.IsRegular() {
		sum := e.Sum()
		entry.Sum = hex.EncodeToString(sum[:])
	}
	return entry
}

// kind is what a file is, told by its place.
type kind int

const (
	isOther kind = iota
	isService
	isModule
	isData // firmware, module indexes: whatever their format, not for this machine's CPU
)

func classify(p string) (release string, k kind) {
	if path.Dir(p) == rootfs+extension.ServiceDir {
		return "", isService
	}
	for _, lib := range libDirs {
		if strings.HasPrefix(p, lib+"firmware/") {
			return "", isData
		}
		if below, ok := strings.CutPrefix(p, lib+"modules/"); ok {
			release, _, _ := strings.Cut(below, "/")
			if kmod.IsModule(p) {
				return release, isModule
			}
			return release, isData
		}
	}
	return "", isOther
}

func (s *surveyor) manifest() {
	data, err := s.tree.ReadFile(extension.ManifestName, extension.MaxManifestSize)
	if err != nil {
		s.facts.ManifestError = err.Error()
		return
	}
	s.facts.Manifest = data
}

func (s *surveyor) service(e tree.Entry) {
	svc := Service{Path: e.Path}
	data, err := s.tree.ReadFile(e.Path, extension.MaxServiceSize)
	if err != nil {
		svc.Error = err.Error()
	}
	svc.Data = data
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts.Services = append(s.facts.Services, svc)
}

func (s *surveyor) module(e tree.Entry, release string) error {
	m := Module{Path: e.Path, Release: release}
	f, err := e.Open()
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	defer f.Close()
	switch info, err := kmod.ParseInfo(f, e.Size); {
	case err != nil:
		m.Error = err.Error()
	default:
		m.Info = *info
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts.Modules = append(s.facts.Modules, m)
	return nil
}

func (s *surveyor) binary(e tree.Entry) error {
	b, err := readBinary(e)
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if b == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts.Binaries = append(s.facts.Binaries, *b)
	return nil
}

// sort brings what the workers found into one order.
func (f *Facts) sort() {
	slices.SortFunc(f.Services, func(a, b Service) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(f.Binaries, func(a, b Binary) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(f.Modules, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
}

// Tree is the surveyed tree without contents: for asking what is where and
// where links lead.
func (f *Facts) Tree() (*tree.Tree, error) {
	t := tree.New()
	for _, e := range f.Entries {
		n := &tree.Node{Mode: e.Mode, Size: e.Size, Target: e.Target, Label: e.Label}
		if first := t.Get(e.Hardlink); e.Hardlink != "" && first != nil {
			n = first
		}
		if err := t.Put(e.Path, n); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Size is the number of bytes of all regular files, each counted once.
func (f *Facts) Size() int64 {
	var sum int64
	for _, e := range f.Entries {
		if e.Hardlink == "" && e.Mode.IsRegular() {
			sum += e.Size
		}
	}
	return sum
}

// OnNode is the path that an entry has on the node: "/usr/local/bin/runsc" for
// "rootfs/usr/local/bin/runsc". ok is false for what does not get there.
func OnNode(p string) (onNode string, ok bool) {
	below, ok := strings.CutPrefix(p, rootfs)
	return "/" + below, ok
}
