package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/graftlinux/graft/internal/qemu"
)

// apiPort is where a node answers "graft get".
const apiPort = 50000

// bootFlags say what to boot and how.
type bootFlags struct {
	base     baseFlags // the image, or the kernel as a file
	append   string
	memory   int
	cpus     int
	accel    string
	forwards []string
	timeout  time.Duration
}

func newBoot(s Streams) *cobra.Command {
	var b bootFlags
	cmd := &cobra.Command{
		Use:   "boot INITRAMFS",
		Short: "Boot an initramfs in QEMU",
		Long: `Boot an initramfs in QEMU, under the kernel of its base. The machine's serial
console is on the terminal; ctrl-a x ends it.

Ports of the machine are reachable at 127.0.0.1. Without -p it is the port of
the node's API, at a free port that is printed, so that "graft get" finds it.

The machine is emulated: that works everywhere, and for either architecture.
--accel kvm (Linux) or hvf (macOS) is much faster where it works.`,
		Example: `  graft boot initramfs-metal-amd64.xz --base registry.example/imager:v1.9.2
  graft boot initramfs.xz --kernel vmlinuz -p 50000:50000 -p :8080 --timeout 60s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return b.run(cmd.Context(), s, args[0])
		},
	}
	b.flags(cmd)
	return cmd
}

func (b *bootFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.base.image, "base", "", "base image that has the kernel: a reference, an OCI layout or a tarball")
	f.StringVar(&b.base.kernel, "kernel", "", "the kernel as a file, instead of --base")
	f.StringVar(&b.base.arch, "arch", "amd64", "architecture of the machine: amd64 or arm64")
	f.BoolVar(&b.base.sources.insecure, "insecure", false, "registries may speak plain HTTP or have untrusted certificates")
	cacheDirFlag(cmd, &b.base.sources.cacheDir)
	f.StringVar(&b.append, "append", "", "more words for the kernel's command line")
	f.IntVar(&b.memory, "memory", 0, "memory of the machine in MiB (default: what the initramfs needs)")
	f.IntVar(&b.cpus, "cpus", qemu.DefaultCPUs, "number of its CPUs")
	f.StringArrayVarP(&b.forwards, "forward", "p", nil, "HOST:GUEST, TCP ports; without HOST a free one is taken (repeat it)")
	f.StringVar(&b.accel, "accel", string(qemu.TCG), "how to run it: tcg (emulation), kvm, hvf")
	f.DurationVar(&b.timeout, "timeout", 0, "end the machine after this time, as an error (default: never)")
	complete(cmd, "arch", "amd64", "arm64")
	complete(cmd, "accel", string(qemu.TCG), string(qemu.KVM), string(qemu.HVF))
}

func (b *bootFlags) run(ctx context.Context, s Streams, initramfs string) error {
	c, err := b.machine(initramfs)
	if err != nil {
		return err
	}
	c.Kernel = b.base.kernel
	if b.base.image != "" {
		dir, err := os.MkdirTemp("", "graft-boot-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Kernel = filepath.Join(dir, "vmlinuz")
		if err := b.kernelOfBase(ctx, c.Kernel); err != nil {
			return err
		}
	}
	if b.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	err = bootMachine(ctx, s, c)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the machine was still running after %v (--timeout)", b.timeout)
	}
	return err
}

// machine is the machine that the flags describe, but for its kernel.
func (b *bootFlags) machine(initramfs string) (qemu.Config, error) {
	c := qemu.Config{
		Arch: b.base.arch, Initrd: initramfs, Append: b.append,
		Memory: b.memory, CPUs: b.cpus, Accel: qemu.Accel(b.accel),
	}
	if err := b.check(); err != nil {
		return c, err
	}
	size, err := fileSize(initramfs)
	if err != nil {
		return c, err
	}
	if c.Memory == 0 {
		c.Memory = memoryFor(size)
	}
	if c.Forwards, err = b.ports(); err != nil {
		return c, usageError(err)
	}
	_, err = c.Args()
	return c, usageError(err)
}

// check finds what cannot be meant, before anything costs time.
func (b *bootFlags) check() error {
	switch {
	case b.base.kernel != "" && b.base.image != "":
		return usageError(errors.New("--base and --kernel are two kernels, one is wanted"))
	case b.base.kernel == "" && b.base.image == "":
		return withCode(exitInvalid, errors.New("an initramfs boots under the kernel of its base, and none is given"),
			"--base IMAGE takes it out of the base that the initramfs was made from",
			"--kernel FILE is a kernel, such as one that graft image kernel wrote")
	case b.cpus < 1 || b.memory < 0:
		return usageError(fmt.Errorf("--cpus %d, --memory %d: a machine needs at least one CPU and some memory", b.cpus, b.memory))
	case b.base.kernel == "":
		return nil
	}
	_, err := fileSize(b.base.kernel)
	return err
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, usageError(fmt.Errorf("%s is not a file", name))
	}
	return info.Size(), nil
}

// ports are the forwards that were asked for, or that of the API.
func (b *bootFlags) ports() ([]qemu.Forward, error) {
	if len(b.forwards) == 0 {
		return []qemu.Forward{{Guest: apiPort}}, nil
	}
	var all []qemu.Forward
	for _, text := range b.forwards {
		f, err := qemu.ParseForward(text)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// memoryFor is the memory in MiB to boot an initramfs of so many bytes: the
// kernel holds the file and, in a file system that may fill half of the
// memory, what it has unpacked from it.
func memoryFor(initramfs int64) int {
	const step = 256
	need := 512 + 3*int(initramfs>>20)
	return max(qemu.DefaultMemory, (need+step-1)/step*step)
}

func (b *bootFlags) kernelOfBase(ctx context.Context, file string) (err error) {
	c, err := openCache(b.base.sources.cacheDir)
	if err != nil {
		return err
	}
	base, err := b.base.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(base.WriteKernel(f), f.Close())
}

// bootMachine runs the machine until it ends.
func bootMachine(ctx context.Context, s Streams, c qemu.Config) error {
	for i := range c.Forwards {
		f, err := c.Forwards[i].Resolve()
		if err != nil {
			return withCode(exitEnvironment, err)
		}
		c.Forwards[i] = f
	}
	announce(s.Err, c)
	defer keepTerminal(s.In)()
	console := &panicWatch{w: s.Out}
	vm, err := qemu.Start(ctx, c, s.In, console)
	var missing *qemu.MissingError
	switch {
	case errors.As(err, &missing):
		return withCode(exitEnvironment, missing, missing.Hint())
	case err != nil:
		return withCode(exitEnvironment, err)
	}
	if err := vm.Wait(); err != nil {
		return err
	}
	if console.seen {
		return errors.New("the machine's kernel panicked; its last words are above")
	}
	return nil
}

// panicWatch passes the console on and looks for a panic: QEMU ends then as it
// does after a reboot, without an error.
type panicWatch struct {
	w    io.Writer
	tail []byte
	seen bool
}

var panicWords = []byte("Kernel panic - not syncing")

func (p *panicWatch) Write(b []byte) (int, error) {
	p.tail = append(p.tail, b...)
	p.seen = p.seen || bytes.Contains(p.tail, panicWords)
	p.tail = p.tail[max(0, len(p.tail)-len(panicWords)):]
	return p.w.Write(b)
}

// announce says what cannot be seen once the console scrolls.
func announce(w io.Writer, c qemu.Config) {
	fmt.Fprintf(w, "booting a machine of %d MiB and %s under %s; ctrl-a x ends it\n", c.Memory, count(c.CPUs, "CPU"), c.Accel)
	for _, f := range c.Forwards {
		fmt.Fprintf(w, "127.0.0.1:%d is port %d of the machine\n", f.Host, f.Guest)
		if f.Guest == apiPort {
			fmt.Fprintf(w, "  graft get extensions --insecure -n 127.0.0.1:%d\n", f.Host)
		}
	}
}

// keepTerminal returns what to call to have the terminal as it was: QEMU sets
// it up for itself, and cannot undo that if it is killed.
func keepTerminal(in io.Reader) func() {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(f.Fd()), state) } // nothing can be done about a terminal that is gone
}
