package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graftlinux/graft/internal/extension"
	"github.com/graftlinux/graft/internal/resource"
)

// retryServing is how long to wait when serving has failed.
const retryServing = 5 * time.Second

// machine is what the steps of Boot know of the machine.
type machine struct {
	log     *slog.Logger
	cmdline cmdline
	address addressing
	layers  []extension.Layer
}

// step is one thing to do at boot.
type step struct {
	name string
	do   func(context.Context) error
}

// Boot is the whole life of PID 1. It does not return.
func Boot() {
	m := &machine{log: NewLogger(console())}
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2) // they would end a Go program
	ctx, down := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer down()
	go reap()
	for _, s := range m.steps() {
		m.take(ctx, s)
	}
	m.serve(ctx)
	m.log.Info("powering off")
	powerOff()
}

func (m *machine) steps() []step {
	return []step{
		{"mounting", mountMissing},
		{"reading the command line", m.readCmdline},
		{"taking ctrl-alt-del", catchCtrlAltDel},
		{"setting the hostname", m.setHostname},
		{"bringing up the loopback", func(context.Context) error { return linkUp("lo") }},
		{"loading modules", m.loadModules},
		{"bringing up the network", m.bringUpNetwork},
		{"reading extensions", m.readExtensions},
	}
}

// take takes a step and logs why it failed, line by line. Not even a panic
// stops PID 1: it would take the kernel along.
func (m *machine) take(ctx context.Context, s step) {
	defer func() {
		if p := recover(); p != nil {
			m.log.Error(fmt.Sprintf("%s: panic: %v", s.name, p))
			m.log.Error(string(debug.Stack()))
		}
	}()
	if err := s.do(ctx); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			m.log.Error(s.name + ": " + line)
		}
	}
}

func (m *machine) readCmdline(context.Context) error {
	data, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	m.cmdline = parseCmdline(string(data))
	for value := range m.cmdline.values("ip") { // the last one counts, as for the kernel
		m.address, err = parseIP(value)
	}
	return err
}

// setHostname takes the name of the command line, or that of /etc/hostname.
// DHCP may have a better one, later.
func (m *machine) setHostname(context.Context) error {
	name := m.address.hostname
	if name == "" {
		data, err := os.ReadFile("/etc/hostname")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		name = strings.TrimSpace(string(data))
	}
	m.address.hostname = name
	if name == "" {
		name = "graft"
	}
	return unix.Sethostname([]byte(name))
}

func (m *machine) readExtensions(context.Context) error {
	layers, err := Layers(ExtensionsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.layers = layers
	return nil
}

// serve serves until the machine shall go down.
func (m *machine) serve(ctx context.Context) {
	for ctx.Err() == nil {
		m.take(ctx, step{"serving", func(ctx context.Context) error {
			return Serve(ctx, m.log, ":"+resource.Port, m.layers)
		}})
		select {
		case <-ctx.Done():
		case <-time.After(retryServing):
		}
	}
}

// catchCtrlAltDel makes the kernel send us SIGINT and not reset the machine.
func catchCtrlAltDel(context.Context) error {
	return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
}

// reap waits for orphans, which PID 1 inherits.
func reap() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	for range died {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// powerOff writes what is left and switches the machine off. If the kernel
// cannot do that, there is nothing left to do but wait.
func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "graftd: powering off:", err)
	}
	select {}
}
