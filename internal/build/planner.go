package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/graftlinux/graft/internal/build/plan"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/recipe"
)

// PlanOptions say how recipes become operations.
type PlanOptions struct {
	// Root is the directory of the recipes.
	Root string
	// Load reads the recipes for a platform. It is called once for each.
	Load func(ctx context.Context, platform string) (*recipe.Set, error)
	// Fetch gets what recipes start with.
	Fetch *fetch.Fetcher
	// Epoch is SOURCE_DATE_EPOCH: commands see it.
	Epoch time.Time
	// CacheNS keeps persistent directories of builds apart
	// (bldr: BUILDKIT_CACHE_MOUNT_NS).
	CacheNS string
	// ProxyEnv are http_proxy and the like, for commands.
	ProxyEnv []string
	// Alpine is the image that the variant alpine starts as.
	Alpine string
	// Version of graft, for documents that say who made them.
	Version string
	// Trust decides whether an image may be used, and gives the reference that
	// names its content for good. It is asked before anything of the image is used;
	// nil: all may, as their names say.
	Trust func(ctx context.Context, ref, platform string) (pinned string, err error)
}

// Builder makes operations of recipes. What several packages need, it makes once.
type Builder struct {
	opts     PlanOptions
	sets     map[string]*recipe.Set
	packages map[string]*plan.Op // results by name and platforms
	shared   map[string]*plan.Op // images and such
	active   []string            // packages in the making, for cycles
	Warnings []recipe.Problem

	mu   sync.Mutex
	open []io.Closer // what trees of sources are read from
}

// NewBuilder returns a builder.
func NewBuilder(o PlanOptions) *Builder {
	return &Builder{opts: o, sets: map[string]*recipe.Set{}, packages: map[string]*plan.Op{}, shared: map[string]*plan.Op{}}
}

// Close gives back what the trees of files are read from.
func (b *Builder) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, c := range b.open {
		errs = append(errs, c.Close())
	}
	b.open = nil
	return errors.Join(errs...)
}

// keep has Close close c. Engines get sources in parallel.
func (b *Builder) keep(c io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = append(b.open, c)
}

// Set returns the recipes as they are for a platform.
func (b *Builder) Set(ctx context.Context, platform string) (*recipe.Set, error) {
	if s := b.sets[platform]; s != nil {
		return s, nil
	}
	s, err := b.opts.Load(ctx, platform)
	if err == nil {
		b.sets[platform] = s
	}
	return s, err
}

// Package returns the operation whose result is what a package finalizes, for
// the platform that was asked for. Only for such a package the buildPlatform of
// its recipe counts (bldr, as implemented): its commands run there.
func (b *Builder) Package(ctx context.Context, name, platform string) (*plan.Op, *recipe.Package, error) {
	p, err := b.find(ctx, name, platform)
	if err != nil {
		return nil, nil, err
	}
	build := platform
	if p.BuildPlatform != "" {
		parsed, err := recipe.ParsePlatform(p.BuildPlatform)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: buildPlatform: %w", p.FileName, err)
		}
		build = parsed.String()
	}
	op, err := b.result(ctx, name, build, platform)
	return op, p, err
}

func (b *Builder) find(ctx context.Context, name, platform string) (*recipe.Package, error) {
	set, err := b.Set(ctx, platform)
	if err != nil {
		return nil, err
	}
	p := set.Package(name)
	if p == nil {
		return nil, &recipe.UnknownError{Name: name, Chain: names(b.active), Near: set.Near(name)}
	}
	return p, nil
}

// result is the operation of a package, whose commands run on build.
func (b *Builder) result(ctx context.Context, name, build, target string) (*plan.Op, error) {
	id := strings.Join([]string{name, build, target}, " ")
	if op := b.packages[id]; op != nil {
		return op, nil
	}
	if slices.Contains(b.active, id) {
		path := names(b.active)
		return nil, &recipe.CycleError{Path: append(path[slices.Index(path, name):], name)}
	}
	p, err := b.find(ctx, name, target)
	if err != nil {
		return nil, err
	}
	b.active = append(b.active, id)
	defer func() { b.active = b.active[:len(b.active)-1] }()
	m := maker{b: b, ctx: ctx, p: p, build: build, target: target}
	op, err := m.make()
	if err != nil {
		return nil, err
	}
	b.packages[id] = op
	return op, nil
}

func names(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i], _, _ = strings.Cut(id, " ")
	}
	return out
}

// maker makes the operations of one package.
type maker struct {
	b             *Builder
	ctx           context.Context //nolint:containedctx // of one call
	p             *recipe.Package
	build, target string

	fs    *plan.Op // what there is so far
	env   map[string]string
	tests []*plan.Op
}

// Places in the file system of every build.
const (
	contextDir = "/pkg"
	tempDir    = "/tmp/build"
	modCache   = tempDir + "/.gomod"
)

func (m *maker) op(name string, k plan.Kind) *plan.Op {
	return &plan.Op{Name: name, Package: m.p.Name, Platform: m.build, Kind: k}
}

