package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/build"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/publish"
	"github.com/graftlinux/graft/internal/recipe"
)

func newBuild(s Streams) *cobra.Command {
	b := building{streams: s, warned: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "build [PACKAGE...]",
		Short: "Build extensions from recipes",
		Long: `Build packages of a tree of recipes (Pkgfile, vars.yaml, pkg.yaml), and what they
need. On Linux nothing else is needed: no daemon, no root. What did not change is
not built again.

The result is an extension's image, which is checked (see graft validate) and gets
an SBOM of the Go modules and Debian packages in it. DEST is one of graft pack's,
with the name of the package added if there are several or if it is a registry's
namespace that ends in a slash; or dir:DIRECTORY for the files themselves. Without
-o the result stays in the cache and its digest is printed.

--engine says who runs the scripts: "embedded" (on Linux), or the address of a
BuildKit daemon, as buildkit://unix:///run/buildkit/buildkitd.sock, tcp://HOST:PORT,
docker-container://NAME, kube-pod://POD. The default is $BUILDKIT_HOST if that is
set, else embedded. Both make the same image, bit for bit.`,
		Example: `  graft build gvisor
  graft build gvisor --platform linux/amd64,linux/arm64 -o ghcr.io/me/
  graft build gvisor -o dir:_out                  # the files, to look at
  graft build --tier core -o oci:out
  graft build gvisor --engine buildkit://tcp://builder.example:1234
  graft build --check-reproducible nebula`,
		ValidArgsFunction: completeTargets(&b.recipes),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.destGiven = cmd.Flags().Changed("output")
			return b.run(cmd.Context(), args)
		},
	}
	b.flags(cmd)
	return cmd
}

// building is one call of graft build.
type building struct {
	streams  Streams
	recipes  recipes
	fetching fetching
	engine   engineFlags
	checks   validation
	policy   policyFlags

	all          bool
	tiers        []string
	platforms    []string
	dest         string
	destGiven    bool
	name         string
	compression  string
	progress     string
	reproducible bool
	noSBOM       bool
	force        bool
	alpine       string
	metadata     string
	provenance   string

	warned map[string]bool // what was printed
}

func (b *building) flags(cmd *cobra.Command) {
	b.recipeFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&b.all, "all", false, "build all packages but internal ones")
	f.StringVarP(&b.dest, "output", "o", "", "where the image goes: a registry, a tarball, an OCI layout; or dir:DIRECTORY")
	f.StringVarP(&b.name, "tag", "t", "", "NAME:TAG of the image in a tarball or layout (default: name and version of the manifest)")
	f.BoolVar(&b.reproducible, "check-reproducible", false, "build a second time from nothing, and compare file by file")
	f.BoolVar(&b.noSBOM, "no-sbom", false, "add no SBOM to the extension")
	f.BoolVar(&b.force, "force", false, "write the image although it has errors")
	f.StringVar(&b.metadata, "metadata-file", "", "file to write digests and findings to, as JSON")
	f.StringVar(&b.provenance, "provenance", "", "file to write to what the package was made from, as a predicate of SLSA 1.0 (graft attest signs it)")
	f.StringVar(&b.checks.talos, "talos-version", "", "check for this version of Talos")
}

// recipeFlags are those of all commands that build recipes.
func (b *building) recipeFlags(cmd *cobra.Command) {
	b.recipes.flags(cmd)
	b.fetching.flags(cmd)
	b.engine.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&b.tiers, "tier", nil, "build all packages of these tiers: "+strings.Join(publish.Tiers(), ", "))
	f.StringSliceVar(&b.platforms, "platform", nil, "platforms to build for (default: this machine's)")
	f.StringVar(&b.compression, "compression", string(oci.Gzip), "of the image's layer: gzip, zstd, none")
	f.StringVar(&b.progress, "progress", "auto", "how to show it: auto, tty, plain, quiet")
	f.StringVar(&b.alpine, "alpine-image", "alpine:3.21", "image that packages of the variant alpine start with")
	f.StringVar(&b.checks.base, "base", "", "base image to check against: finds missing libraries and modules for another kernel")
	insecureFlag(cmd, &b.checks.sources.insecure)
	b.policy.flags(cmd)
	cacheDirFlag(cmd, &b.checks.sources.cacheDir)
	complete(cmd, "platform", recipe.PlatformNames()...)
	complete(cmd, "tier", publish.Tiers()...)
	complete(cmd, "progress", "auto", "tty", "plain", "quiet")
	complete(cmd, "compression", "gzip", "zstd", "none")
}

func (b *building) run(ctx context.Context, args []string) error {
	if err := b.usage(args); err != nil {
		return usageError(err)
	}
	w, err := b.work(ctx, args)
	if err != nil {
		return err
	}
	return w.run(ctx)
}

