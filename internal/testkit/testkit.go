// Package testkit is what the tests of several packages share. It is imported
// by tests only, and imports so little that every package can use it; its
// neighbour guest boots virtual machines.
package testkit

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/format/sparse"
)

// Judge finds a program that checks what graft made, such as unsquashfs. The
// test is skipped where the program is missing; in CI (the variable CI is set)
// it fails, so that no judge is absent without anyone noticing.
func Judge(t testing.TB, program string) string {
	t.Helper()
	// Debian keeps depmod where an ordinary user's PATH does not lead.
	for _, dir := range append([]string{""}, "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	Absent(t, "the judge "+program+" is not installed")
	return ""
}

// Run runs a judge, and returns what it prints on its standard output. A judge
// that ends with an error fails the test.
func Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Judge(t, program), args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// NotUnderRace leaves out, with -short, what takes long in one goroutine, or in a
// judge: the race detector makes it ten times as slow and finds nothing in it.
func NotUnderRace(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long with the race detector; the full run does it")
	}
}

// Contents are all bytes of an image.
func Contents(t testing.TB, m *sparse.Image) []byte {
	t.Helper()
	b, err := io.ReadAll(m.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Absent ends a test that needs what this machine does not have: it is skipped,
// but fails in CI, where everything is installed.
func Absent(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s, but CI must have it", reason)
	}
	t.Skip(reason)
}
