package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/build"
	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/publish"
	"github.com/graftlinux/graft/internal/recipe"
	"github.com/graftlinux/graft/internal/trust"
)

func newPublish(s Streams) *cobra.Command {
	p := publishing{building: building{streams: s, warned: map[string]bool{}}, signing: signing{streams: s}}
	cmd := &cobra.Command{
		Use:   "publish [PACKAGE...] --registry REGISTRY/NAMESPACE --tag VERSION",
		Short: "Publish extensions and the catalog that lists them",
		Long: `Build the extensions of a tree of recipes, or those that are named, and publish
them for a version of Talos Linux: each as NAMESPACE/<name>:<version>, and then
the catalog that lists them all by digest, NAMESPACE/extensions:VERSION.
Recipes see the version as the build argument TAG.

What the tier of an extension promises is kept:

  core        it must build, pass the checks and have an SBOM, or there is no release
  extra       it must build; what the checks find, and a missing SBOM, is a warning
  contrib     it is left out if it does not build or pass the checks
  deprecated  the same

Package, image and manifest have the same name; whoever has another one in the
manifest is as one that does not build. Named packages, and those of --tier,
join the catalog that is there: what else it lists stays, if it can be read
and, where this release is signed, is signed by the same. Without them, and with
--replace-catalog, the catalog is made anew, and what it lists no longer is named.

SBOMs are in the images and refer to them in the registry. With a key or an
identity, images and catalog are signed, and how each was made is attested
(docs/provenance.md).

What the registry has is not sent again, so a release that was interrupted is
published by the same command. The answer on stdout are the lines of the catalog
for what was published, and at last the reference of the catalog itself.`,
		Example: `  graft publish --registry ghcr.io/me --tag v1.12.0 --key cosign.key
  graft publish --registry localhost:5000/ext --tag v1.12.0 --dry-run
  graft publish gvisor nebula --registry ghcr.io/me --tag v1.12.0`,
		ValidArgsFunction: completeTargets(&p.recipes),
		RunE:              func(cmd *cobra.Command, args []string) error { return p.publish(cmd.Context(), args) },
	}
	p.flags(cmd)
	return cmd
}

// publishing is one call of graft publish: a build, and signing.
type publishing struct {
	building
	signing  signing
	registry string
	tag      string
	dryRun   bool
	replace  bool
	unsigned bool
}

func (p *publishing) flags(cmd *cobra.Command) {
	p.recipeFlags(cmd)
	f := cmd.Flags()
	f.Lookup("platform").Usage = "platforms to build for (default: " + strings.Join(publishedPlatforms, ",") + ")"
	f.StringVar(&p.registry, "registry", "", "REGISTRY/NAMESPACE that names of images begin with (required)")
	f.StringVar(&p.tag, "tag", "", "version of Talos that the catalog is for, such as v1.12.0 (required)")
	f.BoolVar(&p.dryRun, "dry-run", false, "build and check, print the lines of the catalog, and send nothing")
	f.BoolVar(&p.replace, "replace-catalog", false, "make the catalog anew: it lists what is published now, and nothing else")
	f.BoolVar(&p.unsigned, "unsigned", false, "replace a catalog that is signed by one that is not")
	p.signing.signerFlags(cmd)
}

// publishedPlatforms are those of bldr.
var publishedPlatforms = []string{"linux/amd64", "linux/arm64"}

func (p *publishing) publish(ctx context.Context, args []string) error {
	if err := p.usage(args); err != nil {
		return usageError(err)
	}
	w, err := p.work(ctx, args)
	if err != nil {
		return err
	}
	inside, code, err := w.engine.enter(ctx)
	if err != nil {
		return err
	}
	if !inside {
		return exited(code)
	}
	return p.release(ctx, w)
}

