package node

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// mount is a file system that the machine needs.
type mount struct {
	path, kind string
	flags      uintptr
	data       string
}

// mounts come after what graft-init has moved here already: usually it is
// /run and /tmp that are missing.
var mounts = []mount{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	{"/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
}

// mountMissing mounts what is not mounted.
func mountMissing(context.Context) error {
	var failed []error
	for _, m := range mounts {
		if mounted(m.path) {
			continue
		}
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.data); err != nil {
			failed = append(failed, fmt.Errorf("%s at %s: %w", m.kind, m.path, err))
		}
	}
	return errors.Join(failed...)
}

// mounted says whether a directory is on another device than the root.
func mounted(path string) bool {
	var root, dir unix.Stat_t
	return unix.Stat("/", &root) == nil && unix.Stat(path, &dir) == nil && root.Dev != dir.Dev
}