// add puts file systems on top of what there is.
func (m *maker) add(ops ...*plan.Op) {
	if m.fs != nil {
		ops = append([]*plan.Op{m.fs}, ops...)
	}
	if len(ops) == 1 {
		m.fs = ops[0]
		return
	}
	m.fs = m.op(m.p.Name+": merge", &plan.Merge{Layers: ops})
}

func (m *maker) make() (*plan.Op, error) {
	env, err := recipe.Builtins(m.build, m.target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.p.FileName, err)
	}
	m.env = maps.Clone(map[string]string(env))
	m.env["PKG_NAME"] = m.p.Name
	m.env["HOME"] = "/root"
	m.env["SOURCE_DATE_EPOCH"] = fmt.Sprint(m.b.opts.Epoch.Unix())
	for _, part := range []func() error{m.base, m.dependencies, m.install, m.context, m.steps} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return m.finalize()
}

// base is what the variant of the package says.
func (m *maker) base() error {
	if m.p.Variant != recipe.Alpine {
		return nil
	}
	image, err := m.b.image(m.ctx, m.b.opts.Alpine, m.build)
	if err != nil {
		return err
	}
	// What bldr does to it.
	m.fs = m.exec("base", &plan.Exec{
		Root: image, Args: []string{"/bin/sh", "-c", "apk add --no-cache bash && ln -sf /bin/bash /bin/sh"},
		Dir: contextDir, Network: plan.DefaultNetwork, Script: "apk add --no-cache bash && ln -sf /bin/bash /bin/sh",
	})
	return nil
}

func (b *Builder) image(ctx context.Context, ref, platform string) (*plan.Op, error) {
	id := ref + " " + platform
	if op := b.shared[id]; op != nil {
		return op, nil
	}
	use := ref
	if b.opts.Trust != nil {
		var err error
		if use, err = b.opts.Trust(ctx, ref, platform); err != nil {
			return nil, err
		}
	}
	b.shared[id] = &plan.Op{Name: "image " + ref, Platform: platform, Kind: &plan.Image{Ref: use}}
	return b.shared[id], nil
}

// inTree has the relative path of an image in a file count from the root of the
// recipes, wherever graft was started. Other references stay.
func (b *Builder) inTree(ref string) string {
	for _, form := range []string{"oci:", "oci-archive:", "docker-archive:", "tar:", "dir:"} {
		if name, ok := strings.CutPrefix(ref, form); ok && !filepath.IsAbs(name) {
			return form + filepath.Join(b.opts.Root, name)
		}
	}
	if strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../") {
		return explicit(filepath.Join(b.opts.Root, ref))
	}
	return ref
}

// explicit is a path that nobody takes for the name of an image.
func explicit(name string) string {
	if filepath.IsAbs(name) || strings.HasPrefix(name, "../") {
		return name
	}
	return "./" + name
}

// dependencies are stacked in their order.
func (m *maker) dependencies() error {
	set, err := m.b.Set(m.ctx, m.target)
	if err != nil {
		return err
	}
	inputs, warnings, err := set.Inputs(m.p)
	m.b.Warnings = append(m.b.Warnings, warnings...)
	if err != nil {
		return m.b.fromTarget(err)
	}
	for _, in := range inputs {
		op, err := m.dependency(in.Dependency)
		if err != nil {
			return err
		}
		m.add(op)
	}
	return nil
}

// fromTarget has the chain of an error begin at the package that was asked for:
// so far it begins at the one in the making.
func (b *Builder) fromTarget(err error) error {
	var unknown *recipe.UnknownError
	if errors.As(err, &unknown) {
		above := b.active[:len(b.active)-1]
		return &recipe.UnknownError{Name: unknown.Name, Chain: append(names(above), unknown.Chain...), Near: unknown.Near}
	}
	return err
}

func (m *maker) dependency(d recipe.Dependency) (*plan.Op, error) {
	platform := m.build
	if d.Platform != "" {
		parsed, err := recipe.ParsePlatform(d.Platform)
		if err != nil {
			return nil, fmt.Errorf("%s: dependencies: %w", m.p.FileName, err)
		}
		platform = parsed.String()
	}
	var op *plan.Op
	var err error
	if d.Image != "" {
		op, err = m.b.image(m.ctx, m.b.inTree(d.Image), platform)
	} else {
		op, err = m.b.result(m.ctx, d.Stage, platform, platform)
	}
	if err != nil {
		return nil, err
	}
	from, to := absolute(d.From, "/"), absolute(d.To, "/")
	if from == "/" && to == "/" {
		return op, nil
	}
	return m.op(fmt.Sprintf("%s: copy %s from %s", m.p.Name, from, d.Stage+d.Image), &plan.Copy{Input: op, From: from, To: to}), nil
}

// absolute makes a path absolute in a directory. A slash at its end has a
// meaning for Copy and stays.
func absolute(p, dir string) string {
	if p == "" {
		return dir
	}
	slash := strings.HasSuffix(p, "/")
	if !path.IsAbs(p) {
		p = path.Join(dir, p)
	}
	if p = path.Clean(p); slash && p != "/" {
		p += "/"
	}
	return p
}

