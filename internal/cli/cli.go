// Package cli is the command line of graft: one file per verb, each of which
// turns flags into one call and prints the result. The answer goes to stdout,
// the conversation (progress, warnings, hints) to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/lazyregexp"
	"github.com/graftlinux/graft/internal/oci"
)

// Exit codes, the same as those of Talos' imager and installer. The last is what
// a shell has for a program that Ctrl-C has ended.
const (
	exitOK          = 0
	exitUnknown     = 1 // an error that fits nowhere else
	exitInvalid     = 2 // bad flags or bad input: findings of a check, too
	exitUnsupported = 3 // understood, but not possible
	exitEnvironment = 4 // something is missing on this machine
	exitDependency  = 5 // a registry or a node did not do its part
	exitIO          = 6 // reading or writing files
	exitInterrupted = 130
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer // the answer
	Err io.Writer // the conversation
}

// Terminal says whether a person watches the conversation.
func (s Streams) Terminal() bool {
	f, ok := s.Err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Run executes the command that args (without the program's name) spell out,
// and returns the exit code. Errors have been printed by then.
func Run(ctx context.Context, args []string, s Streams) int {
	sandbox.Child() // does not return where this process is the inside of a build's sandbox
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	running := false
	eachCommand(root, func(c *cobra.Command) {
		if run := c.RunE; run != nil {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				running = true
				return run(cmd, args)
			}
		}
	})
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !running { // what cobra itself refuses: arguments, flags that exclude each other
		err = usageError(plainly(err))
	}
	if interrupted(ctx, err) {
		fmt.Fprintln(s.Err, "graft: interrupted; nothing was left half-written")
		hint(s.Err, err)
		return exitInterrupted
	}
	report(s.Err, cmd, redacted{err, args})
	return exitCode(err)
}

// exclusive is how cobra speaks of flags that exclude each other.
var exclusive = lazyregexp.New(`^if any flags in the group \[.*\] are set none of the others can be; \[(.+)\] were all set$`)

// plainly is an error of cobra's in our words.
func plainly(err error) error {
	m := exclusive.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return fmt.Errorf("--%s exclude each other: give one of them", strings.Join(strings.Fields(m[1]), " and --"))
}

// interrupted says whether a person ended the command. That one part of it was
// stopped for the sake of another is no reason to believe so.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx)))
}

func eachCommand(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, fn)
	}
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "graft",
		Short: "Build, check, image, boot and see system extensions of Talos Linux",
		Long: `graft takes a system extension of Talos Linux from a recipe to a node: build it,
validate it, put it into a boot asset, boot that, list it on the node.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		RunE:          help,
	}
	root.SetVersionTemplate("graft {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(err) })
	root.AddGroup(
		&cobra.Group{ID: "recipe", Title: "Recipes:"},
		&cobra.Group{ID: "extension", Title: "Extensions:"},
		&cobra.Group{ID: "catalog", Title: "Catalogs and registries:"},
		&cobra.Group{ID: "asset", Title: "Boot assets:"},
		&cobra.Group{ID: "node", Title: "Nodes:"},
	)
	addVerbs(root, s)
	return root
}

// help is what a command does that only holds others. Its Args refuse the name
// of one that it does not hold.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func add(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// coded is an error with an exit code and advice for the person.
type coded struct {
	err   error
	code  int
	hints []string
	input bool // what was read is bad, not how it was asked for
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// withCode sets the exit code of an error, and what to do next, a line each.
func withCode(code int, err error, hints ...string) error {
	if err == nil {
		return nil
	}
	return &coded{err: err, code: code, hints: hints}
}

// guess puts what may have been meant, if anything, before another hint.
func guess(near []string, hint string) []string {
	if len(near) == 0 {
		return []string{hint}
	}
	return []string{"did you mean " + strings.Join(near, " or ") + "?", hint}
}

// usageError is an error in how the command was called.
func usageError(err error) error {
	var c *coded
	if errors.As(err, &c) {
		return err
	}
	return withCode(exitInvalid, err)
}

// inputError says that an input is bad, unless the error is of another kind: a
// registry's, the file system's, an interruption.
func inputError(err error) error {
	if err == nil || exitCode(err) != exitUnknown || errors.Is(err, context.Canceled) {
		return err
	}
	var sparse *oci.SparseError
	if errors.As(err, &sparse) {
		return withCode(exitInvalid, err, sparseHints(sparse)...)
	}
	return &coded{err: err, code: exitInvalid, input: true}
}

// sparseHints are for a layout that lacks images of an index.
func sparseHints(e *oci.SparseError) []string {
	hints := []string{"mirror it again from where it is from, without --platform, to have all platforms"}
	if len(e.Has) > 0 {
		hints = append(hints, fmt.Sprintf("--platform %s copies what is there; many registries, that of graft among them, take no index that lacks images", strings.Join(e.Has, " --platform ")))
	}
	return hints
}

// fileErrors are what the file system says for itself, wherever it comes up.
var fileErrors = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, fs.ErrPermission}

func isFileError(err error) bool {
	return slices.ContainsFunc(fileErrors, func(e error) bool { return errors.Is(err, e) })
}

func exitCode(err error) int {
	var c *coded
	var registry *oci.RegistryError
	var pathError *fs.PathError
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &registry):
		return exitDependency
	case errors.Is(err, fs.ErrNotExist): // the name is wrong, the disk is not
		return exitInvalid
	case errors.As(err, &pathError), isFileError(err):
		return exitIO
	}
	return exitUnknown
}

// report prints an error, then the hints that its cause may carry.
func report(w io.Writer, cmd *cobra.Command, err error) {
	if errors.Is(err, errSaid) {
		return
	}
	fmt.Fprintf(w, "graft: %v\n", err)
	var registry *oci.RegistryError
	if errors.As(err, &registry) && registry.Hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", registry.Hint)
	}
	hint(w, err)
	var c *coded
	if errors.As(err, &c) && c.code == exitInvalid && !c.input && len(c.hints) == 0 && cmd != nil {
		fmt.Fprintf(w, "  hint: %s --help shows how it is used\n", cmd.CommandPath())
	}
}

// hint prints the hints of an error.
func hint(w io.Writer, err error) {
	var c *coded
	if !errors.As(err, &c) {
		return
	}
	for _, h := range c.hints {
		fmt.Fprintf(w, "  hint: %s\n", h)
	}
}

// redacted is an error that does not repeat the users and passwords that stand
// in references and URLs among the arguments.
type redacted struct {
	error
	args []string
}

func (r redacted) Unwrap() error { return r.error }

// Error implements error.
func (r redacted) Error() string {
	message := r.error.Error()
	for _, arg := range r.args {
		if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			arg = value
		}
		if clean := oci.Redact(arg); clean != arg {
			message = strings.ReplaceAll(message, arg, clean)
		}
	}
	return message
}
