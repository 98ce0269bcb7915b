package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/deb"
)

// finder looks for one package.
type finder struct {
	*call
	want DebSource
	// Where to look: in the suite that the package is said to be of, in the
	// sources that are set up, and in more of their suites when it is in none.
	suite, sources, more []aptSource

	near  map[string]place // where other versions of the package are, by URL
	tried map[string]bool  // URLs that were asked for

	looked   []string // repositories whose indexes were read, for people
	versions []string // that they have
	errs     []error  // what went wrong on the way
}

// place is a directory of a pool.
type place struct {
	base *url.URL
	dir  string
}

// offer is an entry of an index for the very package.
type offer struct {
	debEntry
	base   *url.URL
	from   string // the repository, for people
	signed bool
}

// moreSuites are looked into at the very end: a Debian archive has all of its
// suites in one pool, and these names for them.
var moreSuites = []string{"stable", "testing", "unstable"}

func (c *call) newFinder(want DebSource) (*finder, error) {
	d := &finder{call: c, want: want, near: map[string]place{}, tried: map[string]bool{}}
	apt, err := readAptSources(c.Debian.aptDir())
	if err != nil {
		return nil, err
	}
	if err := d.choose(apt); err != nil {
		return nil, err
	}
	if len(d.more) == 0 {
		return nil, fmt.Errorf("apt has no Debian mirror in %s: name one with an option", c.Debian.aptDir())
	}
	if c.Fetcher.Client == nil {
		d.client = aptClient(c.client, c.Debian.aptDir())
	}
	return d, nil
}

// choose puts the sources together from the options and apt's settings.
func (d *finder) choose(apt []aptSource) error {
	o := d.Debian
	var bases []aptSource // one per URL
	if o.Mirror != "" {
		u, err := parseURL(o.Mirror)
		if err != nil {
			return fmt.Errorf("reading the Debian mirror: %w", err)
		}
		bases = []aptSource{{base: u, signedBy: allKeyrings(apt), components: o.Components}}
	} else {
		for _, s := range apt {
			if len(s.archs) > 0 && d.want.Arch != SourceArch && !slices.Contains(s.archs, d.want.Arch) {
				continue
			}
			if len(o.Components) > 0 {
				s.components = o.Components
			}
			if len(o.Suites) == 0 {
				d.sources = append(d.sources, s)
			}
			if !slices.ContainsFunc(bases, func(b aptSource) bool { return b.base.String() == s.base.String() }) {
				bases = append(bases, s)
			}
		}
	}
	for _, b := range bases {
		d.sources = append(d.sources, b.suites(o.Suites)...)
		d.more = append(d.more, b.suites(moreSuites)...)
	}
	if d.want.Suite != "" {
		d.chooseSuite(bases)
	}
	return nil
}

// chooseSuite puts the package's own suite first, with those beside it: of a
// machine with bookworm and bookworm-updates, trixie and trixie-updates.
func (d *finder) chooseSuite(bases []aptSource) {
	like := d.sources
	if len(like) == 0 {
		for _, b := range bases {
			like = append(like, b.suites([]string{"stable", "stable-updates"})...)
		}
	}
	for _, s := range like {
		var ok bool
		if s.suite, ok = sameOf(s.suite, d.want.Suite); ok && !hasSource(d.suite, s) {
			d.suite = append(d.suite, s)
		}
	}
	d.sources = slices.DeleteFunc(slices.Clone(d.sources), func(s aptSource) bool { return hasSource(d.suite, s) })
}

func hasSource(all []aptSource, s aptSource) bool {
	return slices.ContainsFunc(all, func(t aptSource) bool {
		return t.label() == s.label() && slices.Equal(t.components, s.components)
	})
}

// sameOf is what one suite of a Debian archive is for another release:
// trixie-updates of bookworm-updates. A suite that is named with what follows the
// codename is that one only; archives of others have suites that say nothing.
func sameOf(suite, wanted string) (string, bool) {
	codename := deb.Codename(suite)
	_, known := deb.Release(suite)
	if !known && codename != "oldstable" && !slices.Contains(moreSuites, codename) {
		return "", false
	}
	if strings.Contains(wanted, "-") {
		return wanted, true
	}
	return wanted + strings.TrimPrefix(suite, codename), true
}

// suites are other suites of a source's repository.
func (s aptSource) suites(names []string) []aptSource {
	var all []aptSource
	for _, name := range names {
		s.suite = name
		all = append(all, s)
	}
	return all
}

// allKeyrings are all files that apt's sources name.
func allKeyrings(apt []aptSource) string {
	var all []string
	for _, s := range apt {
		if !strings.Contains(s.signedBy, "-----BEGIN") {
			all = append(all, s.signedBy)
		}
	}
	return strings.Join(all, "\n")
}

