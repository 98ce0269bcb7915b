package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/lazyregexp"
	"github.com/graftlinux/graft/internal/recipe"
)

// recipes are the flags of all commands that read a tree of recipes.
type recipes struct {
	root      string
	buildArgs []string
}

func (r *recipes) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.root, "root", "", "directory of the recipes (default: the nearest one upwards that has a Pkgfile)")
	cmd.Flags().StringArrayVar(&r.buildArgs, "build-arg", nil, "NAME=VALUE, the variable BUILD_ARG_NAME of templates; may be repeated")
	_ = cmd.MarkFlagDirname("root") // the flag is there
}

// dir is the root of the recipes.
func (r *recipes) dir() (string, error) {
	if r.root != "" {
		return r.root, nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, recipe.PkgfileName)); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", withCode(exitInvalid, fmt.Errorf("there is no %s in %s or above it", recipe.PkgfileName, start),
				"run it in a tree of recipes, or name one with --root")
		}
	}
}

func (r *recipes) args() map[string]string {
	args := map[string]string{}
	for _, a := range r.buildArgs {
		name, value, _ := strings.Cut(a, "=") // without a value it is empty, as in bldr
		args[name] = value
	}
	return args
}

// load reads the recipes for a platform ("" is this machine's) and prints all
// that is wrong with them.
func (r *recipes) load(ctx context.Context, s Streams, platform string) (*recipe.Set, error) {
	set, err := r.read(ctx, s, platform)
	if set != nil {
		printProblems(s.Err, "warning", set.Warnings)
	}
	return set, err
}

// read is load without the warnings.
func (r *recipes) read(ctx context.Context, s Streams, platform string) (*recipe.Set, error) {
	dir, err := r.dir()
	if err != nil {
		return nil, err
	}
	set, err := recipe.Load(ctx, dir, recipe.Options{Target: platform, BuildArgs: r.args()})
	if err != nil {
		return nil, inputError(err)
	}
	if len(set.Problems) > 0 {
		printProblems(s.Err, "error", set.Problems)
		hints := []string{"each is listed above with its file and line"}
		if slices.ContainsFunc(set.Problems, func(p recipe.Problem) bool { return checksumWords.MatchString(p.Message) }) {
			hints = append(hints, "graft update --package NAME downloads sources and writes their checksums")
		}
		return set, withCode(exitInvalid, fmt.Errorf("%s in the recipes of %s", count(len(set.Problems), "error"), dir), hints...)
	}
	return set, nil
}

// about are the warnings about packages, and what they need, and the files with
// their variables.
func about(set *recipe.Set, targets []string) []recipe.Problem {
	packages, err := set.Closure(targets...)
	if err != nil {
		return set.Warnings // the build says what is wrong
	}
	concerns := func(w recipe.Problem) bool {
		dir := path.Dir(w.File)
		return slices.ContainsFunc(packages, func(p *recipe.Package) bool {
			if path.Base(w.File) == recipe.PackageName {
				return w.File == p.FileName
			}
			return within(p.BaseDir, dir) || within(dir, p.BaseDir)
		})
	}
	return slices.DeleteFunc(slices.Clone(set.Warnings), func(w recipe.Problem) bool { return !concerns(w) })
}

// within says whether a directory is another one or below it.
func within(dir, above string) bool {
	return above == "." || dir == above || strings.HasPrefix(dir, above+"/")
}

var checksumWords = lazyregexp.New(`sha256|sha512|\bsum\b`)

// printProblems prints problems with the text around them.
func printProblems(w io.Writer, kind string, problems []recipe.Problem) {
	for _, p := range problems {
		place, message, ok := strings.Cut(p.String(), ": ")
		if !ok {
			place, message = p.File, p.Message
		}
		fmt.Fprintf(w, "%s: %s: %s\n", printable(place), kind, printable(message))
		if p.Excerpt != "" && kind == "error" {
			fmt.Fprintln(w, indent(p.Excerpt, "    "))
		}
	}
}

func indent(text, by string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return by + strings.Join(lines, "\n"+by)
}

// recipeError gives errors about packages their exit code.
func recipeError(err error) error {
	var unknown *recipe.UnknownError
	var cycle *recipe.CycleError
	switch {
	case errors.As(err, &unknown):
		return withCode(exitInvalid, err, "graft graph shows which packages there are, and what needs what")
	case errors.As(err, &cycle):
		return withCode(exitInvalid, err)
	}
	return err
}

// completeTargets offers the names of packages to the shell.
func completeTargets(r *recipes) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		dir, err := r.dir()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		set, err := recipe.Load(cmd.Context(), dir, recipe.Options{BuildArgs: r.args()})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, p := range set.Packages {
			names = append(names, p.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