// work reads the recipes and finds what is to be built of them.
func (b *building) work(ctx context.Context, args []string) (*work, error) {
	dir, err := b.recipes.dir()
	if err != nil {
		return nil, err
	}
	c, err := openCache(b.checks.sources.cacheDir)
	if err != nil {
		return nil, err
	}
	platforms, err := b.platformNames()
	if err != nil {
		return nil, usageError(err)
	}
	set, err := b.recipes.read(ctx, b.streams, platforms[0])
	if err != nil {
		return nil, err
	}
	if set.Pkgfile.Format == "" {
		return nil, withCode(exitInvalid, fmt.Errorf("%s has no %s, which a build needs", dir, recipe.PkgfileName), "its one line that must be: format: v1alpha2")
	}
	targets, err := b.targets(set, args)
	if err != nil {
		return nil, err
	}
	b.warn(about(set, targets))
	w := &work{building: b, cache: c, root: dir, platforms: platforms, targets: targets, sets: map[string]*recipe.Set{platforms[0]: set}}
	if w.epoch, err = b.epoch(); err != nil {
		return nil, usageError(err)
	}
	sources := &b.checks.sources // --base is an image, too
	sources.gate, err = b.policy.gate(oci.Options{Insecure: sources.insecure, Client: sources.client}, sources.cacheDir)
	return w, err
}

func (b *building) usage(args []string) error {
	selections := 0
	for _, chosen := range []bool{len(args) > 0, b.all, len(b.tiers) > 0} {
		if chosen {
			selections++
		}
	}
	switch {
	case selections != 1:
		return errors.New("name packages to build, or --all, or --tier")
	case b.name != "" && len(args) != 1:
		return errors.New("--tag names one image: build one package with it")
	case b.provenance != "" && len(args) != 1:
		return errors.New("--provenance is of one package: build one with it")
	}
	return errors.Join(b.recipeUsage(), b.checkDest())
}

// recipeUsage finds what is wrong with the values of recipeFlags.
func (b *building) recipeUsage() error {
	switch {
	case !slices.Contains([]string{"auto", "tty", "plain", "quiet"}, b.progress):
		return fmt.Errorf("--progress %q is none of auto, tty, plain, quiet", b.progress)
	case b.engine.parallel < 0:
		return fmt.Errorf("--parallel %d: at least one step has to run", b.engine.parallel)
	}
	for _, a := range b.engine.allow {
		if a != networkHost {
			return fmt.Errorf("--allow %q: only %s can be allowed", a, networkHost)
		}
	}
	_, err := oci.ParseCompression(b.compression)
	return err
}

// checkDest finds what is wrong with -o before anything is built.
func (b *building) checkDest() error {
	dir, files := strings.CutPrefix(b.dest, "dir:")
	switch {
	case b.dest == "" && b.destGiven:
		return errors.New("-o is empty: say where the image goes, or leave it out")
	case b.dest == "":
		return nil
	case b.dest == "-":
		return errors.New("-o -: an image is not written to standard output; name a tarball")
	case files && dir == "":
		return errors.New("-o dir: lacks a directory")
	case files:
		return nil
	}
	if err := oci.CheckDest(destination(b.dest, "name", false)); err != nil {
		return fmt.Errorf("-o: %w", err)
	}
	return nil
}

func (b *building) platformNames() ([]string, error) {
	if len(b.platforms) == 0 {
		return []string{recipe.HostPlatform().String()}, nil
	}
	var names []string
	for _, name := range b.platforms {
		p, err := recipe.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, p.String()) {
			names = append(names, p.String())
		}
	}
	return names, nil
}

// targets are the names to build.
func (b *building) targets(set *recipe.Set, args []string) ([]string, error) {
	var names []string
	if len(args) > 0 {
		for _, a := range args {
			if !slices.Contains(names, a) {
				names = append(names, a)
			}
		}
		_, err := set.Closure(names...)
		return names, recipeError(err)
	}
	for _, tier := range b.tiers {
		has := func(tier string) bool {
			return slices.ContainsFunc(set.Packages, func(p *recipe.Package) bool { return p.Context["TIER"] == tier })
		}
		if err := knownTier(tier, has); err != nil {
			return nil, err
		}
	}
	for _, p := range set.Packages {
		internal := p.Context["INTERNAL_PACKAGE"] != "" && p.Context["INTERNAL_PACKAGE"] != "false"
		if !internal && (b.all || slices.Contains(b.tiers, p.Context["TIER"])) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, withCode(exitInvalid, errors.New("no package is like that"), "graft eval -t PACKAGE '{{ .TIER }}' shows the tier of one")
	}
	return names, nil
}

// knownTier refuses a tier that is none of the usual ones and that nothing has.
func knownTier(tier string, has func(string) bool) error {
	if slices.Contains(publish.Tiers(), tier) || has(tier) {
		return nil
	}
	return withCode(exitInvalid, fmt.Errorf("--tier %q: there is no such tier", tier), "there are "+strings.Join(publish.Tiers(), ", "))
}

// epoch is SOURCE_DATE_EPOCH: a build argument, as bldr takes it, or the
// environment's.
func (b *building) epoch() (time.Time, error) {
	arg, ok := b.recipes.args()["SOURCE_DATE_EPOCH"]
	if !ok {
		return sourceDateEpoch()
	}
	t, err := parseEpoch(arg)
	if err != nil {
		return t, usageError(fmt.Errorf("--build-arg SOURCE_DATE_EPOCH is %w", err))
	}
	return t, nil
}