// aptClient is a client with the proxies of apt's settings, if it has any.
func aptClient(client *http.Client, dir string) *http.Client {
	proxies := map[string]*url.URL{"http": aptProxy(dir, "http"), "https": aptProxy(dir, "https")}
	if proxies["http"] == nil && proxies["https"] == nil {
		return client
	}
	t := client.Transport.(*http.Transport).Clone()
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if p := proxies[r.URL.Scheme]; p != nil {
			return p, nil
		}
		return http.ProxyFromEnvironment(r)
	}
	return &http.Client{Transport: t, CheckRedirect: client.CheckRedirect}
}

// search looks into one place. It returns what indexes say of the package, and
// remembers where other versions of it are.
type search func(ctx context.Context) []offer

// searches are the ways to find a package, the cheap and likely ones first.
func (d *finder) searches() []search {
	var all []search
	for _, sources := range [][]aptSource{d.suite, d.sources} {
		all = append(all, d.localLists(sources))
		for _, choice := range []choice{ownComponents, release.others} {
			for _, s := range sources {
				all = append(all, d.remote(s, choice))
			}
		}
	}
	for _, s := range d.more {
		all = append(all, d.remote(s, allComponents))
	}
	return append(all, d.likely)
}

// choice says which components of a release to look into.
type choice func(release, aptSource) []string

func allComponents(r release, _ aptSource) []string { return r.components }

func ownComponents(r release, s aptSource) []string {
	if len(s.components) == 0 {
		return r.components
	}
	return s.components
}

