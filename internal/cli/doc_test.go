package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// TestDocument keeps docs/cli.md equal to the help of the commands.
func TestDocument(t *testing.T) {
	const file = "../../docs/cli.md"
	var b strings.Builder
	b.WriteString("# The command line\n\nThe help of every command, written by `go test ./internal/cli -update`.\n")
	root := newRoot(Streams{})
	eachCommand(root, func(c *cobra.Command) {
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s```\n", c.CommandPath(), help.String())
	})
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if d := cmp.Diff(b.String(), string(have)); err != nil || d != "" {
		t.Errorf("%v; go test ./internal/cli -update writes it (-want +have):\n%s", err, d)
	}
}
