package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// keptCapabilities are Docker's: what root in a container can do.
var keptCapabilities = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE,
	unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

// dropCapabilities takes the others from all programs that this thread starts.
// The thread itself keeps them, which is also why a command cannot look into it.
func dropCapabilities() error {
	kept := map[uintptr]bool{}
	for _, c := range keptCapabilities {
		kept[c] = true
	}
	for c := range uintptr(64) {
		if kept[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) { // the first that this kernel does not have
			break
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	return joinKeyring()
}

// joinKeyring leaves the keys of whoever started graft behind.
func joinKeyring() error {
	_, err := unix.KeyctlJoinSessionKeyring("sandbox")
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("leaving the session's keyring: %w", err)
	}
	return nil // the filter keeps commands from keys, too
}

// dropGroups leaves root's groups. An ordinary user's the kernel does not let go:
// they may be what keeps the user from a file.
func (b *box) dropGroups() error {
	if b.OneUser {
		return nil
	}
	if err := unix.Setgroups(nil); err != nil {
		return fmt.Errorf("dropping the supplementary groups: %w", err)
	}
	return nil
}

const unlimited = ^uint64(0) // RLIM_INFINITY

// limits are the same on all machines that do not have lower ones: a script must
// not find out where it runs.
var limits = map[int]unix.Rlimit{
	unix.RLIMIT_AS:         {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_CORE:       {Cur: 0, Max: 0},
	unix.RLIMIT_CPU:        {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_DATA:       {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_FSIZE:      {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_MEMLOCK:    {Cur: 64 << 10, Max: 64 << 10},
	unix.RLIMIT_NOFILE:     {Cur: 65536, Max: 1 << 20},
	unix.RLIMIT_NPROC:      {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_RSS:        {Cur: unlimited, Max: unlimited},
	unix.RLIMIT_STACK:      {Cur: 8 << 20, Max: unlimited},
	unix.RLIMIT_MSGQUEUE:   {Cur: 819200, Max: 819200},
	unix.RLIMIT_SIGPENDING: {Cur: 16384, Max: 16384},
}

func setLimits() error {
	for resource, wanted := range limits {
		var host unix.Rlimit
		if err := unix.Getrlimit(resource, &host); err != nil {
			return fmt.Errorf("reading limit %d: %w", resource, err)
		}
		wanted.Max = min(wanted.Max, host.Max)
		wanted.Cur = min(wanted.Cur, wanted.Max)
		if err := unix.Setrlimit(resource, &wanted); err != nil {
			return fmt.Errorf("setting limit %d: %w", resource, err)
		}
	}
	return nil
}