// usage finds what is wrong with the flags, and sets those that follow from
// others.
func (p *publishing) usage(args []string) (err error) {
	if p.registry == "" || p.tag == "" {
		return errors.New("--registry and --tag say where the release goes and for which version of Talos: both are needed")
	}
	if near, ok := extension.FullVersion(p.tag); !ok {
		err := fmt.Errorf("--tag %q is no version of Talos such as v1.12.0", p.tag)
		if near != "" {
			return withCode(exitInvalid, err, "did you mean "+near+"?")
		}
		return err
	}
	if p.tag, err = catalog.Version(p.tag); err != nil {
		return fmt.Errorf("--tag: %w", err)
	}
	p.registry = strings.TrimSuffix(strings.TrimPrefix(p.registry, "docker://"), "/")
	if err := oci.CheckDest("docker://" + p.registry + "/name:tag"); err != nil {
		return fmt.Errorf("--registry: %w", err)
	}
	if len(args) > 0 && len(p.tiers) > 0 {
		return errors.New("name packages to publish, or --tier, not both")
	}
	p.all = len(args) == 0 && len(p.tiers) == 0
	if len(p.platforms) == 0 {
		p.platforms = publishedPlatforms
	}
	if _, said := p.recipes.args()["TAG"]; !said {
		p.recipes.buildArgs = append(p.recipes.buildArgs, "TAG="+p.tag)
	}
	p.checks.talos = p.tag
	return p.recipeUsage()
}

// release builds, judges and publishes. Whether the registry and the catalog there
// let it is seen first: building may take hours.
func (p *publishing) release(ctx context.Context, w *work) (err error) {
	opts, err := p.options(ctx, w)
	if err != nil {
		return err
	}
	r := releasing{publishing: p, work: w}
	defer func() { err = errors.Join(err, r.close()) }()
	defer opts.Pack.Client.Close()
	opts.Report = r.report
	release, err := publish.Begin(ctx, opts)
	if err != nil {
		return keepError(signError(err))
	}
	if err := r.build(ctx); err != nil {
		return err
	}
	if err := r.judge(); err != nil {
		return err
	}
	extensions, err := r.extensions(ctx)
	if err != nil {
		return err
	}
	if err := release.Publish(ctx, extensions); err != nil {
		return r.unfinished(ctx, len(extensions), keepError(signError(err)))
	}
	return r.answer()
}

// unfinished says of a release that a person ended how far it came.
func (r *releasing) unfinished(ctx context.Context, all int, err error) error {
	if r.dryRun || !interrupted(ctx, err) {
		return err
	}
	return withCode(exitInterrupted, err, fmt.Sprintf("%d of %d extensions were published; the same command sends the others, and then the catalog", len(r.published), all))
}

// vouched is what the policy says of catalogs, nil without one.
func (p *publishing) vouched(w *work) func(context.Context, string) error {
	if g := w.checks.sources.gate; g != nil {
		return g.vouched
	}
	return nil
}

func (p *publishing) options(ctx context.Context, w *work) (o publish.Options, err error) {
	compression, err := oci.ParseCompression(p.compression)
	if err != nil {
		return o, usageError(err)
	}
	signer, err := p.signer(ctx)
	return publish.Options{
		Registry: p.registry, Talos: p.tag, Signing: signer, ProvenanceType: build.ProvenanceType,
		DryRun: p.dryRun, Update: !p.all && !p.replace, Unsigned: p.unsigned, Verify: p.vouched(w),
		Pack: oci.PackOptions{
			Epoch: w.epoch, Compression: compression, Insecure: p.checks.sources.insecure,
			SpoolDir: w.cache.TempDir(), Cache: w.cache, Client: oci.NewClient(),
		},
	}, err
}

// keepError says what to do about a catalog that cannot be kept. One that cannot
// be asked for is another matter.
func keepError(err error) error {
	if signed := (*publish.SignedError)(nil); errors.As(err, &signed) {
		return withCode(exitInvalid, err, "nothing was published; --key or --identity-token signs, --unsigned replaces it all the same")
	}
	if !errors.As(err, new(*publish.KeepError)) || exitCode(err) == exitDependency {
		return err
	}
	hints := []string{"nothing was published; --replace-catalog makes the catalog anew, without what it lists now"}
	if errors.As(err, new(*trust.Refused)) {
		hints = append(hints, "if all that it lists is yours, graft sign vouches for it")
	}
	return withCode(exitInvalid, err, hints...)
}

