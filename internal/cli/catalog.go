package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
)

func newCatalog(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "See which extensions there are for a version of Talos Linux",
		Long: `A catalog is an image with one tag per version of Talos Linux. It lists the
images of extensions with their digests: find prints them, show looks into one,
list shows all. readme and graph write the catalog's pages in a tree of recipes.`,
		RunE: help,
		Args: knownVerb,
	}
	cmd.AddCommand(newCatalogList(s), newCatalogFind(s), newCatalogShow(s), newCatalogDiff(s),
		newCatalogReadme(s), newCatalogGraph(s), newCatalogDuplicates(s), newCatalogMirror(s))
	return cmd
}

// knownVerb refuses what is none of the commands that a command holds, and says
// which one may be meant.
func knownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hints := guess(cmd.SuggestionsFor(args[0]), cmd.CommandPath()+" --help lists all")
	return withCode(exitInvalid, fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]), hints...)
}

// catalogHelp explains the flags that all commands with a catalog have.
const catalogHelp = `The catalog is that of Talos' own extensions, or the one that --catalog or
GRAFT_CATALOG names: an image reference, an OCI layout, a tarball. Several are
read as one: where two have the same image, that of the later one stays. --talos
chooses the tag, and in a mirror (graft catalog mirror) the catalog. What a tag
points to is remembered for an hour (--refresh asks again), except for registries
on this machine and in private networks; a reference with a digest needs no
network once it was read.`

// catalogs are the flags of all commands that read catalogs.
type catalogs struct {
	refs     []string
	talos    string
	mirrors  []string
	refresh  bool
	insecure bool
	cacheDir string

	policy policyFlags
	gate   *gate
	cache  *cache.Cache
	client *oci.Client
}

// catalogVariable lists catalogs, separated by spaces or commas.
const catalogVariable = "GRAFT_CATALOG"

func (c *catalogs) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.talos, "talos", "", "version of Talos Linux whose catalog to read, such as v1.12.0")
	c.sourceFlags(cmd)
}

// sourceFlags are those that say where catalogs and images are.
func (c *catalogs) sourceFlags(cmd *cobra.Command) {
	c.nameFlags(cmd)
	c.policy.flags(cmd)
	insecureFlag(cmd, &c.insecure)
	cacheDirFlag(cmd, &c.cacheDir)
}

// nameFlags are those by which a name becomes an image.
func (c *catalogs) nameFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&c.refs, "catalog", nil, "catalog to read; may be repeated (default: $"+catalogVariable+", or "+catalog.Default+")")
	cmd.Flags().StringArrayVar(&c.mirrors, "registry-mirror", nil, "FROM=TO: images whose names begin with FROM are at TO; may be repeated")
	cmd.Flags().BoolVar(&c.refresh, "refresh", false, "ask the registry what the tag of the catalog is now")
}

// ready opens the cache, and the gate that a policy is.
func (c *catalogs) ready() (err error) {
	if c.cache != nil {
		return nil
	}
	if c.cache, err = openCache(c.cacheDir); err != nil {
		return err
	}
	if c.client == nil {
		c.client = oci.NewClient()
	}
	if c.gate == nil {
		c.gate, err = c.policy.gate(oci.Options{Insecure: c.insecure, Client: c.client}, c.cacheDir)
	}
	return err
}

// names are the catalogs that were asked for.
func (c *catalogs) names() []string {
	if len(c.refs) > 0 {
		return c.refs
	}
	listed := strings.FieldsFunc(os.Getenv(catalogVariable), func(r rune) bool { return r == ',' || r == ' ' })
	if len(listed) > 0 {
		return listed
	}
	return []string{catalog.Default}
}

// images are the options for reading images.
func (c *catalogs) images() oci.Options {
	return oci.Options{Insecure: c.insecure, SpoolDir: c.cache.TempDir(), Client: c.client}
}

func (c *catalogs) options() (catalog.Options, error) {
	if err := c.ready(); err != nil {
		return catalog.Options{}, err
	}
	dir, err := cacheDir(c.cacheDir)
	if err != nil {
		return catalog.Options{}, err
	}
	o := catalog.Options{Verify: c.gate.vouched, Talos: c.talos, Images: c.images(), Cache: c.cache,
		Memory: filepath.Join(dir, "tags"), MaxAge: catalog.DefaultMaxAge, Now: time.Now()}
	if c.refresh {
		o.MaxAge = 0
	}
	for _, text := range c.mirrors {
		m, err := catalog.ParseMirror(text)
		if err != nil {
			return o, usageError(fmt.Errorf("--registry-mirror: %w", err))
		}
		o.Mirrors = append(o.Mirrors, m)
	}
	return o, nil
}

// open reads the catalogs, and warns of what is odd about them.
func (c *catalogs) open(ctx context.Context, s Streams) (*catalog.Catalog, error) {
	return c.openRefs(ctx, s, c.names())
}

func (c *catalogs) openRefs(ctx context.Context, s Streams, refs []string) (*catalog.Catalog, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	all, err := catalog.Open(ctx, refs, o)
	if err != nil {
		return nil, c.openError(ctx, refs[0], o.Mirrors, err)
	}
	for _, p := range all.Problems {
		fmt.Fprintf(s.Err, "warning: %s\n", printable(p))
	}
	return all, nil
}

