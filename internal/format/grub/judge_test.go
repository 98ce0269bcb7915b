package grub

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// judge returns the path of an outside program. On Debian some are in /usr/sbin,
// which is not in everybody's PATH.
func judge(t testing.TB, name string) string {
	t.Helper()
	for _, name := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("the judge %s is not installed", name)
	return ""
}

// run runs a program and returns what it prints on stdout.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(judge(t, name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// grubDirs are directories with the files of GRUB for a platform: below those in
// GRAFT_TEST_GRUB, separated by colons, or else as Debian installs them.
func grubDirs(t testing.TB, platform string) (dirs []string) {
	t.Helper()
	roots := filepath.SplitList(os.Getenv("GRAFT_TEST_GRUB"))
	if len(roots) == 0 {
		roots = []string{"/usr/lib/grub"}
	}
	for _, root := range roots {
		dir := filepath.Join(root, platform)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		t.Skipf("no files of GRUB for %s: install grub-pc-bin and grub-efi-amd64-bin, or set GRAFT_TEST_GRUB", platform)
	}
	return dirs
}
