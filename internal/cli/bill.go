package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/tree"
)

// bill is what a source is made of.
type bill struct {
	source string
	sbom.Subject
	parts       []inspect.Part // of a boot asset; an extension is its only one
	identifiers []string       // what VEX documents may call the whole
}

// Purposes that packages have in an SBOM: those of extensions, and those of a base
// and its kernel.
const (
	purposeExtension = "APPLICATION"
	purposeBase      = "OPERATING_SYSTEM"
)

// readBills reads what sources are made of, one after the other.
func readBills(ctx context.Context, src *sources, names []string) ([]bill, error) {
	c, err := openCache(src.cacheDir)
	if err != nil {
		return nil, err
	}
	var bills []bill
	for _, name := range names {
		b, err := readBill(ctx, src, c, name)
		if err != nil {
			return nil, err
		}
		bills = append(bills, b)
	}
	return bills, nil
}

// readBill tells boot assets by their content; everything else is a source.
func readBill(ctx context.Context, src *sources, c *cache.Cache, name string) (bill, error) {
	parts := inspect.NewParts(c)
	o := inspect.Options{Cache: c, Root: parts.Look(ctx)}
	switch info, err := os.Stat(name); {
	case err == nil && info.Mode().IsRegular():
		b, err := fileBill(ctx, name, parts, o)
		if !errors.Is(err, inspect.ErrUnknown) {
			return b, inputError(err)
		}
	case err == nil && info.IsDir() && inspect.IdentifyDir(os.DirFS(name)) == inspect.KindPXE:
		a, err := inspect.OfDir(ctx, name, os.DirFS(name), o)
		if err != nil {
			return bill{}, inputError(err)
		}
		return assetBill(name, a, parts, "")
	}
	return sourceBill(ctx, src, c, name, parts, o)
}

func fileBill(ctx context.Context, name string, parts *inspect.Parts, o inspect.Options) (b bill, err error) {
	f, err := os.Open(name)
	if err != nil {
		return b, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return b, err
	}
	a, err := inspect.Of(ctx, name, f, info.Size(), o)
	if err != nil {
		return b, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return b, err
	}
	return assetBill(name, a, parts, "sha256:"+hex.EncodeToString(h.Sum(nil)))
}

// assetBill is that of a boot asset, which has a digest if it is one file or image.
func assetBill(name string, a *inspect.Asset, parts *inspect.Parts, digest string) (bill, error) {
	b := bill{source: name, parts: parts.Of(a)}
	if !slices.ContainsFunc(b.parts, func(p inspect.Part) bool { return p.Digest != "" }) {
		return b, withCode(exitInvalid, fmt.Errorf("reading %s: there is no initramfs in it that can be read, and so no extension", name),
			"graft inspect "+name+" says what there is")
	}
	b.Package = sbom.Package{Name: filepath.Base(name), Purpose: purposeBase}
	if hex, ok := strings.CutPrefix(digest, "sha256:"); ok {
		b.Checksums = []sbom.Checksum{{Algorithm: "SHA256", Value: hex}}
		b.identifiers = append(b.identifiers, digest)
	}
	for _, p := range b.parts {
		if b.Version == "" && p.PURL != "" && p.Purpose == b.Purpose {
			b.Version = p.Version // of Talos
		}
		b.Parts = append(b.Parts, p.Subject)
	}
	b.identifiers = append(b.identifiers, b.Name)
	return b, nil
}

// sourceBill is that of what is, or can be, a container image.
func sourceBill(ctx context.Context, src *sources, c *cache.Cache, name string, parts *inspect.Parts, o inspect.Options) (b bill, err error) {
	imgs, err := src.open(ctx, c, []string{name})
	if err != nil {
		return b, meant(name, err)
	}
	defer func() { err = errors.Join(err, imgs.close()) }()
	e, err := readFacts(ctx, c, imgs[0])
	if err != nil {
		return b, inputError(fmt.Errorf("reading %s: %w", name, err))
	}
	if e.Extension {
		return extensionBill(ctx, src, name, imgs[0], e)
	}
	root, err := imgs[0].Tree(ctx)
	if err != nil {
		return b, inputError(fmt.Errorf("reading %s: %w", name, err))
	}
	a, err := inspect.OfInstaller(ctx, name, root, o)
	if errors.Is(err, inspect.ErrUnknown) {
		return b, withCode(exitInvalid, fmt.Errorf("%s has no %s: it is not an extension", name, extension.ManifestName),
			"graft inspect says what an installer or a base is made of")
	}
	if err != nil {
		return b, inputError(err)
	}
	b, err = assetBill(name, a, parts, imgs[0].Digest())
	b.identifiers = append(b.identifiers, imageNames(imgs[0])...)
	return b, err
}

// dockerHost is the registry of names without one.
const dockerHost = "index.docker.io"

// meant adds to an error of that registry what a name without a host may have been
// meant for.
func meant(name string, err error) error {
	var registry *oci.RegistryError
	named := strings.TrimPrefix(name, "docker://")
	if !errors.As(err, &registry) || registry.Registry != dockerHost || strings.HasPrefix(named, "docker.io/") || strings.HasPrefix(named, dockerHost+"/") {
		return err
	}
	bare, _ := oci.CutRef(named)
	return withCode(exitDependency, err, "a name without a registry is one of docker.io: for an extension, graft catalog find "+path.Base(bare)+" says what it is called; a directory or file is ./"+named)
}

