package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long QEMU may take to end after it was asked to. It needs
// milliseconds, and the time to put the terminal back into order.
const stopGrace = 5 * time.Second

// VM is a machine that was started.
type VM struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

// Start starts the machine with its serial console on the two streams; a nil
// stdin is one that says nothing. If stdin is a terminal, QEMU sets it up, and
// ctrl-a x ends the machine. When ctx ends, so does the machine.
// A *MissingError says that QEMU is not installed.
func Start(ctx context.Context, c Config, stdin io.Reader, serial io.Writer) (*VM, error) {
	args, err := c.Args()
	if err != nil {
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	program, err := find(c.Arch)
	if err != nil {
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	messages := &tail{}
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, serial, messages
	cmd.SysProcAttr = diesWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace

	v := &VM{cancel: cancel, done: make(chan struct{})}
	started := make(chan error)
	go v.run(ctx, cmd, messages, started)
	if err := <-started; err != nil {
		cancel()
		return nil, fmt.Errorf("starting a virtual machine: %w", err)
	}
	return v, nil
}

// run starts the process and waits for it, all on one thread: Linux kills a
// child when the thread that started it ends, not the process.
func (v *VM) run(ctx context.Context, cmd *exec.Cmd, messages *tail, started chan<- error) {
	runtime.LockOSThread()
	defer close(v.done)
	err := cmd.Start()
	started <- err
	if err != nil {
		return
	}
	v.err = explain(ctx, filepath.Base(cmd.Path), cmd.Wait(), messages.String())
	v.cancel()
}

// explain makes the most of how QEMU ended.
func explain(ctx context.Context, program string, err error, message string) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // it was ended, whatever it says of that
		return fmt.Errorf("running %s: %w", program, ctx.Err())
	case message == "":
		return fmt.Errorf("running %s: %w", program, err)
	}
	return fmt.Errorf("running %s: %w: %s", program, err, strings.TrimPrefix(message, program+": "))
}

// Wait waits until the machine has ended: switched off from inside, crashed
// (which QEMU does not call an error), quit by the terminal, or ended by the
// context, whose error it then wraps.
func (v *VM) Wait() error {
	<-v.done
	return v.err
}

func find(arch string) (string, error) {
	m := machines[arch]
	program, err := exec.LookPath(m.program)
	if errors.Is(err, exec.ErrNotFound) {
		missing := m.missing
		missing.Program, missing.InPath = m.program, true
		return "", &missing
	}
	return program, err
}

// Resolve returns f with a free port as Host if it was 0. Another process may
// take the port before the machine does; then QEMU says so and ends.
func (f Forward) Resolve() (Forward, error) {
	if f.Host != 0 {
		return f, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return f, fmt.Errorf("finding a free port: %w", err)
	}
	f.Host = l.Addr().(*net.TCPAddr).Port
	return f, l.Close()
}

// tail keeps the end of what QEMU says on stderr.
type tail struct{ b bytes.Buffer }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b.Write(p[max(0, len(p)-tailSize):])
	t.b.Next(max(0, t.b.Len()-tailSize))
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(t.b.String()) }
