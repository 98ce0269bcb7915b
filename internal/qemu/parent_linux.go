package qemu

import "syscall"

// diesWithParent has the kernel kill QEMU if this process ends in a way that
// gives it no time to do it.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