// openError gives an error about the catalogs that begin with ref its exit code
// and advice.
func (c *catalogs) openError(ctx context.Context, ref string, mirrors catalog.Mirrors, err error) error {
	var bad *catalog.BadVersionError
	var registry *oci.RegistryError
	switch {
	case errors.Is(err, catalog.ErrNoVersion):
		return withCode(exitInvalid, err, append(c.versions(ctx, mirrors.Map(ref)),
			"--talos v1.12.0 says it", "or give the catalog a tag: --catalog "+ref+":v1.12.0")...)
	case errors.As(err, &bad):
		return withCode(exitInvalid, err, append(c.versions(ctx, mirrors.Map(ref)), "--talos names a version")...)
	case errors.As(err, new(*catalog.VersionError)):
		return withCode(exitInvalid, err, "its tag is a wrong one, or --talos is: nothing of it was used")
	case errors.As(err, &registry) && errors.Is(err, fs.ErrNotExist) && c.talos != "" && catalog.Untagged(ref) == ref:
		if hints := c.versions(ctx, mirrors.Map(ref)); len(hints) > 0 {
			registry.Hint = "" // it is about names; this one is right
			return withCode(exitDependency, err, hints...)
		}
	}
	return inputError(err)
}

// lastVersions of a catalog are offered to those who name none that there is.
const lastVersions = 5

// versions is a hint with those that a catalog has, none if its registry does
// not say.
func (c *catalogs) versions(ctx context.Context, ref string) []string {
	if oci.IsLocal(ref) {
		return nil
	}
	tags, err := oci.Tags(ctx, catalog.Untagged(ref), c.images())
	tags = slices.DeleteFunc(tags, func(tag string) bool { _, err := catalog.Version(tag); return err != nil })
	if err != nil || len(tags) == 0 {
		return nil
	}
	order := func(tag string) extension.Version { v, _ := extension.ParseVersion(tag); return v } // it is one
	slices.SortStableFunc(tags, func(a, b string) int { return order(b).Compare(order(a)) })
	return []string{"the last that it has are " + strings.Join(tags[:min(len(tags), lastVersions)], ", ")}
}

// notEmpty refuses empty arguments, which variables that are not set become, and
// then whatever more refuses.
func notEmpty(more cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if i := slices.Index(args, ""); i >= 0 {
			return usageError(fmt.Errorf("argument %d is empty: is a variable not set?", i+1))
		}
		return more(cmd, args)
	}
}

// find is the one entry that a name means; it says if that has another name now.
func (c *catalogs) find(s Streams, all *catalog.Catalog, name string) (catalog.Entry, error) {
	e, renamed, err := all.Resolve(name)
	if err != nil {
		return e, catalogError(err)
	}
	if renamed != "" {
		fmt.Fprintf(s.Err, "note: %s is called %s in this catalog\n", name, renamed)
	}
	return e, nil
}

// catalogError gives errors about names their exit code and advice.
func catalogError(err error) error {
	var unknown *catalog.UnknownError
	var ambiguous *catalog.AmbiguousError
	switch {
	case errors.As(err, &unknown):
		return withCode(exitInvalid, err, nearHints(unknown.Near)...)
	case errors.As(err, &ambiguous):
		return withCode(exitInvalid, err, "give more of the name, or the whole line")
	}
	return err
}

// nearHints are for those who looked for a name that there is not.
func nearHints(near []string) []string {
	return guess(near, "graft catalog list shows all")
}

// pinned gives sources in which names of extensions, such as "gvisor" or
// "siderolabs/gvisor", are replaced with what the catalog has under them:
// NAME:TAG@DIGEST. Files, references with a tag or a digest, and images of other
// registries than the catalogs' stay what they are. The catalog is not read if
// there is no name. Of a catalog in an OCI layout it is the image there, if the
// layout has it.
func (c *catalogs) pinned(ctx context.Context, s Streams, sources []string) ([]string, error) {
	resolved, err := c.pinNames(ctx, s, sources, func(source string) bool {
		return !oci.IsLocal(source) && catalog.IsName(source) && c.beside(source)
	})
	if err != nil || slices.Equal(sources, resolved) {
		return resolved, err
	}
	return c.nearby(ctx, sources, resolved), nil
}

// beside says whether a name has no registry, or is beside a catalog there.
func (c *catalogs) beside(name string) bool {
	host, _, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return true
	}
	return slices.ContainsFunc(c.names(), func(ref string) bool {
		return path.Dir(strings.TrimPrefix(ref, "docker://")) == path.Dir(name)
	})
}

// pinNames is pinned for commands that say themselves what is a name.
func (c *catalogs) pinNames(ctx context.Context, s Streams, sources []string, isName func(string) bool) ([]string, error) {
	if !slices.ContainsFunc(sources, isName) {
		return sources, nil
	}
	all, err := c.open(ctx, s)
	if err != nil {
		return nil, err
	}
	resolved := slices.Clone(sources)
	for i, name := range sources {
		if !isName(name) {
			continue
		}
		e, err := c.find(s, all, name)
		var unknown *catalog.UnknownError
		if host, _, _ := strings.Cut(name, "/"); errors.As(err, &unknown) && strings.ContainsAny(host, ".:") {
			continue
		}
		if err != nil {
			return nil, err
		}
		resolved[i] = e.Image.String()
	}
	return resolved, nil
}

// completeExtensions offers the names in the catalog to the shell, as far as that
// is known without a network.
func completeExtensions(c *catalogs) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		o, err := c.options()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		o.Offline, o.Verify = true, nil // names are not used before they are verified
		if o.Talos == "" {
			o.Talos = o.LastKnown(c.names()[0])
		}
		all, err := catalog.Open(cmd.Context(), c.names(), o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, e := range all.Sorted() {
			names = append(names, printable(e.Name())+"\t"+printable(e.Summary()))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
