package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/atomicfile"
	"github.com/graftlinux/graft/internal/fetch"
	"github.com/graftlinux/graft/internal/recipe"
)

func newUpdate(s Streams) *cobra.Command {
	u := updating{streams: s}
	cmd := &cobra.Command{
		Use:   "update [FILE VARIABLE... | --package NAME]",
		Short: "Refresh the checksums of sources",
		Long: `Download sources and write their checksums into the recipes: into vars.yaml,
Pkgfile or pkg.yaml, wherever they stand; all else in these files stays as it is.
Which sources: those whose url, module or deb depends on a VARIABLE of FILE (a
vars.yaml or the Pkgfile, relative to the root); or on a variable that a diff
changes, which is read from standard input; or all of a package.

A checksum that is not known yet may be empty or any word, as "sha256: todo".
Debian packages are looked up in the mirror's index, whose signature is verified;
one that only the mirror's pool has is taken from there, and that is said.`,
		Example: `  graft update network/nebula/vars.yaml VERSION
  git diff -U0 | graft update
  graft update --package nebula`,
		RunE: func(cmd *cobra.Command, args []string) error { return u.run(cmd.Context(), args) },
	}
	u.recipes.flags(cmd)
	u.fetching.flags(cmd)
	cacheDirFlag(cmd, &u.cacheDir)
	cmd.Flags().StringSliceVar(&u.packages, "package", nil, "refresh all sources of these packages")
	cmd.Flags().BoolVar(&u.dryRun, "dry-run", false, "say what would change, and change nothing")
	if err := cmd.RegisterFlagCompletionFunc("package", completeTargets(&u.recipes)); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
	return cmd
}

// updating is one call of graft update.
type updating struct {
	streams  Streams
	recipes  recipes
	fetching fetching
	cacheDir string
	packages []string
	dryRun   bool
}

func (u *updating) run(ctx context.Context, args []string) error {
	if len(args) == 1 || len(args) > 0 && len(u.packages) > 0 {
		return usageError(errors.New("name a FILE and its VARIABLEs, or --package, or give a diff on standard input"))
	}
	dir, err := u.recipes.dir()
	if err != nil {
		return err
	}
	up, err := recipe.NewUpdate(ctx, dir, recipe.Options{BuildArgs: u.recipes.args()})
	if err != nil {
		return inputError(err)
	}
	uses, err := u.uses(ctx, up, args)
	if err != nil {
		return inputError(recipeError(err))
	}
	if len(uses) == 0 {
		fmt.Fprintln(u.streams.Err, "no source depends on that: nothing to do")
		return nil
	}
	edits, err := u.resolve(ctx, uses)
	if err != nil {
		return err
	}
	files, err := up.Rewrite(ctx, edits)
	if werr := u.write(dir, files); werr != nil {
		return werr
	}
	return inputError(err)
}

// uses are the sources that were asked for.
func (u *updating) uses(ctx context.Context, up *recipe.Update, args []string) ([]recipe.Use, error) {
	if len(u.packages) > 0 {
		return up.SourcesOf(u.packages...)
	}
	var vars []recipe.Variable
	if len(args) == 0 {
		if f, ok := u.streams.In.(*os.File); ok && (Streams{Err: f}).Terminal() {
			return nil, usageError(errors.New("standard input is a terminal: pipe a diff into it, as of git diff -U0"))
		}
		var err error
		if vars, err = up.Changed(u.streams.In); err != nil {
			return nil, fmt.Errorf("reading the diff: %w", err)
		}
		if len(vars) == 0 {
			return nil, nil
		}
		return up.SourcesUsing(ctx, vars...)
	}
	for _, name := range args[1:] {
		v, err := up.Variable(args[0], name)
		if err != nil {
			return nil, err
		}
		vars = append(vars, v)
	}
	return up.SourcesUsing(ctx, vars...)
}

// resolve downloads sources, several at a time, and gives what differs.
func (u *updating) resolve(ctx context.Context, uses []recipe.Use) ([]recipe.Edit, error) {
	c, err := openCache(u.cacheDir)
	if err != nil {
		return nil, err
	}
	f := u.fetching.fetcher(c)
	found := make([][]recipe.Edit, len(uses))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, use := range uses {
		g.Go(func() error {
			sums, note, err := checksums(ctx, f, use)
			if err != nil {
				return withCode(exitDependency, fmt.Errorf("%v: %w", use, err))
			}
			if note != "" {
				fmt.Fprintf(u.streams.Err, "%v: %s\n", use, note)
			}
			for _, s := range sums {
				if use.Source.Checksum(s.Field) != s.New {
					found[i] = append(found[i], recipe.Edit{Use: use, Field: s.Field, New: s.New})
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var edits []recipe.Edit
	for _, f := range found {
		edits = append(edits, f...)
	}
	return edits, nil
}

// checksums are what a source has now.
func checksums(ctx context.Context, f *fetch.Fetcher, use recipe.Use) (sums []recipe.Edit, note string, err error) {
	src := use.Source
	switch {
	case src.Module != "":
		m, err := fetch.ParseModule(src.Module)
		if err != nil {
			return nil, "", err
		}
		m, err = f.ResolveModule(ctx, m)
		return []recipe.Edit{{Field: "sum", New: m.Sum}}, "", err
	case src.Deb != "":
		d, err := fetch.ParseDeb(src.Deb)
		if err != nil {
			return nil, "", err
		}
		if d.Suite = src.Suite; d.Arch == "" {
			_, d.Arch, _ = strings.Cut(use.Platforms[0], "/")
		}
		d, signed, err := f.ResolveDeb(ctx, d)
		if !signed {
			note = "no index signed by a key of this machine lists it: the checksum is that of what the mirror gave"
		}
		return []recipe.Edit{{Field: "sha256", New: d.SHA256}}, note, err
	}
	s, err := f.ResolveURL(ctx, src.URL)
	return []recipe.Edit{{Field: "sha256", New: s.SHA256}, {Field: "sha512", New: s.SHA512}}, "", err
}

// write replaces the files whose text changed, each as a whole.
func (u *updating) write(dir string, files []recipe.File) error {
	if len(files) == 0 {
		fmt.Fprintln(u.streams.Err, "all checksums are right")
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if !u.dryRun {
			err := atomicfile.Write(name, func(out *os.File) error {
				_, err := out.Write(f.Text)
				return err
			})
			if err != nil {
				return withCode(exitIO, fmt.Errorf("writing %s: %w", name, err))
			}
		}
		if _, err := fmt.Fprintln(u.streams.Out, f.Name); err != nil {
			return err
		}
	}
	return nil
}
