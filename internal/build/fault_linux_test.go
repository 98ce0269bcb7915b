package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/build/plan"
)

// wantNothingLeft checks that no process has an argument, that nothing is mounted
// below the shop's directories, and that no layer is half made.
func (s *shop) wantNothingLeft(marker string) {
	s.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range files {
		if line, _ := os.ReadFile(f); marker != "" && bytes.Contains(line, []byte(marker)) { // it may have ended
			s.t.Errorf("%s still runs: %q", f, line)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.cacheDir) && !strings.HasPrefix(line, "graft-test ") {
			s.t.Errorf("still mounted: %s", line)
		}
	}
	left, err := os.ReadDir(filepath.Join(s.cacheDir, "build", "tmp"))
	if err != nil || len(left) > 0 {
		s.t.Errorf("left behind: %v, %v", left, err)
	}
}

// marker is an argument for sleep that no other process of this machine has.
func marker(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("99%d.%d", os.Getpid(), len(t.Name()))
}

// TestFaultProcesses ends what scripts leave running, however they end.
func TestFaultProcesses(t *testing.T) {
	t.Parallel()
	m := marker(t)
	leave := "sleep " + m + " & (trap '' TERM HUP; sleep " + m + ") </dev/null >/dev/null 2>&1 & disown -a\n"
	s := open(t, script("good", leave+"echo x >f")+script("bad", leave+"exit 3"))
	s.want("good", "f -rw-r--r-- x")
	s.wantNothingLeft(m)
	s.wantError("bad", "exit code 3")
	s.wantNothingLeft(m)
}

// TestFaultCanceled stops a script that loops.
func TestFaultCanceled(t *testing.T) {
	t.Parallel()
	m := marker(t)
	s := open(t, script("p", "sleep "+m+" & echo started; trap '' TERM INT; while :; do :; done"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.engine.Parallel = 1
	begun := time.Now()
	go func() {
		for s.said("p:install-0") != "started\n" && time.Since(begun) < time.Minute {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := s.tryContext(ctx, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	s.wantNothingLeft(m)
	s.write(script("p", "echo x >f"))
	s.want("p", "f -rw-r--r-- x")
}

// said is what a script has printed so far.
func (s *shop) said(op string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output[op]
}

// TestFaultOutside has scripts, symlinks of contexts and copies stay in the
// package's own file system.
func TestFaultOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, script("p", `
mkdir -p `+outside+`; echo x >`+outside+`/new; echo x >/pkg/out/new; echo x >../../../../../../../..`+outside+`/up
ls /pkg/out/ /pkg/rel/ >f 2>&1 || true`)+"-- p/out -> "+outside+" --\n-- p/rel -> ../../../../../../../../../.."+outside+" --\n"+
		data("copy", "finalize: [{from: /pkg/out, to: /}]\n")+"-- copy/out -> "+outside+" --\n"+
		data("climb", "finalize: [{from: /pkg/../../../.."+outside+", to: /../../x}]\n")+
		data("to", "finalize: [{from: /pkg/f, to: /../../../.."+outside+"/f}]\n")+"-- to/f --\nf\n")
	s.want("p", "f -rw-r--r-- /pkg/out/:\n    new\n    up\n    \n    /pkg/rel/:\n    new\n    up")
	s.wantError("copy", "/pkg/out", "is not there")
	s.wantError("climb", "is not there")
	if got := file(t, s.build("to")[0].Platforms[0].Tree, outside+"/f"); got != "f\n" {
		t.Errorf("got %q", got)
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("outside is %v, %v", left, err)
	}
}

// TestFaultDisk fills the disk: the error says so, and what is in the cache stays
// good.
func TestFaultDisk(t *testing.T) {
	t.Parallel()
	s := open(t, script("full", "while :; do cat /bin/bash; done >f")+script("good", "echo x >f"))
	if err := unix.Mount("graft-test", s.cacheDir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("only root can make a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(s.cacheDir, unix.MNT_DETACH) })
	err := s.wantError("full", "full:install-0")
	var failed *plan.ExecError
	if !errors.As(err, &failed) || !strings.Contains(string(failed.Output), "No space left on device") {
		t.Errorf("got %v", explain(err))
	}
	s.wantNothingLeft("")
	s.want("good", "f -rw-r--r-- x")
}

// TestFaultDiskOfGraft has no room for what graft itself writes.
func TestFaultDiskOfGraft(t *testing.T) {
	t.Parallel()
	s := open(t, script("p", "echo x >f"))
	if err := unix.Mount("graft-test", s.cacheDir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("only root can make a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(s.cacheDir, unix.MNT_DETACH) })
	if err := s.wantError("p", "image oci:"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	s.wantNothingLeft("")
	if err := unix.Mount("graft-test", s.cacheDir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	s.want("p", "f -rw-r--r-- x")
}

// TestFaultOthers has several builds of the same packages share a cache: each
// script runs in one of them.
func TestFaultOthers(t *testing.T) {
	t.Parallel()
	one := open(t, script("p", "cat /proc/sys/kernel/random/uuid >f; sleep 0.2")+script("q", "echo q >f"))
	shops := []*shop{one}
	for range 3 {
		shops = append(shops, &shop{t: t, root: one.root, cacheDir: one.cacheDir, platforms: one.platforms, args: one.args})
	}
	digests := make([]string, len(shops))
	var all sync.WaitGroup
	for i, s := range shops {
		all.Go(func() {
			built, err := s.try("p", "q")
			if err != nil {
				t.Error(err)
				return
			}
			digests[i] = built[0].Platforms[0].Digest
		})
	}
	all.Wait()
	ran := 0
	for i, s := range shops {
		ran += len(s.ran)
		if digests[i] != digests[0] {
			t.Errorf("got %s and %s", digests[i], digests[0])
		}
	}
	if ran != 2 {
		t.Errorf("%d scripts ran, want 2", ran)
	}
	one.wantNothingLeft("")
}
