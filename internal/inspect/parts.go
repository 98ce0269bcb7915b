package inspect

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/tree"
)

// Parts finds out what the roots of boot assets are made of, and keeps that in the
// cache, by their digests. Its Look is an Options.Root.
type Parts struct {
	cache *cache.Cache
	found map[string]*sbom.Found
}

// NewParts makes ready to look.
func NewParts(c *cache.Cache) *Parts {
	return &Parts{cache: c, found: map[string]*sbom.Found{}}
}

// partsVersion changes when the parts of the same root do.
const partsVersion = "1"

// Look reads the documents in a root, and the programs that no document lists.
func (p *Parts) Look(ctx context.Context) func(digest string, root *tree.Tree) error {
	return func(digest string, root *tree.Tree) error {
		if p.found[digest] != nil {
			return nil
		}
		var found *sbom.Found
		key := "parts of a root filesystem\nversion " + partsVersion + "\n" + digest
		err := cache.JSON(ctx, p.cache, key, "parts of "+digest, &found, func() (err error) {
			found, err = sbom.Collect(ctx, root, "root filesystem", "")
			return err
		})
		p.found[digest] = found
		return err
	}
}

// Part is a part of a boot asset as a subject of an SBOM, with what lies beside its
// documents.
type Part struct {
	sbom.Subject
	VEX      map[string][]byte // documents of exploitability, by path
	Programs int               // that no document lists, and that were read themselves
	Problems []string          // what could not be read
	Digest   string            // of its squashfs, "" if it has none
	Unknown  bool              // nothing could be read of it
}

// Of lists the parts of an asset that was reported on with Look: its kernels, the
// bases and the extensions, each once.
func (p *Parts) Of(a *Asset) []Part {
	var parts []Part
	seen := map[string]bool{}
	add := func(key string, part Part) {
		if !seen[key] {
			seen[key] = true
			parts = append(parts, part)
		}
	}
	all := a.contents()
	for _, release := range kernelReleases(all) {
		add("kernel "+release, Part{Subject: sbom.Subject{Package: kernelPackage(release)}})
	}
	for _, c := range all {
		r := c.initramfs()
		if r == nil {
			continue
		}
		if r.Base.Digest != "" {
			add(r.Base.Digest, p.part(osPackage(r.Base.OS, r.Base.Version), r.Base.Digest))
		}
		for _, l := range r.Layers {
			m := l.Metadata
			if m.Name == "" {
				m.Name = l.Image
			}
			add(l.Digest+" "+m.Name, p.part(sbom.Package{Name: m.Name, Version: m.Version, Purpose: "APPLICATION", Checksums: checksumOf(l.Digest)}, l.Digest))
		}
	}
	return parts
}

// part is what was found in a root.
func (p *Parts) part(of sbom.Package, digest string) Part {
	part := Part{Subject: sbom.Subject{Package: of}, Digest: digest}
	found := p.found[digest]
	if found == nil {
		part.Unknown, part.Problems = true, []string{"its squashfs could not be read: what is in it is not known"}
		return part
	}
	part.BOMs, part.VEX, part.Problems, part.Programs = found.BOMs, found.VEX, found.Problems, len(found.Programs)
	return part
}

func checksumOf(digest string) []sbom.Checksum {
	value, ok := strings.CutPrefix(digest, "sha256:")
	if !ok {
		return nil
	}
	return []sbom.Checksum{{Algorithm: "SHA256", Value: value}}
}

// kernelNumber is what the kernel's own version is of its release: the rest is its
// builder's.
var kernelNumber = regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)+`)

func kernelPackage(release string) sbom.Package {
	p := sbom.Package{Name: "linux", Version: release, Purpose: "OPERATING_SYSTEM"}
	if n := kernelNumber.FindString(release); n != "" {
		p.CPEs = []string{fmt.Sprintf("cpe:2.3:o:linux:linux_kernel:%s:*:*:*:*:*:*:*", n)}
	}
	return p
}

// osPackage is the base's system. That of Talos is a module of Go to databases.
func osPackage(name, version string) sbom.Package {
	p := sbom.Package{Name: name, Version: version, Purpose: "OPERATING_SYSTEM"}
	if word, _, _ := strings.Cut(name, " "); word == "Talos" {
		p.Name = word
		if version != "" {
			p.PURL = "pkg:golang/github.com/siderolabs/talos@" + version
		}
	}
	return p
}

// contents are all that an asset turned out to hold, from the outside in.
func (a *Asset) contents() []Contents {
	all := append([]Contents{a.Contents}, contentsOf(a.Files)...)
	if d := a.Disk; d != nil {
		for _, p := range d.Partitions {
			all = append(all, p.FileSystem.contents()...)
		}
	}
	if i := a.ISO; i != nil {
		all = append(all, i.FileSystem.contents()...)
		for _, b := range i.Boot {
			all = append(all, b.FileSystem.contents()...)
		}
	}
	return all
}

func (f *FileSystem) contents() []Contents {
	if f == nil {
		return nil
	}
	return contentsOf(f.Files)
}

func contentsOf(files []Entry) []Contents {
	var all []Contents
	for _, e := range files {
		all = append(all, e.Contents)
	}
	return all
}

func (c Contents) initramfs() *Initramfs {
	if c.Initramfs == nil && c.Program != nil {
		return c.Program.Initramfs
	}
	return c.Initramfs
}

// kernelReleases are those of the kernels, and where there is no kernel those that
// the bases have modules for.
func kernelReleases(all []Contents) []string {
	var kernels, modules []string
	for _, c := range all {
		k := c.Kernel
		if k == nil && c.Program != nil {
			k = c.Program.Kernel
		}
		if k != nil && k.Release != "" {
			kernels = append(kernels, k.Release)
		}
		if r := c.initramfs(); r != nil {
			modules = append(modules, r.Base.Releases...)
		}
	}
	if len(kernels) == 0 {
		kernels = modules
	}
	slices.Sort(kernels)
	return slices.Compact(kernels)
}
