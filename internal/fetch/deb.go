package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/format/deb"
	"github.com/graftlinux/graft/internal/lazyregexp"
)

// DebOptions say where Debian packages are.
type DebOptions struct {
	// Mirror is the URL that dists/ and pool/ are below; "" takes those that apt
	// is set up with.
	Mirror string
	// Suites and Components to look into first, but after the suite of a DebSource;
	// empty takes those of apt. Other components of these suites follow, then stable,
	// testing and unstable.
	Suites, Components []string
	// AptDir has apt's settings, "" is /etc/apt; ListsDir has what `apt-get
	// update` downloaded, "" is /var/lib/apt/lists.
	AptDir, ListsDir string
}

func (o DebOptions) aptDir() string   { return cmp.Or(o.AptDir, "/etc/apt") }
func (o DebOptions) listsDir() string { return cmp.Or(o.ListsDir, "/var/lib/apt/lists") }

// DebSource is a version of a Debian package. With the architecture SourceArch it
// is a source package, and stands for the tarball that its upstream published
// ("orig").
type DebSource struct {
	Name, Arch, Version string // "bash", "amd64" in Debian's words, "5.2.15-2+b8"
	SHA256              string // of the .deb file or tarball, hex digits
	// Suite to look into first, with those beside it, as bookworm or
	// bookworm-security; "" if it is not known.
	Suite string
}

// SourceArch is what Debian calls the architecture of source packages.
const SourceArch = "source"

var (
	debName    = lazyregexp.New(`^[a-z0-9][a-z0-9+.-]+$`)
	debArch    = lazyregexp.New(`^[a-z0-9][a-z0-9-]*$`)
	debVersion = lazyregexp.New(`^([0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+~:-]*$`)
)

// ParseDeb reads "name=version" or "name:arch=version". Arch is "" in the first.
func ParseDeb(s string) (DebSource, error) {
	name, version, ok := strings.Cut(s, "=")
	name, arch, hasArch := strings.Cut(name, ":")
	d := DebSource{Name: name, Arch: arch, Version: version}
	if !ok {
		return d, fmt.Errorf("reading the Debian package %q: it has no version: write name=version", s)
	}
	err := d.checkNames()
	if hasArch && arch == "" {
		err = errors.New("the architecture after the colon is missing")
	}
	if err != nil {
		return d, fmt.Errorf("reading the Debian package %q: %w", s, err)
	}
	return d, nil
}

func (s DebSource) checkNames() error {
	switch {
	case !debName.MatchString(s.Name):
		return fmt.Errorf("%q is no name of a Debian package", s.Name)
	case s.Arch != "" && !debArch.MatchString(s.Arch):
		return fmt.Errorf("%q is no architecture of Debian", s.Arch)
	case !debVersion.MatchString(s.Version):
		return fmt.Errorf("%q is no version of a Debian package", s.Version)
	case s.Suite != "" && !debArch.MatchString(s.Suite):
		return fmt.Errorf("%q is no suite of Debian", s.Suite)
	}
	return nil
}

func (s DebSource) check() error {
	if err := s.checkNames(); err != nil {
		return err
	}
	if s.Arch == "" {
		return errors.New("it has no architecture")
	}
	return nil
}

// String is name:arch=version.
func (s DebSource) String() string {
	if s.Arch == "" {
		return s.Name + "=" + s.Version
	}
	return s.Name + ":" + s.Arch + "=" + s.Version
}

// Key identifies the content.
func (s DebSource) Key() string { return fileKey(s.SHA256, "") }

// Deb gets a Debian package: exactly that version, with that checksum. Packages
// that the indexes do not list any more, or not in the suites that apt is set
// up with, are looked for beside their other versions. What DebInfo tells of it
// is in the cache afterwards.
func (f *Fetcher) Deb(ctx context.Context, s DebSource) (*cache.Blob, error) {
	b, err := f.deb(ctx, s)
	if err == nil && s.Arch != SourceArch {
		if _, err = f.debInfo(ctx, s, func() (deb.Control, error) { return readControl(b) }); err != nil {
			return nil, failed("Debian package "+s.String(), errors.Join(err, b.Close()))
		}
	}
	return b, failed("Debian package "+s.String(), err)
}

func (f *Fetcher) deb(ctx context.Context, s DebSource) (*cache.Blob, error) {
	if err := errors.Join(s.check(), checkSums(s.SHA256, "")); err != nil {
		return nil, err
	}
	if b, err := f.Cache.Get(s.Key()); err == nil {
		return b, nil
	}
	if f.Offline {
		return nil, ErrOffline
	}
	d, err := f.begin().newFinder(s)
	if err != nil {
		return nil, err
	}
	return d.get(ctx)
}

// ResolveDeb tells the checksum of a package. Signed says that it is vouched
// for by an index with a good signature; else it is that of the file which the
// mirror gave, and which is in the cache afterwards.
func (f *Fetcher) ResolveDeb(ctx context.Context, s DebSource) (resolved DebSource, signed bool, err error) {
	s.SHA256 = ""
	s.SHA256, signed, err = f.resolveDeb(ctx, s)
	return s, signed, failed("Debian package "+s.String(), err)
}

func (f *Fetcher) resolveDeb(ctx context.Context, s DebSource) (string, bool, error) {
	if err := s.check(); err != nil {
		return "", false, err
	}
	if f.Offline {
		return "", false, ErrOffline
	}
	d, err := f.begin().newFinder(s)
	if err != nil {
		return "", false, err
	}
	return d.resolve(ctx)
}
