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

	"github.com/graftlinux/graft/internal/bootasset"
	"github.com/graftlinux/graft/internal/inspect"
	"github.com/graftlinux/graft/internal/qemu"
)

// apiPort is where a node answers "graft get".
const apiPort = 50000

// kernelFlags say where the kernel for an initramfs is.
type kernelFlags struct {
	sources sources
	image   string // the base
	kernel  string // a file
	arch    string
}

// bootFlags say what to boot and how.
type bootFlags struct {
	base     kernelFlags
	append   string
	firmware bootFirmware // "" is what suits the file
	vars     string
	persist  bool
	memory   int
	cpus     int
	accel    string
	forwards []string
	timeout  time.Duration
}

func newBoot(s Streams) *cobra.Command {
	var b bootFlags
	cmd := &cobra.Command{
		Use:   "boot FILE",
		Short: "Boot an asset in QEMU",
		Long: `Boot an asset in QEMU, each in the way a real machine would. What FILE is, its
content tells:

  initramfs    under the kernel of its base, or another, without firmware
  UKI          by UEFI, from a small EFI system partition made for it
  ISO          from a CD, by UEFI or BIOS
  disk image   raw or qcow2 as it is; VHD, VMDK, OVA and what is packed with
               gzip, xz, zstd or .tar.gz is unpacked first, below $TMPDIR

The machine's serial console is on the terminal; ctrl-a x ends it. A kernel is
seen there if the asset was made with --extra-kernel-arg console=ttyS0 (ttyAMA0
for arm64); an initramfs gets that by itself. A BIOS and its boot loader show
nothing there, UEFI does.

Ports of the machine are reachable at 127.0.0.1. Without -p it is the port of
the node's API, at a free port that is printed, so that "graft get" finds it.

FILE stays as it is: what the machine writes is gone when it ends, unless
--persist says that a raw or qcow2 disk keeps it. --vars keeps the variables of
UEFI: enrolled keys and boot entries.

--firmware secureboot is UEFI with Secure Boot in setup mode: it has no keys and
starts everything, until those of an asset are enrolled. systemd-boot does that,
and restarts the machine, if the asset was made with --secureboot-enroll-keys
force, or if-safe and a systemd-boot of 253 or newer; its menu offers it always.
From then on the firmware starts only what these keys have signed.

The machine of an initramfs ends when it would restart, the others do restart.
All of them end with an error when the kernel panics.

The machine is emulated: that works everywhere, and for either architecture.
--accel kvm (Linux) or hvf (macOS) is much faster where it works.`,
		Example: `  graft boot initramfs-metal-amd64.xz --base registry.example/imager:v1.9.2
  graft boot initramfs.xz --kernel vmlinuz -p 50000:50000 -p :8080 --timeout 60s
  graft boot metal-amd64.iso --firmware bios
  graft boot aws-amd64.raw.zst --memory 4096
  graft boot metal-amd64-secureboot.iso --firmware secureboot --vars my-machine.vars
  graft boot metal-amd64.qcow2 --persist`,
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
	f.StringVar(&b.base.image, "base", "", "for an initramfs: the base image that has the kernel, a reference, an OCI layout or a tarball")
	f.StringVar(&b.base.kernel, "kernel", "", "for an initramfs: the kernel as a file, instead of --base")
	f.StringVar(&b.append, "append", "", "for an initramfs: more words for the kernel's command line")
	f.StringVar(&b.base.arch, "arch", "", "architecture of the machine: amd64 or arm64 (default: what the file is for, or amd64)")
	insecureFlag(cmd, &b.base.sources.insecure)
	cacheDirFlag(cmd, &b.base.sources.cacheDir)
	f.StringVar((*string)(&b.firmware), "firmware", "", "bios, uefi or secureboot (default: uefi, or bios for what has nothing for UEFI)")
	f.StringVar(&b.vars, "vars", "", "file that keeps the variables of UEFI, made if it is not there (default: new ones each time)")
	f.BoolVar(&b.persist, "persist", false, "let the machine write to a raw or qcow2 disk")
	f.IntVar(&b.memory, "memory", 0, "memory of the machine in MiB (default: what the file needs)")
	f.IntVar(&b.cpus, "cpus", qemu.DefaultCPUs, "number of its CPUs")
	f.StringArrayVarP(&b.forwards, "forward", "p", nil, "HOST:GUEST, TCP ports; without HOST a free one is taken (repeat it)")
	f.StringVar(&b.accel, "accel", string(qemu.TCG), "how to run it: tcg (emulation), kvm, hvf")
	f.DurationVar(&b.timeout, "timeout", 0, "end the machine after this time, as an error (default: never)")
	complete(cmd, "arch", "amd64", "arm64")
	complete(cmd, "firmware", string(firmwareBIOS), string(firmwareUEFI), string(firmwareSecureBoot))
	complete(cmd, "accel", string(qemu.TCG), string(qemu.KVM), string(qemu.HVF))
}

func (b *bootFlags) run(ctx context.Context, s Streams, name string) (err error) {
	if err := b.check(); err != nil {
		return err
	}
	m, err := openMedium(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := b.checkFor(m); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "graft-boot-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := b.machine(ctx, s, m, dir)
	if err != nil {
		return err
	}
	if b.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.timeout)
		defer cancel()
	}
	err = bootMachine(ctx, s, c)
	if b.timeout > 0 && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the machine was still running after %v (--timeout)", b.timeout)
	}
	return err
}

