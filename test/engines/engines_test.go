// Package engines compares the build engines on the recipes of this repository:
// the same image, bit for bit, from the embedded one and from BuildKit.
package engines

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit/buildkitd"
)

func TestMain(m *testing.M) {
	code := m.Run()
	buildkitd.Stop()
	os.Exit(code)
}

// quick are the recipes that CI compares: what compiles nothing. The tests of
// internal/build run scripts with both engines. GRAFT_TEST_RECIPES names others,
// or "all", as every night.
var quick = []string{"amd-ucode", "util-linux-tools"}

func TestSameImage(t *testing.T) {
	graft, err := filepath.Abs("../../bin/graft")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(graft); err != nil {
		t.Skip("bin/graft is not there: make build")
	}
	if testing.Short() {
		t.Skip("two builds of every recipe take long")
	}
	names := quick
	if list := os.Getenv("GRAFT_TEST_RECIPES"); list == "all" {
		names = []string{"--all"}
	} else if list != "" {
		names = strings.Fields(list)
	}
	address := buildkitd.Start(t)
	embedded := build(t, graft, append(names, "--engine", "embedded"))
	daemon := build(t, graft, append(names, "--engine", "buildkit://"+address))
	if embedded == "" || embedded != daemon {
		t.Errorf("the embedded engine made\n%s\nBuildKit made\n%s", embedded, daemon)
	}
	t.Log("\n" + embedded)
}

// build returns what graft says it built: names and digests.
func build(t *testing.T, graft string, args []string) string {
	t.Helper()
	cmd := exec.Command(graft, append([]string{"build", "--root", "../../recipes", "--progress", "plain"}, args...)...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		text := log.String()
		t.Fatalf("graft %s: %v\n%s", strings.Join(args, " "), err, text[max(0, len(text)-4000):])
	}
	return out.String()
}
