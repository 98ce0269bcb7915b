// Package guest boots virtual machines in tests: a machine under QEMU's
// emulation, its serial console as lines to wait for, and bases to boot, each
// with what a test wants to have in it.
//
// A machine has a limit of wall-clock time and ends with its test. If the test
// fails, all of the console is in the test's log.
package guest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/qemu"
	"github.com/graftlinux/graft/internal/testkit"
)

// Limit is how long a machine may run. The boot takes about 4 seconds on an
// idle machine; CI runs on busy ones.
const Limit = 3 * time.Minute

// Machine is a running machine.
type Machine struct {
	t        testing.TB
	vm       *qemu.VM
	console  *console
	forwards []qemu.Forward
	started  time.Time
	cancel   context.CancelFunc
	ended    chan struct{} // closed when the machine has ended
}

// Boot starts a machine under emulation. Forwards with host port 0 get a free
// one: see Address.
func Boot(t testing.TB, c qemu.Config) *Machine {
	t.Helper()
	c.Accel = qemu.TCG
	for i := range c.Forwards {
		f, err := c.Forwards[i].Resolve()
		if err != nil {
			t.Fatal(err)
		}
		c.Forwards[i] = f
	}
	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	m := &Machine{t: t, console: newConsole(), forwards: c.Forwards, started: time.Now(), cancel: cancel, ended: make(chan struct{})}
	vm, err := qemu.Start(ctx, c, nil, m.console)
	if missing := (*qemu.MissingError)(nil); errors.As(err, &missing) {
		cancel()
		testkit.Absent(t, missing.Error())
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	m.vm = vm
	go func() {
		_ = vm.Wait() // WaitEnd and WaitFor say how it ended
		close(m.ended)
	}()
	t.Cleanup(func() {
		m.PowerOff()
		if t.Failed() {
			t.Logf("the serial console:\n%s", strings.Join(m.Console(), "\n"))
		}
	})
	return m
}

// WaitFor waits until a line of the console contains the text, and returns the
// first such line. Firmware may put escape codes before a line: the text must
// be in it, not all of it. If the machine ends or runs out of time, so does the
// test.
func (m *Machine) WaitFor(text string) string {
	m.t.Helper()
	seen, ended := 0, false
	for {
		lines, more := m.console.from(seen)
		for _, line := range lines {
			if strings.Contains(line, text) {
				return line
			}
		}
		if ended {
			m.t.Fatalf("the machine ended after %v without %q on its console (%v)",
				time.Since(m.started).Round(time.Second), text, m.vm.Wait())
		}
		seen += len(lines)
		select {
		case <-more:
		case <-m.ended: // its last words are yet to be read
			ended = true
		}
	}
}

// WaitEnd waits until the machine has switched itself off.
func (m *Machine) WaitEnd() {
	m.t.Helper()
	if err := m.vm.Wait(); err != nil {
		m.t.Fatal(err)
	}
}

// Console is all lines of the serial console so far.
func (m *Machine) Console() []string {
	lines, _ := m.console.from(0)
	return lines
}

// Address is where a port of the guest can be reached: "127.0.0.1:PORT".
func (m *Machine) Address(guestPort int) string {
	m.t.Helper()
	for _, f := range m.forwards {
		if f.Guest == guestPort {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Host))
		}
	}
	m.t.Fatalf("port %d of the guest is not forwarded", guestPort)
	return ""
}

// PowerOff pulls the plug.
func (m *Machine) PowerOff() {
	m.cancel()
	<-m.ended
}

// console cuts what a serial port says into lines.
type console struct {
	mu    sync.Mutex
	lines []string
	part  []byte
	more  chan struct{} // closed when there is another line
}

func newConsole() *console { return &console{more: make(chan struct{})} }

// Write takes output as it comes.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = append(c.part, p...)
	for {
		line, rest, ok := bytes.Cut(c.part, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		c.lines = append(c.lines, strings.TrimRight(string(line), "\r"))
		c.part = rest
		close(c.more)
		c.more = make(chan struct{})
	}
}

// from returns the lines after the first n, and what is closed when there are more.
func (c *console) from(n int) ([]string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[n:len(c.lines):len(c.lines)], c.more
}
