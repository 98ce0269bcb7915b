package cli

import (
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// showAfter is how long work may take before a bar appears.
const showAfter = time.Second

// progress is one bar for all tasks that run: its total grows as they begin.
// It is shown on a terminal only.
type progress struct {
	s     Streams
	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil until there is something to show
	begun time.Time
	done  int64
	total int64
}

func newProgress(s Streams) *progress { return &progress{s: s, begun: time.Now()} }

// start begins a task of so many bytes. It has the form of bootasset.Progress.
func (p *progress) start(what string, total int64) (add func(int64), done func()) {
	if !p.s.Terminal() {
		return func(int64) {}, func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += total
	if p.bar != nil {
		p.bar.ChangeMax64(p.total)
		p.bar.Describe(what)
	}
	return func(n int64) { p.add(what, n) }, func() {}
}

func (p *progress) add(what string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	switch {
	case p.bar != nil:
		_ = p.bar.Add64(n) // a bar that cannot be drawn is no reason to stop
	case time.Since(p.begun) > showAfter:
		p.bar = progressbar.NewOptions64(p.total,
			progressbar.OptionSetWriter(p.s.Err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
		_ = p.bar.Add64(p.done)
	}
}

// wait takes the bar off the terminal.
func (p *progress) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
