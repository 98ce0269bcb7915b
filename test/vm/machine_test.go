package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graftlinux/graft/internal/cli"
)

// limit is how long a machine may run. With firmware it boots in about 25
// seconds where nothing else runs; CI is busy.
const limit = 5 * time.Minute

// bootedAsset is a "graft boot" that runs.
type bootedAsset struct {
	t                     *testing.T
	console, conversation *stream
	keyboard              *os.File
	end                   context.CancelFunc
	done                  chan struct{} // closed when it has ended
	code                  int           // the exit code, then
}

// bootAsset runs graft boot until the test ends. The menu of systemd-boot is
// left with its first choice.
func bootAsset(t *testing.T, args ...string) *bootedAsset {
	t.Helper()
	stdin, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m := &bootedAsset{t: t, console: newStream(), conversation: newStream(), keyboard: keyboard, done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	m.end = cancel
	args = append([]string{"boot", "-p", fmt.Sprintf(":%d", api)}, args...)
	go func() {
		defer close(m.done)
		defer stdin.Close()
		m.code = cli.Run(ctx, args, cli.Streams{In: stdin, Out: m.console, Err: m.conversation})
	}()
	go m.leaveMenu(ctx)
	t.Cleanup(func() {
		m.PowerOff()
		keyboard.Close()
		if t.Failed() {
			t.Logf("graft %s:\n%s\nthe serial console:\n%s", strings.Join(args, " "), m.conversation.text(), m.console.text())
		}
	})
	return m
}

// leaveMenu presses enter for each menu that counts down.
func (m *bootedAsset) leaveMenu(ctx context.Context) {
	for seen := 0; ; {
		end, more := m.console.find("Boot in 10 s.", seen)
		if end > 0 {
			seen = end
			_, _ = m.keyboard.WriteString("\r") // a machine that has ended reads nothing
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// WaitFor waits until the console has said the text, and returns the line up to
// there.
func (m *bootedAsset) WaitFor(text string) string {
	m.t.Helper()
	return m.waitFor(m.console, text)
}

func (m *bootedAsset) waitFor(s *stream, text string) string {
	m.t.Helper()
	for ended := false; ; {
		end, more := s.find(text, 0)
		switch {
		case end > 0:
			said := s.text()[:end]
			return said[strings.LastIndex(said, "\n")+1:]
		case ended:
			m.t.Fatalf("the machine ended with exit code %d and has not said %q", m.code, text)
		}
		select {
		case <-more:
		case <-m.done: // its last words are yet to be read
			ended = true
		}
	}
}

// Said says whether the text was on the console by now.
func (m *bootedAsset) Said(text string) bool {
	end, _ := m.console.find(text, 0)
	return end > 0
}

// Address is where the only port that is forwarded can be reached.
func (m *bootedAsset) Address(guestPort int) string {
	m.t.Helper()
	line := m.waitFor(m.conversation, fmt.Sprintf(" is port %d of the machine", guestPort))
	return regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
}

// PowerOff pulls the plug.
func (m *bootedAsset) PowerOff() {
	m.end()
	<-m.done
}

// stream keeps what is written to it.
type stream struct {
	mu   sync.Mutex
	said []byte
	more chan struct{} // closed when there is more
}

func newStream() *stream { return &stream{more: make(chan struct{})} }

// Write takes output as it comes.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, p...)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

// find returns where the text ends behind the first bytes, 0 if it is not there
// yet, and what is closed when there is more.
func (s *stream) find(text string, from int) (end int, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := bytes.Index(s.said[from:], []byte(text)); at >= 0 {
		end = from + at + len(text)
	}
	return end, s.more
}

func (s *stream) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.said)
}
