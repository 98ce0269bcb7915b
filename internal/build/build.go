// Package build makes extensions of recipes: it plans (package plan), has an
// engine run the plan, and completes and checks what comes out, the same way
// whatever the engine was: an SBOM of what is in it, and the rules for
// extensions.
package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/recipe"
	"github.com/graftlinux/graft/internal/sbom"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// Config says what to build, and with what.
type Config struct {
	Builder *Builder
	Engine  plan.Engine
	Cache   *cache.Cache
	// Targets are names of packages.
	Targets   []string
	Platforms []string // "linux/amd64"
	Epoch     time.Time
	Check     check.Options
	// NoSBOM leaves out the document that Run adds to extensions.
	NoSBOM  bool
	Version string // of graft
}

// Built is a package that was built, for all platforms.
type Built struct {
	Name      string
	Manifest  *extension.Manifest // nil if it is no extension
	Labels    map[string]string   // of the Pkgfile
	Platforms []Result
}

// Result is a package for one platform.
type Result struct {
	Platform oci.Platform
	Tree     *tree.Tree
	Digest   string        // of the tree
	Facts    *survey.Facts // nil if it is no extension
	Findings []check.Finding
}

// Errors counts the findings that are errors.
func (b *Built) Errors() int {
	n := 0
	for _, r := range b.Platforms {
		errs, _ := check.Worst(r.Findings)
		n += errs
	}
	return n
}

