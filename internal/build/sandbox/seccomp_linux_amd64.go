package sandbox

import "golang.org/x/sys/unix"

// abis are those of x86-64 and of 32-bit programs, the numbers of which have no
// names here. The numbers of x32, which nobody uses, start at 1<<30.
var abis = []calls{
	{
		arch:    unix.AUDIT_ARCH_X86_64,
		foreign: 1 << 30,
		forbid: []uint32{
			unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
			unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
			unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_BY_HANDLE_AT,
		},
		hide:   []uint32{unix.SYS_CLONE3},
		clone:  unix.SYS_CLONE,
		ioctl:  unix.SYS_IOCTL,
		socket: unix.SYS_SOCKET,
		chown:  map[uint32]uint32{unix.SYS_CHOWN: 1, unix.SYS_FCHOWN: 1, unix.SYS_LCHOWN: 1, unix.SYS_FCHOWNAT: 2},
	},
	{
		arch:   unix.AUDIT_ARCH_I386,
		forbid: []uint32{286, 287, 288, 357, 336, 374, 425, 426, 427, 310, 346, 342},
		hide:   []uint32{435},
		clone:  120,
		ioctl:  54,
		socket: 359,
		chown:  map[uint32]uint32{16: 1, 95: 1, 182: 1, 198: 1, 207: 1, 212: 1, 298: 2},
	},
}
