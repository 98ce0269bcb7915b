package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/graftlinux/graft/internal/build/sandbox"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/testkit"
)

// nobody is the uid of an ordinary user.
const nobody = 65534

// workplace is where graft runs as a process of its own, as root or another user.
type workplace struct {
	t    *testing.T
	dir  string // with the recipes, the kitchen, a cache, and this program as graft
	user uint32
	mark string // an argument that no process of this machine has but scripts of here
}

const faultRecipes = `
-- tree/Pkgfile --
format: v1alpha2
-- tree/loop/pkg.yaml --
name: loop
variant: scratch
dependencies: [{image: 'oci:../kitchen'}]
steps:
  - install:
      - |
        mkdir /out; echo half >/out/f; chmod 0 /out
        sleep MARK & (trap '' TERM INT HUP; sleep MARK) &
        trap '' TERM INT HUP
        echo begun
        while :; do sleep MARK; done
finalize: [{from: /out, to: /}]
-- tree/good/pkg.yaml --
name: good
variant: scratch
dependencies: [{image: 'oci:../kitchen'}, {stage: other}]
steps:
  - install: [cp /one /two, cat /one /two >/three]
finalize: [{from: /three, to: /}]
-- tree/other/pkg.yaml --
name: other
variant: scratch
dependencies: [{image: 'oci:../kitchen'}]
steps:
  - install: [echo one >/one]
finalize: [{from: /one, to: /}]
`

func newWorkplace(t *testing.T, user uint32) *workplace {
	t.Helper()
	if int(user) != os.Getuid() && os.Getuid() != 0 {
		t.Skip("this is no root, who can become others")
	}
	p := &workplace{t: t, dir: t.TempDir(), user: user, mark: fmt.Sprintf("98%d.%d%d", os.Getpid(), len(t.Name()), user)}
	if _, err := sandbox.Probe(t.Context(), p.dir); err != nil {
		t.Skip(err)
	}
	err := errors.Join(os.Chmod(filepath.Dir(p.dir), 0o755), p.copySelf())
	for _, f := range txtar.Parse([]byte(strings.ReplaceAll(faultRecipes, "MARK", p.mark))).Files {
		name := filepath.Join(p.dir, f.Name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, f.Data, 0o644))
	}
	images := []oci.Packed{{Platform: oci.Platform{OS: "linux", Arch: runtime.GOARCH}, Tree: testkit.Programs(t, "cat", "chmod", "cp", "mkdir", "sleep")}}
	_, packErr := oci.Pack(t.Context(), images, "oci:"+filepath.Join(p.dir, "kitchen"), oci.PackOptions{Name: "kitchen:latest", Compression: oci.None})
	if err := errors.Join(err, packErr, os.Chown(p.dir, int(user), int(user))); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *workplace) copySelf() error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(p.dir, "graft"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// graft is a command that was not started yet, and what it prints.
func (p *workplace) graft(args ...string) (*exec.Cmd, *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "graft"), args...)
	cmd.Dir = filepath.Join(p.dir, "tree")
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_CACHE_HOME="+p.dir+"/cache", "TMPDIR="+p.dir)
	if int(p.user) != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.user, Gid: p.user}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// wait polls until something is so.
func (p *workplace) wait(what string, so func() bool) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	p.t.Fatalf("timeout: %s", what)
}

// loop starts a build whose script never ends, and waits until it runs.
func (p *workplace) loop() (*exec.Cmd, *bytes.Buffer) {
	p.t.Helper()
	cmd, out := p.graft("build", "loop")
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	logs := filepath.Join(p.dir, "cache", "graft", "logs", "loop", "*.log")
	p.wait("the script begins", func() bool {
		files, _ := filepath.Glob(logs) // the pattern is good
		for _, f := range files {
			if data, _ := os.ReadFile(f); bytes.Contains(data, []byte("begun")) {
				return true
			}
		}
		return false
	})
	return cmd, out
}

// processes are those that have the mark, or the workplace, in their command line.
func (p *workplace) processes() []string {
	p.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		p.t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		line, _ := os.ReadFile(f) // it may have ended
		if bytes.Contains(line, []byte(p.mark)) || bytes.Contains(line, []byte(p.dir)) {
			found = append(found, f+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// wantClean has nothing left of builds that ended, and the next one works.
func (p *workplace) wantClean() {
	p.t.Helper()
	p.wait("processes end", func() bool { return len(p.processes()) == 0 })
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || bytes.Contains(mounts, []byte(p.dir)) {
		p.t.Errorf("still mounted (%v):\n%s", err, mounts)
	}
	cmd, out := p.graft("build", "good", "-o", "dir:"+p.dir+"/out")
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("the next build: %v\n%s", err, out)
	}
	if data, err := os.ReadFile(filepath.Join(p.dir, "out", "three")); err != nil || string(data) != "one\none\n" {
		p.t.Errorf("the next build gave %q, %v", data, err)
	}
	left, err := os.ReadDir(filepath.Join(p.dir, "cache", "graft", "build", "tmp"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("left behind: %v, %v", left, err)
	}
}

func eachUser(t *testing.T, test func(*testing.T, *workplace)) {
	for name, user := range map[string]int{"root": 0, "ordinary": nobody} {
		if os.Getuid() != 0 {
			user = os.Getuid() // twice the same does no harm
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorkplace(t, uint32(user)))
		})
	}
}

// TestBuildKilled kills graft in the middle of a script.
func TestBuildKilled(t *testing.T) {
	t.Parallel()
	eachUser(t, func(t *testing.T, p *workplace) {
		cmd, _ := p.loop()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		p.wantClean()
	})
}

// TestBuildKilledAnywhere kills graft at moments all over a build.
func TestBuildKilledAnywhere(t *testing.T) {
	t.Parallel()
	eachUser(t, func(t *testing.T, p *workplace) {
		for delay := 10 * time.Millisecond; delay < 250*time.Millisecond; delay += 30 * time.Millisecond {
			cmd, _ := p.graft("build", "good", "--no-cache")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay)
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
		p.wantClean()
	})
}

// TestBuildInterrupted asks graft to stop: it says that it did, and leaves nothing
// even before the next build.
func TestBuildInterrupted(t *testing.T) {
	t.Parallel()
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			eachUser(t, func(t *testing.T, p *workplace) {
				cmd, out := p.loop()
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || !strings.Contains(out.String(), "graft: interrupted; nothing was left half-written") {
					t.Errorf("got %v\n%s", err, out)
				}
				p.wait("processes end", func() bool { return len(p.processes()) == 0 })
				left, err := os.ReadDir(filepath.Join(p.dir, "cache", "graft", "build", "tmp"))
				if err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
				p.wantClean()
			})
		})
	}
}
