package bootasset

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
	"github.com/graftlinux/graft/internal/tree"
)

// prepared is an extension with all that is known of it.
type prepared struct {
	Extension
	knownExtension
	cache *cache.Cache
	facts *survey.Facts // once they are needed, see prepared.survey
	tree  *tree.Tree    // opened when it is needed, see prepared.open
}

// known is what an asset needs of the facts of its base and its extensions.
// The facts themselves, megabytes where there are thousands of files, are only
// read if a layer has to be made.
type known struct {
	Findings   []check.Finding  `json:"findings,omitempty"`
	Extensions []knownExtension `json:"extensions"` // in the order of the layers
	// Modules is a digest of all that the indexes of modules depend on, "" if
	// there are none to be made, or the reason why they cannot be.
	Modules        string `json:"modules,omitempty"`
	ModulesProblem string `json:"modulesProblem,omitempty"`
}

type knownExtension struct {
	Digest   string             `json:"digest"` // of its tree
	Metadata extension.Metadata `json:"metadata"`
	Parts    map[part]string    `json:"parts"` // see settings.parts
}

// Prepare looks at the extensions and checks them, one by one, together, and
// against the base. It reads what is not in the cache and makes nothing yet.
func Prepare(ctx context.Context, opts Options) (*Asset, error) {
	if opts.Progress == nil {
		opts.Progress = func(string, int64) (func(int64), func()) { return func(int64) {}, func() {} }
	}
	a := &Asset{opts: opts, settings: newSettings(opts.Base.Talos, opts.Level)}
	for _, e := range opts.Extensions {
		if arch := e.Image.Platform().Arch; arch != "" && arch != opts.Base.Arch {
			return nil, fmt.Errorf("reading extension %s: it is for %s, the base is for %s", e.Source, arch, opts.Base.Arch)
		}
		a.extensions = append(a.extensions, &prepared{Extension: e, cache: opts.Cache})
	}
	if err := a.recall(ctx); err != nil {
		return nil, err
	}
	for i, p := range a.extensions {
		p.knownExtension = a.known.Extensions[i]
	}
	a.Findings = a.known.Findings
	return a, nil
}

// recall finds out what there is to know, or remembers it from last time.
func (a *Asset) recall(ctx context.Context) error {
	key, err := a.inputs(ctx)
	if err != nil {
		return err
	}
	if key == "" {
		return a.learn(ctx)
	}
	label := fmt.Sprintf("checks of %d extensions", len(a.extensions))
	return cache.JSON(ctx, a.opts.Cache, a.settings.key("known", key), label, &a.known, func() error { return a.learn(ctx) })
}

// inputs is a digest of all that known depends on; "" if there is an input
// that can change unnoticed.
func (a *Asset) inputs(ctx context.Context) (string, error) {
	type input struct{ ID, Platform, Source, Ref string }
	all := struct {
		Survey, Check     string // versions of what looks at the inputs
		Base, Arch, Talos string
		Extensions        []input
	}{survey.Version, check.Version, a.opts.Base.initramfs.Digest, a.opts.Base.Arch, a.opts.Base.Talos.String(), nil}
	for _, p := range a.extensions {
		id, err := identity(ctx, p.Image)
		if err != nil {
			return "", fmt.Errorf("reading extension %s: %w", p.Source, err)
		}
		if id == "" {
			return "", nil
		}
		all.Extensions = append(all.Extensions, input{id, p.Image.Platform().String(), p.Source, p.Image.Ref()})
	}
	data, err := json.Marshal(all)
	return fmt.Sprintf("%x", sha256.Sum256(data)), err
}

// learn surveys the extensions and checks them.
func (a *Asset) learn(ctx context.Context) error {
	if err := a.surveyAll(ctx); err != nil {
		return err
	}
	var subjects []check.Subject
	for _, p := range a.extensions {
		subjects = append(subjects, check.Subject{Source: p.Source, Ref: p.Image.Ref(), Arch: a.opts.Base.Arch, Facts: p.facts})
	}
	against, err := a.opts.Base.CheckOptions(ctx)
	if err != nil {
		return err
	}
	a.known = known{}
	if a.known.Findings, err = check.Run(subjects, against); err != nil {
		return err
	}
	for _, p := range a.extensions {
		k := knownExtension{Digest: p.facts.Digest, Parts: a.settings.parts(p.facts)}
		if m, _, err := extension.ParseManifest(p.facts.Manifest); err == nil {
			k.Metadata = m.Metadata
		}
		a.known.Extensions = append(a.known.Extensions, k)
	}
	a.known.Modules, err = a.modulesDigest(ctx)
	if err != nil {
		a.known.ModulesProblem = err.Error()
	}
	return ctx.Err()
}

// surveyAll gets the facts of all extensions.
func (a *Asset) surveyAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range a.extensions {
		g.Go(func() error { return p.survey(ctx) })
	}
	return g.Wait()
}

// survey gets the facts of an extension, once.
func (p *prepared) survey(ctx context.Context) (err error) {
	if p.facts == nil {
		p.facts, err = Survey(ctx, p.cache, p.Image)
	}
	if err != nil {
		return fmt.Errorf("reading extension %s: %w", p.Source, err)
	}
	return nil
}

// identity is the digest of an image, or the state of its directory. What is
// equal has equal facts; "" is nothing that would be equal to anything.
func identity(ctx context.Context, img *oci.Image) (string, error) {
	if id := img.Digest(); id != "" {
		return id, nil
	}
	t, err := img.Tree(ctx)
	if err != nil {
		return "", err
	}
	return t.Stamp(), nil
}

// Survey returns the facts of an image, from the cache if its digest is known
// there, or the state of its directory.
func Survey(ctx context.Context, c *cache.Cache, img *oci.Image) (*survey.Facts, error) {
	var facts *survey.Facts
	look := func() error {
		t, err := img.Tree(ctx)
		if err != nil {
			return err
		}
		facts, err = survey.Of(ctx, t)
		return err
	}
	id, err := identity(ctx, img)
	if err != nil {
		return nil, err
	}
	if id == "" {
		err = look()
		return facts, err
	}
	key := fmt.Sprintf("facts|v%s|%s|%s", survey.Version, id, img.Platform())
	err = cache.JSON(ctx, c, key, strings.TrimSpace("facts "+img.Ref()), &facts, look)
	return facts, err
}

// name of an extension for people and for its layer.
func (p *prepared) name() string {
	switch ref := p.Image.Ref(); {
	case ref != "":
		return ref
	case p.Metadata.Name != "":
		return strings.Trim(p.Metadata.Name+"-"+p.Metadata.Version, "-")
	}
	return p.Source
}

// open returns the tree of an extension; its image is pulled the first time.
func (p *prepared) open(ctx context.Context) (*tree.Tree, error) {
	if p.tree != nil {
		return p.tree, nil
	}
	t, err := p.Image.Tree(ctx)
	if err != nil {
		return nil, err
	}
	digest, err := t.Digest(ctx)
	if err != nil {
		return nil, err
	}
	if digest != p.Digest {
		return nil, fmt.Errorf("reading %s: %w", p.Source, tree.ErrChanged)
	}
	p.tree = t
	return t, nil
}

// rootEntries are the entries of an extension's rootfs, by path on the node
// without the leading slash.
func rootEntries(facts *survey.Facts, fn func(path string, e survey.Entry)) {
	for _, e := range facts.Entries {
		if path, ok := survey.OnNode(e.Path); ok {
			fn(path[1:], e)
		}
	}
}