// meantOneOf is meant for that one of several names which an error is about.
func meantOneOf(names []string, err error) error {
	if err == nil {
		return nil
	}
	longestFirst := slices.SortedFunc(slices.Values(names), func(a, b string) int { return len(b) - len(a) })
	for _, name := range longestFirst { // x/y:1 is in an error, and so is y:1
		if strings.Contains(err.Error(), name) {
			return meant(name, err)
		}
	}
	return err
}

// extensionFacts are what the cache keeps of an image.
type extensionFacts struct {
	Extension bool // it has a manifest
	Name      string
	Version   string
	Found     *sbom.Found
}

// extensionFactsVersion changes when the facts of the same image do.
const extensionFactsVersion = "1"

// readFacts reads what an extension says of itself. An image with a digest is read
// once.
func readFacts(ctx context.Context, c *cache.Cache, img *oci.Image) (e extensionFacts, err error) {
	if img.Digest() == "" {
		err = e.read(ctx, img)
		return e, err
	}
	key := "parts of an image\nversion " + extensionFactsVersion + "\n" + img.Digest()
	err = cache.JSON(ctx, c, key, "parts of "+img.Digest(), &e, func() error { return e.read(ctx, img) })
	return e, err
}

func (e *extensionFacts) read(ctx context.Context, img *oci.Image) error {
	root, err := img.Tree(ctx)
	if err != nil {
		return err
	}
	if e.Extension = root.Get(extension.ManifestName) != nil; !e.Extension {
		return nil
	}
	data, err := root.ReadFile(extension.ManifestName, extension.MaxManifestSize)
	if err != nil {
		return err
	}
	m, _, err := extension.ParseManifest(data)
	if err != nil {
		return err
	}
	rootfs := root.Sub(extension.RootfsName)
	if rootfs == nil {
		rootfs = tree.New()
	}
	e.Name, e.Version = m.Metadata.Name, m.Metadata.Version
	e.Found, err = sbom.Collect(ctx, rootfs, e.Name, e.Version)
	return err
}

// extensionBill is that of an extension: what it says in its files, and what refers
// to its image.
func extensionBill(ctx context.Context, src *sources, name string, img *oci.Image, e extensionFacts) (b bill, err error) {
	p := inspect.Part{
		Subject: sbom.Subject{Package: sbom.Package{Name: e.Name, Version: e.Version, Purpose: purposeExtension}, BOMs: e.Found.BOMs},
		VEX:     e.Found.VEX, Programs: len(e.Found.Programs), Problems: e.Found.Problems, Digest: img.Digest(),
	}
	if hex, ok := strings.CutPrefix(img.Digest(), "sha256:"); ok {
		p.Checksums = []sbom.Checksum{{Algorithm: "SHA256", Value: hex}}
	}
	if err := attached(ctx, src, name, img, &p); err != nil {
		return b, err
	}
	return bill{source: name, Subject: p.Subject, parts: []inspect.Part{p}, identifiers: imageNames(img)}, nil
}

// imageNames are what VEX documents call an image: its reference, its digest, and the
// package URL of the kind oci.
func imageNames(img *oci.Image) (names []string) {
	ref, digest := img.Ref(), img.Digest()
	if ref != "" {
		names = append(names, ref)
	}
	if digest == "" {
		return names
	}
	repository, _ := oci.CutRef(ref)
	if repository != "" {
		last := strings.ToLower(repository[strings.LastIndexByte(repository, '/')+1:])
		names = append(names, "pkg:oci/"+last+"@"+digest+"?repository_url="+repository+"&arch="+img.Platform().Arch)
	}
	return append(names, digest)
}

// typeOpenVEX is the type of artifacts that say what is exploitable.
const typeOpenVEX = "application/vnd.openvex+json"

// attached adds the documents that refer to an image: to what was named, and to what
// an index has for the platform.
func attached(ctx context.Context, src *sources, name string, img *oci.Image, p *inspect.Part) error {
	o := oci.Options{Platform: src.platform, Insecure: src.insecure, Client: src.client}
	if img.Digest() == "" {
		return nil // a directory, or a plain tar
	}
	named, err := oci.Resolve(ctx, name, o)
	if err != nil {
		var registry *oci.RegistryError
		if errors.As(err, &registry) {
			return err
		}
		return nil // a form of image to which nothing refers
	}
	refs := []string{named.Ref}
	if named.Digest != img.Digest() {
		refs = append(refs, strings.TrimSuffix(named.Ref, named.Digest)+img.Digest())
	}
	for _, ref := range refs {
		found, err := oci.Referrers(ctx, ref, o) // all: not every registry knows the types
		if err != nil {
			return err
		}
		for _, a := range found {
			if a.Type != sbom.TypeSPDX && a.Type != sbom.TypeCycloneDX && a.Type != typeOpenVEX {
				continue
			}
			if err := a.Read(ctx); err != nil {
				return err
			}
			takeUp(p, a)
		}
	}
	return nil
}

// takeUp adds the documents of an artifact.
func takeUp(p *inspect.Part, a oci.Artifact) {
	for _, blob := range a.Blobs {
		if a.Type == typeOpenVEX {
			p.VEX = maps.Clone(p.VEX)
			if p.VEX == nil {
				p.VEX = map[string][]byte{}
			}
			p.VEX[a.Digest] = blob.Data
			continue
		}
		b, err := sbom.Read(bytes.NewReader(blob.Data))
		if err != nil {
			p.Problems = append(p.Problems, fmt.Sprintf("reading what %s has, which refers to the image: %v", a.Digest, err))
			continue
		}
		p.BOMs = append(p.BOMs, b)
	}
}