// check finds what cannot be meant, whatever the file is.
func (b *bootFlags) check() error {
	if b.cpus < 1 || b.memory < 0 {
		return usageError(fmt.Errorf("--cpus %d, --memory %d: a machine needs at least one CPU and some memory", b.cpus, b.memory))
	}
	if b.firmware != "" && b.firmware != firmwareBIOS && !b.firmware.isUEFI() {
		return usageError(fmt.Errorf("--firmware %q is none of %s, %s, %s", b.firmware, firmwareBIOS, firmwareUEFI, firmwareSecureBoot))
	}
	if _, err := b.ports(); err != nil {
		return usageError(err)
	}
	_, err := qemu.Config{Arch: orAMD64(b.base.arch), Accel: qemu.Accel(b.accel)}.Args()
	return usageError(err)
}

// checkFor finds what cannot be meant for this file, before anything costs time.
func (b *bootFlags) checkFor(m *medium) error {
	switch m.kind {
	case inspect.KindInitramfs:
		return b.checkInitramfs()
	case inspect.KindUKI, inspect.KindISO, inspect.KindDisk, inspect.KindQCOW2,
		inspect.KindVHD, inspect.KindVMDK, inspect.KindOVA, inspect.KindCompressed:
		return b.checkFirmware(m)
	}
	return notBootable(m)
}

func (b *bootFlags) checkInitramfs() error {
	switch {
	case b.firmware != "" || b.vars != "" || b.persist:
		return usageError(errors.New("--firmware, --vars and --persist are for what firmware starts: an initramfs has QEMU itself start the kernel, and is only read"))
	case b.base.kernel != "" && b.base.image != "":
		return usageError(errors.New("--base and --kernel are two kernels, one is wanted"))
	case b.base.kernel == "" && b.base.image == "":
		return withCode(exitInvalid, errors.New("an initramfs boots under the kernel of its base, and none is given"),
			"--base IMAGE takes it out of the base that the initramfs was made from",
			"--kernel FILE is a kernel, such as one that graft image kernel wrote")
	case b.base.kernel == "":
		return nil
	}
	_, err := fileSize(b.base.kernel)
	return err
}

func (b *bootFlags) checkFirmware(m *medium) error {
	switch {
	case b.base.kernel != "" || b.base.image != "" || b.append != "":
		return withCode(exitInvalid, fmt.Errorf("--base, --kernel and --append are for an initramfs: %s brings its kernel, whose command line was fixed when it was made", m.name),
			"graft image --extra-kernel-arg makes one with another command line")
	case b.vars != "" && b.firmware == firmwareBIOS:
		return usageError(errors.New("--vars: a BIOS has no variables"))
	case b.persist && m.kind != inspect.KindDisk && m.kind != inspect.KindQCOW2:
		return usageError(fmt.Errorf("--persist is for raw and qcow2 disks: nothing can be written back to %s", m.name))
	case m.kind == inspect.KindUKI && b.firmware == firmwareBIOS:
		return usageError(fmt.Errorf("%s is a program for UEFI: a BIOS cannot start it", m.name))
	}
	return nil
}

