package boot

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// run deletes files and leaves directories, which take no room. It deletes
// nothing that is not clearly an initramfs.
func (s Free) run(m *machine) error {
	device, err := initramfsDevice()
	if err != nil {
		return err
	}
	return filepath.WalkDir("/", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		keep := slices.Contains(s.Keep, name)
		if !e.IsDir() {
			if keep {
				return nil
			}
			return os.Remove(name)
		}
		d, err := deviceOf(name)
		if err == nil && (keep || d != device) {
			return fs.SkipDir
		}
		return err
	})
}

// initramfsDevice returns the device number of /, which must be in memory and
// have what the kernel starts as an initramfs.
func initramfsDevice() (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return 0, err
	}
	if fs.Type != unix.RAMFS_MAGIC && fs.Type != unix.TMPFS_MAGIC {
		return 0, fmt.Errorf("/ is no initramfs but a file system of type %#x", fs.Type)
	}
	if _, err := os.Lstat("/init"); err != nil {
		return 0, fmt.Errorf("/ is no initramfs: %w", err)
	}
	return deviceOf("/")
}

func deviceOf(name string) (uint64, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Dev, nil
}

// run mounts the root over / and goes there. What was / stays below it, out of
// reach: the kernel cannot unmount its first file system, nor pivot away from it.
// The kernel's own threads share our root, so they look for firmware in the new one.
func (s SwitchRoot) run(*machine) error {
	if err := os.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}
