package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a terminal, and what was shown on it.
type pty struct {
	keyboard, screen *os.File // the person's side, the program's
	mutex            sync.Mutex
	shown            bytes.Buffer
}

func openPty(t *testing.T) *pty {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("this machine gives no terminals: %v", err)
	}
	p := &pty{keyboard: os.NewFile(uintptr(fd), "ptmx")}
	t.Cleanup(func() { p.keyboard.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if p.screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	go p.watch()
	return p
}

func (p *pty) watch() {
	var b [1024]byte
	for {
		n, err := p.keyboard.Read(b[:])
		p.mutex.Lock()
		p.shown.Write(b[:n])
		p.mutex.Unlock()
		if err != nil {
			return
		}
	}
}

// see waits until something is shown, types what comes next, and forgets the rest.
func (p *pty) see(t *testing.T, text, answer string) {
	t.Helper()
	var all string
	defer func() {
		if t.Failed() {
			t.Logf("shown: %q, not %q", all, text)
		}
	}()
	wait(t, text, func() bool {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		all = p.shown.String()
		if !strings.Contains(all, text) {
			return false
		}
		p.shown.Reset()
		return true
	})
	if _, err := p.keyboard.WriteString(answer); err != nil {
		t.Fatal(err)
	}
}

// TestTerminal works in a shell as a person does after a step has failed.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for name, enter := range map[string][]string{"run": nil, "enter": {"enter"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := openPty(t), t.TempDir()
			t.Cleanup(func() { _ = removeAll(dir) })
			cmd := helper(append(enter, "terminal", machine(t), dir)...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = p.screen, p.screen, p.screen
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p.screen.Close()
			p.see(t, "# ", "sleep 1000\n")
			p.see(t, "sleep 1000\r\n", "")
			wait(t, "sleep", func() bool { return foregroundOf(p) == "sleep" })
			p.see(t, "", "\x03") // Ctrl-C ends it, not the shell, nor graft
			p.see(t, "# ", "id -u; echo seen > /dev/tty; helper breakout; echo done\n")
			p.see(t, "0\r\nseen\r\ndone\r\n", "exit 3\n")
			p.see(t, "exit code 3, foreground again: true", "")
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// foregroundOf is the program that has the terminal.
func foregroundOf(p *pty) string {
	group, err := unix.IoctlGetInt(int(p.keyboard.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return ""
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", group))
	return strings.TrimSpace(string(name))
}
