package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// attachTries is how often another process may take a free loop device before
// us. Nobody else is there at boot, but tests run where others are.
const attachTries = 50

// attachLoop makes a file a read-only block device, which goes away when it is
// closed here and mounted nowhere.
func attachLoop(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, advise(err, "the kernel must have loop devices: built in, or by the module loop in "+ModuleDir)
	}
	defer control.Close()
	for range attachTries {
		dev, err := attachFree(control, file)
		if err == nil {
			return dev, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("attaching a loop device: %w after %d tries", unix.EBUSY, attachTries)
}

// attachFree takes the next free device; EBUSY means that somebody was faster.
func attachFree(control, file *os.File) (*os.File, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("finding a free loop device: %w", err)
	}
	dev, err := os.Open(fmt.Sprintf("/dev/loop%d", n))
	if err != nil {
		return nil, err
	}
	if err := configure(dev, file); err != nil {
		dev.Close()
		return nil, fmt.Errorf("attaching %s: %w", dev.Name(), err)
	}
	return dev, nil
}

// configure does all in one call (Linux 5.8).
func configure(dev, file *os.File) error {
	c := unix.LoopConfig{Fd: uint32(file.Fd())}
	c.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	copy(c.Info.File_name[:len(c.Info.File_name)-1], file.Name()) // what losetup shows, as far as it fits
	return unix.IoctlLoopConfigure(int(dev.Fd()), &c)
}
