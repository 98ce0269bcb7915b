package grub

import (
	"os"
	"path/filepath"
	"testing"
)

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
