package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Child does the work of a process that Run started, and does not return then.
// In any other process it does nothing. It is to be the first thing in main, and
// in TestMain of tests that use Run.
func Child() {
	if len(os.Args) != 1 || os.Args[0] != childName || os.Getpid() != 1 {
		return
	}
	childMain()
	os.Exit(0) // the kernel kills all others in the namespace with pid 1
}

// childMain is the life of pid 1.
func childMain() {
	runtime.LockOSThread() // capabilities and filters are of a thread, and those of this one go to the command
	keepFiles()
	catchSignals()
	in := os.NewFile(specFile, "spec")
	decoder := json.NewDecoder(in)
	var s spec
	if err := decoder.Decode(&s); err != nil {
		return // the parent died
	}
	go dieWith(in)
	b := &box{spec: s}
	r := report{}
	var err error
	if r.ExitCode, err = b.live(); err != nil {
		r.Failure = toFailure(err)
	}
	_ = json.NewEncoder(os.NewFile(reportFile, "report")).Encode(r) // without a parent nobody wants it
}

// keepFiles keeps all files but the standard ones from the command: those of this
// process, and what others left open in the parent.
func keepFiles() {
	if unix.CloseRange(specFile, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := specFile; fd < 1024; fd++ { // a filter of a container does not know the call
		unix.CloseOnExec(fd)
	}
}

// catchSignals makes pid 1 deaf to what the command, or the terminal, sends to
// it, and undoes what the parent ignores: a command starts with all signals as
// usual.
func catchSignals() {
	signal.Notify(make(chan os.Signal, 1))
	// Those that C libraries use for threads Go leaves alone (runtime, sigtable).
	for n := uintptr(32); n <= 34; n++ {
		var usual [4]uint64 // struct sigaction of the kernel, with SIG_DFL
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&usual)), 0, 8, 0, 0)
	}
}

// dieWith ends the sandbox when the parent has.
func dieWith(parent io.Reader) {
	_, _ = io.Copy(io.Discard, parent) // at most the end of the line comes
	os.Exit(1)
}

func toFailure(err error) *failure {
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	var forbidden *hostFault
	f.Host = errors.As(err, &forbidden)
	return f
}

// hostFault marks an error that the machine, not the command, is the cause of.
type hostFault struct{ error }

// Unwrap gives the cause.
func (h *hostFault) Unwrap() error { return h.error }

// box is a sandbox, seen from its pid 1.
type box struct {
	spec
	old     int            // directory: the host's root
	sources []int          // of Mounts, opened
	devices map[string]int // of the host, opened
	pids    *os.File       // the kernel's last pid, or nil
	mounted []string       // what may hide stubs, in order
	stubs   []stub         // mount points that were made, in order
}

// live runs the command, or the probe, and cleans up after it.
func (b *box) live() (exitCode int, err error) {
	if err := b.prepare(); err != nil {
		return 0, err
	}
	if b.Probe {
		return 0, probeRoot()
	}
	exitCode, err = b.command()
	killAll()
	return exitCode, errors.Join(err, b.removeStubs())
}

// prepare does what is to be done before the command runs.
func (b *box) prepare() error {
	steps := []func() error{
		b.openHost, b.mountRoot, b.enterRoot, b.mountProc, b.mountDev, b.mountSys, b.mountFiles, b.mountCaches, b.leaveHost,
		b.nameHost, b.raiseLoopback, b.dropGroups, setLimits, b.enterDir, dropCapabilities, b.filterCalls,
	}
	unix.Umask(0o022)
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// command starts the command and waits until it ends; others that end meanwhile
// are reaped.
func (b *box) command() (exitCode int, err error) {
	program, err := lookPath(b.Args[0], b.Env)
	if err != nil {
		return 0, err
	}
	b.steadyPID()
	pid, err := syscall.ForkExec(program, b.Args, &syscall.ProcAttr{
		Env:   append([]string{}, b.Env...), // not nil, which would be this process' own
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: !b.Terminal},
	})
	if err != nil {
		return 0, explainExec(program, err)
	}
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err != nil && err != unix.EINTR:
			return 0, fmt.Errorf("waiting for %s: %w", program, err)
		case err == nil && ended == pid:
			return exitCodeOf(status), nil
		}
	}
}

// beforePID is one less than the command's, if nobody comes in between.
const beforePID = "99"

// openPIDs gets hold of the kernel's count of processes while it can be written
// to. A kernel built without it counts on by itself.
func (b *box) openPIDs() {
	b.pids, _ = os.OpenFile("/proc/sys/kernel/ns_last_pid", os.O_WRONLY, 0)
}

// steadyPID sees to it that what a script names after its pid does not depend on
// how many threads this process has.
func (b *box) steadyPID() {
	if b.pids != nil {
		_, _ = b.pids.WriteString(beforePID)
		_ = b.pids.Close()
	}
}

func exitCodeOf(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// killAll ends all processes but this one, and waits until they are gone.
func killAll() {
	_ = unix.Kill(-1, unix.SIGKILL) // ESRCH: there are none
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return
		}
	}
}

// hostname of the sandbox.
func (c *Config) hostname() string {
	if c.Hostname == "" {
		return DefaultHostname
	}
	return c.Hostname
}

func (b *box) nameHost() error {
	if err := unix.Sethostname([]byte(b.hostname())); err != nil {
		return fmt.Errorf("setting the host name %q: %w", b.hostname(), err)
	}
	if err := unix.Setdomainname([]byte("(none)")); err != nil { // as a machine starts
		return fmt.Errorf("setting the domain name: %w", err)
	}
	return nil
}

// raiseLoopback brings up the one interface of a new network.
func (b *box) raiseLoopback() error {
	if b.Network != None {
		return nil
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bringing up the loopback interface: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing up the loopback interface: %w", err)
	}
	return nil
}

// enterDir goes where the command starts.
func (b *box) enterDir() error {
	dir := b.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the working directory %s: %w", dir, err)
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("entering the working directory: %w", err)
	}
	return nil
}

// lookPath finds a program as a shell does.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	path := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		if file := dir + "/" + name; executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("finding the program %q: %w in PATH=%q of its root", name, errors.Join(unix.ENOENT), path)
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("finding the program %s: it is not in the root: %w", file, unix.ENOENT)
	case err != nil:
		return fmt.Errorf("finding the program: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("running %s: it is no file: %w", file, unix.EACCES)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("running %s: its mode %#o does not allow it: %w", file, info.Mode().Perm(), unix.EACCES)
	}
	return nil
}
