package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/graph"
	"github.com/graftlinux/graft/internal/recipe"
)

func newEval(s Streams) *cobra.Command {
	var r recipes
	var target, platform string
	cmd := &cobra.Command{
		Use:   "eval TEMPLATE --target PACKAGE",
		Short: "Render a template with the variables of a package",
		Long: `Render a Go template with the variables that a package's recipe sees, and print
the result, without a newline.`,
		Example: `  graft eval --target gvisor '{{ .VERSION }}'
  graft eval -t gvisor --build-arg TAG=v1.12.0 '{{ .VERSION }} {{ .TIER }}'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if target == "" {
				return usageError(errors.New("--target is missing: whose variables?"))
			}
			set, err := r.load(cmd.Context(), s, platform)
			if err != nil {
				return err
			}
			p := set.Package(target)
			if p == nil {
				return recipeError(&recipe.UnknownError{Name: target, Near: set.Near(target)})
			}
			out, err := recipe.Eval(args[0], p)
			if err != nil {
				return withCode(exitInvalid, err)
			}
			if strings.Contains(out, noValue) {
				fmt.Fprintf(s.Err, "warning: the template prints a variable that %s does not have, as %s\n", target, noValue)
			}
			_, err = io.WriteString(s.Out, out)
			return err
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVarP(&target, "target", "t", "", "package whose variables to use")
	platformFlag(cmd, &platform)
	targetFlag(cmd, &r)
	return cmd
}

// noValue is what templates print for a variable that is not defined.
const noValue = "<no value>"

func platformFlag(cmd *cobra.Command, platform *string) {
	cmd.Flags().StringVar(platform, "platform", "", "platform to read the recipes for (default: this machine's)")
	complete(cmd, "platform", recipe.PlatformNames()...)
}

// targetFlag completes --target.
func targetFlag(cmd *cobra.Command, r *recipes) {
	if err := cmd.RegisterFlagCompletionFunc("target", completeTargets(r)); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

func newDump(s Streams) *cobra.Command {
	var r recipes
	var target, template, platform string
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print the recipes as JSON, or through a template",
		Long: `Print all packages, or those that a target needs, as they are after templates
were rendered: a JSON array in bldr's form. A template gets that array, Sprig's
functions and mustFromYAML.`,
		Example: `  graft dump | jq -r '.[].Name'
  graft dump --target gvisor
  graft dump --build-arg TAG=v1.12.0 --template hack/catalog.template
  echo '{{ range . }}{{ .Name }}{{ "\n" }}{{ end }}' | graft dump --template -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := r.load(cmd.Context(), s, platform)
			if err != nil {
				return err
			}
			if template == "" {
				return recipeError(set.Dump(s.Out, target))
			}
			text, err := readArgument(s, template)
			if err != nil {
				return err
			}
			return inputError(recipeError(set.DumpTemplate(s.Out, target, template, string(text))))
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVarP(&target, "target", "t", "", "only this package and what it needs")
	cmd.Flags().StringVar(&template, "template", "", "file with a Go template to print through; - is standard input")
	platformFlag(cmd, &platform)
	targetFlag(cmd, &r)
	return cmd
}

func newGraph(s Streams) *cobra.Command {
	var r recipes
	var platform string
	cmd := &cobra.Command{
		Use:   "graph [PACKAGE]",
		Short: "Draw what depends on what",
		Long: `Draw the packages of a tree, or those that one needs. An arrow goes from what is
needed to what needs it: bold and green if users of the package need it at run
time, too. Images from elsewhere are yellow.`,
		Example: `  graft graph >deps.svg
  graft graph gvisor -o dot | dot -Tpng >gvisor.png
  graft graph -o json | jq '.edges | length'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTargets(&r),
	}
	r.flags(cmd)
	platformFlag(cmd, &platform)
	format := formatFlag(cmd, "svg", "dot", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := r.load(cmd.Context(), s, platform)
		if err != nil {
			return err
		}
		target := ""
		if len(args) > 0 {
			target = args[0]
		}
		found, err := set.Graph(target)
		if err != nil {
			return withCode(exitInvalid, recipeError(err))
		}
		g := drawable(found)
		switch *format {
		case "dot":
			return g.DOT(s.Out)
		case "json":
			return g.JSON(s.Out)
		}
		return g.SVG(cmd.Context(), s.Out)
	}
	return cmd
}

// kinds of nodes, in the words of the two packages.
var kinds = map[recipe.NodeKind]graph.Kind{
	recipe.NodePackage: graph.Package, recipe.NodeInternal: graph.Package, recipe.NodeUnknown: graph.Package,
	recipe.NodeImage: graph.Image, recipe.NodeAlpine: graph.Alpine,
}

func drawable(found *recipe.Graph) *graph.Graph {
	g := &graph.Graph{}
	for _, n := range found.Nodes {
		g.Nodes = append(g.Nodes, graph.Node{ID: n.ID, Label: n.Label, Kind: kinds[n.Kind]})
	}
	for _, e := range found.Edges {
		g.Edges = append(g.Edges, graph.Edge{From: e.From, To: e.To, Runtime: e.Runtime})
	}
	return g
}

// maxArgument bounds a file that a flag names, in bytes.
const maxArgument = 4 << 20

// readArgument reads a file that a flag names, or standard input for "-".
func readArgument(s Streams, name string) ([]byte, error) {
	in := s.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxArgument+1))
	if err == nil && len(data) > maxArgument {
		err = fmt.Errorf("%s has more than %s", name, size(maxArgument))
	}
	return data, err
}