// get finds and downloads a package with a known checksum.
func (d *finder) get(ctx context.Context) (*cache.Blob, error) {
	for _, search := range d.searches() {
		for _, o := range search(ctx) {
			if o.sha256 != d.want.SHA256 {
				d.errs = append(d.errs, fmt.Errorf("%s lists it: %w", o.from, compare(Checksum{"sha256", d.want.SHA256, o.sha256})))
				continue
			}
			if b := d.try(ctx, o.base.JoinPath(o.file)); b != nil {
				return b, nil
			}
		}
		for _, u := range d.guesses() {
			if b := d.try(ctx, u); b != nil {
				return b, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, d.notFound()
}

// try downloads from a place, which may not have it.
func (d *finder) try(ctx context.Context, u *url.URL) *cache.Blob {
	if d.tried[u.String()] {
		return nil
	}
	d.tried[u.String()] = true
	b, err := d.file(ctx, u, URLSource{SHA256: d.want.SHA256})
	if err != nil {
		d.note(u, err)
		return nil
	}
	return b
}

// note keeps an error for the end, unless it only says that there is nothing.
func (d *finder) note(u *url.URL, err error) {
	var status *StatusError
	if errors.As(err, &status) && status.gone() {
		return
	}
	d.errs = append(d.errs, fmt.Errorf("%s: %w", u.Redacted(), err))
}

// resolve finds the checksum of a package: first in all indexes.
func (d *finder) resolve(ctx context.Context) (string, bool, error) {
	for _, search := range d.searches() {
		for _, o := range search(ctx) {
			return o.sha256, o.signed, nil
		}
		if ctx.Err() != nil {
			return "", false, ctx.Err()
		}
	}
	for _, u := range d.guesses() {
		got, err := d.measure(ctx, u)
		if err == nil {
			return got.SHA256, false, nil
		}
		d.note(u, err)
	}
	return "", false, d.notFound()
}

// notFound says where it was looked for.
func (d *finder) notFound() error {
	msg := "no mirror has it. Looked into:"
	for _, label := range d.looked {
		msg += "\n  " + label
	}
	if len(d.versions) > 0 {
		slices.Sort(d.versions)
		msg += "\nThere it has the versions " + strings.Join(slices.Compact(d.versions), ", ") + "; places beside them were tried, too"
	}
	return errors.Join(append(slices.Clone(d.errs), errors.New(msg))...)
}

func (s aptSource) label() string { return s.base.Redacted() + " " + s.suite }

// lookedInto remembers a component for people.
func (d *finder) lookedInto(s aptSource, component string) {
	suite := s.label()
	i := slices.IndexFunc(d.looked, func(l string) bool { return strings.HasPrefix(l, suite+" ") })
	if i < 0 {
		d.looked = append(d.looked, suite+" "+component)
		return
	}
	if !slices.Contains(strings.Fields(d.looked[i]), component) {
		d.looked[i] += " " + component
	}
}

// match sorts what an index says of the package's name: offers of the version,
// and places of others.
func (d *finder) match(x index, s aptSource, signed bool) []offer {
	var offers []offer
	for _, e := range x.find(d.want.Name) {
		if e.arch != d.want.Arch && e.arch != "all" {
			continue
		}
		if e.version == d.want.Version {
			offers = append(offers, offer{e, s.base, s.label(), signed})
		}
		d.versions = append(d.versions, e.version)
		p := place{s.base, path.Dir(e.file)}
		d.near[p.base.JoinPath(p.dir).String()] = p
	}
	return offers
}

// guesses are the URLs that the package would have beside its other versions,
// in the order of the alphabet. The epoch of a version is not in file names.
func (d *finder) guesses() []*url.URL {
	version := d.want.Version
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	var all []*url.URL
	for _, p := range sortedPlaces(d.near) {
		for _, name := range fileNames(d.want.Name, version, d.want.Arch) {
			if u := p.base.JoinPath(p.dir, name); !d.tried[u.String()] {
				all = append(all, u)
			}
		}
	}
	return all
}

// fileNames are what a pool may call a package. The Debian revision is not in the
// name of an upstream's tarball.
func fileNames(name, version, arch string) []string {
	if arch != SourceArch {
		return []string{fmt.Sprintf("%s_%s_%s.deb", name, version, arch), fmt.Sprintf("%s_%s_all.deb", name, version)}
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	var all []string
	for _, ending := range []string{"xz", "gz", "bz2"} {
		all = append(all, fmt.Sprintf("%s_%s.orig.tar.%s", name, version, ending))
	}
	return all
}

func sortedPlaces(m map[string]place) []place {
	var all []place
	for _, p := range m {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.base.String(), b.base.String()), cmp.Compare(a.dir, b.dir))
	})
	return all
}

// likely remembers the places of a package whose source has the same name.
func (d *finder) likely(context.Context) []offer {
	name := d.want.Name
	prefix := name[:1]
	if strings.HasPrefix(name, "lib") && len(name) > 3 {
		prefix = name[:4]
	}
	for _, s := range slices.Concat(d.suite, d.sources, d.more) {
		for _, component := range []string{"main", "contrib", "non-free", "non-free-firmware"} {
			p := place{s.base, path.Join("pool", component, prefix, name)}
			d.near[p.base.JoinPath(p.dir).String()] = p
		}
	}
	return nil
}

// localLists looks into what apt downloaded, and verified.
func (d *finder) localLists(sources []aptSource) search {
	return func(ctx context.Context) []offer {
		var offers []offer
		for _, s := range sources {
			for _, component := range s.components {
				offers = append(offers, d.localList(ctx, s, component)...)
			}
		}
		return offers
	}
}

func (d *finder) localList(ctx context.Context, s aptSource, component string) []offer {
	name := d.listFile(s, component)
	if name == "" {
		return nil
	}
	x, err := d.localIndex(ctx, name)
	if err != nil {
		d.errs = append(d.errs, err)
		return nil
	}
	d.lookedInto(s, component)
	return d.match(x, s, true)
}

// listFile finds the file of an index in apt's directory, "" if there is none.
func (d *finder) listFile(s aptSource, component string) string {
	base := *s.base
	base.User = nil
	uri := strings.TrimSuffix(strings.TrimPrefix(base.String(), base.Scheme+"://"), "/")
	uri = strings.ReplaceAll(uri, "_", "%5f")
	name := strings.Join([]string{uri, "dists", s.suite, component, indexName(d.want.Arch)}, "_")
	name = filepath.Join(d.Debian.listsDir(), strings.ReplaceAll(name, "/", "_"))
	for _, ending := range []string{"", ".lz4", ".gz", ".xz", ".zst", ".bz2"} {
		if _, err := os.Stat(name + ending); err == nil {
			return name + ending
		}
	}
	return ""
}

func (d *finder) localIndex(ctx context.Context, name string) (index, error) {
	b, err := cache.File(name)
	if err != nil {
		return nil, fmt.Errorf("reading apt's list: %w", err)
	}
	defer b.Close()
	return d.index(ctx, filepath.Base(name), strings.TrimPrefix(b.Digest, "sha256:"), func() (*cache.Blob, error) {
		return cache.File(name)
	})
}

// remote looks into the indexes of a mirror.
func (d *finder) remote(s aptSource, components choice) search {
	return func(ctx context.Context) []offer {
		offers, err := d.remoteSource(ctx, s, components)
		if err != nil {
			d.note(s.dist(""), err)
		}
		return offers
	}
}

func (d *finder) remoteSource(ctx context.Context, s aptSource, components choice) ([]offer, error) {
	r, err := d.release(ctx, s, s.keys(d.Debian.aptDir()))
	if err != nil {
		return nil, err
	}
	var offers []offer
	for _, component := range components(r, s) {
		x, err := d.remoteIndex(ctx, s, r, component, d.want.Arch)
		if err != nil {
			return offers, err
		}
		if x == nil {
			continue
		}
		d.lookedInto(s, component)
		offers = append(offers, d.match(x, s, r.signed)...)
	}
	return offers, nil
}