// Run builds every target for every platform. What the rules find is in the
// result, and no error here.
func Run(ctx context.Context, c Config, report plan.Report) ([]Built, error) {
	jobs, err := c.jobs(ctx)
	if err != nil {
		return nil, err
	}
	roots := make([]*plan.Op, len(jobs))
	for i, j := range jobs {
		roots[i] = j.op
	}
	trees, err := c.Engine.Solve(ctx, roots, report)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(jobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * len(c.Platforms))
	for i, j := range jobs {
		g.Go(func() error {
			var err error
			results[i], err = c.complete(gctx, j, trees[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return c.gather(jobs, results)
}

// job is one target for one platform.
type job struct {
	name     string
	platform string
	op       *plan.Op
	pkg      *recipe.Package
}

func (c *Config) jobs(ctx context.Context) ([]job, error) {
	var jobs []job
	var errs []error
	for _, name := range c.Targets {
		for _, platform := range c.Platforms {
			op, pkg, err := c.Builder.Package(ctx, name, platform)
			if err != nil {
				errs = append(errs, err)
				break // other platforms would say the same
			}
			jobs = append(jobs, job{name, platform, op, pkg})
		}
	}
	return jobs, errors.Join(errs...)
}

// gather puts the platforms of a package together.
func (c *Config) gather(jobs []job, results []Result) ([]Built, error) {
	var all []Built
	for i, j := range jobs {
		if len(all) == 0 || all[len(all)-1].Name != j.name {
			set, err := c.Builder.Set(context.Background(), j.platform) // it was loaded for the plan
			if err != nil {
				return nil, err
			}
			all = append(all, Built{Name: j.name, Labels: set.Pkgfile.Labels})
		}
		b := &all[len(all)-1]
		b.Platforms = append(b.Platforms, results[i])
		m, err := manifest(results[i].Tree)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", j.name, err)
		}
		if b.Manifest == nil {
			b.Manifest = m
		}
	}
	return all, nil
}

// manifest reads the manifest of an extension; nil if there is none. One that
// is damaged is for the rules to find.
func manifest(t *tree.Tree) (*extension.Manifest, error) {
	data, err := t.ReadFile(extension.ManifestName, extension.MaxManifestSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, _, err := extension.ParseManifest(data)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return &m, nil
}

// isExtension says whether a tree is meant to be an extension, and no package
// that only helps to build others.
func isExtension(t *tree.Tree) bool {
	return t.Get(extension.ManifestName) != nil && t.Get(extension.RootfsName) != nil
}

// complete adds the SBOM to an extension and checks it. Of a tree that it has
// seen it knows everything.
func (c *Config) complete(ctx context.Context, j job, t *tree.Tree) (Result, error) {
	p, err := oci.ParsePlatform(j.platform)
	if err != nil {
		return Result{}, err
	}
	r := Result{Platform: p, Tree: t}
	if !isExtension(t) {
		r.Digest, err = t.Digest(ctx)
		return r, err
	}
	if !c.NoSBOM {
		if err := c.addSBOM(ctx, j, t); err != nil {
			return r, fmt.Errorf("describing what is in %s: %w", j.name, err)
		}
	}
	if r.Digest, err = t.Digest(ctx); err != nil {
		return r, err
	}
	key := fmt.Sprintf("facts|v%s|tree %s", survey.Version, r.Digest)
	err = cache.JSON(ctx, c.Cache, key, "facts of "+j.name, &r.Facts, func() error {
		r.Facts, err = survey.Of(ctx, t)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("checking %s: %w", j.name, err)
	}
	r.Findings, err = check.Run([]check.Subject{{Source: j.name, Arch: p.Arch, Facts: r.Facts}}, c.Check)
	return r, err
}

// sbomVersion is part of the cache's key. It changes with what package sbom writes, and
// with what is told to it.
const sbomVersion = "2"

// addSBOM puts a document into the extension that lists what is in it: Go
// modules, Debian packages.
func (c *Config) addSBOM(ctx context.Context, j job, t *tree.Tree) error {
	digest, err := t.Digest(ctx)
	if err != nil {
		return err
	}
	opts := c.scanOptions(j, t)
	input, err := json.Marshal(opts)
	if err != nil {
		return err
	}
	var doc []byte
	key := fmt.Sprintf("sbom|v%s|%s|%s", sbomVersion, digest, input) // what debs say follows from their checksums
	err = cache.JSON(ctx, c.Cache, key, "SBOM of "+j.name, &doc, func() error {
		if opts.Debs, err = c.Builder.describe(ctx, opts.Debs); err != nil {
			return err
		}
		d, err := sbom.Scan(ctx, t, opts)
		if err != nil {
			return err
		}
		doc, err = contentOf(d)
		return err
	})
	if err != nil {
		return err
	}
	return t.Put(path.Join(extension.RootfsName, extension.SBOMDir, j.name+"-contents.spdx.json"), tree.File(0o644, doc))
}

func (c *Config) scanOptions(j job, t *tree.Tree) sbom.Options {
	o := sbom.Options{Name: j.name, Created: c.Epoch, Creator: sbom.Creator{Tool: "graft-" + c.Version}}
	if m, err := manifest(t); err == nil && m != nil {
		o.Version = m.Metadata.Version
	}
	o.Debs, o.Modules = parts(j.pkg, j.platform)
	return o
}

// parts are the Debian packages and Go modules that a recipe names.
func parts(p *recipe.Package, platform string) (debs []sbom.Deb, modules []sbom.Module) {
	for _, step := range p.Steps {
		for _, s := range step.Sources {
			if d, err := fetch.ParseDeb(s.Deb); err == nil && s.Deb != "" {
				if d.Arch == "" {
					d.Arch = path.Base(platform)
				}
				debs = append(debs, sbom.Deb{Name: d.Name, Version: d.Version, Arch: d.Arch, SHA256: s.SHA256, Suite: s.Suite})
			}
			if m, err := fetch.ParseModule(s.Module); err == nil && s.Module != "" {
				modules = append(modules, sbom.Module{Path: m.Path, Version: m.Version, Sum: s.Sum})
			}
		}
	}
	return debs, modules
}

// describe adds what Debian packages say of themselves: it is in the cache since
// they were fetched.
func (b *Builder) describe(ctx context.Context, list []sbom.Deb) ([]sbom.Deb, error) {
	list = slices.Clone(list)
	for i, d := range list {
		if d.Arch == fetch.SourceArch {
			continue
		}
		info, err := b.opts.Fetch.DebInfo(ctx, fetch.DebSource{Name: d.Name, Arch: d.Arch, Version: d.Version, SHA256: d.SHA256, Suite: d.Suite})
		if err != nil {
			return nil, err
		}
		list[i].Arch, list[i].Source, list[i].SourceVersion = info.Arch, info.Source, info.SourceVersion
	}
	return list, nil
}