// notBootable says what the file is instead.
func notBootable(m *medium) error {
	switch m.kind {
	case inspect.KindKernel:
		return withCode(exitInvalid, fmt.Errorf("%s is a kernel, which boots with an initramfs", m.name), "graft boot INITRAMFS --kernel "+m.name)
	case inspect.KindEFI:
		return withCode(exitInvalid, fmt.Errorf("%s is a program for UEFI without a kernel in it", m.name), "a UKI has one: graft image uki")
	case inspect.KindContainer:
		return withCode(exitInvalid, fmt.Errorf("%s is a container image, which does not boot", m.name), "graft image makes what boots of it")
	}
	return withCode(exitInvalid, fmt.Errorf("%s is neither an initramfs, a UKI, an ISO nor a disk image", m.name), "graft inspect says what is in a file")
}

// machine is the machine that boots the medium.
func (b *bootFlags) machine(ctx context.Context, s Streams, m *medium, dir string) (c qemu.Config, err error) {
	c = qemu.Config{Memory: b.memory, CPUs: b.cpus, Accel: qemu.Accel(b.accel)}
	if c.Forwards, err = b.ports(); err != nil {
		return c, err
	}
	if m.kind == inspect.KindInitramfs {
		err = b.directBoot(ctx, &c, m, dir)
	} else {
		err = b.firmwareBoot(ctx, s, &c, m, dir)
	}
	return c, err
}

// directBoot has QEMU start the kernel.
func (b *bootFlags) directBoot(ctx context.Context, c *qemu.Config, m *medium, dir string) error {
	b.base.arch = orAMD64(b.base.arch)
	c.Arch, c.Initrd, c.Append, c.Kernel = b.base.arch, m.file, b.append, b.base.kernel
	if c.Memory == 0 {
		c.Memory = memoryFor(m.size)
	}
	if b.base.image == "" {
		return nil
	}
	c.Kernel = filepath.Join(dir, "vmlinuz")
	return b.kernelOfBase(ctx, c.Kernel)
}

func orAMD64(arch string) string {
	if arch == "" {
		return "amd64"
	}
	return arch
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
	return max(qemu.DefaultMemory, inSteps(512+3*int(initramfs>>20)))
}

// inSteps rounds MiB of memory up to what looks like a machine's.
func inSteps(mib int) int {
	const step = 256
	return (mib + step - 1) / step * step
}

// kernelOfBase copies the kernel of the base to a file.
func (b *bootFlags) kernelOfBase(ctx context.Context, file string) (err error) {
	c, err := openCache(b.base.sources.cacheDir)
	if err != nil {
		return err
	}
	b.base.sources.platform = "linux/" + b.base.arch
	imgs, err := b.base.sources.open(ctx, c, []string{b.base.image})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, imgs.close()) }()
	base, err := bootasset.OpenBase(ctx, c, bootasset.BaseOptions{Image: imgs[0], Arch: b.base.arch})
	if err != nil {
		return inputError(err)
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	kernel, err := base.Kernel()
	if err != nil {
		return buildError(err)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(kernel.WriteFile(ctx, f, nil), f.Close(), base.Verify(ctx))
}

// bootMachine runs the machine until it ends, or a while after a panic: without
// that, it would stand still or start again for ever.
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
	ctx, end := context.WithCancel(ctx)
	defer end()
	console := &panicWatch{w: s.Out, panicked: func() { time.AfterFunc(lastWords, end) }}
	vm, err := qemu.Start(ctx, c, s.In, console)
	var missing *qemu.MissingError
	switch {
	case errors.As(err, &missing):
		return withCode(exitEnvironment, missing, missing.Hint())
	case err != nil:
		return withCode(exitEnvironment, err)
	}
	err = vm.Wait()
	if console.seen {
		return errors.New("the machine's kernel panicked; its last words are above")
	}
	return err
}

// lastWords is how long a kernel that panics has to say why.
const lastWords = 2 * time.Second

// panicWatch passes the console on and looks for a panic: QEMU ends then as it
// does after a reboot, without an error, or not at all.
type panicWatch struct {
	w        io.Writer
	panicked func() // called once
	tail     []byte
	seen     bool
}

var panicWords = []byte("Kernel panic - not syncing")

func (p *panicWatch) Write(b []byte) (int, error) {
	p.tail = append(p.tail, b...)
	if !p.seen && bytes.Contains(p.tail, panicWords) {
		p.seen = true
		p.panicked()
	}
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
