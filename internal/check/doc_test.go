package check

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/extension"
)

var update = flag.Bool("update", false, "write docs/rules.md")

// TestDocument keeps docs/rules.md equal to the table.
func TestDocument(t *testing.T) {
	const file = "../../docs/rules.md"
	var b strings.Builder
	b.WriteString("# The rules of graft validate\n\nWritten from the table in `internal/check` by `go test ./internal/check -update`.\n" +
		"Errors stop `graft image`; those marked *can be forced* give way to `--force`.\n\n| rule | severity | why | mend |\n|---|---|---|---|\n")
	for _, r := range Rules() {
		severity := string(r.Severity)
		if r.Overridable {
			severity += ", can be forced"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Name, severity, r.Why, r.Mend)
	}
	b.WriteString("\n## Where files may be\n\nEach line stands for itself and all below it; paths are compared by element.\n\n")
	for _, p := range AllowedPaths(extension.Version{}) {
		fmt.Fprintf(&b, "- `%s`\n", p)
	}
	b.WriteString("\nBefore Talos 1.10, `/lib/modules` and `/lib/firmware` take the place of those below `/usr/lib`.\n")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if d := cmp.Diff(b.String(), string(have)); err != nil || d != "" {
		t.Errorf("%v; go test ./internal/check -update writes it (-want +have):\n%s", err, d)
	}
}
