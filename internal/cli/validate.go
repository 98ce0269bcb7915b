package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/cache"
	"github.com/graftlinux/graft/internal/check"
	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/survey"
)

func newValidate(s Streams) *cobra.Command {
	var (
		v     validation
		r     = recipeValidation{streams: s}
		rules bool
	)
	cmd := &cobra.Command{
		Use:   "validate SRC...",
		Short: "Check extensions, one by one and together, or a tree of recipes",
		Long: `Check extensions against the rules of Talos Linux, one by one and together:
what two of them bring twice is found, too. All findings are printed; the exit
code is 2 if one of them is an error.

A directory with a Pkgfile is a tree of recipes: all of them are read, for every
platform, and the checksums of all sources are verified.

` + sourceHelp,
		Example: `  graft validate ./gvisor
  graft validate --talos-version v1.9.2 --base out/base gvisor.tar registry.example/nebula:1.9
  graft validate -o sarif ./gvisor >findings.sarif
  graft validate --checksums=false .            # a tree of recipes
  graft validate --rules`,
		Args: func(cmd *cobra.Command, args []string) error {
			if rules != (len(args) == 0) {
				return usageError(errors.New("name at least one extension, or --rules and none"))
			}
			return nil
		},
	}
	v.sources.flags(cmd)
	cmd.Flags().StringVar(&v.talos, "talos-version", "", "check for this version of Talos (default: that of the base; without one the newest paths hold and every version constraint is met)")
	cmd.Flags().StringVar(&v.base, "base", "", "base image that the extensions are for: finds missing libraries and modules for another kernel")
	cmd.Flags().BoolVar(&rules, "rules", false, "print the table of rules")
	cmd.Flags().BoolVar(&r.checksums, "checksums", true, "of recipes, verify all sources: what is not in the cache is downloaded")
	cmd.Flags().StringArrayVar(&r.recipes.buildArgs, "build-arg", nil, "of recipes, NAME=VALUE, the variable BUILD_ARG_NAME of templates")
	r.fetching.flags(cmd)
	format := formatFlag(cmd, "table", "json", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if rules {
			return printRules(s.Out, *format)
		}
		if len(args) == 1 && isRecipeTree(args[0]) {
			r.cacheDir = v.sources.cacheDir
			return r.run(cmd.Context(), args[0])
		}
		findings, err := v.run(cmd.Context(), args)
		if err != nil {
			return err
		}
		if err := printFindings(s.Out, findings, *format); err != nil {
			return err
		}
		return verdict(s.Err, findings, len(args))
	}
	return cmd
}

// validation is what to check extensions against.
type validation struct {
	sources sources
	talos   string
	base    string
}

func (v *validation) run(ctx context.Context, args []string) (_ []check.Finding, err error) {
	c, err := openCache(v.sources.cacheDir)
	if err != nil {
		return nil, err
	}
	opts, err := v.options(ctx, c)
	if err != nil {
		return nil, err
	}
	imgs, err := v.sources.open(ctx, c, args)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, imgs.close()) }()
	var subjects []check.Subject
	for i, img := range imgs {
		facts, err := surveyWhole(ctx, img)
		if err != nil {
			return nil, inputError(fmt.Errorf("reading %s: %w", args[i], err))
		}
		subjects = append(subjects, check.Subject{Source: args[i], Ref: img.Ref(), Arch: img.Platform().Arch, Facts: facts})
	}
	return check.Run(subjects, opts)
}

// surveyWhole reads all of an image and verifies it, whatever the cache knows:
// who validates an artifact wants to know about this one.
func surveyWhole(ctx context.Context, img *oci.Image) (*survey.Facts, error) {
	t, err := img.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return survey.Of(ctx, t)
}

// checkVersion refuses a --talos-version of which nobody knows what it means.
func checkVersion(s string) error {
	near, ok := extension.FullVersion(s)
	switch {
	case s == "" || ok:
		return nil
	case near != "":
		return withCode(exitInvalid, fmt.Errorf("--talos-version %q is no version of Talos", s), "did you mean "+near+"?")
	}
	return withCode(exitInvalid, fmt.Errorf("--talos-version %q is no version of Talos such as v1.9.2", s))
}

// options resolve the version and the base.
func (v *validation) options(ctx context.Context, c *cache.Cache) (opts check.Options, err error) {
	if err := checkVersion(v.talos); err != nil {
		return opts, err
	}
	if opts.Talos, err = extension.ParseVersion(v.talos); err != nil {
		return opts, usageError(err)
	}
	if v.base == "" {
		return opts, nil
	}
	imgs, err := v.sources.open(ctx, c, []string{v.base})
	if err != nil {
		return opts, err
	}
	defer func() { err = errors.Join(err, imgs.close()) }()
	base, err := bootasset.OpenBase(ctx, c, bootasset.BaseOptions{Image: imgs[0], Talos: v.talos})
	if err != nil {
		return opts, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	return base.CheckOptions(ctx)
}

func printFindings(w io.Writer, findings []check.Finding, format string) error {
	switch format {
	case "json":
		if findings == nil {
			findings = []check.Finding{}
		}
		return printJSON(w, findings)
	case "sarif":
		return printJSON(w, check.SARIF(findings, version()))
	}
	if len(findings) == 0 {
		return nil
	}
	t := newTable(w, "SEVERITY", "RULE", "SOURCE", "PATH", "FINDING")
	for _, f := range findings {
		t.row(string(f.Severity), f.Rule, printable(f.Source), printable(f.Path), printable(f.Message))
	}
	return t.flush()
}

// printable keeps control characters of hostile names off the terminal, and those
// that are not seen but change what is: the order of letters, the end of a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, s)
}

// verdict sums up for people, and makes errors the command's.
func verdict(w io.Writer, findings []check.Finding, extensions int) error {
	errs, _ := check.Worst(findings)
	warnings := len(findings) - errs
	fmt.Fprintf(w, "%s checked: %s, %s\n", count(extensions, "extension"), count(errs, "error"), count(warnings, "warning"))
	mends(w, findings)
	if errs > 0 {
		return withCode(exitInvalid, fmt.Errorf("%s found", count(errs, "error")), "graft validate --rules explains each rule")
	}
	return nil
}

// mends tells what to do about findings, once per rule.
func mends(w io.Writer, findings []check.Finding) {
	said := map[string]bool{}
	for _, f := range findings {
		if !said[f.Rule] {
			said[f.Rule] = true
			fmt.Fprintf(w, "  %s: %s\n", f.Rule, f.Mend)
		}
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func printRules(w io.Writer, format string) error {
	if format != "table" {
		return printJSON(w, check.Rules())
	}
	t := newTable(w, "RULE", "SEVERITY", "WHY", "MEND")
	for _, r := range check.Rules() {
		severity := string(r.Severity)
		if r.Overridable {
			severity += " (can be forced)"
		}
		t.row(r.Name, severity, r.Why, r.Mend)
	}
	return t.flush()
}