// signer is nil if nobody is to sign. A dry run has one, too: the catalog says
// who signed.
func (p *publishing) signer(ctx context.Context) (*trust.Signing, error) {
	if p.signing.key == "" && p.signing.token == "" {
		return nil, nil
	}
	p.signing.rootFile = p.policy.rootFile
	s, err := p.signing.signer(ctx)
	return &s, err
}

// releasing is a release in the making.
type releasing struct {
	*publishing
	work      *work
	outcomes  []*outcome
	leftOut   []string
	published []publish.Published
}

// candidate is an extension that was built.
type candidate struct {
	*build.Built
	builder *build.Builder
}

func (r *releasing) candidates() (all []candidate) {
	for _, o := range r.outcomes {
		for i := range o.built {
			all = append(all, candidate{&o.built[i], o.builder})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (r *releasing) close() error {
	var errs []error
	for _, o := range r.outcomes {
		errs = append(errs, o.close())
	}
	return errors.Join(errs...)
}

// tier of a package; that of those who do not say it promises the least.
func (r *releasing) tier(name string) string {
	if tier := r.work.first().Package(name).Context["TIER"]; tier != "" {
		return tier
	}
	return publish.Contrib
}

// build builds all of the release at once. What a script is for that fails is
// left out, if its tier allows it, and the rest goes on.
func (r *releasing) build(ctx context.Context) error {
	if err := r.checkNames(); err != nil {
		return err
	}
	for names := r.work.targets; len(names) > 0; {
		err := r.buildTargets(ctx, names)
		if err == nil {
			return nil
		}
		broken := r.concerned(names, err)
		must, _ := r.split(broken)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ownFault(err):
			return nothingPublished(err)
		case broken == nil:
			return r.buildAlone(ctx, names)
		case len(must) > 0:
			return r.unbuilt(must, err)
		}
		report(r.streams.Err, nil, err)
		for _, name := range broken {
			r.leaveOut(name, publish.NotBuilt)
		}
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(broken, name) })
	}
	return nil
}

// checkNames refuses packages that cannot be in a release.
func (r *releasing) checkNames() error {
	for _, name := range r.work.targets {
		if name == publish.CatalogName {
			return withCode(exitInvalid, fmt.Errorf("publishing %s: the catalog has that name", name), "nothing was built; give the package another name")
		}
		if tier := r.tier(name); !slices.Contains(publish.Tiers(), tier) {
			return withCode(exitInvalid, fmt.Errorf("publishing %s: its tier is %q, and there are %s", name, tier, strings.Join(publish.Tiers(), ", ")),
				"TIER in the vars.yaml of its recipe says it")
		}
	}
	return nil
}

// split tells those without which there is no release from those that may be left out.
func (r *releasing) split(names []string) (must, may []string) {
	for _, name := range names {
		if publish.Judge(r.tier(name), publish.NotBuilt) == publish.StopsAll {
			must = append(must, name)
		} else {
			may = append(may, name)
		}
	}
	return must, may
}

// buildAlone builds at once what has to be built, and each of the others alone:
// it is not known which of them cannot be.
func (r *releasing) buildAlone(ctx context.Context, names []string) error {
	must, may := r.split(names)
	parts := slices.Collect(slices.Chunk(may, 1))
	if len(must) > 0 {
		parts = slices.Insert(parts, 0, must)
	}
	for i, part := range parts {
		err := r.buildTargets(ctx, part)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case !ownFault(err):
			return nothingPublished(err)
		case i == 0 && len(must) > 0:
			return r.unbuilt(must, err)
		default:
			report(r.streams.Err, nil, err)
			r.leaveOut(part[0], publish.NotBuilt)
		}
	}
	return nil
}

