package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
)

func newCatalogShow(s Streams) *cobra.Command {
	var c catalogs
	var files bool
	cmd := &cobra.Command{
		Use:   "show NAME|IMAGE",
		Short: "Show all about an extension of a catalog",
		Long: `Show an extension of a catalog, or an image: its manifest, digest, platforms,
services, kernel modules, SBOMs, and the signatures and attestations that are
with it. All is read from the image itself, for each of its platforms.
Signatures are listed and not verified, which graft verify does. A directory or
a tarball is named with its path, as ./gvisor.

` + catalogHelp,
		Example: `  graft catalog show gvisor --talos v1.12.0
  graft catalog show siderolabs/nvidia-container-toolkit-lts --talos v1.12.0 --files
  graft catalog show registry.example/ext/gvisor:20260905.0 -o json`,
		Args:              notEmpty(cobra.ExactArgs(1)),
		ValidArgsFunction: completeExtensions(&c),
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&files, "files", false, "list the files, too (JSON and YAML always do)")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := c.choose(cmd.Context(), s, args[0])
		if err != nil {
			return err
		}
		page, err := c.show(cmd.Context(), e)
		if err != nil {
			return inputError(err)
		}
		switch *format {
		case "json":
			return printJSON(s.Out, page)
		case "yaml":
			return printYAML(s.Out, page)
		}
		return page.print(s.Out, files)
	}
	return cmd
}

// chosen is what a person wants to see.
type chosen struct {
	source string        // for oci.Open
	entry  catalog.Entry // the zero Entry for an image that no catalog was asked for
}

// choose takes a name from the catalog; anything else is an image, files with a
// slash in front as in ./gvisor. A word that is a name but for its capitals can be
// no image: it is looked for, so that the error tells what is near.
func (c *catalogs) choose(ctx context.Context, s Streams, word string) (chosen, error) {
	switch lower := strings.ToLower(word); {
	case catalog.IsName(word):
	case oci.IsLocal(word), isReference(word):
		return chosen{source: word}, c.ready()
	case !catalog.IsName(lower):
		return chosen{}, withCode(exitInvalid, fmt.Errorf("%q is neither the name of an extension, nor an image, nor a file that exists", word),
			"a name is like gvisor or siderolabs/gvisor, an image like registry.example/ext/gvisor:20260905.0, a directory like ./gvisor")
	}
	all, err := c.open(ctx, s)
	if err != nil {
		return chosen{}, err
	}
	e, err := c.find(s, all, word)
	return chosen{e.Image.String(), e}, err
}

// isReference says whether a word that is no name is the name of an image with a
// tag, a digest, or docker:// before it.
func isReference(word string) bool {
	repository, _ := oci.CutRef(strings.TrimPrefix(word, "docker://"))
	return catalog.IsName(repository)
}

// extensionPage is all about an extension.
type extensionPage struct {
	Name          string             `json:"name" yaml:"name"`
	Version       string             `json:"version" yaml:"version"`
	Author        string             `json:"author" yaml:"author"`
	Description   string             `json:"description" yaml:"description"`
	Compatibility string             `json:"compatibility,omitempty" yaml:"compatibility,omitempty"` // versions of Talos
	Tier          string             `json:"tier,omitempty" yaml:"tier,omitempty"`
	Category      string             `json:"category,omitempty" yaml:"category,omitempty"`
	Catalog       string             `json:"catalog,omitempty" yaml:"catalog,omitempty"`
	Repository    string             `json:"repository,omitempty" yaml:"repository,omitempty"` // of a registry
	Tag           string             `json:"tag,omitempty" yaml:"tag,omitempty"`
	Digest        string             `json:"digest,omitempty" yaml:"digest,omitempty"` // as named: of the index, if there is one
	Ref           string             `json:"ref" yaml:"ref"`                           // NAME:TAG@DIGEST; a file as it was named
	Services      []string           `json:"services,omitempty" yaml:"services,omitempty"`
	Modules       []string           `json:"modules,omitempty" yaml:"modules,omitempty"`
	SBOM          []string           `json:"sbom,omitempty" yaml:"sbom,omitempty"`
	SignedBy      []string           `json:"signedBy,omitempty" yaml:"signedBy,omitempty"` // as the catalog says: no proof
	Platforms     []catalog.Platform `json:"platforms" yaml:"platforms"`
	Referrers     []referrer         `json:"referrers,omitempty" yaml:"referrers,omitempty"`
	Files         []nodeFile         `json:"files,omitempty" yaml:"files,omitempty"`
}

