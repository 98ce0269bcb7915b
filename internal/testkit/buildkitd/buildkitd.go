// Package buildkitd runs a real BuildKit daemon in tests: the one whose version
// the module test/buildkitd names, with Debian's runc, as root and without
// systemd. It listens on a socket in a temporary directory only.
//
// A test binary has one daemon that its tests share, and more where a test
// needs one that is set up in another way.
package buildkitd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/testkit"
)

var shared struct {
	sync.Mutex
	*Daemon
}

// Start returns the address of the daemon that the tests of this binary share.
// TestMain must call Stop. The test is skipped where no daemon can run.
func Start(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.Daemon == nil {
		d, err := start(program(t), "--allow-insecure-entitlement", "network.host")
		if err != nil {
			t.Fatal(err)
		}
		shared.Daemon = d
	}
	return shared.Address()
}

// Stop ends the daemon that Start started, if it did.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.Daemon != nil {
		shared.stop()
		shared.Daemon = nil
	}
}

// Own starts a daemon for one test, with arguments.
func Own(t testing.TB, args ...string) *Daemon {
	t.Helper()
	d, err := start(program(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

// program builds the daemon and returns its file.
func program(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		testkit.Absent(t, "the BuildKit daemon is run as root only")
	}
	testkit.Judge(t, "runc")
	return testkit.GoProgram(t, "test/buildkitd", "github.com/moby/buildkit/cmd/buildkitd")
}

// Daemon is one that runs.
type Daemon struct {
	dir  string
	cmd  *exec.Cmd
	log  log
	done chan struct{} // closed when it is over
	err  error         // how it was over
}

// log is output that one goroutine writes and another may read.
type log struct {
	mu sync.Mutex
	bytes.Buffer
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

func start(program string, args ...string) (*Daemon, error) {
	dir, err := os.MkdirTemp("", "graft-buildkitd-*")
	if err != nil {
		return nil, err
	}
	d := &Daemon{dir: dir, done: make(chan struct{})}
	config := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	d.cmd = exec.Command(program, append([]string{
		"--config", config, "--root", filepath.Join(dir, "root"), "--addr", d.Address(),
		"--containerd-worker=false", "--oci-worker-gc=false", "--otel-socket-path", filepath.Join(dir, "otel.sock"),
	}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = withParent()
	started := make(chan error)
	go d.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	if err := d.wait(); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

// Address is what a client connects to.
func (d *Daemon) Address() string { return "unix://" + d.socket() }

func (d *Daemon) socket() string { return filepath.Join(d.dir, "sock") }

// Kill ends the daemon without a warning.
func (d *Daemon) Kill() { _ = d.cmd.Process.Kill() }

// run starts the process on a thread that lives as long: the kernel takes the
// end of the thread for that of the parent.
func (d *Daemon) run(started chan<- error) {
	runtime.LockOSThread()
	defer close(d.done)
	err := d.cmd.Start()
	started <- err
	if err == nil {
		d.err = d.cmd.Wait()
	}
}

// wait returns when the daemon listens.
func (d *Daemon) wait() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if c, err := net.Dial("unix", d.socket()); err == nil {
			return c.Close()
		}
		select {
		case <-d.done:
			return fmt.Errorf("the BuildKit daemon ended: %w\n%s", d.err, d.log.text())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("the BuildKit daemon does not listen\n%s", d.log.text())
}

func (d *Daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	unmount(d.dir) // what one that was killed left
	_ = os.RemoveAll(d.dir)
}
