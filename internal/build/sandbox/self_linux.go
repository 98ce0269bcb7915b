package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// high is above all numbers that files get in a child.
const high = 100

// selfCopy is the name of this program as a child starts it: a copy in memory
// that nobody can change. A command can get hold of the file that its sandbox
// was started from, by asking the kernel for a script whose interpreter is
// /proc/self/exe, and root of a sandbox may be who owns it.
var selfCopy = sync.OnceValues(func() (string, error) {
	f, err := sealedSelf()
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) { // sysctl vm.memfd_noexec=2
		return "/proc/self/exe", nil
	}
	if err != nil {
		return "", fmt.Errorf("copying this program: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", f), nil
})

// sealedSelf gives a file that stays open for as long as this process lives.
func sealedSelf() (int, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	defer self.Close()
	memory, err := memfd("graft")
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	if _, err := io.Copy(memory, self); err != nil {
		return 0, err
	}
	if _, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return 0, err
	}
	return unix.FcntlInt(memory.Fd(), unix.F_DUPFD_CLOEXEC, high)
}

// memfd makes a file in memory. Kernels before 6.3 do not know MFD_EXEC.
func memfd(name string) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