// install has apk add packages, as bldr does in any variant.
func (m *maker) install() error {
	if len(m.p.Install) == 0 {
		return nil
	}
	if m.fs == nil {
		return fmt.Errorf("%s: install needs /sbin/apk, and there is nothing yet: a dependency has to bring it", m.p.FileName)
	}
	args := append([]string{"/sbin/apk", "add", "--no-cache"}, m.p.Install...)
	m.fs = m.exec("install", &plan.Exec{Root: m.fs, Args: args, Dir: contextDir, Network: plan.DefaultNetwork, Script: strings.Join(args, " ")})
	return nil
}

// exec makes the operation of a command that the package's environment is for.
func (m *maker) exec(phase string, e *plan.Exec) *plan.Op {
	for _, name := range slices.Sorted(maps.Keys(m.env)) {
		e.Env = append(e.Env, name+"="+m.env[name])
	}
	e.ProxyEnv = m.b.opts.ProxyEnv
	return m.op(m.p.Name+":"+phase, e)
}

// context puts the files beside the recipe, and the temporary directory, there.
func (m *maker) context() error {
	files, err := contextFiles(m.b.opts.Root, m.p)
	if err != nil {
		return err
	}
	m.add(m.op(m.p.Name+": context", files))
	return nil
}

// steps run one after the other.
func (m *maker) steps() error {
	for i, step := range m.p.Steps {
		if err := m.step(i, step); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) step(i int, step recipe.Step) error {
	if err := m.sources(step); err != nil {
		return err
	}
	maps.Copy(m.env, step.Env)
	defer m.moduleEnv(step)()
	for _, phase := range []struct {
		name    string
		scripts []string
	}{{"prepare", step.Prepare}, {"build", step.Build}, {"install", step.Install}} {
		for j, script := range phase.scripts {
			m.fs = m.script(step, scriptName(phase.name, i, j, len(phase.scripts)), script, m.fs)
		}
	}
	// Tests see what the step made; nobody sees what they make.
	tested := m.fs
	for j, script := range step.Test {
		tested = m.script(step, scriptName("test", i, j, len(step.Test)), script, tested)
	}
	if len(step.Test) > 0 {
		m.tests = append(m.tests, tested)
	}
	return m.sbom(step.SBOM)
}

// scriptName is PHASE-STEP, as bldr shows it, and the place of the script in
// its phase if there are several.
func scriptName(phase string, step, script, scripts int) string {
	if scripts == 1 {
		return fmt.Sprintf("%s-%d", phase, step)
	}
	return fmt.Sprintf("%s-%d.%d", phase, step, script)
}

func (m *maker) script(step recipe.Step, phase, script string, root *plan.Op) *plan.Op {
	shell := m.p.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	e := &plan.Exec{
		Root: root, Args: []string{shell, "-c", "set -eou pipefail\n" + script}, Dir: tempDir,
		Network: networks[step.Network], Script: script,
	}
	for _, p := range step.CachePaths {
		p = absolute(p, "/")
		e.Caches = append(e.Caches, plan.Cache{ID: path.Clean(m.b.opts.CacheNS + "/" + p), Path: p})
	}
	return m.exec(phase, e)
}

var networks = map[recipe.Network]plan.Network{
	recipe.NetworkNone: plan.NoNetwork, recipe.NetworkDefault: plan.DefaultNetwork, recipe.NetworkHost: plan.HostNetwork,
}

// moduleEnv has the go command find the modules that graft brought, unless the
// recipe says otherwise. It returns what takes that back.
func (m *maker) moduleEnv(step recipe.Step) (undo func()) {
	before := maps.Clone(m.env)
	if slices.ContainsFunc(step.Sources, func(s recipe.Source) bool { return s.Module != "" }) {
		for name, value := range moduleEnv {
			if _, ok := m.env[name]; !ok {
				m.env[name] = value
			}
		}
	}
	return func() { m.env = before }
}

var moduleEnv = map[string]string{
	"GOMODCACHE": modCache, "GOPROXY": "off", "GOSUMDB": "off", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local",
}

// finalize copies what the package is to be.
func (m *maker) finalize() (*plan.Op, error) {
	workdir := contextDir
	if len(m.p.Steps) > 0 {
		workdir = tempDir
	}
	merge := &plan.Merge{After: m.tests}
	for _, f := range m.p.Finalize {
		from, to := absolute(f.From, workdir), absolute(f.To, "/")
		merge.Layers = append(merge.Layers, m.op(fmt.Sprintf("%s: copy %s to %s", m.p.Name, from, to), &plan.Copy{Input: m.fs, From: from, To: to}))
	}
	if len(merge.Layers) == 0 && len(m.p.Steps) > 0 {
		return nil, errors.New(m.p.FileName + ": there are steps, but no finalize")
	}
	return m.op(m.p.Name, merge), nil
}
