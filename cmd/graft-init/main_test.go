package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// maxSize is what PID 1 may take in every initramfs.
const maxSize = 3_000_000

// allowed are the packages beside the standard library that PID 1 is made of.
var allowed = []string{
	"github.com/blang/semver/v4", // of extension, for the versions of a manifest; the linker drops nearly all
	"github.com/graftlinux/graft/cmd/graft-init",
	"github.com/graftlinux/graft/internal/boot",
	"github.com/graftlinux/graft/internal/extension",
	"go.yaml.in/yaml/v3", // of extension, for extensions.yaml
	"golang.org/x/sys/unix",
}

// tooHeavy are packages of the standard library that would make it far larger.
var tooHeavy = []string{"net", "crypto/tls", "os/exec", "log", "log/slog", "text/template", "testing"}

func TestSize(t *testing.T) {
	info, err := os.Stat(build(t, "."))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxSize {
		t.Errorf("got %d bytes, want at most %d", info.Size(), maxSize)
	}
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for line := range strings.Lines(string(out)) {
		name, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if standard == "false" {
			others = append(others, name)
		}
		if slices.Contains(tooHeavy, name) {
			t.Errorf("PID 1 imports %s", name)
		}
	}
	slices.Sort(others)
	if diff := cmp.Diff(allowed, others); diff != "" {
		t.Errorf("packages beside the standard library (-want +got):\n%s", diff)
	}
}

// sources are what the program is made from. "go test" keeps the result of a
// test until a file changes that the test itself has read.
var sources = []string{"*.go", "testdata/*/*.go", "../../internal/boot/*.go", "../../internal/extension/*.go", "../../go.mod"}

// build makes a program as the base has it.
func build(t *testing.T, dir string) string {
	t.Helper()
	for _, pattern := range sources {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", dir, err, out)
	}
	return file
}