// nodeFile is a file that reaches the node.
type nodeFile struct {
	Platform string `json:"platform,omitempty" yaml:"platform,omitempty"`
	Mode     string `json:"mode" yaml:"mode"`
	Size     int64  `json:"size" yaml:"size"`
	Path     string `json:"path" yaml:"path"`
	Sum      string `json:"sum,omitempty" yaml:"sum,omitempty"` // hex SHA-256
	Target   string `json:"target,omitempty" yaml:"target,omitempty"`
}

// referrer is something that was attached to an image.
type referrer struct {
	Platform    string            `json:"platform,omitempty" yaml:"platform,omitempty"` // "" for all: it is with the index
	Type        string            `json:"type" yaml:"type"`
	Digest      string            `json:"digest" yaml:"digest"`
	Tag         string            `json:"tag,omitempty" yaml:"tag,omitempty"` // the suffix, of cosign's old form
	Parts       int               `json:"parts" yaml:"parts"`
	Annotations map[string]string `json:"annotations,omitempty" yaml:"annotations,omitempty"`
}

func (c *catalogs) show(ctx context.Context, what chosen) (*extensionPage, error) {
	d, err := oci.Resolve(ctx, what.source, c.images())
	var registry *oci.RegistryError
	if errors.As(err, &registry) {
		return nil, err
	}
	built, err := c.built(ctx, what.source, d)
	if err != nil {
		return nil, err
	}
	if built[0].Facts.Manifest == nil {
		return nil, fmt.Errorf("reading %s: it has no %s: it is not an extension", what.source, extension.ManifestName)
	}
	m, _, err := extension.ParseManifest(built[0].Facts.Manifest)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what.source, err)
	}
	e, err := catalog.NewEntry(what.entry.Image, "", "", built)
	if err != nil {
		return nil, err
	}
	p := &extensionPage{Name: m.Metadata.Name, Version: m.Metadata.Version, Author: m.Metadata.Author, Description: e.Summary(),
		Compatibility: m.Metadata.Compatibility.Talos.Version, Tier: e.Tier(), Catalog: what.entry.Catalog,
		Services: e.Details.Services, Modules: e.Details.Modules, SBOM: e.Details.SBOM, Platforms: e.Details.Platforms}
	p.locate(what.source, d.Digest)
	if known := what.entry.Details; known != nil {
		p.Tier, p.Category, p.SignedBy = known.Tier, known.Category, known.SignedBy
	}
	for _, b := range built {
		p.Files = append(p.Files, nodeFiles(b)...)
	}
	if d.Digest != "" {
		p.Referrers, err = c.attached(ctx, d, built)
	}
	return p, err
}

// locate says where the extension is.
func (p *extensionPage) locate(source, digest string) {
	p.Ref, p.Digest = source, digest
	if oci.IsLocal(source) || digest == "" {
		return
	}
	p.Repository, p.Tag = oci.CutRef(strings.TrimPrefix(source, "docker://"))
	p.Ref = catalog.Image{Repository: p.Repository, Tag: p.Tag, Digest: digest}.String()
}

// attached lists what was attached to an image, and to those for its platforms.
func (c *catalogs) attached(ctx context.Context, d oci.Descriptor, built []catalog.Built) ([]referrer, error) {
	all, err := referrers(ctx, d.Ref, c.images())
	if err != nil {
		return nil, err
	}
	named, _, _ := strings.Cut(d.Ref, "@")
	for _, b := range built {
		if b.Digest == "" || b.Digest == d.Digest {
			continue
		}
		some, err := referrers(ctx, named+"@"+b.Digest, c.images())
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			r.Platform = b.Platform
			all = append(all, r)
		}
	}
	return all, nil
}

