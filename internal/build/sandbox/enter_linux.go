package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideVar tells a process that Enter started it: which of its files ends with
// its parent. It is taken out of the environment.
const insideVar = "GRAFT_SANDBOX_INSIDE"

// patience is how long Enter leaves it to a process to end by itself.
const patience = time.Second

// forwarded are the signals that are passed on, unless this process was started
// with a deaf ear for them, as nohup does. The inner one has that then, too.
var forwarded = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}

// Enter sees to it that this program can do with the files of sandboxes what it
// wants. Root can anyway: inside is true. For an ordinary user Enter runs this
// program once more, with the same arguments, environment, files and directory,
// as root of a user namespace, where Enter returns true. Once that has ended,
// Enter returns its exit code, 128+n for signal n. Until then it passes signals
// on. If one of the two is killed the other one does not stay.
//
// The first thing that a program does with the result is to exit if inside is
// false.
func Enter(ctx context.Context) (inside bool, exitCode int, err error) {
	if fd, ok := os.LookupEnv(insideVar); ok {
		return true, 0, arrive(fd)
	}
	if os.Geteuid() == 0 && hasCapabilities(unix.CAP_DAC_OVERRIDE) {
		return true, 0, nil
	}
	exitCode, err = runInside(ctx)
	return false, exitCode, err
}

// arrive makes the process look as it would without Enter.
func arrive(fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil || n <= 2 {
		return fmt.Errorf("entering a user namespace: the environment has %s=%q, which is graft's own", insideVar, fd)
	}
	unix.CloseOnExec(n)
	if err := os.Unsetenv(insideVar); err != nil {
		return err
	}
	parent := os.NewFile(uintptr(n), "parent")
	go func() {
		_, _ = parent.Read(make([]byte, 1)) // nothing comes but the end
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
	return nil
}

// runInside is the life of the outer process.
func runInside(ctx context.Context) (exitCode int, err error) {
	alive, held, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("entering a user namespace: %w", err)
	}
	defer held.Close()
	signals := make(chan os.Signal, 8)
	for _, s := range forwarded {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	p, err := startInside(alive)
	if err != nil {
		err = fmt.Errorf("entering a user namespace: %w", err)
		if byHost(err) {
			err = hostError(err)
		}
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	go forward(ctx, p, signals, done)
	state, err := p.Wait()
	if err != nil {
		return 0, fmt.Errorf("waiting for the process in the user namespace: %w", err)
	}
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// startInside passes all files on under their numbers, those above 2 by not
// naming them.
func startInside(alive *os.File) (*os.Process, error) {
	defer alive.Close()
	fd := int(alive.Fd())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		return nil, err
	}
	uids, gids, err := idMaps(true)
	if err != nil {
		return nil, err
	}
	process, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), insideVar+"="+strconv.Itoa(fd)),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: uids,
			GidMappings: gids,
			Pdeathsig:   syscall.SIGKILL,
		},
	})
	return process, startCause(err)
}

// forward passes signals on. What comes from the terminal the inner process has
// got itself. A cancelled context, which it knows nothing of, is SIGTERM.
func forward(ctx context.Context, p *os.Process, signals <-chan os.Signal, done <-chan struct{}) {
	var told bool
	cancelled, timeout := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			told = true
			if !fromTerminal(s) {
				_ = p.Signal(s) // it may have ended
			}
		case <-cancelled: // perhaps by a signal that is on its way to signals
			cancelled, timeout = nil, time.After(patience)
		case <-timeout:
			if !told {
				_ = p.Signal(unix.SIGTERM)
			}
		}
	}
}

// fromTerminal guesses whether the terminal sent a signal to all processes in its
// foreground: the kernel does not tell Go.
func fromTerminal(s os.Signal) bool {
	if s != unix.SIGINT && s != unix.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}
