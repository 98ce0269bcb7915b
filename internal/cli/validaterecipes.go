package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/recipe"
)

// isRecipeTree says whether a directory holds recipes, and no extension.
func isRecipeTree(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, recipe.PkgfileName))
	return err == nil && info.Mode().IsRegular()
}

// recipeValidation checks a tree of recipes: everything that can be known
// without building, on all platforms.
type recipeValidation struct {
	streams   Streams
	recipes   recipes
	fetching  fetching
	checksums bool
	cacheDir  string
}

func (v *recipeValidation) run(ctx context.Context, dir string) error {
	v.recipes.root = dir
	broken := 0
	var sets []*recipe.Set
	seen := map[string]bool{}
	for _, platform := range recipe.PlatformNames() {
		set, err := recipe.Load(ctx, dir, recipe.Options{Target: platform, BuildArgs: v.recipes.args()})
		if err != nil {
			return inputError(err)
		}
		sets = append(sets, set)
		broken += v.print("error", append(set.Problems, unbuildable(set)...), seen)
		v.print("warning", set.Warnings, seen)
	}
	if v.checksums {
		wrong, err := v.verify(ctx, sets)
		if err != nil {
			return err
		}
		broken += wrong
	}
	fmt.Fprintf(v.streams.Err, "%s checked: %s\n", count(len(sets[0].Packages), "package"), count(broken, "error"))
	if broken > 0 {
		return withCode(exitInvalid, fmt.Errorf("%s found in the recipes of %s", count(broken, "error"), dir))
	}
	return nil
}

// unbuildable are the packages that need one that there is not, or themselves.
func unbuildable(set *recipe.Set) []recipe.Problem {
	var all []recipe.Problem
	said := map[string]bool{}
	for _, p := range set.Packages {
		_, err := set.Closure(p.Name)
		var cycle *recipe.CycleError
		var unknown *recipe.UnknownError
		key := ""
		switch {
		case errors.As(err, &cycle):
			names := slices.Sorted(slices.Values(cycle.Path[1:]))
			key = strings.Join(names, " ")
		case errors.As(err, &unknown):
			key = unknown.Name
		default:
			continue
		}
		if !said[key] {
			said[key] = true
			all = append(all, recipe.Problem{File: p.FileName, Message: err.Error()})
		}
	}
	return all
}

// print prints what was not said for another platform, and counts it.
func (v *recipeValidation) print(kind string, problems []recipe.Problem, seen map[string]bool) int {
	n := 0
	for _, p := range problems {
		if key := kind + p.String(); !seen[key] {
			seen[key] = true
			n++
			printProblems(v.streams.Err, kind, []recipe.Problem{p})
		}
	}
	return n
}

// verify downloads every source that is not in the cache, and prints those that
// are not what their recipe says.
func (v *recipeValidation) verify(ctx context.Context, sets []*recipe.Set) (wrong int, err error) {
	c, err := openCache(v.cacheDir)
	if err != nil {
		return 0, err
	}
	f := v.fetching.fetcher(c)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	done := map[string]bool{}
	for i, set := range sets {
		for _, p := range set.Packages {
			for _, src := range sourcesOf(p) {
				key := fmt.Sprintf("%d %+v", i, src)
				if src.Deb == "" && src.Module == "" {
					key = fmt.Sprintf("%+v", src) // the same for all platforms
				}
				if done[key] {
					continue
				}
				done[key] = true
				g.Go(func() error {
					err := fetchSource(ctx, f, src, recipe.PlatformNames()[i])
					if err == nil || errors.Is(err, context.Canceled) {
						return err
					}
					mu.Lock()
					defer mu.Unlock()
					wrong++
					fmt.Fprintf(v.streams.Err, "%s: error: %v\n", p.FileName, err)
					return nil
				})
			}
		}
	}
	return wrong, g.Wait()
}

func sourcesOf(p *recipe.Package) []recipe.Source {
	var all []recipe.Source
	for _, step := range p.Steps {
		all = append(all, step.Sources...)
	}
	return all
}

// fetchSource gets a source, which verifies it.
func fetchSource(ctx context.Context, f *fetch.Fetcher, src recipe.Source, platform string) error {
	os, arch, _ := strings.Cut(platform, "/")
	switch {
	case src.Module != "":
		m, err := fetch.ParseModule(src.Module)
		if err != nil {
			return err
		}
		m.Sum, m.Packages, m.GOOS, m.GOARCH = src.Sum, src.Packages, os, arch
		got, err := f.Module(ctx, m)
		if err != nil {
			return err
		}
		return got.Close()
	case src.Deb != "":
		d, err := fetch.ParseDeb(src.Deb)
		if err != nil {
			return err
		}
		if d.SHA256, d.Suite = src.SHA256, src.Suite; d.Arch == "" {
			d.Arch = arch
		}
		got, err := f.Deb(ctx, d)
		if err != nil {
			return err
		}
		return got.Close()
	}
	got, err := f.URL(ctx, fetch.URLSource{URL: src.URL, SHA256: src.SHA256, SHA512: src.SHA512})
	if err != nil {
		return err
	}
	return got.Close()
}