// ownFault says whether an error is of a package: of its recipe, a script, a source
// that is gone or another. The network, the disk and what this machine lacks are no
// reason to leave it out.
func ownFault(err error) bool {
	if errors.As(err, new(*fs.PathError)) && !errors.As(err, new(*coded)) { // a file of ours, not of a tree
		return false
	}
	switch exitCode(err) {
	case exitDependency:
		var status *fetch.StatusError
		return errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone)
	case exitUnsupported, exitEnvironment, exitIO:
		return false
	}
	return true
}

// nothingPublished keeps the exit code and the hints of an error.
func nothingPublished(err error) error {
	hints := []string{"nothing was published: this is no fault of a recipe, so nothing is left out; name the packages to publish without it"}
	var c *coded
	if errors.As(err, &c) {
		hints = append(slices.Clone(c.hints), hints...)
	}
	return withCode(exitCode(err), err, hints...)
}

// unbuilt says what broke, and that there is no release.
func (r *releasing) unbuilt(must []string, err error) error {
	report(r.streams.Err, nil, err)
	broken := r.concerned(must, err)
	if broken == nil && len(must) == 1 {
		broken = must
	}
	stop := errors.New("there is no release: what has to be in it was not built")
	if broken != nil {
		stop = noRelease(r.faults(broken, publish.NotBuilt))
	}
	if code := exitCode(err); code != exitUnknown {
		return withCode(code, stop, noReleaseHint)
	}
	return withCode(exitInvalid, stop, noReleaseHint)
}

// concerned are the packages that a script which failed is of, or for; nil if it
// was no script that failed.
func (r *releasing) concerned(names []string, err error) (some []string) {
	var exec *plan.ExecError
	if !errors.As(err, &exec) || exec.Op.Package == "" {
		return nil
	}
	for _, name := range names {
		needs, err := r.work.first().Closure(name)
		if err != nil || slices.ContainsFunc(needs, func(p *recipe.Package) bool { return p.Name == exec.Op.Package }) {
			some = append(some, name)
		}
	}
	return some
}

// fault is what is wrong with a package, for people.
func (r *releasing) fault(name string, what publish.Fault) string {
	return fmt.Sprintf("%s (%s): %s", name, r.tier(name), what)
}

func (r *releasing) faults(names []string, what publish.Fault) (all []string) {
	for _, name := range names {
		all = append(all, r.fault(name, what))
	}
	return all
}

const noReleaseHint = "nothing was published; the tier of an extension promises more"

func noRelease(stops []string) error {
	return fmt.Errorf("there is no release: %s", strings.Join(stops, "; "))
}

func (r *releasing) buildTargets(ctx context.Context, names []string) error {
	part := *r.work
	part.targets = names
	o, err := part.build(ctx, second{})
	if err == nil {
		r.outcomes = append(r.outcomes, o)
	}
	return err
}

func (r *releasing) leaveOut(name string, why publish.Fault) {
	fmt.Fprintf(r.streams.Err, "left out: %s\n", r.fault(name, why))
	if !slices.Contains(r.leftOut, name) {
		r.leftOut = append(r.leftOut, name)
	}
}

// judge prints what is wrong with what was built, and decides.
func (r *releasing) judge() error {
	var findings []check.Finding
	var stops []string
	for _, c := range r.candidates() {
		findings = append(findings, findingsOf(c.Built)...)
	}
	if err := printFindings(r.streams.Err, findings, "table"); err != nil {
		return err
	}
	mends(r.streams.Err, findings)
	for _, c := range r.candidates() {
		for _, fault := range r.faultsOf(c.Built) {
			switch publish.Judge(r.tier(c.Name), fault) {
			case publish.StopsAll:
				stops = append(stops, r.fault(c.Name, fault))
			case publish.LeftOut:
				r.leaveOut(c.Name, fault)
			case publish.Warns:
				fmt.Fprintf(r.streams.Err, "warning: %s\n", r.fault(c.Name, fault))
			}
		}
	}
	if len(stops) > 0 {
		return withCode(exitInvalid, noRelease(stops), noReleaseHint)
	}
	return nil
}

