package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/graftlinux/graft/internal/build/plan"
)

// screen shows a build: on a terminal a line per step that runs, with its time
// and last output, below the lines of those that have ended; elsewhere lines that
// stay. It keeps a log per script.
type screen struct {
	s    Streams
	mode string // tty, plain, quiet
	logs string // directory, "" for none

	mu     sync.Mutex
	begun  time.Time
	steps  map[*plan.Op]*step
	order  []*step // those that run, the oldest first
	count  int     // numbers given
	cached int
	done   int
	drawn  int // lines of the last drawing
	paused bool
	stop   chan struct{}
	ticker sync.WaitGroup
	once   sync.Once
}

// step is an operation that has begun.
type step struct {
	number int
	op     *plan.Op
	begun  time.Time
	line   []byte // the last line of output, not ended yet
	last   string // the last whole one
	log    *os.File
	path   string
}

func newScreen(s Streams, mode, logs string) *screen {
	if mode == "auto" {
		mode = "plain"
		if s.Terminal() {
			mode = "tty"
		}
	}
	sc := &screen{s: s, mode: mode, logs: logs, begun: time.Now(), steps: map[*plan.Op]*step{}, stop: make(chan struct{})}
	if mode == "tty" {
		sc.ticker.Go(sc.animate)
	}
	return sc
}

const frame = 150 * time.Millisecond

func (sc *screen) animate() {
	t := time.NewTicker(frame)
	defer t.Stop()
	for {
		select {
		case <-sc.stop:
			return
		case <-t.C:
			sc.mu.Lock()
			sc.draw()
			sc.mu.Unlock()
		}
	}
}

// close takes the running lines off the terminal and sums up.
func (sc *screen) close() {
	sc.once.Do(func() {
		close(sc.stop)
		sc.ticker.Wait()
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.erase()
		for _, st := range sc.order {
			st.endLog()
		}
		if sc.mode != "quiet" {
			fmt.Fprintf(sc.s.Err, "%s run, %d cached, %s\n", count(sc.done, "step"), sc.cached, duration(time.Since(sc.begun)))
		}
	})
}

func (sc *screen) pause() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.erase()
	sc.paused = true
}

func (sc *screen) resume() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.paused = false
}

// report implements plan.Report.
func (sc *screen) report(st plan.Status) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	switch st.State {
	case plan.Started:
		sc.start(st)
	case plan.Output:
		sc.output(st)
	case plan.Cached:
		sc.cached++
		sc.end(st, "CACHED")
	case plan.Done:
		sc.done++
		sc.end(st, "DONE")
	case plan.Failed:
		sc.end(st, "ERROR")
	case plan.Canceled:
		sc.end(st, "CANCELED")
	}
}

func (sc *screen) start(st plan.Status) *step {
	if s := sc.steps[st.Op]; s != nil {
		return s
	}
	sc.count++
	s := &step{number: sc.count, op: st.Op, begun: st.Time}
	sc.steps[st.Op] = s
	sc.order = append(sc.order, s)
	sc.openLog(s)
	sc.print(s, "%s", s.op.Name)
	return s
}

// end removes a step that ran from the screen. What was cached has not run, and
// only scripts are worth a line.
func (sc *screen) end(st plan.Status, word string) {
	s := sc.steps[st.Op]
	if s == nil {
		if _, isExec := st.Op.Kind.(*plan.Exec); word == "CACHED" && isExec && sc.mode == "plain" {
			sc.count++
			sc.print(&step{number: sc.count}, "%s CACHED", st.Op.Name)
		}
		return
	}
	sc.flush(s)
	s.endLog()
	sc.order = slices.DeleteFunc(sc.order, func(other *step) bool { return other == s })
	took := st.Time.Sub(s.begun)
	if sc.mode == "tty" && !sc.paused && worthALine(s.op, word, took) {
		sc.erase()
		fmt.Fprintf(sc.s.Err, " => %-8s %s  %s\n", word, printable(s.op.Name), duration(took))
		sc.draw()
	}
	sc.print(s, "%s %s", word, duration(took))
}

