package sandbox

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// rulesAllUsers says whether this process can give a user namespace more than
// one user: it is root, and has more than one itself.
func rulesAllUsers() bool {
	uids, err := ownMap("/proc/self/uid_map")
	if err != nil || os.Geteuid() != 0 || !hasCapabilities(unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETFCAP) {
		return false
	}
	return len(uids) > 1 || uids[0].Size > 1
}

// idMaps are the users and groups of a sandbox: root as whoever we are, or all
// that we have, each as itself.
func idMaps(oneUser bool) (uids, gids []syscall.SysProcIDMap, err error) {
	if oneUser {
		uids = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		gids = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		return uids, gids, nil
	}
	if uids, err = ownMap("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	gids, err = ownMap("/proc/self/gid_map")
	return uids, gids, err
}

// ownMap reads which ids this process has, as a map of each to itself.
func ownMap(file string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var maps []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	if len(maps) == 0 {
		return nil, fmt.Errorf("reading %s: it is empty", file)
	}
	return maps, nil
}

// hasCapabilities says whether this process has all of some capabilities.
func hasCapabilities(wanted ...uint) bool {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return false
	}
	for _, c := range wanted {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}