// faults of what was built. What is no extension has none, and is refused later.
func (r *releasing) faultsOf(b *build.Built) (all []publish.Fault) {
	if b.Manifest != nil && b.Manifest.Metadata.Name != b.Name {
		all = append(all, publish.Misnamed)
	}
	if b.Manifest != nil && oci.CheckDest("docker://"+r.registry+"/"+b.Name+":"+b.Manifest.Metadata.Version) != nil {
		all = append(all, publish.Unnamed)
	}
	if b.Errors() > 0 {
		all = append(all, publish.Refused)
	}
	for _, p := range b.Platforms {
		if len(publish.SBOMs(p.Tree)) == 0 {
			return append(all, publish.NoSBOM)
		}
	}
	return all
}

// extensions are those that are published.
func (r *releasing) extensions(ctx context.Context) ([]publish.Extension, error) {
	var all []publish.Extension
	for _, c := range r.candidates() {
		if slices.Contains(r.leftOut, c.Name) {
			continue
		}
		if c.Manifest == nil {
			return nil, withCode(exitInvalid, fmt.Errorf("publishing %s: it is no extension: its manifest.yaml or its rootfs are missing", c.Name),
				"INTERNAL_PACKAGE: true in its vars.yaml says that it is not to be published")
		}
		category, _, _ := strings.Cut(r.work.first().Package(c.Name).BaseDir, "/")
		e := publish.Extension{
			Name: c.Name, Version: c.Manifest.Metadata.Version, Tier: r.tier(c.Name), Category: category, Labels: r.work.labels(*c.Built),
		}
		for _, p := range c.Platforms {
			e.Images = append(e.Images, publish.Image{Packed: oci.Packed{Platform: p.Platform, Tree: p.Tree}, Facts: p.Facts})
		}
		var err error
		if e.Provenance, err = c.builder.Provenance(ctx, c.Name, r.work.platforms, r.recipes.args()); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, withCode(exitInvalid, errors.New("nothing is left to publish"))
	}
	return all, nil
}

// report says what happened to an image.
func (r *releasing) report(p publish.Published) {
	what := "published"
	switch {
	case r.dryRun:
		what = "would publish"
	case p.There:
		what = "was there:"
	}
	fmt.Fprintf(r.streams.Err, "%s %s (%s)", what, p.Image, size(p.Size))
	if len(p.Signed) > 0 {
		fmt.Fprintf(r.streams.Err, ", signed (%s)", joinForms(p.Signed))
	}
	if p.Before != "" {
		fmt.Fprintf(r.streams.Err, "; the tag was of %s before", p.Before)
	}
	fmt.Fprintln(r.streams.Err)
	for _, names := range []struct {
		what string
		all  []string
	}{{"still listed", p.Kept}, {"no longer listed", p.Gone}} {
		if len(names.all) > 0 {
			fmt.Fprintf(r.streams.Err, "%s: %s\n", names.what, printable(strings.Join(names.all, ", ")))
		}
	}
	if p.Unread != nil {
		fmt.Fprintf(r.streams.Err, "note: what the catalog listed before is not known: %s\n", printable(p.Unread.Error()))
	}
	r.published = append(r.published, p)
}

// answer prints the catalog's lines, and then its own reference.
func (r *releasing) answer() error {
	last := len(r.published) - 1
	lines := make([]string, 0, last)
	for _, p := range r.published[:last] {
		lines = append(lines, p.Image.String())
	}
	slices.Sort(lines)
	slices.Sort(r.leftOut)
	if len(r.leftOut) > 0 {
		fmt.Fprintf(r.streams.Err, "left out: %s\n", strings.Join(r.leftOut, ", "))
	}
	_, err := fmt.Fprintln(r.streams.Out, strings.Join(append(lines, r.published[last].Image.String()), "\n"))
	return err
}
