package build

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/recipe"
)

const (
	// ProvenanceType is the predicate's type (SLSA 1.0).
	ProvenanceType = "https://slsa.dev/provenance/v1"
	// buildType says how to read the parameters: docs/provenance.md.
	buildType = "https://github.com/graftlinux/graft/blob/main/docs/provenance.md#v1"
	builderID = "https://github.com/graftlinux/graft"
)

// provenance is the predicate of SLSA 1.0, as far as graft has something to say.
// There are no times and no number of the run in it: the same build has the
// same provenance.
type provenance struct {
	Definition buildDefinition `json:"buildDefinition"`
	Run        runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	Type         string             `json:"buildType"`
	External     externalParameters `json:"externalParameters"`
	Dependencies []resource         `json:"resolvedDependencies"`
}

type externalParameters struct {
	Package   string            `json:"package"`
	Platforms []string          `json:"platforms"`
	Arguments map[string]string `json:"buildArguments,omitempty"`
	Epoch     int64             `json:"sourceDateEpoch"` // seconds since 1970
}

type runDetails struct {
	Builder struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version"`
	} `json:"builder"`
}

// resource is a ResourceDescriptor of in-toto.
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Provenance tells what a package is made from, as a predicate of SLSA 1.0: the
// files of its recipe and of all that it needs, sources with their checksums,
// images. args are the build arguments.
func (b *Builder) Provenance(ctx context.Context, name string, platforms []string, args map[string]string) ([]byte, error) {
	p := provenance{Definition: buildDefinition{Type: buildType, External: externalParameters{
		Package: name, Platforms: platforms, Arguments: args, Epoch: max(b.opts.Epoch.Unix(), 0),
	}}}
	p.Run.Builder.ID, p.Run.Builder.Version = builderID, map[string]string{"graft": b.opts.Version}
	found := map[string]resource{}
	for _, platform := range platforms {
		set, err := b.Set(ctx, platform)
		if err != nil {
			return nil, err
		}
		packages, err := set.Closure(name)
		if err != nil {
			return nil, err
		}
		for _, pkg := range packages {
			if err := b.resources(pkg, platform, found); err != nil {
				return nil, fmt.Errorf("telling what %s is made from: %w", name, err)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		p.Definition.Dependencies = append(p.Definition.Dependencies, found[key])
	}
	return json.Marshal(p)
}

// resources adds what a package is made from, without repeats.
func (b *Builder) resources(p *recipe.Package, platform string, found map[string]resource) error {
	add := func(r resource) {
		found[r.URI+" "+r.Name+" "+fmt.Sprint(r.Digest)] = r
	}
	files, err := contextFiles(b.opts.Root, p)
	if err != nil {
		return err
	}
	_, digest, _ := strings.Cut(files.Key, ":")
	add(resource{Name: "recipe " + p.Name + " (" + platform + ")", URI: "file:" + p.FileName, Digest: map[string]string{"sha256": digest}})
	for _, d := range p.Dependencies {
		if d.Image != "" {
			add(imageResource(d.Image))
		}
	}
	if p.Variant == recipe.Alpine {
		add(imageResource(b.opts.Alpine))
	}
	for _, step := range p.Steps {
		for _, s := range step.Sources {
			r, err := sourceResource(s, platform)
			if err != nil {
				return err
			}
			add(r)
		}
	}
	return nil
}

func imageResource(ref string) resource {
	r := resource{URI: "docker://" + ref}
	if name, digest, ok := strings.Cut(ref, "@sha256:"); ok {
		r.Name, r.Digest = name, map[string]string{"sha256": digest}
	}
	return r
}

func sourceResource(s recipe.Source, platform string) (resource, error) {
	switch {
	case s.Module != "":
		m, err := fetch.ParseModule(s.Module)
		return resource{URI: "pkg:golang/" + m.Path + "@" + url.PathEscape(m.Version), Digest: dirHash(s.Sum)}, err
	case s.Deb != "":
		d, err := fetch.ParseDeb(s.Deb)
		arch := d.Arch
		if arch == "" {
			arch = path.Base(platform)
		}
		return resource{URI: "pkg:deb/debian/" + d.Name + "@" + url.PathEscape(d.Version) + "?arch=" + arch, Digest: digests(s)}, err
	}
	return resource{URI: s.URL, Digest: digests(s)}, nil
}

func digests(s recipe.Source) map[string]string {
	all := map[string]string{}
	for name, sum := range map[string]string{"sha256": s.SHA256, "sha512": s.SHA512} {
		if sum != "" {
			all[name] = sum
		}
	}
	return all
}

// dirHash is the sum of go.sum in the form of in-toto's DigestSet, which is hex.
func dirHash(sum string) map[string]string {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return map[string]string{"dirHash": hex.EncodeToString(raw)}
}