// work is a build whose flags have been understood.
type work struct {
	*building
	cache     *cache.Cache
	root      string
	platforms []string
	targets   []string
	sets      map[string]*recipe.Set // by platform, those that were read
	epoch     time.Time
}

// first are the recipes for the first platform.
func (w *work) first() *recipe.Set { return w.sets[w.platforms[0]] }

func (w *work) run(ctx context.Context) (err error) {
	inside, code, err := w.engine.enter(ctx)
	if err != nil {
		return err
	}
	if !inside {
		return exited(code)
	}
	built, err := w.build(ctx, second{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, built.close()) }()
	if w.reproducible {
		if err := w.again(ctx, built); err != nil {
			return err
		}
	}
	if err := w.report(built); err != nil {
		return err
	}
	return w.write(ctx, built)
}

// outcome is what a build made; close it when its trees have been read.
type outcome struct {
	built   []build.Built
	engine  plan.Engine
	builder *build.Builder
}

func (o *outcome) close() error { return errors.Join(o.builder.Close(), o.engine.Close()) }

// build plans and runs.
func (w *work) build(ctx context.Context, how second) (_ *outcome, err error) {
	checks, err := w.checks.options(ctx, w.cache)
	if err != nil {
		return nil, err
	}
	screen := newScreen(w.streams, w.progress, w.logDir())
	defer screen.close()
	engine, err := w.engine.open(ctx, w, how, screen)
	if err != nil {
		return nil, err
	}
	o := &outcome{engine: engine, builder: w.builder(how)}
	o.built, err = build.Run(ctx, build.Config{
		Builder: o.builder, Engine: engine, Cache: w.cache, Targets: w.targets, Platforms: w.platforms,
		Epoch: w.epoch, Check: checks, NoSBOM: w.noSBOM, Version: version(),
	}, screen.report)
	screen.close()
	w.warn(o.builder.Warnings)
	if err != nil {
		return nil, errors.Join(w.explain(screen, err), o.close())
	}
	return o, nil
}

func (w *work) builder(how second) *build.Builder {
	var trust func(ctx context.Context, ref, platform string) (string, error)
	if g := w.checks.sources.gate; g != nil {
		trust = func(ctx context.Context, ref, _ string) (string, error) { return g.pin(ctx, ref) }
	}
	return build.NewBuilder(build.PlanOptions{
		Trust: trust,
		Root:  w.root, Fetch: w.fetching.fetcher(w.cache), Epoch: w.epoch, Version: version(), Alpine: w.alpine,
		CacheNS: how.scope + w.recipes.args()["BUILDKIT_CACHE_MOUNT_NS"], ProxyEnv: proxyEnv(w.recipes.args()),
		Load: func(ctx context.Context, platform string) (*recipe.Set, error) {
			if set := w.sets[platform]; set != nil {
				return set, nil
			}
			set, err := w.recipes.read(ctx, w.streams, platform)
			if err == nil {
				w.sets[platform] = set
				w.warn(about(set, w.targets))
			}
			return set, err
		},
	})
}

// warn prints each warning once, however many platforms and builds have it.
func (b *building) warn(warnings []recipe.Problem) {
	var fresh []recipe.Problem
	for _, w := range warnings {
		if !b.warned[w.String()] {
			b.warned[w.String()] = true
			fresh = append(fresh, w)
		}
	}
	printProblems(b.streams.Err, "warning", fresh)
}

// proxyEnv are the build arguments that every command sees, in both spellings.
func proxyEnv(args map[string]string) []string {
	var env []string
	for name, value := range args {
		switch lower := strings.ToLower(name); lower {
		case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy":
			env = append(env, lower+"="+value, strings.ToUpper(lower)+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// fetching are the flags that say where sources come from.
type fetching struct {
	goProxy       string
	debMirror     string
	debSuites     []string
	debComponents []string
	offline       bool
}

func (f *fetching) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.goProxy, "go-proxy", "", "where Go modules come from, as $GOPROXY (default: what the go command is set up with)")
	cmd.Flags().StringVar(&f.debMirror, "deb-mirror", "", "URL of the mirror that Debian packages come from (default: what apt is set up with)")
	cmd.Flags().StringSliceVar(&f.debSuites, "deb-suite", nil, "suites of the mirror to look in (default: apt's)")
	cmd.Flags().StringSliceVar(&f.debComponents, "deb-component", nil, "components of the mirror to look in first (default: apt's)")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "download nothing: all sources must be in the cache")
}

func (f *fetching) fetcher(c *cache.Cache) *fetch.Fetcher {
	return &fetch.Fetcher{
		Cache: c, GoProxy: f.goProxy, Offline: f.offline, UserAgent: "graft/" + version(),
		Debian: fetch.DebOptions{Mirror: f.debMirror, Suites: f.debSuites, Components: f.debComponents},
	}
}

// exited passes on how the inner process ended, which has said all there is.
func exited(code int) error {
	if code == exitOK {
		return nil
	}
	return &coded{err: errSaid, code: code}
}

// errSaid stands for an error that has been printed.
var errSaid = errors.New("")
