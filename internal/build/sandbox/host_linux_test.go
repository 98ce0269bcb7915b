package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Probe(t.Context(), dir)
	if err != nil || !s.Overlay || s.Reason != nil {
		t.Errorf("got %+v, error %v", s, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("the probe left %v", entries)
	}
}

// TestProbeCopy probes a file system that cannot carry an overlay.
func TestProbeCopy(t *testing.T) {
	asRoot(t, "can mount a file system without extended attributes")
	dir := t.TempDir()
	if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Probe(t.Context(), dir)
	if err != nil || s.Overlay || s.Reason == nil || !strings.Contains(s.Reason.Error(), "trying an overlay") {
		t.Errorf("got %+v, error %v", s, err)
	}
	var host *HostError
	if !errors.As(s.Reason, &host) || !strings.Contains(host.Hint(), "keep the cache") {
		t.Errorf("the hint is %+v", host)
	}
}

// TestForbidden makes a machine that does not allow namespaces, in a process of
// its own, and reads the advice.
func TestForbidden(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		hints []string
	}{
		"filter":      {[]string{"docker run --security-opt seccomp=unconfined"}},
		"sysctl":      {[]string{"sudo sysctl -w user.max_user_namespaces=15000"}},
		"chroot":      {[]string{"the kernel makes no user namespaces for a process in a chroot"}},
		"masked proc": {[]string{"systempaths=unconfined"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "proc"), 0o755), os.Mkdir(filepath.Join(dir, "dev"), 0o755)); err != nil {
				t.Fatal(err)
			}
			cmd := helper("forbidden", name, dir)
			uids, gids, err := idMaps(true)
			if err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = uids, gids
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, h := range append(test.hints, "error: ") {
				if !strings.Contains(string(out), h) {
					t.Errorf("%q is not in:\n%s", h, out)
				}
			}
			t.Logf("%s", out)
		})
	}
}

// call is a system call as the filter sees it.
type call struct {
	arch, number uint32
	args         [6]uint32
}

// packet lays a call out for the BPF machine of x/net, which reads big-endian,
// where the kernel's reads as the processor does.
func (c call) packet() []byte {
	p := make([]byte, offArgs+6*8)
	put := func(at int, v uint32) {
		p[at], p[at+1], p[at+2], p[at+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	put(offCall, c.number)
	put(offArch, c.arch)
	for i, a := range c.args {
		put(offArgs+8*i, a)
	}
	return p
}

// TestFilter runs the program for all ABIs, of which this machine has not all.
func TestFilter(t *testing.T) {
	t.Parallel()
	if len(abis) == 0 {
		t.Skip("system calls are not filtered on this architecture")
	}
	const (
		allowed = unix.SECCOMP_RET_ALLOW
		faked   = unix.SECCOMP_RET_ERRNO
		eperm   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enosys  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		noFam   = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	)
	for _, oneUser := range []bool{true, false} {
		vm := machineOf(t, oneUser)
		check := func(what string, c call, want uint32) {
			t.Helper()
			if got, err := vm.Run(c.packet()); err != nil || uint32(got) != want {
				t.Errorf("one user %v: %s: got %#x, error %v, want %#x", oneUser, what, got, err, want)
			}
		}
		check("another architecture", call{arch: 1}, enosys)
		for _, a := range abis {
			for _, n := range a.forbid {
				check("forbidden", call{a.arch, n, [6]uint32{}}, eperm)
			}
			check("clone3", call{a.arch, a.hide[0], [6]uint32{}}, enosys)
			check("fork", call{a.arch, a.clone, [6]uint32{uint32(unix.SIGCHLD) | unix.CLONE_VM}}, allowed)
			check("clone", call{a.arch, a.clone, [6]uint32{unix.CLONE_NEWUSER}}, eperm)
			check("ioctl", call{a.arch, a.ioctl, [6]uint32{0, unix.TCGETS}}, allowed)
			check("typing", call{a.arch, a.ioctl, [6]uint32{0, unix.TIOCSTI}}, eperm)
			check("selecting", call{a.arch, a.ioctl, [6]uint32{0, unix.TIOCLINUX}}, eperm)
			check("socket", call{a.arch, a.socket, [6]uint32{unix.AF_INET}}, allowed)
			check("vsock", call{a.arch, a.socket, [6]uint32{unix.AF_VSOCK}}, noFam)
			check("another call", call{a.arch, 1000, [6]uint32{}}, allowed)
			if a.foreign != 0 {
				check("x32", call{a.arch, a.foreign + 1, [6]uint32{}}, enosys)
			}
			want := uint32(allowed)
			if oneUser {
				want = faked
			}
			for n, user := range a.chown {
				own := func(u, g uint32) call {
					c := call{arch: a.arch, number: n}
					c.args[user], c.args[user+1] = u, g
					return c
				}
				check("chown 1000:1000", own(1000, 1000), want)
				check("chown 0:5", own(0, 5), want)
				check("chown 5:0", own(5, 0), want)
				check("chown 5", own(5, keepID), want)
				check("chown 0:0", own(0, 0), allowed)
				check("chown nothing", own(keepID, keepID), allowed)
				check("chown :0", own(keepID, 0), allowed)
			}
		}
	}
}

func machineOf(t *testing.T, oneUser bool) *bpf.VM {
	t.Helper()
	program, err := filter(abis, oneUser)
	if err != nil {
		t.Fatal(err)
	}
	var list []bpf.Instruction
	for _, p := range program {
		list = append(list, bpf.RawInstruction{Op: p.Code, Jt: p.Jt, Jf: p.Jf, K: p.K}.Disassemble())
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
