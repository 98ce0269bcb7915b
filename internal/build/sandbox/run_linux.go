package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// childName is what the child's process is called: how it knows itself.
const childName = "graft: sandbox"

// The child's files beside the standard ones.
const (
	specFile   = 3 // spec as JSON; stays open, its end means that the parent is gone
	reportFile = 4 // report as JSON
)

// spec is what a child is to do.
type spec struct {
	Config
	OneUser bool   // the user namespace has uid 0 and no other
	Resolv  []byte // content of /etc/resolv.conf
	Probe   bool   // try the root instead of running a command
}

// report is what a child has to say.
type report struct {
	ExitCode int
	Failure  *failure // nil if the command ran
}

// failure is an error that crossed from one process to another.
type failure struct {
	Text  string
	Errno syscall.Errno // the cause, or 0
	Host  bool          // the machine does not allow it
}

// Error implements error.
func (f *failure) Error() string { return f.Text }

// Unwrap gives the system's error.
func (f *failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// Run runs a command in a sandbox and waits for its end. An error means that it
// could not be run, as a *HostError if this machine is in the way, or that the
// context was cancelled. When Run returns, no process and no mount of the
// sandbox is left.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.check(); err != nil {
		return Result{}, err
	}
	return run(ctx, spec{Config: c})
}

func run(ctx context.Context, s spec) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("running %s: %w", s.Args[0], context.Cause(ctx))
	}
	r, err := runChild(ctx, s)
	if s.Work != "" {
		err = errors.Join(err, empty(s.Work))
	}
	switch {
	case r == nil && ctx.Err() != nil:
		return Result{}, fmt.Errorf("running %s: %w", s.Args[0], context.Cause(ctx))
	case err != nil:
		return Result{}, err
	case r.Failure != nil:
		return Result{}, explain(r.Failure)
	}
	return Result{ExitCode: r.ExitCode}, nil
}

// explain adds hints to what the machine is the cause of.
func explain(f *failure) error {
	if !f.Host {
		return f
	}
	return hostError(f)
}

// runChild returns no report if the child did not live to write one.
func runChild(ctx context.Context, s spec) (*report, error) {
	ch, err := start(&s)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ch.process.Kill() }) // fails if it has ended
	defer stop()
	return ch.finish(s)
}

// child is the running process, seen from its parent.
type child struct {
	process *os.Process
	spec    *os.File // to the child
	report  *os.File // from the child
	output  chan error
	restore func() // gives the terminal back
}

// finish talks to the child until it has ended.
func (ch *child) finish(s spec) (*report, error) {
	defer ch.spec.Close() // only now: for the child its end is that of this process
	told := json.NewEncoder(ch.spec).Encode(s)
	answer, err := io.ReadAll(ch.report)
	state, waited := ch.process.Wait()
	ch.restore()
	err = errors.Join(err, waited, ch.report.Close(), <-ch.output)
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", s.Args[0], err)
	}
	var r report
	if len(answer) == 0 || json.Unmarshal(answer, &r) != nil {
		return nil, fmt.Errorf("running %s: the sandbox was killed (%v), by a person or for want of memory", s.Args[0], errors.Join(told, errors.New(state.String())))
	}
	return &r, nil
}

// start starts the child, which then waits for its spec.
func start(s *spec) (*child, error) {
	s.OneUser = !rulesAllUsers()
	if s.Network == Host {
		s.Resolv, _ = os.ReadFile("/etc/resolv.conf") // a machine may have none
	}
	p, err := openPipes(&s.Config)
	if err != nil {
		return nil, fmt.Errorf("starting a sandbox: %w", err)
	}
	defer p.closeChilds()
	process, err := startSelf(s, p.childs)
	if err != nil {
		p.closeParents()
		return nil, startError(s, fmt.Errorf("starting a sandbox: %w", err))
	}
	ch := &child{process: process, spec: p.spec, report: p.report, output: make(chan error, 1), restore: func() {}}
	if s.Terminal {
		ch.restore = terminalRestorer(s.Stdin)
	}
	go func() { ch.output <- copyOutput(s.Output, p.output) }()
	return ch, nil
}