// built surveys an image for each of its platforms.
func (c *catalogs) built(ctx context.Context, source string, d oci.Descriptor) ([]catalog.Built, error) {
	platforms := []string{""}
	if len(d.Platforms) > 0 {
		platforms = nil
		for _, p := range d.Platforms {
			platforms = append(platforms, p.String())
		}
	}
	if d.Ref != "" {
		source = d.Ref
	}
	var all []catalog.Built
	for _, platform := range platforms {
		b, err := c.survey(ctx, source, platform)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// survey looks through an image, or remembers that it did.
func (c *catalogs) survey(ctx context.Context, source, platform string) (catalog.Built, error) {
	o := c.images()
	o.Platform = platform
	var err error
	if o.Digest, err = c.gate.admit(ctx, source); err != nil {
		return catalog.Built{}, err
	}
	img, err := oci.Open(ctx, source, o)
	if err != nil {
		return catalog.Built{}, err
	}
	defer img.Close()
	facts, err := bootasset.Survey(ctx, c.cache, img)
	if err != nil {
		return catalog.Built{}, fmt.Errorf("reading %s: %w", source, err)
	}
	return catalog.Built{Platform: img.Platform().String(), Digest: img.Digest(), Size: img.Size(), Facts: facts}, nil
}

func nodeFiles(b catalog.Built) []nodeFile {
	var rows []nodeFile
	for _, e := range b.Facts.Entries {
		if onNode, ok := survey.OnNode(e.Path); ok && !e.Mode.IsDir() {
			rows = append(rows, nodeFile{b.Platform, e.Mode.String(), e.Size, onNode, e.Sum, e.Target})
		}
	}
	return rows
}

// oldSuffixes are the tags that cosign gives to what belongs to an image.
var oldSuffixes = []string{"sig", "att", "sbom"}

// referrers lists what was attached to an image in either form.
func referrers(ctx context.Context, ref string, o oci.Options) ([]referrer, error) {
	attached, err := oci.Referrers(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	var all []referrer
	for _, a := range attached {
		all = append(all, referrer{"", a.Type, a.Digest, "", len(a.Blobs), a.Annotations})
	}
	for _, suffix := range oldSuffixes {
		a, err := oci.Tagged(ctx, ref, suffix, o)
		if err != nil {
			return nil, err
		}
		if a != nil {
			all = append(all, referrer{"", a.Type, a.Digest, suffix, len(a.Blobs), a.Annotations})
		}
	}
	return all, nil
}

func (p *extensionPage) print(w io.Writer, files bool) error {
	err := fields(w, "Name", p.Name, "Version", p.Version, "Tier", p.Tier, "Category", p.Category, "Author", p.Author,
		"Description", p.Description, "Talos", p.Compatibility, "Catalog", p.Catalog, "Image", p.Ref, "Digest", p.Digest,
		"Services", strings.Join(p.Services, ", "), "Modules", strings.Join(p.Modules, ", "), "SBOM", strings.Join(p.SBOM, ", "),
		"Signed by", strings.Join(p.SignedBy, ", "))
	platforms := [][]string{{"PLATFORM", "DIGEST", "SIZE", "FILES"}}
	for _, v := range p.Platforms {
		platforms = append(platforms, []string{v.Platform, v.Digest, size(v.Size), strconv.Itoa(v.Files)})
	}
	attached := [][]string{{"TYPE", "PLATFORM", "TAG", "DIGEST", "PARTS", "ANNOTATIONS"}}
	for _, r := range p.Referrers {
		attached = append(attached, []string{r.Type, r.Platform, r.Tag, r.Digest, strconv.Itoa(r.Parts), annotationWords(r.Annotations)})
	}
	err = errors.Join(err, section(w, "Platforms", someRows(platforms)), section(w, "Attached, not verified", someRows(attached)))
	if !files {
		return err
	}
	listed := [][]string{{"PLATFORM", "MODE", "SIZE", "PATH"}}
	for _, f := range p.Files {
		name := f.Path
		if f.Target != "" {
			name += " -> " + f.Target
		}
		listed = append(listed, []string{f.Platform, f.Mode, size(f.Size), name})
	}
	return errors.Join(err, section(w, "Files", someRows(listed)))
}

// annotationWords are annotations on one line, without long values.
func annotationWords(all map[string]string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		words = append(words, key+"="+shortText(all[key]))
	}
	return strings.Join(words, " ")
}
