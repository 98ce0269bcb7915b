// Package qemu starts a virtual machine in QEMU: from a kernel and an initramfs
// or, as real machines start, by firmware from a disk or CD. Its serial console
// is on streams of the caller, ports of the guest are forwarded to this machine.
//
// The flags are the ones that were measured to boot fastest. Two choices that
// may surprise: the accelerator is TCG, QEMU's own emulation, unless another is
// asked for, because the existence of /dev/kvm does not mean that a guest runs
// under it (in nested machines it opens and then stalls); and the network is
// QEMU's user mode network, which needs no privilege.
//
// A machine never outlives its context. On Linux it does not outlive this
// process either, however that ends.
package qemu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Defaults of a Config.
const (
	DefaultMemory = 1024 // MiB: enough for an initramfs of 250 MiB
	DefaultCPUs   = 2
)

// Accel is a way to run the guest's instructions.
type Accel string

// The accelerators; the zero Accel is TCG.
const (
	TCG Accel = "tcg" // emulation: runs everywhere, and any architecture
	KVM Accel = "kvm" // Linux, for its own architecture
	HVF Accel = "hvf" // macOS, for its own architecture
)

// Config describes a machine. Arch is needed, and either Kernel and Initrd or a
// Drive.
type Config struct {
	Arch   string // of the guest, as Go writes it: "amd64" or "arm64"
	Kernel string // file
	Initrd string // file
	Drive  *Drive // instead of Kernel and Initrd
	UEFI   *UEFI  // nil: BIOS
	// Append is for a Kernel only: it is added to its command line, after what
	// puts the console on the serial port and ends the machine if it panics.
	Append string
	// Reboot lets the guest restart the machine, as firmware does that has
	// enrolled keys. Otherwise the machine ends then.
	Reboot   bool
	Memory   int   // MiB; 0 is DefaultMemory
	CPUs     int   // 0 is DefaultCPUs
	Accel    Accel // "" is TCG
	Forwards []Forward
}

// Forward makes a TCP port of the guest reachable at a port of 127.0.0.1.
type Forward struct{ Host, Guest int }

// ParseForward reads "HOST:GUEST", two port numbers. A HOST of 0, or none,
// stands for any free port: see Forward.Resolve.
func ParseForward(s string) (Forward, error) {
	host, guest, ok := strings.Cut(s, ":")
	if !ok {
		return Forward{}, fmt.Errorf("parsing forward %q: wanted is HOST:GUEST, such as 50000:50000", s)
	}
	var f Forward
	var err error
	if host != "" {
		if f.Host, err = parsePort(host, 0); err != nil {
			return Forward{}, fmt.Errorf("parsing forward %q: %w", s, err)
		}
	}
	if f.Guest, err = parsePort(guest, 1); err != nil {
		return Forward{}, fmt.Errorf("parsing forward %q: %w", s, err)
	}
	return f, nil
}

func parsePort(s string, least int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > 65535 {
		return 0, fmt.Errorf("%q is no port: a number from %d to 65535 is", s, least)
	}
	return n, nil
}

// machine is what differs between architectures.
type machine struct {
	program string
	flags   []string
	console string // the serial port, as the kernel calls it
	missing MissingError
}

var machines = map[string]machine{
	"amd64": {
		program: "qemu-system-x86_64",
		flags:   []string{"-machine", "q35", "-vga", "none"},
		console: "ttyS0",
		missing: MissingError{Debian: "qemu-system-x86", Fedora: "qemu-system-x86-core"},
	},
	"arm64": {
		program: "qemu-system-aarch64",
		flags:   []string{"-machine", "virt"},
		console: "ttyAMA0",
		missing: MissingError{Debian: "qemu-system-arm", Fedora: "qemu-system-aarch64-core"},
	},
}

// ErrArch says that there is no machine for an architecture.
var ErrArch = errors.New("no virtual machine for this architecture (there is one for amd64 and arm64)")

// Args is the command line, the program first, of the machine. It depends on
// the Config alone.
func (c Config) Args() ([]string, error) {
	m, ok := machines[c.Arch]
	if !ok {
		return nil, fmt.Errorf("architecture %q: %w", c.Arch, ErrArch)
	}
	accel, err := c.accelFlags()
	if err != nil {
		return nil, err
	}
	args := append([]string{m.program}, m.flags...)
	args = append(args, accel...)
	args = append(args,
		"-smp", strconv.Itoa(orDefault(c.CPUs, DefaultCPUs)),
		"-m", strconv.Itoa(orDefault(c.Memory, DefaultMemory)),
		// Not -nographic: with that the firmware, too, writes to the serial
		// port, and clears the terminal.
		"-display", "none", "-serial", "mon:stdio")
	if !c.Reboot {
		args = append(args, "-no-reboot")
	}
	if c.UEFI != nil {
		args = append(args, c.UEFI.args()...)
	}
	if c.Drive != nil {
		args = append(args, c.Drive.args(c.Arch)...)
	} else {
		args = append(args, "-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.commandLine(m.console))
	}
	return append(args, "-netdev", c.network(), "-device", "virtio-net-pci,netdev=n0,romfile="), nil
}

func (c Config) accelFlags() ([]string, error) {
	switch c.Accel {
	case "", TCG:
		return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}, nil
	case KVM, HVF:
		return []string{"-accel", string(c.Accel), "-cpu", "host"}, nil
	}
	return nil, fmt.Errorf("accelerator %q is none of %s, %s, %s", c.Accel, TCG, KVM, HVF)
}

// commandLine has panic=-1: with -no-reboot, QEMU ends when init dies.
func (c Config) commandLine(console string) string {
	return strings.TrimSpace("console=" + console + " panic=-1 " + c.Append)
}

func (c Config) network() string {
	var b strings.Builder
	b.WriteString("user,id=n0")
	for _, f := range c.Forwards {
		fmt.Fprintf(&b, ",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	return b.String()
}

// escape doubles the commas of a file's name: QEMU ends an option at one.
func escape(file string) string { return strings.ReplaceAll(file, ",", ",,") }

func orText(s, standard string) string {
	if s == "" {
		return standard
	}
	return s
}

func orDefault(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}