// startError tells what the machine does not allow from what a caller did.
func startError(s *spec, err error) error {
	if s.Terminal && errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("%w: %s is not the terminal of this session", err, s.Stdin.Name())
	}
	if byHost(err) {
		return hostError(err)
	}
	return err
}

// startSelf starts this program once more, in namespaces of its own.
func startSelf(s *spec, files []*os.File) (*os.Process, error) {
	self, err := selfCopy()
	if err != nil {
		return nil, err
	}
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if s.Network == None {
		flags |= unix.CLONE_NEWNET
	}
	uids, gids, err := idMaps(s.OneUser)
	if err != nil {
		return nil, err
	}
	sys := &syscall.SysProcAttr{
		Cloneflags:                 flags,
		UidMappings:                uids,
		GidMappings:                gids,
		GidMappingsEnableSetgroups: !s.OneUser,
		Pdeathsig:                  syscall.SIGKILL,
		Setsid:                     !s.Terminal,
	}
	if s.Terminal {
		sys.Foreground, sys.Ctty = true, int(s.Stdin.Fd())
	}
	process, err := os.StartProcess(self, []string{childName}, &os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: sys})
	return process, startCause(err)
}

// startCause leaves out the file that could not be started: it is this program.
func startCause(err error) error {
	var path *os.PathError
	if !errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("making a process with namespaces of its own: %w", path.Err)
}

// pipes connect a child.
type pipes struct {
	childs               []*os.File // by number
	own                  []*os.File // those of childs that are to be closed here
	spec, report, output *os.File   // the parent's ends; output is nil for a terminal
}

func openPipes(c *Config) (p *pipes, err error) {
	p = &pipes{}
	defer func() {
		if err != nil {
			p.closeChilds()
			p.closeParents()
		}
	}()
	if err = p.openStandard(c); err != nil {
		return p, err
	}
	specEnd, to, err := os.Pipe()
	if err != nil {
		return p, err
	}
	p.give(specEnd)
	p.spec = to
	from, reportEnd, err := os.Pipe()
	if err != nil {
		return p, err
	}
	p.give(reportEnd)
	p.report = from
	return p, nil
}

// openStandard makes the files 0, 1 and 2.
func (p *pipes) openStandard(c *Config) error {
	if c.Terminal {
		p.childs = []*os.File{c.Stdin, c.Stdin, c.Stdin}
		return nil
	}
	if c.Stdin != nil {
		p.childs = append(p.childs, c.Stdin)
	} else {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		p.give(null)
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	p.output = from
	p.give(to)
	p.childs = append(p.childs, to)
	return nil
}

// give hands a file to the child.
func (p *pipes) give(f *os.File) {
	p.childs = append(p.childs, f)
	p.own = append(p.own, f)
}

func (p *pipes) closeChilds() { closeAll(p.own) }

func (p *pipes) closeParents() { closeAll([]*os.File{p.spec, p.report, p.output}) }

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // pipes, and files that were not written to
		}
	}
}

// copyOutput reads to the end even if nobody takes it: the command must not wait
// for a reader.
func copyOutput(w io.Writer, from *os.File) error {
	if from == nil {
		return nil
	}
	defer from.Close()
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(w, from)
	if err == nil {
		return nil
	}
	if _, drain := io.Copy(io.Discard, from); drain != nil {
		err = errors.Join(err, drain)
	}
	return fmt.Errorf("passing on the output: %w", err)
}

// empty removes what the kernel left in the work directory: directories that
// nobody may read, or enter.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("emptying the overlay's work directory: %w", err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if err := removeAll(name); err != nil {
			return fmt.Errorf("emptying the overlay's work directory: %w", err)
		}
	}
	return nil
}

func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return err
	}) // RemoveAll says what is in the way
	return os.RemoveAll(dir)
}
