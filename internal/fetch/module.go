package fetch

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/graftlinux/graft/internal/tree"
)

// moduleFormat is the version of what is made of a module: a part of the key.
const moduleFormat = "go module v2"

// toolchainModule is the module whose zips are Go toolchains. It has programs,
// and no dependencies.
const toolchainModule = "golang.org/toolchain"

// ModuleSource is a version of a Go module.
type ModuleSource struct {
	Path, Version string // "github.com/slackhq/nebula", "v1.11.0"
	// Sum of the module's zip as in go.sum: "h1:…".
	Sum string
	// Packages whose imports are brought along: "./cmd/nebula", "./cmd/...".
	// Without any, all modules come that the module requires and has a checksum
	// for.
	Packages []string
	// GOOS and GOARCH to follow imports for; linux and amd64 if empty. Files
	// with other build tags are followed in any case: a build may set them.
	GOOS, GOARCH string
}

// ParseModule reads "path@version".
func ParseModule(s string) (ModuleSource, error) {
	name, version, ok := strings.Cut(s, "@")
	m := ModuleSource{Path: name, Version: version}
	if !ok {
		return m, fmt.Errorf("reading the module %q: it has no version: write path@version", s)
	}
	if err := checkVersion(m.version()); err != nil {
		return m, fmt.Errorf("reading the module %q: %w", s, err)
	}
	return m, nil
}

// String is path@version.
func (s ModuleSource) String() string { return s.Path + "@" + s.Version }

// Key identifies everything that Module gives, without fetching it: the
// module's go.sum, of which Sum is a part, pins the rest.
func (s ModuleSource) Key() string {
	s = s.withDefaults()
	return fmt.Sprintf("%s\n%s\n%s\n%s/%s\n%s", moduleFormat, s, s.Sum, s.GOOS, s.GOARCH, strings.Join(s.Packages, "\n"))
}

// withDefaults fills in the platform and puts the packages in order.
func (s ModuleSource) withDefaults() ModuleSource {
	if s.GOOS == "" {
		s.GOOS = "linux"
	}
	if s.GOARCH == "" {
		s.GOARCH = "amd64"
	}
	packages := make([]string, 0, len(s.Packages))
	for _, p := range s.Packages {
		packages = append(packages, path.Clean(p))
	}
	slices.Sort(packages)
	s.Packages = slices.Compact(packages)
	return s
}

func (s ModuleSource) version() module.Version {
	return module.Version{Path: s.Path, Version: s.Version}
}

// checkVersion reports a path or a version that cannot be.
func checkVersion(m module.Version) error {
	if err := module.Check(m.Path, m.Version); err != nil {
		return err
	}
	if canonical := module.CanonicalVersion(m.Version); canonical != m.Version {
		return fmt.Errorf("the version %q is not complete: %s would be", m.Version, canonical)
	}
	return nil
}

func (s ModuleSource) check() error {
	if err := checkVersion(s.version()); err != nil {
		return err
	}
	if s.Sum == "" {
		return errors.New("it has no sum: `graft update` writes it into the recipe")
	}
	if !validH1(s.Sum) {
		return fmt.Errorf("its sum %q is not of the form that go.sum has: h1: and 44 characters of base64", s.Sum)
	}
	for _, p := range s.Packages {
		if !localPackage(p) {
			return fmt.Errorf("its package %q is not in the module: write it as ./path", p)
		}
	}
	return nil
}

func validH1(sum string) bool {
	text, ok := strings.CutPrefix(sum, "h1:")
	data, err := base64.StdEncoding.DecodeString(text)
	return ok && err == nil && len(data) == 32
}

// localPackage says whether a package is written as one of this module.
func localPackage(p string) bool {
	if p != "." && !strings.HasPrefix(p, "./") {
		return false
	}
	clean := path.Clean(p)
	return clean != ".." && !strings.HasPrefix(clean, "../") && !strings.ContainsAny(p, "\\\x00\n")
}

// Module is a module that is ready to be built. Its trees read the files of the
// cache, which stay open until Close, or until nothing uses the trees any more.
type Module struct {
	source, modCache *tree.Tree
	zips             []*moduleZip
}

// Source is the module's own files. What only its developers need and what
// breaks a build from the zip is left out: go.work, vendor/modules.txt.
func (m *Module) Source() *tree.Tree { return m.source }

// ModCache is a directory for GOMODCACHE with the modules that the build needs;
// no more, so the go command must be kept from asking for others:
//
//	GOPROXY=off GOFLAGS=-mod=readonly GOSUMDB=off GOTOOLCHAIN=local go build ./cmd/x
func (m *Module) ModCache() *tree.Tree { return m.modCache }

// Close closes the files of the cache. The trees cannot be read any more.
func (m *Module) Close() error {
	var errs []error
	for _, z := range m.zips {
		errs = append(errs, z.blob.Close())
	}
	return errors.Join(errs...)
}

// Module gets a module and what it needs to be built offline, all of it
// verified: its zip by s.Sum, the others by the go.sum in it.
func (f *Fetcher) Module(ctx context.Context, s ModuleSource) (*Module, error) {
	if err := s.check(); err != nil {
		return nil, failed(s.String(), err)
	}
	l := newLoader(f.begin(), s.withDefaults())
	m, err := l.load(ctx)
	if err != nil {
		return nil, errors.Join(neededBy(s, failed(s.String(), err)), l.close())
	}
	return m, nil
}

// neededBy adds the module to an error of one of its dependencies.
func neededBy(s ModuleSource, err error) error {
	var known *Error
	if errors.As(err, &known) && known.Source != s.String() {
		return fmt.Errorf("%w (needed by %s)", err, s)
	}
	return err
}

// ResolveModule downloads the zip of a module and tells its sum. It trusts what
// the proxy gives. The zip is in the cache afterwards.
func (f *Fetcher) ResolveModule(ctx context.Context, s ModuleSource) (ModuleSource, error) {
	sum, err := f.resolveModule(ctx, s)
	if err != nil {
		return s, failed(s.String(), err)
	}
	s.Sum = sum
	return s, nil
}

func (f *Fetcher) resolveModule(ctx context.Context, s ModuleSource) (string, error) {
	if err := checkVersion(s.version()); err != nil {
		return "", err
	}
	return f.begin().measureZip(ctx, s.version())
}