// worthALine says whether a person wants to see that an operation ended: copies
// of files that take no time are many.
func worthALine(op *plan.Op, word string, took time.Duration) bool {
	_, isExec := op.Kind.(*plan.Exec)
	return isExec && word != "CANCELED" || word == "ERROR" || took > time.Second
}

func (sc *screen) output(st plan.Status) {
	s := sc.start(st)
	if s.log != nil {
		_, _ = s.log.Write(st.Data) // a log that cannot be written is no reason to stop
	}
	s.line = append(s.line, st.Data...)
	for {
		i := bytes.IndexAny(s.line, "\n\r")
		if i < 0 {
			break
		}
		sc.line(s, string(s.line[:i]))
		s.line = s.line[i+1:]
	}
	if len(s.line) > maxLine {
		sc.flush(s)
	}
}

// maxLine is where a line without an end is cut, in bytes.
const maxLine = 64 << 10

func (sc *screen) flush(s *step) {
	if len(s.line) > 0 {
		sc.line(s, string(s.line))
		s.line = nil
	}
}

func (sc *screen) line(s *step, text string) {
	text = printable(strings.TrimRight(strings.ReplaceAll(text, "\t", "    "), " "))
	if text == "" {
		return
	}
	text = shorten(text)
	s.last = text
	sc.print(s, "%7.3f %s", time.Since(s.begun).Seconds(), text)
}

// maxShown is where a line is cut for people, in bytes; the log has all of it.
const maxShown = 2000

func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return fmt.Sprintf("%s… (%d more bytes)", strings.ToValidUTF8(text[:maxShown], ""), len(text)-maxShown)
}

// print writes a line that stays, where there is no terminal.
func (sc *screen) print(s *step, format string, args ...any) {
	if sc.mode == "plain" {
		fmt.Fprintf(sc.s.Err, "#%d %s\n", s.number, fmt.Sprintf(format, args...))
	}
}

// erase removes the lines of what runs.
func (sc *screen) erase() {
	if sc.drawn > 0 {
		fmt.Fprintf(sc.s.Err, "\x1b[%dA\x1b[J", sc.drawn)
		sc.drawn = 0
	}
}

// draw shows what runs, as much as fits.
func (sc *screen) draw() {
	if sc.mode != "tty" || sc.paused {
		return
	}
	width, height := 80, 24
	if f, ok := sc.s.Err.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	lines := []string{fmt.Sprintf("[+] building %s (%d run, %d cached, %d running)", duration(time.Since(sc.begun)), sc.done, sc.cached, len(sc.order))}
	for _, s := range sc.order {
		lines = append(lines, sc.running(s, width))
		if s.last != "" {
			lines = append(lines, cut(" =>   "+s.last, width))
		}
	}
	if len(lines) > height-1 {
		lines = lines[:max(1, height-1)]
	}
	sc.erase()
	fmt.Fprint(sc.s.Err, strings.Join(lines, "\n"), "\n")
	sc.drawn = len(lines)
}

func (sc *screen) running(s *step, width int) string {
	took := duration(time.Since(s.begun))
	name := cut(" => "+printable(s.op.Name), width-len(took)-1)
	return name + strings.Repeat(" ", max(1, width-runes(name)-len(took))) + took
}

func runes(s string) int { return len([]rune(s)) }

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(0, width-1)]) + "…"
	}
	return s
}

func duration(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// openLog starts the log of a script in place of that of an earlier run.
func (sc *screen) openLog(s *step) {
	if _, isExec := s.op.Kind.(*plan.Exec); !isExec || sc.logs == "" {
		return
	}
	name := strings.NewReplacer("/", "_", ":", "/").Replace(s.op.Name)
	s.path = filepath.Join(sc.logs, filepath.FromSlash(name)+"."+strings.ReplaceAll(s.op.Platform, "/", "_")+".log")
	if os.MkdirAll(filepath.Dir(s.path), 0o755) == nil {
		s.log, _ = os.Create(s.path) // see output
	}
}

func (s *step) endLog() {
	if s.log != nil {
		s.log.Close()
		s.log = nil
	}
}

// logOf is the log of a script that ran.
func (sc *screen) logOf(op *plan.Op) string {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if s := sc.steps[op]; s != nil {
		return s.path
	}
	return ""
}
