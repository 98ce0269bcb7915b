package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// create makes a file that has no name until publish is called.
func create(name string) (*os.File, func() error, error) {
	dir := filepath.Dir(name)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return createNamed(name)
	}
	// A name that does not exist until publish gives it to the file.
	temp := filepath.Join(dir, fmt.Sprintf(".%s.%d.%d", filepath.Base(name), os.Getpid(), fd))
	f := os.NewFile(uintptr(fd), temp)
	return f, func() error {
		proc := fmt.Sprintf("/proc/self/fd/%d", fd)
		if err := unix.Linkat(unix.AT_FDCWD, proc, unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.LinkError{Op: "link", Old: proc, New: temp, Err: err}
		}
		return os.Rename(temp, name)
	}, nil
}
