package bootasset

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/encode"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/format/kmod"
	"github.com/graftlinux/graft/internal/format/squashfs"
	"github.com/graftlinux/graft/internal/tree"
)

// depmodSearch is the order in which Talos' imager lets directories win over
// each other when they have a module of the same name.
var depmodSearch = []string{"extras", "built-in"}

func readModule(root *squashfs.Reader, name, below string) (kmod.Module, error) {
	f, err := root.Open(name)
	if err != nil {
		return kmod.Module{}, fmt.Errorf("reading the base's modules: %w", err)
	}
	defer f.Close()
	info, err := kmod.ReadInfo(f)
	if err != nil {
		return kmod.Module{}, fmt.Errorf("reading the base's module %s: %w", name, err)
	}
	return kmod.Module{Path: below, Info: *info}, nil
}

// modulesLayer is the layer with the indexes of all modules, those of the base
// and of the extensions; nil if no extension brings modules.
func (a *Asset) modulesLayer(ctx context.Context) (*cache.Blob, error) {
	switch {
	case a.known.ModulesProblem != "":
		return nil, errors.New(a.known.ModulesProblem)
	case a.known.Modules == "":
		return nil, nil
	}
	label := "modules.dep for " + a.opts.Base.summary.Releases[0]
	return a.opts.Cache.MakeUnverified(ctx, a.settings.key("modules.dep", a.known.Modules), label, func(f *os.File) error {
		_, done := a.opts.Progress(label, 0)
		defer done()
		if err := a.surveyAll(ctx); err != nil {
			return err
		}
		input, err := a.moduleInfos(ctx)
		if err != nil {
			return err
		}
		return a.writeModulesLayer(ctx, f, input)
	})
}

// modulesDigest is a digest of what the indexes depend on, "" if there are
// none to be made.
func (a *Asset) modulesDigest(ctx context.Context) (string, error) {
	input, err := a.moduleInfos(ctx)
	if err != nil || input == nil {
		return "", err
	}
	data, err := json.Marshal(input)
	return fmt.Sprintf("%x", sha256.Sum256(data)), err
}

// depmodInput is all that the indexes depend on.
type depmodInput struct {
	Release string
	Modules []kmod.Module
	Base    string // digest of the base's initramfs, for its order and builtin files
}

// moduleInfos gathers the modules of the base and, over them in the order of
// the layers, of the extensions.
func (a *Asset) moduleInfos(ctx context.Context) (*depmodInput, error) {
	dirs := map[string]bool{}
	for _, p := range a.extensions {
		for _, m := range p.facts.Modules {
			if m.Error == "" && strings.HasPrefix(m.Path, extension.RootfsName+"/"+a.settings.libDir+"/") {
				dirs[m.Release] = true
			}
		}
	}
	if len(dirs) == 0 {
		return nil, nil
	}
	base, err := a.opts.Base.Facts(ctx)
	if err != nil {
		return nil, err
	}
	if len(base.Releases) != 1 {
		return nil, fmt.Errorf("making modules.dep: the base has modules for %d kernel releases (%s), wanted is exactly one",
			len(base.Releases), strings.Join(base.Releases, ", "))
	}
	input := &depmodInput{Release: base.Releases[0], Base: a.opts.Base.initramfs.Digest}
	if !dirs[input.Release] {
		return nil, nil // modules for other kernels only: the check has said so
	}
	at := map[string]int{}
	put := func(m kmod.Module) {
		if i, ok := at[m.Path]; ok {
			input.Modules[i] = m
			return
		}
		at[m.Path] = len(input.Modules)
		input.Modules = append(input.Modules, m)
	}
	for _, m := range base.Modules {
		put(m)
	}
	for _, p := range a.extensions {
		for _, m := range p.facts.Modules {
			if m.Error == "" && m.Release == input.Release {
				put(m.InRelease())
			}
		}
	}
	return input, nil
}

func (a *Asset) writeModulesLayer(ctx context.Context, f *os.File, input *depmodInput) error {
	base, err := a.opts.Base.Facts(ctx)
	if err != nil {
		return err
	}
	files, _, err := kmod.Depmod(input.Modules, kmod.Options{
		Order: base.Order, Builtin: base.Builtin, BuiltinModinfo: base.Modinfo, Search: depmodSearch,
	})
	if err != nil {
		return fmt.Errorf("making modules.dep: %w", err)
	}
	t := tree.New()
	dir := path.Join(a.settings.libDir, "modules", input.Release)
	for _, file := range files {
		if err := t.Put(path.Join(dir, file.Name), tree.File(0o644, file.Data)); err != nil {
			return err
		}
	}
	return encode.Squashfs(ctx, f, t, a.settings.squashfs, nil)
}
