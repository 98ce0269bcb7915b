package sandbox

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// terminalRestorer gives what makes a terminal this process' own again, in the
// mode that it is in now: a shell that is killed leaves it as it was.
func terminalRestorer(tty *os.File) func() {
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	return func() {
		takeTerminal(tty)
		if err == nil {
			_ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode) // the terminal may be gone
		}
	}
}

// takeTerminal makes this process' group the one in the foreground, which is not
// allowed to one in the background that hears what the kernel says to it.
func takeTerminal(tty *os.File) {
	runtime.LockOSThread() // signals are blocked per thread
	defer runtime.UnlockOSThread()
	var ttou, before unix.Sigset_t
	ttou.Val[0] = 1 << (unix.SIGTTOU - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &ttou, &before)
	_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, unix.Getpgrp()) // the terminal may be gone
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
}
