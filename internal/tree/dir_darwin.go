package tree

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const noXattr = unix.ENOATTR

// inodeOf identifies a file; shared is true if it has several names.
func inodeOf(info fs.FileInfo) (id inode, shared bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return inode{}, false
	}
	return inode{dev: uint64(st.Dev), ino: st.Ino}, st.Nlink > 1
}

// changeOf is the file and the time at which the kernel last saw it change; the
// zero time if that is not known.
func changeOf(info fs.FileInfo) (inode, time.Time) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, time.Time{}
	}
	return inode{dev: uint64(st.Dev), ino: st.Ino}, time.Unix(st.Ctimespec.Sec, st.Ctimespec.Nsec)
}
