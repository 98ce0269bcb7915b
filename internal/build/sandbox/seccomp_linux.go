package sandbox

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// calls are the numbers that one ABI has for the system calls of the filter. An
// architecture has two: its own, and that of its 32-bit programs.
type calls struct {
	arch    uint32            // as the kernel calls the ABI
	foreign uint32            // numbers from here on are of another ABI that shares arch; 0 if there is none
	forbid  []uint32          // answered with EPERM
	hide    []uint32          // answered with ENOSYS
	clone   uint32            // forbidden if it makes namespaces
	ioctl   uint32            // forbidden if it types for the user
	socket  uint32            // forbidden if it talks to the hypervisor
	chown   map[uint32]uint32 // by number: which argument is the user; the group is the next
}

// Offsets in the kernel's struct seccomp_data.
const (
	offCall = 0
	offArch = 4
	offArgs = 16 // 8 bytes each, the low half first
)

// newNamespaces are the flags of clone that a build must not use: a namespace of
// its own would give it all capabilities in there.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// filterCalls has the kernel refuse what Docker refuses as well and capabilities
// do not cover. With one user it also takes changes of owners for done.
func (b *box) filterCalls() error {
	program, err := filter(abis, b.OneUser)
	if err != nil {
		return fmt.Errorf("assembling the filter of system calls: %w", err)
	}
	if len(program) == 0 {
		return nil
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return &hostFault{fmt.Errorf("setting the filter of system calls: %w", errno)}
	}
	return nil
}

// filter assembles the program. Calls of an ABI that it does not know do not
// exist.
func filter(abis []calls, oneUser bool) ([]unix.SockFilter, error) {
	if len(abis) == 0 {
		return nil, nil
	}
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: offArch, Size: 4}}
	for _, c := range abis {
		body := c.filter(oneUser)
		// The jump over a body may be too far for a condition, a plain one is not.
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.arch, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(body))})
		program = append(program, body...)
	}
	program = append(program, answer(unix.ENOSYS))
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out, nil
}

// answer ends a call with an error, 0 for success.
func answer(errno unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

var allow = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}

func loadArg(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offArgs + 8*n, Size: 4} }

// filter is the part for one ABI. It always ends with an answer.
func (c *calls) filter(oneUser bool) []bpf.Instruction {
	p := []bpf.Instruction{bpf.LoadAbsolute{Off: offCall, Size: 4}}
	if c.foreign != 0 {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: c.foreign, SkipTrue: 1}, answer(unix.ENOSYS))
	}
	for _, n := range c.forbid {
		p = on(p, n, answer(unix.EPERM))
	}
	for _, n := range c.hide {
		p = on(p, n, answer(unix.ENOSYS))
	}
	p = on(p, c.clone, loadArg(0), bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: newNamespaces, SkipTrue: 1}, answer(unix.EPERM), allow)
	p = on(p, c.ioctl, loadArg(1),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.TIOCLINUX, SkipTrue: 1},
		answer(unix.EPERM), allow)
	p = on(p, c.socket, loadArg(0), bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_VSOCK, SkipTrue: 1}, answer(unix.EAFNOSUPPORT), allow)
	if oneUser {
		for n, user := range sorted(c.chown) {
			p = on(p, n, chown(user)...)
		}
	}
	return append(p, allow)
}

// on adds what is done for a call. It must end with an answer.
func on(p []bpf.Instruction, call uint32, do ...bpf.Instruction) []bpf.Instruction {
	p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: uint8(len(do))})
	return append(p, do...)
}

// Arguments of chown that the kernel deals with itself: root is the one user that
// there is, and the other leaves the user or group as it is.
const (
	rootID = 0
	keepID = 1<<32 - 1
)

// chown succeeds without doing anything if somebody is to be the owner whom the
// namespace does not have.
func chown(user uint32) []bpf.Instruction {
	var p []bpf.Instruction
	for n := user; n <= user+1; n++ {
		p = append(p, loadArg(n),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: rootID, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: keepID, SkipTrue: 1},
			answer(0))
	}
	return append(p, allow)
}

// sorted goes through a map in order: the program is always the same.
func sorted(m map[uint32]uint32) iter.Seq2[uint32, uint32] {
	return func(yield func(uint32, uint32) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
